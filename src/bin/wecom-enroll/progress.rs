//! What a person sees on standard error while the rows go elsewhere: a bar or counter, and lines that do not tear it.
//!
//! Everything written to standard error passes here, log lines included. A standard error that
//! cannot be written to is nobody's problem: the rows matter.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;
use wecom_enroll::{Stats, Wait};

/// Standard error. Cheap to clone: clones share the bar.
#[derive(Clone)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Shows a bar, or a counter where the total is not known; on a terminal only.
    pub(crate) fn show(&self, rows: u64, total: Option<u64>) {
        let template = match total {
            Some(_) => "{wide_bar} {percent}%  {msg}  {eta} left",
            None => "{spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        if let Some(total) = total {
            self.0.set_length(total);
        }
        self.0.set_position(rows);
        self.0.reset_eta();
        self.0.set_draw_target(ProgressDrawTarget::stderr());
    }

    pub(crate) fn update(&self, tally: &Tally) {
        if !self.0.is_hidden() {
            self.0.set_position(tally.rows);
            self.0.set_message(tally.progress());
            self.0.tick();
        }
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// One line, whatever a server put into it.
    pub(crate) fn say(&self, line: &str) {
        let mut line = line.replace(char::is_control, " ");
        line.push('\n');
        self.print(line.as_bytes());
    }

    fn print(&self, bytes: &[u8]) {
        // There is nowhere to tell that standard error cannot be written to.
        self.0.suspend(|| drop(io::stderr().write_all(bytes)));
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Screen {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The numbers of an export.
pub(crate) struct Tally {
    pub(crate) begun: Instant,
    /// Rows in the output, those of earlier runs included.
    pub(crate) rows: u64,
    /// Those of earlier runs.
    pub(crate) earlier: u64,
    pub(crate) bad_rows: u64,
    pub(crate) pages: u64,
    pub(crate) stats: Stats,
}

impl Tally {
    fn progress(&self) -> String {
        let millis = self.begun.elapsed().as_millis().max(1);
        let speed = u128::from(self.rows - self.earlier) * 1000 / millis;
        let wait = match self.stats.waiting.map(|waiting| waiting.wait) {
            None | Some(Wait::Reply) => "",
            Some(Wait::Quota) => ", waiting for quota",
            Some(Wait::Backoff) => ", waiting before a retry",
            Some(Wait::Pushback) => ", waiting as the server asked",
            Some(_) => ", waiting",
        };
        let speed = HumanCount(u64::try_from(speed).unwrap_or(u64::MAX));
        format!("{}, {speed} rows/s{wait}", self.counts())
    }

    fn counts(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        let pages = counted(self.pages, "page", "pages");
        format!("{rows}, {pages}, {}", counted(self.stats.retries, "retry", "retries"))
    }

    /// The line at the end.
    pub(crate) fn summary(&self) -> String {
        let Stats { quota_wait, pushback_wait, backoff_wait, .. } = self.stats;
        let waited = quota_wait.saturating_add(pushback_wait).saturating_add(backoff_wait);
        let bad = match self.bad_rows {
            0 => String::new(),
            rows => format!(" and {}", counted(rows, "bad row", "bad rows")),
        };
        let earlier = match self.earlier {
            0 => String::new(),
            rows => format!(" ({} of earlier runs)", counted(rows, "row", "rows")),
        };
        let [waited, quota, pushback, backoff, all] =
            [waited, quota_wait, pushback_wait, backoff_wait, self.begun.elapsed()].map(seconds);
        format!(
            "{}{bad}{earlier}; waited {waited} (quota {quota}, pushback {pushback}, backoff {backoff}), {all} in all",
            self.counts()
        )
    }
}

pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}
