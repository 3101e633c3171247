//! Parses the `Retry-After` header.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName,
    header::{DATE, RETRY_AFTER},
};
use httpdate::parse_http_date;

/// Returns how long the server asks to wait. A date is relative to the response's own `Date`, because the
/// same clock set both.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let retry_after = text(RETRY_AFTER)?;
    if let Ok(seconds) = retry_after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = parse_http_date(text(DATE)?).ok()?;
    parse_http_date(retry_after).ok()?.duration_since(date).ok()
}
