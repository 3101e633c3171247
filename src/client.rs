//! The front door: settings go in, streams come out.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use url::{Host, Url};
use zeroize::Zeroizing;

#[cfg(feature = "redis")]
use crate::call::{Redis, SharedApp, SharedLimiter};
use crate::{
    call::{
        AccessToken, App, Caller, CorpSecret, FixedToken, HttpTransport, Lane, Limiter,
        LocalLimiter, Meter, Quota, RetryPolicy, Stats, TokenSource, Transport,
    },
    error::{Error, Result},
    walk::{Checkpoint, EnrollStream, PageStream},
    wire::Query,
};

/// WeCom's own host (page 98876).
const BASE_URL: &str = "https://qyapi.weixin.qq.com";

/// Walks enrolment lists. Cheap to clone: clones share the quota, the token and the connections.
///
/// A call of it is bounded: by the retry policy in attempts, each attempt in time, and its reply in
/// size. Nothing is sent before a stream of it is polled.
///
/// ```
/// use std::time::Duration;
///
/// use wecom_enroll::{Client, Quota, RetryPolicy};
///
/// let client = Client::builder()
///     .corp_secret("CORPID", "SECRET")
///     .quota(Quota::new(1_000, Duration::from_secs(60))?)
///     .retry(RetryPolicy::new().max_attempts(8)?)
///     .build()?;
/// let the_same_quota_and_token = client.clone();
/// # drop((client, the_same_quota_and_token));
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
///
/// # Tracing
///
/// What a walk does is told with [`tracing`](https://docs.rs/tracing), in three spans, all of level
/// `warn`, so that no event comes without its place:
///
/// | span | is | fields, and those at its end |
/// |---|---|---|
/// | `enrolls` | a walk, from its first poll on | `meeting` (its id), `list` (`webinar`, `meeting`); `pages`, `rows`, `outcome` (`end`, `error`), `errcode` |
/// | `call` | the call for a page, in its walk | `page`; `rows`, `outcome` (`ok`, `error`), `errcode` |
/// | `gettoken` | the call for a token, in the call that began it | |
///
/// | event | level | fields |
/// |---|---|---|
/// | `attempt failed, trying again` | `warn` | `attempt` (the failed one), `wait` (`backoff`, `pushback`), `delay`, `errcode`, `error` |
/// | `throttled, holding every call` | `warn` | the same; it stands for the one above, too |
/// | `access token refused, refreshing it` | `info` | `attempt`, `errcode` |
/// | `waiting` | `debug` | `attempt`, `wait` (`quota`, or `pushback` that another call got), `delay` |
/// | `page fetched` | `debug` | `page`, `rows`, `has_more` |
/// | `walk ended` | `debug` | `pages`, `rows`, `outcome`, `errcode`, `error` |
/// | `sending`, `received` | `trace` | `attempt` and `request`; `reply` |
///
/// A `delay` is in seconds. A field that there is nothing to say of, such as the `errcode` of a cut
/// connection, is absent. A stream that is dropped before its end has no `outcome`. No secret, cursor
/// or row is ever told; meeting ids are.
#[derive(Clone)]
pub struct Client(Arc<Caller>);

impl Client {
    /// Settings to begin with.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The rows of `query`, from the first one on. Nothing is sent before the first poll.
    ///
    /// # Panics
    ///
    /// The stream panics when it is polled outside a tokio runtime with time enabled.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// let rows = client.enrolls(Query::webinar("MEETINGID1"));
    /// let names: Vec<_> = rows.map_ok(|row| row.nick_name().to_owned()).try_collect().await?;
    /// assert_eq!(names.len(), 120);
    /// # Ok(())
    /// # }
    /// ```
    pub fn enrolls(&self, query: Query) -> EnrollStream {
        self.resume(Checkpoint::start(query))
    }

