//! Lists meetings page by page, for `export`, `summary` and `sync`.

use std::time::Duration;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::{Timestamp, civil::DateTime, tz};
use wecom_enroll::{Checkpoint, Enroll, Error, ErrorKind, Page, PageStream, Result};

use crate::ui::{
    lang::Lang,
    text::{counted, error_line},
};

/// How often the progress and the checkpoint file are updated.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// Printed if the error of one meeting also ends the others.
pub(crate) const NO_TOKEN: &str =
    "error: no meeting is listed any further, because there is no access token";

/// One item of a meeting's page stream.
pub(crate) struct Step {
    /// The index of the meeting.
    pub(crate) meeting: usize,
    pub(crate) page: Result<Page>,
    /// The position after the page.
    pub(crate) position: Checkpoint,
}

/// Returns the pages of one meeting.
pub(crate) fn steps(meeting: usize, pages: PageStream) -> BoxStream<'static, Step> {
    let steps = stream::unfold(pages, move |mut pages| async move {
        let page = pages.next().await?;
        Some((Step { meeting, page, position: pages.checkpoint() }, pages))
    });
    steps.boxed()
}

/// The combined outcome of all meetings.
pub(crate) struct Outcome {
    lang: Lang,
    /// 0 without an error, 75 if all errors are transient, else 1.
    code: u8,
    /// Whether no access token can be obtained, which every meeting needs.
    pub(crate) no_token: bool,
}

impl Outcome {
    /// Creates the outcome without errors. Hints are in this language.
    pub(crate) fn new(lang: Lang) -> Self {
        Self { lang, code: 0, no_token: false }
    }

    /// Records the error that ended a meeting's stream. Returns the line to print: what happened, in which meeting,
    /// after how many rows and attempts, and a hint.
    pub(crate) fn record(&mut self, meeting: &str, rows: u64, error: &Error) -> String {
        self.code = if error.is_transient() && self.code != 1 { 75 } else { 1 };
        // Repeated wrong secrets ban the IP, so the other meetings must not request a token.
        self.no_token = error.kind() == ErrorKind::Token && !error.is_transient();
        let attempts = match error.attempts() {
            0 => String::new(),
            attempts => format!(
                "; the last call failed after {}",
                counted(attempts.into(), "attempt", "attempts")
            ),
        };
        let rows = counted(rows, "row", "rows");
        let line = error_line(error, self.lang.hint(error));
        format!("error: meeting {meeting} stopped after {rows}{attempts}: {line}")
    }

    pub(crate) fn code(&self, malformed_rows: bool) -> u8 {
        if self.code == 0 { malformed_rows.into() } else { self.code }
    }
}

/// Returns the time of enrollment in UTC+8, which is how WeCom sends it.
pub(crate) fn enroll_time(row: &Enroll) -> Option<DateTime> {
    let time = Timestamp::try_from(row.enrolled_at()?).ok()?;
    Some(tz::offset(8).to_datetime(time))
}
