//! The walk of a meeting as steps, page by page, and what is told of rows and walks that fail.
//!
//! What is done with a page is the command's: `export` writes its rows, `summary` counts them.

use std::{error::Error as _, iter, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use wecom_enroll::{BadRow, Checkpoint, Client, Error, ErrorKind, Page, Result as Fetch};

#[cfg(feature = "redis")]
use crate::Stop;
use crate::{lang::Lang, progress::counted};

/// How often the progress, and a checkpoint, are brought up to date.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// Told where one meeting's error keeps the others, too.
pub(crate) const LOCKED_OUT: &str =
    "error: no meeting can be walked further without an access token";

/// A page of a meeting, or how its walk ended, and the position behind it.
pub(crate) struct Step {
    pub(crate) meeting: usize,
    pub(crate) page: Fetch<Page>,
    pub(crate) position: Checkpoint,
}

/// Walks on from `position`, page by page.
pub(crate) fn walk(
    client: &Client,
    meeting: usize,
    position: Checkpoint,
    read_ahead: usize,
) -> BoxStream<'static, Step> {
    let pages = client.resume_pages(position).read_ahead(read_ahead);
    let steps = stream::unfold(pages, move |mut pages| async move {
        let page = pages.next().await?;
        Some((Step { meeting, page, position: pages.checkpoint() }, pages))
    });
    steps.boxed()
}

/// What the errors of meetings come to.
pub(crate) struct Outcome {
    lang: Lang,
    /// No error, some that may pass (75), some that will not (1).
    code: u8,
    locked_out: bool,
}

impl Outcome {
    /// No error yet; hints are told in this language.
    pub(crate) fn new(lang: Lang) -> Self {
        Self { lang, code: 0, locked_out: false }
    }

    /// Takes note of what has stopped a walk, and tells it in one line: what happened, in which
    /// meeting, after how much, and what to do.
    pub(crate) fn stopped(&mut self, id: &str, rows: u64, error: &Error) -> String {
        self.code = if error.is_transient() && self.code != 1 { 75 } else { 1 };
        // Repeated wrong secrets get the machine's IP banned.
        self.locked_out = error.kind() == ErrorKind::Token && !error.is_transient();
        let attempts = match error.attempts() {
            0 => String::new(),
            attempts => format!(" and {}", counted(attempts.into(), "attempt", "attempts")),
        };
        let rows = counted(rows, "row", "rows");
        let told = told(error, self.lang.hint(error));
        format!("error: meeting {id} stopped after {rows}{attempts}: {told}")
    }

    /// Takes note of what else has kept a meeting from its end.
    #[cfg(feature = "redis")]
    pub(crate) fn failed(&mut self, id: &str, stop: &Stop) -> String {
        self.code = if stop.code == 75 && self.code != 1 { 75 } else { 1 };
        format!("error: meeting {id} stopped: {}", stop.text)
    }

    /// Adds what the errors of other meetings came to.
    #[cfg(feature = "redis")]
    pub(crate) fn merge(&mut self, other: &Self) {
        self.code = if other.code == 0 || self.code == 1 { self.code } else { other.code };
        self.locked_out |= other.locked_out;
    }

    /// No token can be had, and every meeting needs one.
    pub(crate) fn is_locked_out(&self) -> bool {
        self.locked_out
    }

    /// The exit code, where nothing but errors and bad rows kept rows from being delivered.
    pub(crate) fn code(&self, bad_rows: bool) -> u8 {
        if self.code == 0 { bad_rows.into() } else { self.code }
    }
}

pub(crate) fn bad_row(id: &str, error: &Error) -> String {
    let Some(BadRow { page, index, enroll_id, .. }) = error.bad_row() else {
        return format!("bad row: meeting {id}: {error}");
    };
    let enroll_id = enroll_id.as_ref().map(|id| format!(", enroll_id {id}")).unwrap_or_default();
    format!("bad row: meeting {id}, page {page}, index {index}{enroll_id}: {error}")
}

/// The error, its causes, how long to wait, and what to do.
pub(crate) fn told(error: &Error, hint: Option<&str>) -> String {
    let mut line = vec![error.to_string()];
    let causes = iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string);
    for cause in causes.filter(|cause| cause.len() <= 200) {
        // Some say their own cause, too.
        if line.last().is_none_or(|last| !last.ends_with(&cause)) {
            line.push(cause);
        }
    }
    if let Some(seconds @ 1..) = error.pushback().map(|pushback| pushback.as_secs()) {
        line.push(format!("wait {} first", counted(seconds, "second", "seconds")));
    }
    let line = line.join(": ");
    match hint {
        Some(hint) => line + "; hint: " + hint,
        None => line,
    }
}
