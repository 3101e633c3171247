//! Parses the `Retry-After` header.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};
use httpdate::parse_http_date;

/// Returns how long the server asks to wait. If the header has several values, returns the longest. Ignores what is
/// neither a number nor a date. The retry policy limits the wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(RETRY_AFTER).iter().filter_map(|value| value.to_str().ok());
    // Field lines may have been joined with commas, but a date contains a comma, too.
    values
        .filter_map(|text| {
            text.split(',').filter_map(seconds).max().or_else(|| until(text, headers))
        })
        .max()
}

/// Parses a number of seconds. It may have a fraction, which the standard does not allow.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().ok().filter(|_| !text.starts_with(|c: char| !c.is_ascii_digit()))?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Parses a date in any of the three forms of RFC 9110. It is relative to the response's own `Date`, because the
/// same clock set both, or to the clock of this machine if the response has none.
fn until(text: &str, headers: &HeaderMap) -> Option<Duration> {
    let date = |text: &str| parse_http_date(text).ok();
    let sent_at = headers.get(DATE).and_then(|value| date(value.to_str().ok()?));
    date(text)?.duration_since(sent_at.unwrap_or_else(now)).ok()
}

#[expect(clippy::disallowed_methods, reason = "a date of the server is a time of the wall clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
