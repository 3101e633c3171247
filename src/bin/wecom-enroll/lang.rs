//! The language that hints are told in; all else is English.

use std::env;

use clap::ValueEnum;
use wecom_enroll::Error;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Lang {
    En,
    Zh,
}

impl Lang {
    /// What the environment says, in the order of POSIX.
    pub(crate) fn of_environment() -> Self {
        let set =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| env::var(name).ok());
        match set.into_iter().find(|value| !value.is_empty()) {
            // zh, zh_CN.UTF-8, zh-Hans; not zha, which is Zhuang.
            Some(value) if value.split(|c: char| !c.is_alphanumeric()).next() == Some("zh") => {
                Self::Zh
            }
            _ => Self::En,
        }
    }

    /// What a person can do about it, where that is known or waiting may help.
    pub(crate) fn hint(self, error: &Error) -> Option<&'static str> {
        let known = self.pick(error.hint(), error.hint_zh());
        let may_pass = self.pick(
            "this may pass, run the same command again",
            "可能是暂时的问题，请稍后重新运行同一命令",
        );
        known.or(error.is_transient().then_some(may_pass))
    }

    pub(crate) fn pick<T>(self, en: T, zh: T) -> T {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}
