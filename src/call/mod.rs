//! The retry loop for one API call: make attempts until one succeeds or the retry policy gives up. Whether and when
//! an error is retried is decided by `RetryPolicy::delay` in `retry.rs`.
//!
//! The response is decoded inside the attempt, because WeCom reports most failures as an errcode in the body
//! of a 200 response. The caller provides the request and the decoder.

mod attempt;
pub(crate) mod gettoken;
mod http;
pub(crate) mod limiter;
mod proxy;
mod retry;
mod retry_after;
mod stats;
pub(crate) mod tls;
pub(crate) mod token;
mod transport;

pub use http::HttpTransport;
pub use limiter::Quota;
pub use retry::RetryPolicy;
pub use stats::{CurrentWait, Stats, StatsHandle, WaitReason};
pub use token::{AccessToken, TokenSource};
pub use transport::Transport;

pub(crate) use attempt::{Api, ApiRequest};
pub(crate) use transport::BaseUrl;

use attempt::Failure;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span, info, warn};

use crate::error::{Error, Result};

impl Api {
    /// Makes the call and returns what `decode` returns for the response. Passes the error of every failed attempt
    /// to `on_failure`.
    ///
    /// If WeCom refuses the access token, it is refreshed once. Then the request is sent again, which uses quota, but
    /// does not count toward `max_attempts`: a refused token does not show whether the request would succeed.
    pub(crate) async fn call<T>(
        &self,
        request: &ApiRequest<'_>,
        decode: impl Fn(&Bytes) -> Result<T> + Send + Sync,
        mut on_failure: impl FnMut(&Error) + Send,
    ) -> Result<T> {
        let (mut attempt, mut refreshed, mut started) = (1, false, None);
        loop {
            let Failure { error, token, sent_at } =
                match self.attempt(request, attempt, &decode).await? {
                    Ok(value) => return Ok(value),
                    Err(failure) => failure,
                };
            on_failure(&error);
            let started = *started.get_or_insert(sent_at);
            if let Some(token) = token.filter(|_| error.refuses_token() && !refreshed) {
                info!(attempt, errcode = error.errcode(), "access token refused, refreshing it");
                self.invalidate(&token);
                refreshed = true;
                continue;
            }
            let held = self.hold_if_throttled(&error, attempt);
            let Some(delay) = self.retry.delay(&error, attempt, started.elapsed()) else {
                return Err(error.with_attempts(attempt));
            };
            let reason = match error.retry_after() {
                Some(retry_after) if delay <= retry_after => WaitReason::RetryAfter,
                _ => WaitReason::Backoff,
            };
            if !held {
                let (errcode, delay) = (error.errcode(), delay.as_secs_f64());
                warn!(
                    name: "attempt_failed",
                    attempt, wait = %reason, delay, errcode, %error,
                    "attempt failed, retrying"
                );
            }
            attempt += 1;
            let until = Instant::now().checked_add(delay);
            self.waiting(reason, until, attempt, sleep(delay)).await;
            self.stats.count_retry();
        }
    }

    /// Holds all calls after a rate-limit error, and returns whether it did. If the wait is longer than
    /// `max_retry_after`, holds nothing: this call fails, and other calls are still sent.
    fn hold_if_throttled(&self, error: &Error, attempt: u32) -> bool {
        let throttled = error.is_throttled() && error.is_transient();
        let wait = error.retry_after().filter(|&wait| throttled && self.retry.accepts(wait));
        let Some(retry_after) = wait else { return false };
        self.limiter.hold(retry_after);
        let (errcode, delay) = (error.errcode(), retry_after.as_secs_f64());
        warn!(
            name: "throttled",
            attempt, wait = %WaitReason::RetryAfter, delay, errcode, %error,
            "rate limit exceeded, holding all calls"
        );
        true
    }
}

/// Makes a call in its span, which has the fields `outcome` and `errcode`.
pub(crate) async fn recorded<T>(span: &Span, call: impl Future<Output = Result<T>>) -> Result<T> {
    let result = call.instrument(span.clone()).await;
    span.record("outcome", if result.is_ok() { "ok" } else { "error" });
    span.record("errcode", result.as_ref().err().and_then(Error::errcode));
    result
}
