//! One logical call: quota, token, send, decode, and again if that failed in a way that may pass.
//!
//! The only loop over attempts stands here. It knows nothing of streams, pages or cursors: what to
//! send and how to read the reply are handed in. Body, status and errcode are all judged inside an
//! attempt, because WeCom reports most failures in the body of a 200.

mod http;
mod limiter;
#[cfg(feature = "redis")]
mod redis;
mod retry;
mod stats;
mod token;
mod transport;

use std::{
    future::{Future, ready},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{Instrument, Span, debug, field::Empty, info, trace, warn, warn_span};
use url::Url;

#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use http::HttpTransport;
pub use limiter::Quota;
pub use retry::RetryPolicy;
pub use stats::{Meter, Stats, Wait, Waiting};
pub use token::{AccessToken, TokenSource};
pub use transport::{Reply, Request, Transport};

#[cfg(feature = "redis")]
pub(crate) use self::redis::{SharedApp, SharedLimiter};
pub(crate) use limiter::{Limiter, LocalLimiter};
pub(crate) use token::{App, CorpSecret, FixedToken};

use crate::{
    call::{
        limiter::{Closed, Turn},
        transport::address,
    },
    error::{Error, ErrorKind, Result},
    wire::{self, Cursor, Page, Query},
};

/// What all calls of one API share: its limiter, its way out, and the rules of an attempt.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) limiter: Arc<dyn Limiter>,
    pub(crate) meter: Meter,
    pub(crate) retry: RetryPolicy,
    /// How long 45009 holds every call.
    pub(crate) pushback: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) max_body: usize,
}

/// Fetches pages: everything the walk needs to know of calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) lane: Lane,
    pub(crate) tokens: Arc<dyn TokenSource>,
    base: Arc<Url>,
    last: Arc<Mutex<Last>>,
}

/// What one request leaves to the next.
#[derive(Default)]
struct Last {
    /// A walk asks for the same one all along.
    url: Option<LastUrl>,
    /// Its body's memory.
    buffer: BytesMut,
}

struct LastUrl {
    path: &'static str,
    token: Option<AccessToken>,
    url: Arc<Url>,
}

/// A request that was sent, and what came of it.
pub(crate) struct Sent {
    token: Option<AccessToken>,
    at: Instant,
    reply: Result<Reply>,
}

/// The request for the page behind `cursor`, begun before anybody asked for it.
pub(crate) struct Begun {
    cursor: Cursor,
    /// Of the call that it belongs to.
    span: Span,
    /// `Err`: there was no token to be had.
    sent: BoxFuture<'static, Result<Sent>>,
}

impl Begun {
    /// Gets the request on its way.
    async fn start(&mut self) {
        if let Some(sent) = (&mut self.sent).now_or_never() {
            self.sent = Box::pin(ready(sent));
        }
        // The connection's task gets to write it.
        yield_now().await;
    }
}

impl Caller {
    pub(crate) fn new(lane: Lane, tokens: Arc<dyn TokenSource>, base: Url) -> Self {
        Self { lane, tokens, base: Arc::new(base), last: Arc::default() }
    }

