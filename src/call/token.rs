//! Where access tokens come from: a source of the caller's own, one fixed token, or corp id and
//! secret, cached and fetched once for all who wait.
//!
//! A source decides when a token is stale; the attempt loop decides when one was refused, and then
//! says so with [`TokenSource::forget`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::time::Instant;
use tracing::{Instrument, warn_span};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    call::{Begun, Lane, Request, transport::address},
    error::{Error, Result},
    wire,
};

const PATH: &str = "/cgi-bin/gettoken";

/// A token is fetched anew this long before it expires, or a tenth of its life before, if that is
/// less. Our choice.
const MARGIN: Duration = Duration::from_secs(300);

/// No token is kept longer, whatever the server says. Our choice.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A refused secret is not sent again for so long: repeated wrong secrets ban the IP (page 90313).
const DAMPER: Duration = Duration::from_secs(60);

/// An access token. It never shows in `Debug`, and its memory is wiped when the last clone is gone.
///
/// ```
/// use wecom_enroll::AccessToken;
///
/// let token = AccessToken::new("TOKEN");
/// assert_eq!(token.expose(), "TOKEN");
/// assert_eq!(format!("{token:?}"), "AccessToken(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<Zeroizing<String>>);

impl AccessToken {
    /// A token of up to 512 bytes, says WeCom's page 91039; none is cut here.
    pub fn new(token: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(token.into())))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// Gives the access token for each attempt. For companies that keep their tokens in one place.
///
/// ```
/// use std::{future::Future, pin::Pin, sync::Mutex};
/// use wecom_enroll::{AccessToken, Client, Error, Result, TokenSource};
///
/// #[derive(Default)]
/// struct Central {
///     cached: Mutex<Option<AccessToken>>,
/// }
///
/// async fn ask_the_vault() -> std::io::Result<String> {
///     Ok("TOKEN".to_owned())
/// }
///
/// impl TokenSource for Central {
///     fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
///         Box::pin(async {
///             if let Some(token) = &*self.cached.lock().unwrap() {
///                 return Ok(token.clone());
///             }
///             let token = AccessToken::new(ask_the_vault().await.map_err(Error::token)?);
///             *self.cached.lock().unwrap() = Some(token.clone());
///             Ok(token)
///         })
///     }
///
///     fn forget(&self, refused: &AccessToken) {
///         self.cached.lock().unwrap().take_if(|token| token == refused);
///     }
/// }
///
/// let client = Client::builder().token_source(Central::default()).build()?;
/// # let _ = client;
/// # Ok::<(), Error>(())
/// ```
pub trait TokenSource: Send + Sync + 'static {
    /// The token to use now. Asked on every attempt, so it should come from a cache.
    ///
    /// # Errors
    ///
    /// [`Error::token`] when there is none, [`Error::transport`] when the source is down for now and
    /// the error should say that it may pass. The call ends with it: retries are the source's own.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await point, as a stream's `next()` is; the source must
    /// stay usable.
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>>;

    /// WeCom refused this token (errcode 40014 or 42001). The next [`token`](Self::token) should be
    /// another one. Compare before forgetting: the refusal may be older than the present token.
    fn forget(&self, refused: &AccessToken);
}

/// One token that was given once.
pub(crate) struct FixedToken(pub(crate) AccessToken);

impl TokenSource for FixedToken {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn forget(&self, _refused: &AccessToken) {}
}

/// Corp id and secret of one app: fetches its token, keeps it, and fetches it once for all who wait.
pub(crate) struct CorpSecret(Arc<App>);

/// What the one fetch in flight needs; it outlives whoever began it.
struct App {
    lane: Lane,
    base: Url,
    corp_id: String,
    secret: Zeroizing<String>,
    state: Mutex<State>,
}

type Fetch = BoxFuture<'static, Result<AccessToken>>;

enum State {
    Empty,
    /// Weak, so that a fetch nobody waits for any more is dropped.
    Fetching(WeakShared<Fetch>),
    Granted {
        token: AccessToken,
        stale_at: Instant,
    },
    Refused {
        error: Error,
        until: Instant,
    },
}

impl CorpSecret {
    pub(crate) fn new(lane: Lane, base: Url, corp_id: String, secret: Zeroizing<String>) -> Self {
        let state = Mutex::new(State::Empty);
        Self(Arc::new(App { lane, base, corp_id, secret, state }))
    }

    /// The token at hand, or the fetch to wait for.
    fn at_hand(&self) -> Result<Result<AccessToken>, Shared<Fetch>> {
        let mut state = self.0.state();
        match &*state {
            State::Granted { token, stale_at } if Instant::now() < *stale_at => {
                return Ok(Ok(token.clone()));
            }
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

impl TokenSource for CorpSecret {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
        Box::pin(async {
            match self.at_hand() {
                Ok(at_hand) => at_hand,
                Err(fetch) => fetch.await,
            }
        })
    }

    fn forget(&self, refused: &AccessToken) {
        let mut state = self.0.state();
        if matches!(&*state, State::Granted { token, .. } if token == refused) {
            *state = State::Empty;
        }
    }
}

impl App {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(self: Arc<Self>) -> Result<AccessToken> {
        let pairs = [("corpid", &*self.corp_id), ("corpsecret", &**self.secret)];
        let url = address(&self.base, PATH, &pairs);
        let request =
            |_: Option<&AccessToken>| Ok(Request::new(Arc::clone(&url), PATH, self.lane.max_body));
        let nothing_early = None::<fn(&[u8]) -> Option<Begun>>;
        let begun = Instant::now();
        let granted = self
            .lane
            .call(None, &self.secret, None, request, nothing_early, wire::decode_token)
            .await;
        let granted = granted.map(|(grant, _)| {
            let life = Duration::from_secs(grant.expires_in()).min(MAX_LIFE);
            let stale_at = begun.checked_add(life.saturating_sub(MARGIN.min(life / 10)));
            (AccessToken::new(grant.into_token()), stale_at.unwrap_or(begun))
        });
        let mut state = self.state();
        match granted {
            Ok((token, stale_at)) => {
                *state = State::Granted { token: token.clone(), stale_at };
                Ok(token)
            }
            Err(error) => {
                let error = error.while_getting_a_token();
                *state = State::Empty;
                if error.is_auth() {
                    *state =
                        State::Refused { error: error.clone(), until: Instant::now() + DAMPER };
                }
                Err(error)
            }
        }
    }
}
