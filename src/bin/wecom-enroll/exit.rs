//! [`Stop`]: why a command ends early, and the exit codes.

use wecom_enroll::{Error, ErrorKind};

use crate::ui::{lang::Lang, text::error_line};

pub(crate) const EXIT_CODES: [(&str, &str); 5] = [
    ("0", "success"),
    ("1", "failed, or some rows were malformed (all other rows were delivered)"),
    ("2", "usage error; nothing was sent"),
    ("75", "temporary failure after all attempts; run the same command again"),
    ("130, 143", "interrupted by SIGINT or SIGTERM; the checkpoint or journal, if any, is valid"),
];

/// Returns the exit codes for the end of a help text.
pub(crate) fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:<8}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Ends a command early, with an exit code and a message.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The reader closed the pipe, which is not an error.
    ClosedPipe,
    Failed(String),
    /// The same command may succeed later.
    #[cfg(feature = "sync")]
    Temporary(String),
    /// A usage error. Nothing was sent.
    Usage(String),
    Library(Error),
}

impl Stop {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Usage(_) => 2,
            Self::Library(error) if error.kind() == ErrorKind::InvalidArgument => 2,
            Self::Library(error) if error.is_transient() => 75,
            #[cfg(feature = "sync")]
            Self::Temporary(_) => 75,
            Self::Failed(_) | Self::Library(_) => 1,
        }
    }

    /// Returns the message, with a hint in this language.
    pub(crate) fn message(&self, lang: Lang) -> Option<String> {
        match self {
            Self::ClosedPipe => None,
            #[cfg(feature = "sync")]
            Self::Temporary(message) => Some(message.clone()),
            Self::Failed(message) | Self::Usage(message) => Some(message.clone()),
            Self::Library(error) => Some(error_line(error, lang.hint(error))),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}