    /// The same for one walk, which is metered by itself.
    pub(crate) fn for_walk(&self) -> Self {
        let lane = Lane { meter: self.lane.meter.of_walk(), ..self.lane.clone() };
        Self { lane, ..self.clone() }
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Page `number` of `query`, which `cursor` leads to and for which a request may have `begun`.
    ///
    /// `early`, if anything may be, looks at the body and names the cursor whose request may begin
    /// before this page is decoded; that request comes back too.
    pub(crate) async fn page(
        self: &Arc<Self>,
        query: &Query,
        cursor: Option<&Cursor>,
        number: u64,
        begun: Option<Begun>,
        early: Option<impl Fn(&[u8]) -> Option<Cursor> + Send + Sync>,
    ) -> Result<(Page, Option<Begun>)> {
        let walk = &Span::current();
        let span =
            begun.as_ref().map_or_else(|| call_span(walk, number), |begun| begun.span.clone());
        let request = |token: Option<&AccessToken>| self.request(query, cursor, token);
        let early = early.map(|early| {
            move |body: &[u8]| {
                let cursor = early(body)?;
                let span = call_span(walk, number.saturating_add(1));
                Some(self.begin(query.clone(), cursor, span))
            }
        });
        let decode = |body: &[u8], next: Option<&Begun>| {
            wire::decode_page(body, number, next.map(|next| &next.cursor))
        };
        let secret = cursor.map_or("", Cursor::as_str);
        let call = self.lane.call(Some(&*self.tokens), secret, begun, request, early, decode);
        match call.instrument(span.clone()).await {
            Ok((page, next)) => {
                let rows = page.len();
                span.record("rows", rows).record("outcome", "ok");
                debug!(parent: &span, page = number, rows, has_more = page.has_more(), "page fetched");
                let next = next.filter(|next| page.next_cursor() == Some(&next.cursor));
                Ok((page, next))
            }
            Err(error) => {
                span.record("outcome", "error").record("errcode", error.errcode());
                Err(error)
            }
        }
    }

    /// The request for the page behind `cursor`, to be started.
    fn begin(self: &Arc<Self>, query: Query, cursor: Cursor, span: Span) -> Begun {
        let (caller, to) = (Arc::clone(self), cursor.clone());
        let sent = async move {
            let request = |token: Option<&AccessToken>| caller.request(&query, Some(&to), token);
            caller.lane.send(Some(&*caller.tokens), &request, 1).await
        };
        let sent = Box::pin(sent.instrument(span.clone()));
        Begun { cursor, span, sent }
    }

    fn request(
        &self,
        query: &Query,
        cursor: Option<&Cursor>,
        token: Option<&AccessToken>,
    ) -> Result<Request> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let url = last.url(&self.base, query.path(), token);
        let body = wire::encode(query, cursor, &mut last.buffer)?;
        Ok(Request::new(url, query.path(), self.lane.max_body).with_body(body))
    }
}

/// Each span is of the level of the gravest event in it, so that no warning comes without its place.
fn call_span(walk: &Span, page: u64) -> Span {
    warn_span!(parent: walk, "call", page, rows = Empty, outcome = Empty, errcode = Empty)
}

impl Last {
    fn url(&mut self, base: &Url, path: &'static str, token: Option<&AccessToken>) -> Arc<Url> {
        match &self.url {
            Some(last) if last.path == path && last.token.as_ref() == token => {
                return Arc::clone(&last.url);
            }
            _ => {}
        }
        let pairs = token.map(|token| ("access_token", token.expose()));
        let url = address(base, path, pairs.as_slice());
        self.url = Some(LastUrl { path, token: token.cloned(), url: Arc::clone(&url) });
        url
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
        mut begun: Option<Begun>,
        request: impl Fn(Option<&AccessToken>) -> Result<Request> + Send + Sync,
        early: Option<impl Fn(&[u8]) -> Option<Begun> + Send + Sync>,
        decode: impl Fn(&[u8], Option<&Begun>) -> Result<T> + Send + Sync,
    ) -> Result<(T, Option<Begun>)> {
        let (mut attempt, mut refreshed, mut since, mut next) = (1, false, None, None);
        loop {
            let Sent { token, at, reply } = match begun.take() {
                Some(begun) => begun.sent.await?,
                None => self.send(tokens, &request, attempt).await?,
            };
            let since = *since.get_or_insert(at);
            let error = match self.judge(reply, early.as_ref(), &mut next, &decode).await {
                Ok(value) => return Ok((value, next)),
                Err(error) => error,
            };
            let error = error.redacted([secret, token.as_ref().map_or("", AccessToken::expose)]);
            let errcode = error.errcode();
            if let (Some(source), Some(token)) = (tokens, &token) {
                if error.refuses_token() && !refreshed {
                    info!(attempt, errcode, "access token refused, refreshing it");
                    source.forget(token);
                    self.meter.count(|stats| stats.refreshes += 1);
                    refreshed = true;
                    continue;
                }
            }
            // Longer than the policy accepts, and every call ends with this error instead of a hang.
            let pushback = error.pushback().filter(|&pushback| self.retry.accepts(pushback));
            let held = pushback.filter(|_| error.is_throttled());
            if let Some(pushback) = held {
                self.limiter.hold(pushback);
                let (wait, delay) = (Wait::Pushback, pushback.as_secs_f64());
                warn!(attempt, %wait, delay, errcode, %error, "throttled, holding every call");
            }
            let Some(delay) = self.retry.delay(&error, attempt, since.elapsed()) else {
                return Err(error.with_attempts(attempt));
            };
            let asked_for = pushback.is_some_and(|pushback| delay <= pushback);
            let wait = if asked_for { Wait::Pushback } else { Wait::Backoff };
            // One warning is enough.
            if held.is_none() {
                let delay = delay.as_secs_f64();
                warn!(attempt, %wait, delay, errcode, %error, "attempt failed, trying again");
            }
            attempt += 1;
            self.waiting(wait, Instant::now().checked_add(delay), attempt, sleep(delay)).await;
            self.meter.count(|stats| stats.retries += 1);
        }
    }

