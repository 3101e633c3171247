//! [`ClientBuilder`]: the settings of a client, and their validation.

use std::{fmt, sync::Arc, time::Duration};

use url::{Host, Url};
use zeroize::Zeroizing;

#[cfg(feature = "redis")]
use crate::redis::{Redis, SharedApp, SharedLimiter};
use crate::{
    call::{
        AccessToken, Api, BaseUrl, HttpTransport, Quota, RetryPolicy, StatsHandle, TokenSource,
        Transport,
        gettoken::App,
        limiter::{Limiter, LocalLimiter},
        token::{FixedToken, TokenCache},
    },
    client::Client,
    error::{Error, Result},
    wire::text_problem,
};

/// WeCom's base URL (doc 98876).
const BASE_URL: &str = "https://qyapi.weixin.qq.com";

/// The largest value of [`ClientBuilder::max_body`].
const MAX_BODY_LIMIT: usize = 1 << 30;

/// The settings of a [`Client`]. Returned by [`Client::builder`].
///
/// Only the credentials are required. [`ClientBuilder::build`] validates all settings.
///
/// ```
/// use std::time::Duration;
///
/// use wecom_enroll::{Client, Quota, RetryPolicy};
///
/// let client = Client::builder()
///     .corp_secret("CORPID", "SECRET") // or .access_token(..), or .token_source(..)
///     .quotas([Quota::new(3_000, Duration::from_secs(60))?])
///     .retry(RetryPolicy::new().max_attempts(8))
///     .build()?;
/// # drop(client);
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[must_use = "a builder does nothing before build()"]
pub struct ClientBuilder {
    credentials: Option<Credentials>,
    quotas: Vec<Quota>,
    base_url: String,
    retry: RetryPolicy,
    retry_after: Duration,
    attempt_timeout: Duration,
    max_body: usize,
    transport: Option<Arc<dyn Transport>>,
    #[cfg(feature = "redis")]
    redis: Option<Redis>,
}

enum Credentials {
    CorpSecret { corp_id: String, secret: Zeroizing<String> },
    AccessToken(AccessToken),
    Source(Arc<dyn TokenSource>),
}

impl Client {
    /// Creates a client with the default settings. The client fetches access tokens with the organization's
    /// corp id and the app's secret when it needs them; this function sends nothing.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`ClientBuilder::build`].
    pub fn new(corp_id: impl Into<String>, secret: impl Into<String>) -> Result<Self> {
        Self::builder().corp_secret(corp_id, secret).build()
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            credentials: None,
            quotas: Quota::WECOM.to_vec(),
            base_url: BASE_URL.to_owned(),
            retry: RetryPolicy::new(),
            retry_after: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(30),
            max_body: 8 << 20,
            transport: None,
            #[cfg(feature = "redis")]
            redis: None,
        }
    }
}

impl ClientBuilder {
    /// Sets the organization's corp id and the app's secret, replacing other credentials. The client uses them
    /// to fetch an access token, caches the token, and refreshes it before it expires or when WeCom refuses
    /// it. A refused secret is not sent again for 60 seconds. The app must be the one that created the meeting.
    pub fn corp_secret(self, corp_id: impl Into<String>, secret: impl Into<String>) -> Self {
        let (corp_id, secret) = (corp_id.into(), Zeroizing::new(secret.into()));
        Self { credentials: Some(Credentials::CorpSecret { corp_id, secret }), ..self }
    }

    /// Sets a fixed access token, which expires after at most two hours (WeCom doc 91039).
    pub fn access_token(self, token: impl Into<String>) -> Self {
        let token = AccessToken::new(token);
        Self { credentials: Some(Credentials::AccessToken(token)), ..self }
    }

    /// Sets a custom source of access tokens, for example an organization's token service.
    pub fn token_source(self, source: impl TokenSource) -> Self {
        Self { credentials: Some(Credentials::Source(Arc::new(source))), ..self }
    }

