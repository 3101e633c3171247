//! What a person sees on standard error while the rows go elsewhere: a bar or counter, and lines that do not tear it.
//!
//! Everything written to standard error passes here, log lines included. A standard error that
//! cannot be written to is nobody's problem: the rows matter.

use std::{
    io::{self, Write},
    time::Duration,
};

use console::Term;
use indicatif::{
    HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike,
};
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;
use wecom_enroll::{Stats, Wait};

/// What a time does not show as 0.0 s.
const LEAST: Duration = Duration::from_millis(50);

/// Standard error. Cheap to clone: clones share the bar.
#[derive(Clone)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Shows a bar, or a counter where the total is not known; on a terminal only.
    pub(crate) fn show(&self, rows: u64, total: Option<u64>) {
        // The bar takes what the words leave of the line.
        let template = match total {
            Some(_) => "{percent:>3}% {msg} {wide_bar}",
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
        let terminal = Terminal(Term::stderr());
        if terminal.0.is_term() {
            self.0.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal)));
        }
    }

    pub(crate) fn update(&self, tally: &Tally) {
        if !self.0.is_hidden() {
            self.0.set_position(tally.rows);
            let eta = self.0.length().map(|_| self.0.eta());
            self.0.set_message(tally.progress(eta));
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

/// A terminal said to be narrower than it is.
///
/// A bar fills its line, and the `^C` that a terminal writes behind it would go to the next one, the
/// only one that is then cleared. So it stays in the bar's.
#[derive(Debug)]
struct Terminal(Term);

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(3)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
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
    /// What is cut off where a line is too short comes last. `eta`, where the total is known.
    fn progress(&self, eta: Option<Duration>) -> String {
        let millis = self.begun.elapsed().as_millis().max(1);
        let speed = u128::from(self.rows - self.earlier) * 1000 / millis;
        let speed = HumanCount(u64::try_from(speed).unwrap_or(u64::MAX));
        let why = self.stats.waiting.and_then(|w| why(w.wait, w.left, w.attempt, w.max_attempts));
        let why = why.or(eta.map(|eta| format!("{:#} left", HumanDuration(eta))));
        let why = why.map(|why| format!(", {why}")).unwrap_or_default();
        let retries = match self.stats.retries {
            0 => String::new(),
            retries => format!(", {}", counted(retries, "retry", "retries")),
        };
        format!("{}, {speed} rows/s{why}{retries}", self.counts())
    }

    fn counts(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        format!("{rows}, {}", counted(self.pages, "page", "pages"))
    }

    /// The line at the end. Times are those of all calls, which may be more than went by.
    pub(crate) fn summary(&self) -> String {
        let retries = counted(self.stats.retries, "retry", "retries");
        let waited = [
            ("quota", self.stats.quota_wait),
            ("pushback", self.stats.pushback_wait),
            ("backoff", self.stats.backoff_wait),
            ("token", self.stats.token_wait),
        ];
        let all = seconds(waited.iter().map(|(_, time)| *time).sum());
        let by_reason = waited.iter().filter(|(_, time)| *time >= LEAST);
        let by_reason = by_reason.map(|(reason, time)| format!("{reason} {}", seconds(*time)));
        let by_reason = match &*by_reason.collect::<Vec<_>>() {
            [] => String::new(),
            reasons => format!(" ({})", reasons.join(", ")),
        };
        let bad = match self.bad_rows {
            0 => String::new(),
            rows => format!(" and {}", counted(rows, "bad row", "bad rows")),
        };
        let earlier = match self.earlier {
            0 => String::new(),
            rows => format!(" ({} of earlier runs)", counted(rows, "row", "rows")),
        };
        let (counts, time) = (self.counts(), seconds(self.begun.elapsed()));
        format!("{counts}, {retries}{bad}{earlier}; calls waited {all}{by_reason}; {time} in all")
    }
}

/// Why no rows come, if that is worth a word, and for how long still.
fn why(wait: Wait, left: Option<Duration>, attempt: u32, max_attempts: u32) -> Option<String> {
    // Rounded up: the last second counts down to it.
    let seconds = left.map_or(0, |left| left.as_millis().div_ceil(1000));
    let (retry, retries) = (attempt.saturating_sub(1), max_attempts.saturating_sub(1));
    match wait {
        // The usual.
        Wait::Reply => None,
        Wait::Quota => Some(format!("quota: {seconds} s")),
        Wait::Pushback => Some(format!("WeCom asked for quiet: {seconds} s")),
        Wait::Backoff => Some(format!("retry {retry} of {retries}: {seconds} s")),
        Wait::Token => Some("waiting for an access token".to_owned()),
        wait => Some(format!("waiting: {wait}")),
    }
}

pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tally(rows: u64, pages: u64) -> Tally {
        let (begun, stats) = (Instant::now(), Stats::default());
        Tally { begun, rows, earlier: 0, bad_rows: 0, pages, stats }
    }

    #[test]
    fn each_wait_is_told_with_the_seconds_left_but_not_the_usual_one() {
        let why = |wait, millis| why(wait, Some(Duration::from_millis(millis)), 3, 5);
        assert_eq!(why(Wait::Quota, 12_000).as_deref(), Some("quota: 12 s"));
        assert_eq!(why(Wait::Pushback, 47_001).as_deref(), Some("WeCom asked for quiet: 48 s"));
        assert_eq!(why(Wait::Backoff, 300).as_deref(), Some("retry 2 of 4: 1 s"));
        assert_eq!(why(Wait::Token, 0).as_deref(), Some("waiting for an access token"));
        assert_eq!(why(Wait::Reply, 12_000), None);
    }

    #[test]
    fn the_progress_of_the_largest_webinar_fits_into_80_columns_with_its_longest_wait() {
        let mut tally = tally(50_000, 1000);
        tally.earlier = tally.rows;
        let progress = tally.progress(None);
        assert_eq!(progress, "50,000 rows, 1,000 pages, 0 rows/s");
        assert_eq!(tally.progress(Some(90 * SECOND)), format!("{progress}, 2m left"));
        let why = why(Wait::Pushback, Some(3600 * SECOND), 2, 4).unwrap();
        let line = format!("100% {progress}, {why} ");
        // Behind it, there is room for "^C".
        assert!(line.len() + ",000".len() <= 80 - 3, "{line}");
        // What is cut off where the line is too short comes last.
        tally.stats.retries = 2;
        assert_eq!(tally.progress(None), format!("{progress}, 2 retries"));
    }

    #[test]
    fn the_line_at_the_end_tells_the_time_waited_by_its_reason() {
        let mut tally = tally(2000, 40);
        assert_eq!(
            tally.summary(),
            "2,000 rows, 40 pages, 0 retries; calls waited 0.0 s; 0.0 s in all"
        );
        tally.stats.retries = 3;
        (tally.stats.quota_wait, tally.stats.pushback_wait) = (12 * SECOND, 60 * SECOND);
        tally.stats.backoff_wait = SECOND / 25;
        (tally.bad_rows, tally.earlier) = (1, 500);
        assert_eq!(
            tally.summary(),
            "2,000 rows, 40 pages, 3 retries and 1 bad row (500 rows of earlier runs); \
             calls waited 72.0 s (quota 12.0 s, pushback 60.0 s); 0.0 s in all"
        );
    }
}