    /// Waits for quota, then for a token, and pays for one call at once before it is sent. Whoever
    /// finds the room gone after the token begins anew, so that no token ages in the line.
    async fn clearance(
        &self,
        tokens: Option<&dyn TokenSource>,
        attempt: u32,
    ) -> Result<Option<AccessToken>> {
        let mut turn = Turn::default();
        loop {
            while let Some(closed) = self.limiter.closed() {
                self.wait(closed, attempt).await;
            }
            let token = match tokens {
                Some(tokens) => Some(self.token(tokens, attempt).await?),
                None => None,
            };
            match self.limiter.take(&mut turn).await? {
                Ok(()) => return Ok(token),
                Err(closed) => self.wait(closed, attempt).await,
            }
        }
    }

    async fn token(&self, tokens: &dyn TokenSource, attempt: u32) -> Result<AccessToken> {
        if let Some(token) = tokens.at_hand() {
            return Ok(token);
        }
        let mut token = tokens.token();
        match (&mut token).now_or_never() {
            Some(token) => token,
            None => self.waiting(Wait::Token, None, attempt, token).await,
        }
    }

    async fn wait(&self, Closed { wait, until }: Closed, attempt: u32) {
        let delay = until.duration_since(Instant::now()).as_secs_f64();
        debug!(attempt, %wait, delay, "waiting");
        self.waiting(wait, Some(until), attempt, sleep_until(until)).await;
    }

    /// Awaits `what`, and meters it.
    async fn waiting<F: Future>(
        &self,
        wait: Wait,
        until: Option<Instant>,
        attempt: u32,
        what: F,
    ) -> F::Output {
        let _waiting = self.meter.waiting(wait, until, (attempt, self.retry.max_attempts));
        what.await
    }

    /// One attempt's way there and back.
    async fn send(
        &self,
        tokens: Option<&dyn TokenSource>,
        request: &(impl Fn(Option<&AccessToken>) -> Result<Request> + Send + Sync),
        attempt: u32,
    ) -> Result<Sent> {
        let token = match self.clearance(tokens, attempt).await {
            // Out of reach for now, and nothing may be sent: as good as an attempt that failed.
            Err(error) if error.kind() == ErrorKind::Shared && error.is_transient() => {
                return Ok(Sent { token: None, at: Instant::now(), reply: Err(error) });
            }
            cleared => cleared?,
        };
        let request = request(token.as_ref())?;
        let at = Instant::now();
        self.meter.count(|stats| stats.attempts += 1);
        trace!(attempt, ?request, "sending");
        let reply = timeout(self.attempt_timeout, self.transport.send(request));
        let reply = self.waiting(Wait::Reply, None, attempt, reply).await;
        let reply = reply.unwrap_or_else(|_| Err(Error::timeout(self.attempt_timeout)));
        Ok(Sent { token, at, reply })
    }

    async fn judge<T>(
        &self,
        reply: Result<Reply>,
        early: Option<&(impl Fn(&[u8]) -> Option<Begun> + Send + Sync)>,
        next: &mut Option<Begun>,
        decode: &(impl Fn(&[u8], Option<&Begun>) -> Result<T> + Send + Sync),
    ) -> Result<T> {
        let reply = reply?;
        trace!(?reply, "received");
        // A transport of one's own may not have kept it.
        if reply.body.len() > self.max_body {
            return Err(Error::too_large(self.max_body));
        }
        let Reply { status, body, pushback } = reply;
        let outcome = match status {
            200..=299 => {
                // One that was begun stays begun, though the page has to be fetched again.
                if let (Some(early), None) = (early, &next) {
                    // The connection gets back into its pool, and the reader may ask for more.
                    yield_now().await;
                    *next = early(&body);
                    if let Some(next) = next {
                        next.start().await;
                    }
                }
                decode(&body, next.as_ref())
            }
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
