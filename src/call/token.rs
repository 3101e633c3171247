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
pub(super) const DAMPER: Duration = Duration::from_secs(60);

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

    /// The same without waiting, where it is at hand. Asked first, and then [`token`](Self::token) is not.
    /// Default: `None`.
    fn at_hand(&self) -> Option<AccessToken> {
        None
    }

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

    fn at_hand(&self) -> Option<AccessToken> {
        Some(self.0.clone())
    }

    fn forget(&self, _refused: &AccessToken) {}
}

/// Gives an app a token when there is none at hand: WeCom itself, or what a fleet has in common.
pub(crate) trait Issuer: Send + Sync + 'static {
    /// One token, of which nobody else in this process asks for another meanwhile. `refused` is the
    /// last one that WeCom refused.
    fn issue(&self, refused: Option<AccessToken>) -> BoxFuture<'_, Result<Issued>>;
}

#[derive(Clone)]
pub(crate) struct Issued {
    pub(super) token: AccessToken,
    pub(super) stale_at: Instant,
}

/// Keeps an app's token, and has it issued once for all who wait.
pub(crate) struct CorpSecret(Arc<Cache>);

/// What the one fetch in flight needs; it outlives whoever began it.
struct Cache {
    issuer: Box<dyn Issuer>,
    state: Mutex<State>,
    refused: Mutex<Option<AccessToken>>,
}

type Fetch = BoxFuture<'static, Result<AccessToken>>;

enum State {
    Empty,
    /// Weak, so that a fetch nobody waits for any more is dropped.
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

impl CorpSecret {
    pub(crate) fn new(issuer: impl Issuer) -> Self {
        let (state, refused) = (Mutex::new(State::Empty), Mutex::default());
        Self(Arc::new(Cache { issuer: Box::new(issuer), state, refused }))
    }

    /// What is known of the token, or the fetch to wait for.
    fn known(&self) -> Result<Result<AccessToken>, Shared<Fetch>> {
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

impl TokenSource for CorpSecret {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
        Box::pin(async {
            match self.known() {
                Ok(known) => known,
                Err(fetch) => fetch.await,
            }
        })
    }

    fn at_hand(&self) -> Option<AccessToken> {
        lock(&self.0.state).token()
    }

    fn forget(&self, refused: &AccessToken) {
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
                State::Refused { error: error.clone(), until: Instant::now() + DAMPER }
            }
            Err(_) => State::Empty,
        };
        issued.map(|issued| issued.token)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Corp id and secret of one app, for which WeCom gives tokens.
pub(crate) struct App {
    pub(crate) lane: Lane,
    pub(crate) base: Url,
    pub(crate) corp_id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl Issuer for App {
    fn issue(&self, _refused: Option<AccessToken>) -> BoxFuture<'_, Result<Issued>> {
        self.gettoken().boxed()
    }
}

impl App {
    async fn gettoken(&self) -> Result<Issued> {
        let pairs = [("corpid", &*self.corp_id), ("corpsecret", &**self.secret)];
        let url = address(&self.base, PATH, &pairs);
        let request =
            |_: Option<&AccessToken>| Ok(Request::new(Arc::clone(&url), PATH, self.lane.max_body));
        let nothing_early = None::<fn(&[u8]) -> Option<Begun>>;
        let begun = Instant::now();
        let (grant, _) = self
            .lane
            .call(None, &self.secret, None, request, nothing_early, |body, _| {
                wire::decode_token(body)
            })
            .await
            .map_err(Error::while_getting_a_token)?;
        let life = Duration::from_secs(grant.expires_in()).min(MAX_LIFE);
        let stale_at = begun.checked_add(life.saturating_sub(MARGIN.min(life / 10)));
        let stale_at = stale_at.unwrap_or(begun);
        Ok(Issued { token: AccessToken::new(grant.into_token()), stale_at })
    }
}
