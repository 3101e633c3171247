//! [`Redis`]: one shared connection, over which scripts run.
//!
//! Each script is atomic and has a time limit. Errors report whether they are transient; retries are up to
//! the retry policy of the call.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    ScriptInvocation, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::time::timeout;
use url::form_urlencoded::byte_serialize;

use crate::error::{Error, Result};

/// The time limit of a script, including connecting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis or Valkey server through which several processes share a quota and an access token. The
/// [guide](crate::_redis_guide) describes what is shared.
///
/// Cheap to clone: clones share one connection. It is established on first use and again after it is lost.
/// Connecting installs a process-wide rustls crypto provider, unless one is already installed.
///
/// ```
/// use wecom_enroll::{Client, Redis};
///
/// let redis = Redis::open("rediss://user:password@redis.example.com")?.company("CORPID");
/// let client = Client::builder().access_token("TOKEN").redis(redis).build()?;
/// # drop(client);
/// assert!(Redis::open("http://redis.example.com").is_err());
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone)]
pub struct Redis {
    server: Arc<Server>,
    company: Option<String>,
}

struct Server {
    client: Client,
    connection: Mutex<Option<Connection>>,
}

/// Shared, so that every waiting caller drives it: a stream that is not polled must not delay others.
type Connection = Shared<BoxFuture<'static, Result<MultiplexedConnection, RedisError>>>;

impl Redis {
    /// Creates a handle from a URL: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS with
    /// the system's root certificates. Sends nothing.
    ///
    /// Without TLS, the password and the access token are sent unencrypted. Use it only in a private network.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the URL is invalid. The
    /// message does not repeat the URL, which may contain a password.
    pub fn open(url: &str) -> Result<Self> {
        let info = url.into_connection_info().map(|info| {
            // The connection carries many small requests at the same time.
            info.set_tcp_settings(TcpSettings::default().set_nodelay(true))
        });
        let client = info.and_then(Client::open).map_err(|_| {
            Error::invalid_argument(
                "invalid Redis URL: expected redis://[user:password@]host[:port][/db], or rediss:// for \
                 TLS; percent-encode special characters in the password",
            )
        })?;
        let server = Arc::new(Server { client, connection: Mutex::default() });
        Ok(Self { server, company: None })
    }

    /// Sets the organization whose quota and token are shared, usually its corp id. Required if the client
    /// has an access token or a token source. Default: the client's corp id.
    #[must_use]
    pub fn company(self, company: impl Into<String>) -> Self {
        Self { company: Some(company.into()), ..self }
    }

    pub(crate) fn with_default_company(self, corp_id: &str) -> Self {
        Self { company: self.company.or_else(|| Some(corp_id.to_owned())), ..self }
    }

    pub(crate) fn check_company(&self) -> Result<()> {
        match &self.company {
            Some(company) if !company.trim().is_empty() => Ok(()),
            _ => Err(Error::invalid_argument(
                "cannot determine which organization's quota to share: set Redis::company(corp_id)",
            )),
        }
    }

    /// Returns the name of a key. The braces keep all keys of an organization on one node of a cluster.
    pub(super) fn key(&self, name: &str) -> String {
        let company = self.company.as_deref().unwrap_or_default();
        let company: String = byte_serialize(company.as_bytes()).collect();
        format!("wecom-enroll:{{{company}}}:{name}")
    }

    /// Runs a script. Loads it first if the server does not know it.
    ///
    /// # Errors
    ///
    /// Returns `crate::ErrorKind::Redis`. The script may have run nevertheless.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let connection = self.connection();
        let run = async { script.invoke_async(&mut connection.clone().await?).await };
        let (error, lost) = match timeout(TIMEOUT, run).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                (explain(&error), error.is_io_error() || error.is_unrecoverable_error())
            }
            // The connection may be dead, which TCP would notice only after minutes.
            Err(_) => (Error::redis("Redis did not respond in time", true), true),
        };
        if lost || connection.peek().is_some_and(Result::is_err) {
            self.slot().take_if(|present| present.ptr_eq(&connection));
        }
        Err(error)
    }

    fn connection(&self) -> Connection {
        let connect = || connect(self.server.client.clone()).boxed().shared();
        self.slot().get_or_insert_with(connect).clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.server.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(client: Client) -> Result<MultiplexedConnection, RedisError> {
    if CryptoProvider::get_default().is_none() {
        // If the program links several providers, rustls panics unless one is installed. An error means that
        // one was already installed.
        let _ = aws_lc_rs::default_provider().install_default();
    }
    // `TIMEOUT` covers connecting and the response.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

// The server's URL contains the password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

fn explain(error: &RedisError) -> Error {
    let is_transient = |code| {
        matches!(
            code,
            "LOADING"
                | "READONLY"
                | "BUSY"
                | "MASTERDOWN"
                | "CLUSTERDOWN"
                | "TRYAGAIN"
                | "NOREPLICAS"
                | "OOM"
                | "MISCONF"
        )
    };
    match error.kind() {
        // The source of these errors contains the value, which may be a token.
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            Error::redis("unexpected reply from Redis", false)
        }
        ErrorKind::Io => Error::redis("Redis cannot be reached", true).with_source(error.clone()),
        _ => Error::redis("Redis refused the request", error.code().is_some_and(is_transient))
            .with_source(error.clone()),
    }
}
