//! Input and output for people: text, language, progress and log events.

pub(crate) mod lang;
pub(crate) mod logging;
pub(crate) mod screen;
pub(crate) mod stdout;
pub(crate) mod tally;
pub(crate) mod text;
mod warnings;
