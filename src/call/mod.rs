//! One logical call: quota, token, send, decode, and again if that failed in a way that may pass.
//!
//! The only loop over attempts stands here. It knows nothing of streams, pages or cursors: what to
//! send and how to read the reply are handed in. Body, status and errcode are all judged inside an
//! attempt, because WeCom reports most failures in the body of a 200.

mod http;
mod limiter;
mod retry;
mod stats;
mod token;
mod transport;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, trace, warn};
use url::Url;

pub use http::HttpTransport;
pub use limiter::Quota;
pub use retry::RetryPolicy;
pub use stats::{Stats, Wait};
pub use token::{AccessToken, TokenSource};
pub use transport::{Reply, Request, Transport};

pub(crate) use limiter::Limiter;
pub(crate) use stats::Counters;
pub(crate) use token::{CorpSecret, FixedToken};

use crate::{
    error::{Error, Result},
    wire::{self, Cursor, Page, Query},
};

/// What all calls of one API share: its limiter, its way out, and the rules of an attempt.
pub(crate) struct Lane {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) limiter: Limiter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) retry: RetryPolicy,
    /// How long 45009 holds every call.
    pub(crate) pushback: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) max_body: usize,
}

/// Fetches pages: everything the walk needs to know of calls.
pub(crate) struct Caller {
    pub(crate) lane: Lane,
    pub(crate) tokens: Arc<dyn TokenSource>,
    pub(crate) base: Url,
}

impl Caller {
    /// Page `number` of `query`, which `cursor` leads to.
    pub(crate) async fn page(
        &self,
        query: &Query,
        cursor: Option<&Cursor>,
        number: u64,
    ) -> Result<Page> {
        let body = wire::encode(query, cursor)?;
        let request = |token: Option<&AccessToken>| {
            let pairs = token.map(|token| ("access_token", token.expose()));
            Request::new(&self.base, query.path(), pairs.as_slice(), self.lane.max_body)
                .with_body(body.clone())
        };
        let decode = |body| wire::decode_page(body, number);
        let secret = cursor.map_or("", Cursor::as_str);
        let page = self.lane.call(Some(&*self.tokens), secret, request, decode).await?;
        debug!(page = number, rows = page.len(), has_more = page.has_more(), "page fetched");
        Ok(page)
    }
}

impl Lane {
    /// Attempts until one succeeds or the retry policy gives up; then the last error it is.
    ///
    /// A refused token is refreshed once and costs quota, but no attempt: it says nothing about
    /// whether the call itself would fail. `secret`, what the request holds beside the token, is kept
    /// out of errors, should the server send it back.
    pub(crate) async fn call<T>(
        &self,
        tokens: Option<&dyn TokenSource>,
        secret: &str,
        request: impl Fn(Option<&AccessToken>) -> Request + Send + Sync,
        decode: impl Fn(Bytes) -> Result<T> + Send + Sync,
    ) -> Result<T> {
        let (mut attempt, mut refreshed, mut begun) = (1, false, None);
        loop {
            let token = self.clearance(tokens).await?;
            let begun = *begun.get_or_insert_with(Instant::now);
            self.counters.attempts.fetch_add(1, Relaxed);
            let error = match self.attempt(request(token.as_ref()), &decode).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let error = error.redacted([secret, token.as_ref().map_or("", AccessToken::expose)]);
            if let (Some(source), Some(token)) = (tokens, &token) {
                if error.refuses_token() && !refreshed {
                    info!(errcode = error.errcode(), "access token refused, refreshing it");
                    source.forget(token);
                    refreshed = true;
                    continue;
                }
            }
            // Longer than the policy accepts, and every call ends with this error instead of a hang.
            let pushback = error.pushback().filter(|&pushback| self.retry.accepts(pushback));
            if let (Some(pushback), true) = (pushback, error.is_throttled()) {
                warn!(?pushback, %error, "throttled, holding every call");
                self.limiter.hold(pushback);
            }
            let Some(delay) = self.retry.delay(&error, attempt, begun.elapsed()) else {
                return Err(error.with_attempts(attempt));
            };
            info!(attempt, ?delay, %error, "attempt failed, trying again");
            let pushback = pushback.is_some_and(|pushback| delay <= pushback);
            let waiting =
                self.counters.waiting(if pushback { Wait::Pushback } else { Wait::Backoff });
            sleep(delay).await;
            drop(waiting);
            attempt += 1;
            self.counters.retries.fetch_add(1, Relaxed);
        }
    }

    /// Waits for quota, then for a token, and pays for one call at once before it is sent. Whoever
    /// finds the room gone after the token begins anew, so that no token ages in the line.
    async fn clearance(&self, tokens: Option<&dyn TokenSource>) -> Result<Option<AccessToken>> {
        loop {
            self.limiter.ready().await;
            let token = match tokens {
                Some(source) => Some(source.token().await?),
                None => None,
            };
            if self.limiter.spend() {
                return Ok(token);
            }
        }
    }

    async fn attempt<T>(
        &self,
        request: Request,
        decode: &(impl Fn(Bytes) -> Result<T> + Send + Sync),
    ) -> Result<T> {
        trace!(?request, "sending");
        let reply = timeout(self.attempt_timeout, self.transport.send(request)).await;
        let reply = reply.map_err(|_| Error::timeout(self.attempt_timeout))??;
        trace!(?reply, "received");
        // A transport of one's own may not have kept it.
        if reply.body.len() > self.max_body {
            return Err(Error::too_large(self.max_body));
        }
        let Reply { status, body, pushback } = reply;
        let outcome = match status {
            200..=299 => decode(body),
            _ => Err(wire::decode_errcode(&body)
                .map_or_else(|| Error::http_status(status), |error| error.with_status(status))),
        };
        outcome.map_err(|error| match pushback {
            Some(pushback) => error.with_pushback(pushback),
            None if error.is_throttled() => error.with_pushback(self.pushback),
            None => error,
        })
    }
}
