//! [`Tally`]: the numbers of a run, as a progress line and a summary line.

use std::time::Duration;

use indicatif::{HumanCount, HumanDuration};
use tokio::time::Instant;
use wecom_enroll::{Stats, WaitReason};

use crate::ui::text::{counted, seconds};

/// The shortest wait that is listed. Shorter ones would be printed as 0.0 s.
const MIN_LISTED: Duration = Duration::from_millis(50);

/// What was delivered. Waits and retries are in [`Stats`].
pub(crate) struct Tally {
    pub(crate) started: Instant,
    /// Rows delivered, including those of earlier runs.
    pub(crate) rows: u64,
    /// Rows of earlier runs.
    pub(crate) earlier: u64,
    pub(crate) malformed_rows: u64,
    pub(crate) pages: u64,
}

impl Tally {
    /// Creates the tally of a run that starts now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), rows: 0, earlier: 0, malformed_rows: 0, pages: 0 }
    }

    /// Returns the progress line. The least important parts come last, because a narrow terminal cuts the line off.
    /// `eta` is the remaining time, if the total is known.
    pub(crate) fn progress(&self, stats: &Stats, eta: Option<Duration>) -> String {
        let millis = self.started.elapsed().as_millis().max(1);
        let speed = u128::from(self.rows - self.earlier) * 1000 / millis;
        let speed = HumanCount(u64::try_from(speed).unwrap_or(u64::MAX));
        let wait = wait(stats).or(eta.map(|eta| format!("{:#} left", HumanDuration(eta))));
        let wait = wait.map(|wait| format!(", {wait}")).unwrap_or_default();
        let retries = match stats.retries {
            0 => String::new(),
            retries => format!(", {}", counted(retries, "retry", "retries")),
        };
        format!("{}, {speed} rows/s{wait}{retries}", self.counts())
    }

    fn counts(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        format!("{rows}, {}", counted(self.pages, "page", "pages"))
    }

    /// Returns the line at the end of a run. The waits are the sums over all calls, which may overlap.
    pub(crate) fn summary(&self, stats: &Stats) -> String {
        let malformed = match self.malformed_rows {
            0 => String::new(),
            rows => format!(", {}", counted(rows, "malformed row", "malformed rows")),
        };
        let earlier = match self.earlier {
            0 => String::new(),
            rows => format!(" ({} from earlier runs)", counted(rows, "row", "rows")),
        };
        let retries = counted(stats.retries, "retry", "retries");
        let waits = waits(stats, self.started);
        format!("{}, {retries}{malformed}{earlier}; {waits}", self.counts())
    }
}

/// Returns the retries, the waits and the time since `started`, for the end of a summary line.
pub(crate) fn costs(stats: &Stats, started: Instant) -> String {
    format!("{}; {}", counted(stats.retries, "retry", "retries"), waits(stats, started))
}

fn waits(stats: &Stats, started: Instant) -> String {
    let waited = [
        ("quota", stats.quota_wait),
        ("retry-after", stats.retry_after_wait),
        ("backoff", stats.backoff_wait),
        ("token", stats.token_wait),
    ];
    let all = seconds(waited.iter().map(|(_, time)| *time).sum());
    let by_reason = waited.iter().filter(|(_, time)| *time >= MIN_LISTED);
    let by_reason = by_reason.map(|(reason, time)| format!("{reason} {}", seconds(*time)));
    let by_reason = match &*by_reason.collect::<Vec<_>>() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join(", ")),
    };
    let time = seconds(started.elapsed());
    format!("calls waited {all}{by_reason}; {time} in total")
}

/// Returns what the call with the most severe wait waits for, unless it waits for a response.
pub(crate) fn wait(stats: &Stats) -> Option<String> {
    let wait = stats.current_wait?;
    wait_text(wait.reason, wait.remaining, wait.attempt, wait.max_attempts)
}

/// Returns what is waited for, and for how much longer. `None` for a response, which is the normal case.
fn wait_text(
    reason: WaitReason,
    remaining: Option<Duration>,
    attempt: u32,
    max_attempts: u32,
) -> Option<String> {
    // Rounded up, so that the last second is counted down to 1.
    let seconds = remaining.map_or(0, |remaining| remaining.as_millis().div_ceil(1000));
    let (retry, retries) = (attempt.saturating_sub(1), max_attempts.saturating_sub(1));
    match reason {
        WaitReason::Response => None,
        WaitReason::Quota => Some(format!("quota: {seconds} s")),
        WaitReason::RetryAfter => Some(format!("retry-after: {seconds} s")),
        WaitReason::Backoff => Some(format!("retry {retry} of {retries}: {seconds} s")),
        WaitReason::Token => Some("waiting for an access token".to_owned()),
        reason => Some(format!("waiting: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn wait_text_shows_remaining_seconds_except_for_responses() {
        let text = |reason, millis| wait_text(reason, Some(Duration::from_millis(millis)), 3, 5);
        assert_eq!(text(WaitReason::Quota, 12_000).as_deref(), Some("quota: 12 s"));
        assert_eq!(text(WaitReason::RetryAfter, 47_001).as_deref(), Some("retry-after: 48 s"));
        assert_eq!(text(WaitReason::Backoff, 300).as_deref(), Some("retry 2 of 4: 1 s"));
        assert_eq!(text(WaitReason::Token, 0).as_deref(), Some("waiting for an access token"));
        assert_eq!(text(WaitReason::Response, 12_000), None);
    }

    #[test]
    fn progress_of_the_largest_webinar_fits_into_80_columns() {
        let mut stats = Stats::default();
        let tally = Tally { rows: 50_000, earlier: 50_000, pages: 1000, ..Tally::new() };
        let progress = tally.progress(&stats, None);
        assert_eq!(progress, "50,000 rows, 1,000 pages, 0 rows/s");
        assert_eq!(tally.progress(&stats, Some(90 * SECOND)), format!("{progress}, 2m left"));
        let wait = wait_text(WaitReason::RetryAfter, Some(3600 * SECOND), 2, 4).unwrap();
        let line = format!("100% {:10} {progress}, {wait}", "");
        // The rest of the line is free for "^C".
        assert!(line.len() + ",000".len() <= 80 - 3, "{line}");
        // The least important part comes last.
        stats.retries = 2;
        assert_eq!(tally.progress(&stats, None), format!("{progress}, 2 retries"));
    }

    #[test]
    fn summary_line_lists_waits_by_reason() {
        let mut stats = Stats::default();
        let tally = Tally { rows: 2000, pages: 40, ..Tally::new() };
        assert_eq!(
            tally.summary(&stats),
            "2,000 rows, 40 pages, 0 retries; calls waited 0.0 s; 0.0 s in total"
        );
        stats.retries = 3;
        (stats.quota_wait, stats.retry_after_wait) = (12 * SECOND, 60 * SECOND);
        stats.backoff_wait = SECOND / 25;
        let tally = Tally { malformed_rows: 1, earlier: 500, ..tally };
        assert_eq!(
            tally.summary(&stats),
            "2,000 rows, 40 pages, 3 retries, 1 malformed row (500 rows from earlier runs); \
             calls waited 72.0 s (quota 12.0 s, retry-after 60.0 s); 0.0 s in total"
        );
    }
}
