//! [`Lang`]: the language of hints, and of `doctor`'s message about the public IP. All other text is English.

use std::env;

use clap::ValueEnum;
use wecom_enroll::Error;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Lang {
    En,
    Zh,
}

impl Lang {
    /// Returns the language of the locale, from environment variables in the order of POSIX. Windows does not
    /// set them, but shells there do.
    pub(crate) fn from_environment() -> Self {
        let set =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| env::var(name).ok());
        let locale = set.into_iter().find(|value| !value.is_empty());
        #[cfg(windows)]
        let locale = locale.or_else(sys_locale::get_locale);
        match locale {
            // zh, zh_CN.UTF-8 or zh-Hans, but not zha, which is Zhuang.
            Some(value) if value.split(|c: char| !c.is_alphanumeric()).next() == Some("zh") => {
                Self::Zh
            }
            _ => Self::En,
        }
    }

    /// Returns what a person can do about the error, if it is known or if waiting may help.
    pub(crate) fn hint(self, error: &Error) -> Option<&'static str> {
        let hint = self.pick(error.hint(), error.hint_zh());
        let transient = self.pick(
            "this may be temporary; run the same command again later",
            "可能是暂时的问题，请稍后重新运行同一命令",
        );
        hint.or(error.is_transient().then_some(transient))
    }

    pub(crate) fn pick<T>(self, en: T, zh: T) -> T {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}
