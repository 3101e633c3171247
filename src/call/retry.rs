//! Whether a failed attempt is made again, and after how long.
//!
//! A policy is a pure function of the error, the attempt's number and the time the call has taken:
//! no I/O, no clock. It decides on decoded results, because WeCom reports failures in 200 bodies.

use std::time::Duration;

use crate::error::{Error, Result};

/// How often a call is attempted, and how long it backs off in between.
///
/// The backoff before attempt *n* + 1 is random between zero and `base` · 2ⁿ⁻¹ (full jitter), at
/// most `cap`. A longer pushback of the server replaces it.
///
/// ```
/// use std::time::Duration;
/// use wecom_enroll::RetryPolicy;
///
/// let patient = RetryPolicy::new()
///     .max_attempts(8)?
///     .base(Duration::from_secs(1))
///     .cap(Duration::from_secs(60))
///     .max_elapsed(Duration::from_secs(600))
///     .max_pushback(Duration::from_secs(120));
/// assert_ne!(patient, RetryPolicy::never());
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(super) max_attempts: u32,
    base: Duration,
    cap: Duration,
    max_elapsed: Duration,
    max_pushback: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryPolicy {
    /// The defaults, as each setter tells them.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_attempts: 4,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            max_elapsed: Duration::MAX,
            max_pushback: Duration::from_secs(3600),
        }
    }

    /// One attempt, no retry.
    #[must_use]
    pub const fn never() -> Self {
        Self { max_attempts: 1, ..Self::new() }
    }

    /// Attempts of one call, the first included. Default: 4, because WeCom's page 90313 allows at
    /// most three retries of errcode -1.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when `attempts` is 0.
    pub fn max_attempts(self, attempts: u32) -> Result<Self> {
        match attempts {
            0 => Err(Error::argument("a call needs at least one attempt")),
            max_attempts => Ok(Self { max_attempts, ..self }),
        }
    }

    /// The ceiling of the first backoff; it doubles with each attempt. Default: 500 ms, our choice.
    #[must_use]
    pub const fn base(self, base: Duration) -> Self {
        Self { base, ..self }
    }

    /// The ceiling of every backoff. Default: 30 s, our choice.
    #[must_use]
    pub const fn cap(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// No retry is made whose backoff would end this long after the call's first attempt was sent.
    /// Default: unlimited.
    #[must_use]
    pub const fn max_elapsed(self, max_elapsed: Duration) -> Self {
        Self { max_elapsed, ..self }
    }

    /// A server that asks for a longer wait ends the call; the error's `pushback()` tells the wait.
    /// Default: 1 h, the longest of WeCom's blocks short of a day (page 90454).
    #[must_use]
    pub const fn max_pushback(self, max_pushback: Duration) -> Self {
        Self { max_pushback, ..self }
    }

    /// How long to wait before the next attempt; `None`: give up.
    pub(crate) fn delay(&self, error: &Error, attempt: u32, elapsed: Duration) -> Option<Duration> {
        let pushback = error.pushback().unwrap_or_default();
        if !error.is_transient() || attempt >= self.max_attempts || !self.accepts(pushback) {
            return None;
        }
        let delay = self.backoff(attempt).max(pushback);
        (elapsed.saturating_add(delay) <= self.max_elapsed).then_some(delay)
    }

    /// Whether a wait of this length that the server asks for is waited.
    pub(crate) fn accepts(&self, pushback: Duration) -> bool {
        pushback <= self.max_pushback
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        doubled.min(self.cap).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Error {
        Error::api(-1, "system busy")
    }

    #[test]
    fn attempts_count_the_first_one() {
        let policy = RetryPolicy::new();
        assert!(policy.delay(&busy(), 3, Duration::ZERO).is_some());
        assert!(policy.delay(&busy(), 4, Duration::ZERO).is_none());
        assert!(RetryPolicy::never().delay(&busy(), 1, Duration::ZERO).is_none());
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap() {
        let policy = RetryPolicy::new();
        for (attempt, ceiling) in [(1, 500), (2, 1000), (7, 30_000), (u32::MAX, 30_000)] {
            let longest = (0..1000).map(|_| policy.backoff(attempt)).max();
            let longest = longest.unwrap_or_default();
            let ceiling = Duration::from_millis(ceiling);
            assert!(longest <= ceiling && longest > ceiling / 2, "{attempt}: {longest:?}");
        }
    }

    #[test]
    fn a_longer_pushback_beats_the_backoff_and_too_long_a_one_ends_the_call() {
        let policy = RetryPolicy::new();
        let hour = Duration::from_secs(3600);
        let held = Error::http_status(503).with_pushback(hour);
        assert_eq!(policy.delay(&held, 1, Duration::ZERO), Some(hour));
        let longer = held.with_pushback(hour + Duration::from_secs(1));
        assert_eq!(policy.delay(&longer, 1, Duration::ZERO), None);
        let soon = Error::http_status(503).with_pushback(Duration::ZERO);
        assert!(policy.delay(&soon, 1, Duration::ZERO) < Some(hour));
    }

    #[test]
    fn nothing_is_attempted_after_the_time_is_up() {
        let policy = RetryPolicy::new().max_elapsed(Duration::from_secs(60));
        assert!(policy.delay(&busy(), 1, Duration::from_secs(59)).is_some());
        assert!(policy.delay(&busy(), 1, Duration::from_secs(61)).is_none());
    }
}
