//! Parsers for the values of options.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use wecom_enroll::Quota;

/// The longest accepted duration: 100 years. Adding it to the current time cannot overflow.
const MAX_DURATION: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Parses a duration like `10ms`, `2s`, `1m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SpanParser::new().parse_unsigned_duration(text).ok();
    parsed
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| "expected a duration like 10ms, 2s, 1m or 1h, at most 100 years".to_owned())
}

/// Parses a quota like `10000/1m`.
pub(crate) fn quota(text: &str) -> Result<Quota, String> {
    let (calls, window) = text.split_once('/').ok_or("expected N/WINDOW, like 10000/1m")?;
    let calls = calls.parse().map_err(|e| format!("invalid number of calls {calls:?}: {e}"))?;
    Quota::new(calls, duration(window)?).map_err(|e| e.to_string())
}
