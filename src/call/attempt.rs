//! One attempt: wait for quota, get a token, take the permit, send, and decode the response.
//!
//! The token is read again after each wait for a permit, so that a token that expired during the wait is not sent.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http::Response;
use tokio::time::{Instant, timeout};
use tracing::{debug, trace};

use crate::{
    call::{
        limiter::{Blocked, Limiter, Ticket},
        retry::RetryPolicy,
        retry_after::retry_after,
        stats::{StatsHandle, WaitReason},
        token::{AccessToken, TokenSource},
        transport::{BaseUrl, Transport, check_body},
    },
    error::{Error, ErrorKind, Result},
    wire,
};

/// The settings and services that all calls share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) base_url: Arc<BaseUrl>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) limiter: Arc<dyn Limiter>,
    /// `None` for the API that issues tokens.
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
    pub(crate) retry: RetryPolicy,
    /// How long errcode 45009 or status 429 holds all calls, if the response has no `Retry-After`.
    pub(crate) retry_after: Duration,
    pub(crate) attempt_timeout: Duration,
    /// The time limit of a custom token source. No limit for other sources: the attempts of `gettoken` have their own.
    pub(crate) token_timeout: Duration,
    pub(crate) max_body: usize,
    pub(crate) stats: StatsHandle,
}

/// What a call sends, apart from the access token.
pub(crate) struct ApiRequest<'a> {
    pub(crate) path: &'static str,
    /// Parameters of the URL's query.
    pub(crate) parameters: &'a [(&'a str, &'a str)],
    /// The JSON body of a POST request; `None` for a GET request.
    pub(crate) body: Option<Bytes>,
    /// A secret of the request, which is removed from error messages in case the server repeats it.
    pub(crate) secret: &'a str,
}

pub(super) struct Failure {
    pub(super) error: Error,
    /// The access token that was sent.
    pub(super) token: Option<AccessToken>,
    /// When the attempt was sent, or would have been sent.
    pub(super) sent_at: Instant,
}

impl Api {
    /// Makes one attempt. The outer error is not retried: this attempt sent nothing.
    pub(super) async fn attempt<T>(
        &self,
        request: &ApiRequest<'_>,
        attempt: u32,
        decode: &(impl Fn(&Bytes) -> Result<T> + Send + Sync),
    ) -> Result<Result<T, Failure>> {
        let token = match self.permit_and_token(attempt).await {
            // An unavailable Redis counts as a failed attempt, so that the retry policy applies.
            Err(error) if error.kind() == ErrorKind::Redis && error.is_transient() => {
                return Ok(Err(Failure { error, token: None, sent_at: Instant::now() }));
            }
            // A token source that took too long is a failed attempt, too. `max_elapsed` includes its time.
            Err(error) if error.is_token_timeout() => {
                let now = Instant::now();
                let sent_at = now.checked_sub(self.token_timeout).unwrap_or(now);
                return Ok(Err(Failure { error, token: None, sent_at }));
            }
            token => token?,
        };
        let http_request = self.base_url.request(
            request.path,
            request.parameters,
            token.as_ref(),
            request.body.clone(),
        )?;
        let sent_at = Instant::now();
        self.stats.update(|stats| stats.attempts += 1);
        trace!(attempt, path = request.path, "sending");
        let response =
            timeout(self.attempt_timeout, self.transport.send(http_request, self.max_body));
        let response = self.waiting(WaitReason::Response, None, attempt, response).await;
        let response = response.unwrap_or_else(|_| Err(Error::timeout(self.attempt_timeout)));
        Ok(response.and_then(|response| self.decode_response(&response, decode)).map_err(|error| {
            let secrets = [request.secret, token.as_ref().map_or("", AccessToken::expose)];
            Failure { error: error.redacted(secrets), token, sent_at }
        }))
    }

    /// Waits for a permit and for a token. If another caller took the permit while the token was fetched, waits again.
    async fn permit_and_token(&self, attempt: u32) -> Result<Option<AccessToken>> {
        let mut ticket = Ticket::default();
        let mut blocked = self.limiter.blocked(&mut ticket);
        loop {
            self.wait_until_unblocked(blocked, &mut ticket, attempt).await;
            let token = match &self.tokens {
                Some(tokens) => Some(self.token(&**tokens, attempt).await?),
                None => None,
            };
            match self.limiter.acquire(&mut ticket).await? {
                Ok(()) => return Ok(token),
                Err(still_blocked) => blocked = Some(still_blocked),
            }
        }
    }

    async fn token(&self, tokens: &dyn TokenSource, attempt: u32) -> Result<AccessToken> {
        if let Some(token) = tokens.cached() {
            return Ok(token);
        }
        // A token that is ready immediately is not recorded as a wait.
        let mut token = tokens.token();
        if let Some(token) = (&mut token).now_or_never() {
            return token;
        }
        let token = timeout(self.token_timeout, token);
        let token = self.waiting(WaitReason::Token, None, attempt, token).await;
        token.unwrap_or_else(|_| Err(Error::token_timeout(self.token_timeout)))
    }

    /// Reports to the token source that WeCom refused this token.
    pub(super) fn invalidate(&self, token: &AccessToken) {
        if let Some(tokens) = &self.tokens {
            tokens.invalidate(token);
        }
        self.stats.update(|stats| stats.token_refreshes += 1);
    }

    /// Waits until the limiter no longer blocks the call. A shared limiter may still refuse it.
    async fn wait_until_unblocked(
        &self,
        mut blocked: Option<Blocked>,
        ticket: &mut Ticket,
        attempt: u32,
    ) {
        let mut logged = None;
        while let Some(Blocked { reason, until, check_at }) = blocked {
            // The checks while the call is queued are not separate waits.
            if logged.replace(reason) != Some(reason) {
                let delay = until.duration_since(Instant::now()).as_secs_f64();
                debug!(attempt, wait = %reason, delay, "waiting");
            }
            self.waiting(reason, Some(until), attempt, ticket.wait_until(check_at)).await;
            blocked = self.limiter.blocked(ticket);
        }
    }

    /// Awaits `future` and records the wait in the statistics.
    pub(super) async fn waiting<F: Future>(
        &self,
        reason: WaitReason,
        until: Option<Instant>,
        attempt: u32,
        future: F,
    ) -> F::Output {
        let _wait = self.stats.waiting(reason, until, (attempt, self.retry.max_attempts));
        future.await
    }

    /// Decodes the response, or returns why it is a failure.
    fn decode_response<T>(
        &self,
        response: &Response<Bytes>,
        decode: impl Fn(&Bytes) -> Result<T>,
    ) -> Result<T> {
        let (status, body) = (response.status().as_u16(), response.body());
        trace!(status, len = body.len(), "received");
        // A custom transport may not have enforced the cap.
        check_body(body.len(), self.max_body)?;
        let outcome = match status {
            200..=299 => decode(body),
            _ => Err(wire::decode_errcode(body)
                .map_or_else(|| Error::http_status(status), |error| error.with_status(status))),
        };
        outcome.map_err(|error| match retry_after(response.headers()) {
            Some(wait) => error.with_retry_after(wait),
            None if error.is_throttled() => error.with_retry_after(self.retry_after),
            None => error,
        })
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base_url", &self.base_url.text()).finish_non_exhaustive()
    }
}