    /// Sets the rate limits, all of which apply. Default: 10,000 calls per minute and 150,000 per hour, which
    /// are WeCom's limits per organization and API (doc 90454). The lists of webinars and meetings count
    /// together. The calls that set statuses and those for enrollment settings have the same limits, but are
    /// counted separately. `gettoken` is limited to 1,000 calls per hour.
    pub fn quotas(self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self { quotas: quotas.into_iter().collect(), ..self }
    }

    /// Sets the base URL: scheme, host and an optional path prefix. The scheme must be `https`, or `http` for
    /// a loopback address. Default: `https://qyapi.weixin.qq.com`.
    pub fn base_url(self, base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..self }
    }

    /// Sets the retry policy. Default: [`RetryPolicy::new`].
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Sets how long all calls of an API wait after errcode 45009 or HTTP status 429, if the response
    /// has no `Retry-After` header. Default: 60 seconds, which is how long WeCom blocks calls that exceed the
    /// limit per minute. The block lasts as long as the window of the exceeded limit (doc 90454).
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }

    /// Sets the timeout of one attempt, including the body. Default: 30 seconds. A custom token source gets the
    /// same time for each token.
    pub fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// Sets the maximum size of a response's body in bytes, after decompression. Default: 8 MiB, more than a
    /// hundred times a full page.
    pub fn max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Sets the HTTP client (reqwest 0.13). **Build it with [`HttpTransport::client_builder`]**, or as
    /// [`HttpTransport::with_client`] describes: otherwise a redirect leaks the access token.
    pub fn http_client(self, client: reqwest::Client) -> Self {
        self.transport(HttpTransport::with_client(client))
    }

    /// Sets the transport. Default: an [`HttpTransport`].
    pub fn transport(self, transport: impl Transport) -> Self {
        Self { transport: Some(Arc::new(transport)), ..self }
    }

    /// Shares the quota and the access token with all processes that use this Redis for the same
    /// organization. See the [guide](crate::_redis_guide). By default, only clones of a client share them.
    #[cfg(feature = "redis")]
    pub fn redis(self, redis: Redis) -> Self {
        Self { redis: Some(redis), ..self }
    }

    /// Validates the settings and creates the client. Sends nothing.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if
    ///
    /// - the credentials are missing or empty, contain a control character, or start or end with white space or
    ///   an invisible character,
    /// - the base URL is not `https` (or `http` to a loopback address), or has a user name, password, query
    ///   or fragment,
    /// - there is no quota,
    /// - `max_attempts` of the retry policy is 0, or its `max_retry_after` is shorter than
    ///   [`retry_after`](Self::retry_after),
    /// - the attempt timeout is zero,
    /// - the maximum body size is zero or more than 1 GiB,
    /// - a Redis is set and the organization is unknown (see `Redis::company`),
    /// - the proxy in `HTTPS_PROXY` or `ALL_PROXY` is invalid and would be used, or
    /// - TLS cannot be set up on this machine.
    pub fn build(self) -> Result<Client> {
        self.validate()?;
        let base_url = parse_base_url(&self.base_url)?;
        let transport: Arc<dyn Transport> = match self.transport {
            Some(transport) => transport,
            None if is_loopback(&base_url) => Arc::new(HttpTransport::loopback()?),
            None => Arc::new(HttpTransport::for_destination(Some(&base_url))?),
        };
        #[cfg(feature = "redis")]
        let redis = match &self.credentials {
            Some(Credentials::CorpSecret { corp_id, .. }) => {
                self.redis.map(|redis| redis.with_default_company(corp_id))
            }
            _ => self.redis,
        };
        #[cfg(feature = "redis")]
        if let Some(redis) = &redis {
            redis.check_company()?;
        }
        #[cfg(feature = "redis")]
        let limiter = |api| -> Arc<dyn Limiter> {
            match &redis {
                Some(redis) => Arc::new(SharedLimiter::new(redis.clone(), api, &self.quotas)),
                None => Arc::new(LocalLimiter::new(&self.quotas)),
            }
        };
        #[cfg(not(feature = "redis"))]
        let limiter = |_| -> Arc<dyn Limiter> { Arc::new(LocalLimiter::new(&self.quotas)) };
        let [limiter, approve, get_config] =
            ["enroll/list", "enroll/approve", "enroll/get_config"].map(limiter);
        let api = Api {
            base_url: Arc::new(BaseUrl::new(&base_url)?),
            transport,
            limiter,
            tokens: None,
            retry: self.retry,
            retry_after: self.retry_after,
            attempt_timeout: self.attempt_timeout,
            token_timeout: Duration::MAX,
            max_body: self.max_body,
            stats: StatsHandle::default(),
        };
        let list = match self.credentials {
            Some(Credentials::Source(tokens)) => {
                Api { tokens: Some(tokens), token_timeout: self.attempt_timeout, ..api }
            }
            Some(Credentials::AccessToken(token)) => {
                Api { tokens: Some(Arc::new(FixedToken(token))), ..api }
            }
            Some(Credentials::CorpSecret { corp_id, secret }) => {
                // WeCom limits `gettoken` per IP, not per organization.
                let limiter = Arc::new(LocalLimiter::new(&[Quota::GETTOKEN]));
                let gettoken = Api { limiter, stats: api.stats.for_tokens(), ..api.clone() };
                let app = App { api: gettoken, corp_id, secret };
                #[cfg(feature = "redis")]
                let tokens = match redis {
                    Some(redis) => TokenCache::new(SharedApp::new(app, redis)),
                    None => TokenCache::new(app),
                };
                #[cfg(not(feature = "redis"))]
                let tokens = TokenCache::new(app);
                Api { tokens: Some(Arc::new(tokens)), ..api }
            }
            None => {
                return Err(Error::invalid_argument(
                    "credentials are missing: set a corp id and secret, an access token, or a token source",
                ));
            }
        };
        let approve = Api { limiter: approve, ..list.clone() };
        let get_config = Api { limiter: get_config, ..list.clone() };
        Ok(Client { list, approve, get_config })
    }

    fn validate(&self) -> Result<()> {
        match &self.credentials {
            Some(Credentials::CorpSecret { corp_id, secret }) => {
                validate_text("corp id", corp_id)?;
                validate_text("corp secret", secret)?;
            }
            Some(Credentials::AccessToken(token)) => {
                validate_text("access token", token.expose())?;
            }
            Some(Credentials::Source(_)) | None => {}
        }
        let error = if self.quotas.is_empty() {
            "at least one quota is required"
        } else if self.retry.max_attempts == 0 {
            "max_attempts must be at least 1"
        } else if !self.retry.accepts(self.retry_after) {
            "retry_after must not be longer than max_retry_after of the retry policy"
        } else if self.attempt_timeout.is_zero() {
            "attempt timeout must be greater than zero"
        } else if !(1..=MAX_BODY_LIMIT).contains(&self.max_body) {
            "max_body must be between 1 byte and 1 GiB"
        } else {
            return Ok(());
        };
        Err(Error::invalid_argument(error))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("quotas", &self.quotas)
            .field("retry", &self.retry)
            .field("retry_after", &self.retry_after)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

/// Refuses a credential that cannot be right, such as a secret read from a file with its line ending: wrong
/// secrets ban the IP.
fn validate_text(name: &str, text: &str) -> Result<()> {
    match text_problem(text) {
        Some(problem) => Err(Error::invalid_argument(format!("the {name} {problem}"))),
        None => Ok(()),
    }
}

/// Parses the base URL. Secrets are sent in its query, so the connection must be encrypted or local. Error
/// messages do not repeat the URL, because it may contain a password.
fn parse_base_url(text: &str) -> Result<Url> {
    let url =
        Url::parse(text).map_err(|e| Error::invalid_argument(format!("invalid base URL: {e}")))?;
    let problem = if !url.username().is_empty() || url.password().is_some() {
        "the base URL must not contain a user name or password; configure them in a custom HTTP client"
    } else if url.query().is_some() || url.fragment().is_some() {
        "the base URL must not contain a query or fragment"
    } else if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) {
        return Ok(url);
    } else {
        "the base URL must be https, or http to a loopback address, because requests contain the access token"
    };
    Err(Error::invalid_argument(problem))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