    /// The rows behind `checkpoint`, which may be of this walk, this program's last run, or another
    /// machine.
    ///
    /// # Panics
    ///
    /// As the stream of [`Client::enrolls`].
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
    /// assert_eq!(rows.by_ref().take(70).count().await, 70);
    ///
    /// let written = serde_json::to_string(&rows.checkpoint())?;
    /// let rest = client.resume(serde_json::from_str(&written)?);
    /// assert_eq!(rest.count().await, 50);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(&self, checkpoint: Checkpoint) -> EnrollStream {
        EnrollStream::new(self.0.for_walk(), checkpoint)
    }

    /// The pages of `query`, from the first one on. Nothing is sent before the first poll.
    ///
    /// # Panics
    ///
    /// As the stream of [`Client::enrolls`].
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// let mut pages = client.pages(Query::webinar("MEETINGID1"));
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("page {}: {} rows", page.number(), page.len());
    /// }
    /// assert!(pages.checkpoint().is_end());
    /// # Ok(())
    /// # }
    /// ```
    pub fn pages(&self, query: Query) -> PageStream {
        self.resume_pages(Checkpoint::start(query))
    }

    /// The pages behind `checkpoint`; a page of which only some rows were yielded comes as a whole.
    ///
    /// # Panics
    ///
    /// As the stream of [`Client::enrolls`].
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{StreamExt, TryStreamExt};
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
    /// assert_eq!(rows.by_ref().take(70).count().await, 70);
    ///
    /// let pages: Vec<_> = client.resume_pages(rows.checkpoint()).try_collect().await?;
    /// let numbers: Vec<_> = pages.iter().map(|page| (page.number(), page.len())).collect();
    /// assert_eq!(numbers, [(2, 50), (3, 20)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_pages(&self, checkpoint: Checkpoint) -> PageStream {
        PageStream::new(self.0.for_walk(), checkpoint)
    }

    /// The figures of all walks of this client and its clones, up to now: the sums of what each
    /// stream's own `stats()` tells.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// for list in [Query::webinar("MEETINGID1"), Query::meeting("MEETINGID2")] {
    ///     client.enrolls(list).count().await;
    /// }
    /// let stats = client.stats();
    /// assert_eq!((stats.rows, stats.attempts, stats.retries), (240, 6, 0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.lane.meter.stats()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.0.base().as_str()).finish_non_exhaustive()
    }
}

/// Settings of a [`Client`]. Made by [`Client::builder`].
///
/// Only credentials have to be given. What is wrong is told by [`ClientBuilder::build`].
///
/// ```
/// use std::time::Duration;
///
/// use wecom_enroll::{Client, ErrorKind, HttpTransport, Quota, RetryPolicy};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// let client = Client::builder()
///     .corp_secret("CORPID", "SECRET") // or .access_token(..), or .token_source(..)
///     .base_url("https://gateway.example.com/wecom") // a company's own way to WeCom
///     .quota(Quota::new(100, SECOND)?)
///     .quota(Quota::new(3_000, 60 * SECOND)?)
///     .retry(RetryPolicy::new().max_attempts(8)?)
///     .pushback(90 * SECOND)
///     .attempt_timeout(10 * SECOND)
///     .max_body(1 << 20)
///     .transport(HttpTransport::new()?) // or .http_client(..)
///     .build()?;
/// # drop(client);
/// let error = Client::builder().access_token("TOKEN").base_url("http://example.com").build();
/// assert_eq!(error.unwrap_err().kind(), ErrorKind::Argument); // a token in the clear
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[must_use = "a builder does nothing before build()"]
pub struct ClientBuilder {
    credentials: Option<Credentials>,
    quotas: Vec<Quota>,
    base_url: String,
    retry: RetryPolicy,
    pushback: Duration,
    attempt_timeout: Duration,
    max_body: usize,
    transport: Option<Arc<dyn Transport>>,
    #[cfg(feature = "redis")]
    redis: Option<Redis>,
    #[cfg(feature = "redis")]
    company: Option<String>,
}

enum Credentials {
    CorpSecret { corp_id: String, secret: Zeroizing<String> },
    Source(Arc<dyn TokenSource>),
    Refused(Error),
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            credentials: None,
            quotas: Vec::new(),
            base_url: BASE_URL.to_owned(),
            retry: RetryPolicy::new(),
            pushback: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(30),
            max_body: 8 << 20,
            transport: None,
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            company: None,
        }
    }
}

