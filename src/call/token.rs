//! [`TokenSource`]: where access tokens come from.
//!
//! A source decides when a token is stale. The retry loop detects that a token was refused, and then calls
//! [`TokenSource::invalidate`].

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::time::Instant;
use tracing::{Instrument, warn_span};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// How long to wait before a refused secret is sent again: repeated wrong secrets ban the IP (WeCom doc 90313).
pub(crate) const REFUSAL_PERIOD: Duration = Duration::from_secs(60);

/// An access token. `Debug` does not print it, and its memory is wiped when the last clone is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<Zeroizing<String>>);

impl AccessToken {
    /// Creates a token. WeCom's tokens have up to 512 bytes (doc 91039).
    pub fn new(token: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(token.into())))
    }

    /// Returns the secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// Provides the access token for each attempt, for example from an organization's token service. The cookbook
/// has a complete example.
pub trait TokenSource: Send + Sync + 'static {
    /// Returns the token to use now. Called at least once for every attempt, unless [`cached`](Self::cached)
    /// returns a token.
    ///
    /// # Errors
    ///
    /// Return [`Error::token`] if there is no token, or [`Error::transport`] if the failure is transient. The
    /// call fails with this error without a retry: retries are up to the source.
    ///
    /// A source that takes longer than [`ClientBuilder::attempt_timeout`](crate::ClientBuilder::attempt_timeout) is
    /// dropped. That is a failed attempt, so the retry policy decides whether the source is called again.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await point, like the `next()` of a stream. The source must remain usable.
    fn token(&self) -> BoxFuture<'_, Result<AccessToken>>;

    /// Returns the token if it is available without waiting. Default: `None`.
    fn cached(&self) -> Option<AccessToken> {
        None
    }

    /// Called when WeCom refuses this token (errcode 40014 or 42001), so that the next [`token`](Self::token) is
    /// another one. Compare `refused` with the current token first: it may have been replaced in the meantime.
    fn invalidate(&self, refused: &AccessToken);
}

pub(crate) struct FixedToken(pub(crate) AccessToken);

impl TokenSource for FixedToken {
    fn token(&self) -> BoxFuture<'_, Result<AccessToken>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn cached(&self) -> Option<AccessToken> {
        Some(self.0.clone())
    }

    fn invalidate(&self, _refused: &AccessToken) {}
}

/// Issues a token when none is cached: WeCom itself, or a cache that several processes share.
pub(crate) trait Issuer: Send + Sync + 'static {
    /// Issues one token. A [`TokenCache`] never makes two calls at the same time. `refused` is the last token
    /// that WeCom refused.
    fn issue(&self, refused: Option<AccessToken>) -> BoxFuture<'_, Result<Issued>>;
}

/// A token, and when it must be refreshed.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) token: AccessToken,
    pub(crate) stale_at: Instant,
}

/// Caches the token of an app. Concurrent callers share one fetch.
pub(crate) struct TokenCache(Arc<Cache>);

/// Shared with the fetch in flight, which may outlive the caller that started it.
struct Cache {
    issuer: Box<dyn Issuer>,
    state: Mutex<State>,
    refused: Mutex<Option<AccessToken>>,
}

type Fetch = BoxFuture<'static, Result<AccessToken>>;

enum State {
    Empty,
    /// Weak, so that a fetch is dropped when nobody waits for it.
    Fetching(WeakShared<Fetch>),
    Granted(Issued),
    Refused {
        error: Error,
        until: Instant,
    },
}

impl State {
    fn token(&self) -> Option<AccessToken> {
        match self {
            Self::Granted(issued) if Instant::now() < issued.stale_at => Some(issued.token.clone()),
            _ => None,
        }
    }
}

impl TokenCache {
    pub(crate) fn new(issuer: impl Issuer) -> Self {
        let (state, refused) = (Mutex::new(State::Empty), Mutex::default());
        Self(Arc::new(Cache { issuer: Box::new(issuer), state, refused }))
    }

    /// Returns the cached token or refusal, or the fetch to wait for.
    fn lookup(&self) -> Result<Result<AccessToken>, Shared<Fetch>> {
        let mut state = lock(&self.0.state);
        if let Some(token) = state.token() {
            return Ok(Ok(token));
        }
        match &*state {
            State::Refused { error, until } if Instant::now() < *until => {
                return Ok(Err(error.clone()));
            }
            State::Fetching(fetch) => {
                if let Some(fetch) = fetch.upgrade() {
                    return Err(fetch);
                }
            }
            _ => {}
        }
        let fetch = Arc::clone(&self.0).fetch().instrument(warn_span!("gettoken"));
        let fetch = fetch.boxed().shared();
        *state = fetch.downgrade().map_or(State::Empty, State::Fetching);
        Err(fetch)
    }
}

impl TokenSource for TokenCache {
    fn token(&self) -> BoxFuture<'_, Result<AccessToken>> {
        Box::pin(async {
            match self.lookup() {
                Ok(cached) => cached,
                Err(fetch) => fetch.await,
            }
        })
    }

    fn cached(&self) -> Option<AccessToken> {
        lock(&self.0.state).token()
    }

    fn invalidate(&self, refused: &AccessToken) {
        *lock(&self.0.refused) = Some(refused.clone());
        let mut state = lock(&self.0.state);
        if matches!(&*state, State::Granted(issued) if issued.token == *refused) {
            *state = State::Empty;
        }
    }
}

impl Cache {
    async fn fetch(self: Arc<Self>) -> Result<AccessToken> {
        let refused = lock(&self.refused).clone();
        let issued = self.issuer.issue(refused).await;
        let mut state = lock(&self.state);
        *state = match &issued {
            Ok(issued) => State::Granted(issued.clone()),
            Err(error) if error.is_auth() => {
                State::Refused { error: error.clone(), until: Instant::now() + REFUSAL_PERIOD }
            }
            Err(_) => State::Empty,
        };
        issued.map(|issued| issued.token)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
