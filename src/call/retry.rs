//! [`RetryPolicy`]: whether a failed attempt is retried, and after how long. The retry loop applies it.

use std::time::Duration;

use crate::error::Error;

/// How many attempts a call makes, and how long it waits between them.
///
/// The backoff before attempt *n* + 1 is a random time between zero and `base` · 2ⁿ⁻¹ (full jitter), at most
/// `cap`. If the server asks for a longer wait, that wait replaces the backoff.
///
/// With the defaults, attempts and backoffs take at most 2 minutes and 3.5 seconds per call: 4 attempts of 30 s
/// ([`ClientBuilder::attempt_timeout`](crate::ClientBuilder::attempt_timeout)) and backoffs of 0.5 s, 1 s and 2 s.
/// A call takes longer by
///
/// - another request of at most 30 s, if the access token is refused;
/// - waits for quota;
/// - waits for a token: at most 30 s per attempt from a custom source, or the time of a whole call of `gettoken`;
/// - waits that the server asks for: 60 s after errcode 45009, up to `max_retry_after` per retry.
///
/// To limit the total time, wrap the stream in [`tokio::time::timeout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(crate) max_attempts: u32,
    base: Duration,
    cap: Duration,
    max_elapsed: Duration,
    max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryPolicy {
    /// Creates a policy with the defaults that each setter documents.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_attempts: 4,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            max_elapsed: Duration::MAX,
            max_retry_after: Duration::from_secs(3600),
        }
    }

    /// Creates a policy that makes one attempt and never retries.
    #[must_use]
    pub const fn never() -> Self {
        Self { max_attempts: 1, ..Self::new() }
    }

    /// Sets the number of attempts per call, including the first. Default: 4, because WeCom doc 90313
    /// allows at most three retries of errcode -1.
    ///
    /// [`ClientBuilder::build`](crate::ClientBuilder::build) refuses 0.
    #[must_use]
    pub const fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets the maximum of the first backoff, which doubles with each attempt. Default: 500 ms.
    #[must_use]
    pub const fn base(self, base: Duration) -> Self {
        Self { base, ..self }
    }

    /// Sets the maximum of every backoff. Default: 30 seconds.
    #[must_use]
    pub const fn cap(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// Sets a limit on the time from sending the first attempt to the end of the last backoff. A retry whose backoff
    /// would end later is not made. Waits for quota or a token after the backoff are not included. Default: unlimited.
    #[must_use]
    pub const fn max_elapsed(self, max_elapsed: Duration) -> Self {
        Self { max_elapsed, ..self }
    }

    /// Sets the longest wait that the server may ask for, in seconds or with a date. If it asks for more, the
    /// call fails, and [`Error::retry_after`](crate::Error::retry_after) returns the wait. Default: 1 hour, which
    /// is how long WeCom blocks calls that exceed an hourly limit (doc 90454).
    #[must_use]
    pub const fn max_retry_after(self, max_retry_after: Duration) -> Self {
        Self { max_retry_after, ..self }
    }

    /// Returns how long to wait before the next attempt, or `None` to give up.
    pub(crate) fn delay(&self, error: &Error, attempt: u32, elapsed: Duration) -> Option<Duration> {
        let retry_after = error.retry_after().unwrap_or_default();
        if !error.is_transient() || attempt >= self.max_attempts || !self.accepts(retry_after) {
            return None;
        }
        let delay = self.backoff(attempt).max(retry_after);
        (elapsed.saturating_add(delay) <= self.max_elapsed).then_some(delay)
    }

    /// Returns whether the server may ask for this wait.
    pub(crate) fn accepts(&self, retry_after: Duration) -> bool {
        retry_after <= self.max_retry_after
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        doubled.min(self.cap).mul_f64(fastrand::f64())
    }
}