impl ClientBuilder {
    /// Fetches tokens with the corp's id and the app's secret, caches them, and refreshes them
    /// before they expire or when WeCom refuses them. The app must be one that created the webinar.
    pub fn corp_secret(self, corp_id: impl Into<String>, secret: impl Into<String>) -> Self {
        let (corp_id, secret) = (corp_id.into(), Zeroizing::new(secret.into()));
        let refused = refused("corp id", &corp_id).or_else(|| refused("corp secret", &secret));
        self.credentials(match refused {
            Some(error) => Credentials::Refused(error),
            None => Credentials::CorpSecret { corp_id, secret },
        })
    }

    /// Uses this one token, which expires after two hours at most (WeCom's page 91039).
    pub fn access_token(self, token: impl Into<String>) -> Self {
        let token = AccessToken::new(token);
        self.credentials(match refused("access token", token.expose()) {
            Some(error) => Credentials::Refused(error),
            None => Credentials::Source(Arc::new(FixedToken(token))),
        })
    }

    /// Takes tokens from a source of one's own, for instance a company's token service.
    pub fn token_source(self, source: impl TokenSource) -> Self {
        self.credentials(Credentials::Source(Arc::new(source)))
    }

    fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Keeps to this quota, too; the first one given replaces the defaults. Default: 10,000 calls a
    /// minute and 150,000 an hour, what WeCom allows a corp per API (page 90454).
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quotas.push(quota);
        self
    }

    /// The API's host, perhaps with a path before the API's own: `https`, or `http` to a loopback
    /// address. Default: WeCom's, `https://qyapi.weixin.qq.com`.
    pub fn base_url(self, base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..self }
    }

    /// How often a call is attempted. Default: [`RetryPolicy::new`].
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// How long every stream of the client holds when WeCom says 45009, or a gateway 429, and does
    /// not say for how long. Default: 60 s, the block for a minute's quota; it lasts as long as the
    /// window that was exceeded (page 90454).
    pub fn pushback(self, pushback: Duration) -> Self {
        Self { pushback, ..self }
    }

    /// How long one attempt may take, the body included. Default: 30 s, our choice.
    pub fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// The most bytes of a reply's body, counted after decompression. Default: 8 MiB, a hundred
    /// times a full page.
    pub fn max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Sends with this HTTP client (reqwest 0.13). **Build it as [`HttpTransport::with_client`] says**,
    /// or a redirect takes the access token elsewhere.
    pub fn http_client(self, client: reqwest::Client) -> Self {
        self.transport(HttpTransport::with_client(client))
    }

    /// Sends with this transport. Default: an [`HttpTransport`].
    pub fn transport(self, transport: impl Transport) -> Self {
        Self { transport: Some(Arc::new(transport)), ..self }
    }

    /// Shares quota and token with all processes that use this Redis for the same company: see
    /// [`fleet`](crate::fleet). Default: they are this client's and its clones' own.
    #[cfg(feature = "redis")]
    pub fn redis(self, redis: Redis) -> Self {
        Self { redis: Some(redis), ..self }
    }

    /// The company whose quota is shared. Default: the corp id; a client that has none, because it
    /// has an access token or a token source, must be told.
    #[cfg(feature = "redis")]
    pub fn company(self, company: impl Into<String>) -> Self {
        Self { company: Some(company.into()), ..self }
    }

    /// Checks the settings. Sends nothing.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when credentials are missing or empty, the base URL is none that secrets
    /// may be sent to, an attempt has no time, the body cap is 0 or above 1 GiB, the pushback is
    /// longer than the retry policy accepts, or a quota is to be shared by an unknown company.
    pub fn build(self) -> Result<Client> {
        let base = base_url(&self.base_url)?;
        if self.attempt_timeout.is_zero() {
            return Err(Error::argument("an attempt needs more than no time"));
        }
        if !(1..=1 << 30).contains(&self.max_body) {
            return Err(Error::argument("the body cap is 1 byte to 1 GiB"));
        }
        if !self.retry.accepts(self.pushback) {
            return Err(Error::argument(
                "the pushback is longer than the retry policy's max_pushback",
            ));
        }
        let transport: Arc<dyn Transport> = match self.transport {
            Some(transport) => transport,
            None if is_loopback(&base) => Arc::new(HttpTransport::loopback()?),
            None => Arc::new(HttpTransport::new()?),
        };
        let lane = |limiter: Arc<dyn Limiter>| Lane {
            transport: Arc::clone(&transport),
            limiter,
            meter: Meter::default(),
            retry: self.retry.clone(),
            pushback: self.pushback,
            attempt_timeout: self.attempt_timeout,
            max_body: self.max_body,
        };
        let quotas = if self.quotas.is_empty() { &Quota::WECOM[..] } else { &self.quotas };
        #[cfg(feature = "redis")]
        let fleet = fleet(self.redis, self.company, self.credentials.as_ref())?;
        let limiter: Arc<dyn Limiter> = Arc::new(LocalLimiter::new(quotas));
        #[cfg(feature = "redis")]
        let limiter = match &fleet {
            Some((redis, company)) => Arc::new(SharedLimiter::new(redis.clone(), company, quotas)),
            None => limiter,
        };
        let tokens: Arc<dyn TokenSource> = match self.credentials {
            Some(Credentials::Source(source)) => source,
            Some(Credentials::CorpSecret { corp_id, secret }) => {
                // WeCom counts it by IP, not by company.
                let lane = lane(Arc::new(LocalLimiter::new(&[Quota::GETTOKEN])));
                let app = App { lane, base: base.clone(), corp_id, secret };
                #[cfg(feature = "redis")]
                if let Some((redis, company)) = fleet {
                    Arc::new(CorpSecret::new(SharedApp::new(app, redis, &company)))
                } else {
                    Arc::new(CorpSecret::new(app))
                }
                #[cfg(not(feature = "redis"))]
                Arc::new(CorpSecret::new(app))
            }
            Some(Credentials::Refused(error)) => return Err(error),
            None => {
                return Err(Error::argument(
                    "credentials are missing: give a corp id and secret, an access token, or a token source",
                ));
            }
        };
        Ok(Client(Arc::new(Caller::new(lane(limiter), tokens, base))))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("quotas", &self.quotas)
            .field("retry", &self.retry)
            .field("pushback", &self.pushback)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

/// The company that a Redis is shared for.
#[cfg(feature = "redis")]
fn fleet(
    redis: Option<Redis>,
    company: Option<String>,
    credentials: Option<&Credentials>,
) -> Result<Option<(Redis, String)>> {
    let corp_id = match credentials {
        Some(Credentials::CorpSecret { corp_id, .. }) => Some(corp_id.clone()),
        _ => None,
    };
    match (redis, company.or(corp_id)) {
        (None, _) => Ok(None),
        (Some(redis), Some(company)) => match refused("company", &company) {
            Some(error) => Err(error),
            None => Ok(Some((redis, company))),
        },
        (Some(_), None) => Err(Error::argument(
            "whose quota is shared is not known: name the company, best by its corp id, with company()",
        )),
    }
}

/// A line break from a file would be sent as a part of the secret, and wrong secrets ban the IP.
fn refused(what: &str, text: &str) -> Option<Error> {
    let wrong = match text.trim() {
        "" => "is empty",
        trimmed if trimmed.len() < text.len() => "begins or ends with white space",
        _ => return None,
    };
    Some(Error::argument(format!("the {what} {wrong}")))
}

/// Secrets are sent in the URL's query, so it must be a URL that they are safe in. The error does
/// not repeat it: it may hold a password.
fn base_url(text: &str) -> Result<Url> {
    let url =
        Url::parse(text).map_err(|e| Error::argument(format!("the base URL is no URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::argument(
            "the base URL holds a user name or password; give them to an HTTP client of your own",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::argument("the base URL holds a query or fragment; leave them out"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(Error::argument(
            "the base URL must be https, or http to a loopback address: it carries the access token",
        )),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}
