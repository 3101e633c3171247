//! [`Redis`]: one shared connection, over which scripts run.
//!
//! Each script is atomic and has a time limit. Errors report whether they are transient; retries are up to
//! the retry policy of the call.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ScriptInvocation, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use url::{Url, form_urlencoded::byte_serialize};

use crate::{
    call::tls::{client_config, tls_failure},
    error::{Error, Result},
};

/// The time limit of a script, including connecting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The codes of errors that are transient.
const TRANSIENT: [&str; 9] = [
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
];

/// A Redis or Valkey server through which several processes share a quota and an access token. The
/// [guide](crate::_redis_guide) describes what is shared.
///
/// Cheap to clone: clones share one connection. It is established on first use and again after it is lost.
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
    tls: bool,
    connection: Mutex<Option<Connection>>,
}

/// Shared, so that every waiting caller drives it: a stream that is not polled must not delay others.
type Connection = Shared<BoxFuture<'static, Result<MultiplexedConnection>>>;

impl Redis {
    /// Creates a handle from a URL: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS with
    /// the system's root certificates. `valkey://` and `valkeys://` mean the same. Sends nothing.
    ///
    /// Without TLS, the password and the access token are sent unencrypted. Use it only in a private network.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the URL is invalid. The
    /// message does not repeat the URL, which may contain a password.
    pub fn open(url: &str) -> Result<Self> {
        let (client, tls) = parse(url).ok_or_else(|| {
            Error::invalid_argument(
                "invalid Redis URL: expected redis://[user:password@]host[:port][/db], or rediss:// for \
                 TLS; percent-encode special characters in the password",
            )
        })?;
        let server = Arc::new(Server { client, tls, connection: Mutex::default() });
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
        let run = async {
            let mut connection = connection.clone().await.map_err(|error| (error, true))?;
            let reply = script.invoke_async(&mut connection).await;
            reply.map_err(|e| (explain(&e), e.is_io_error() || e.is_unrecoverable_error()))
        };
        let (error, lost) = match timeout(TIMEOUT, run).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(failure)) => failure,
            // The connection may be dead, which TCP would notice only after minutes.
            Err(_) => (Error::redis("Redis did not respond in time", true), true),
        };
        if lost {
            self.slot().take_if(|present| present.ptr_eq(&connection));
        }
        Err(error)
    }

    fn connection(&self) -> Connection {
        let connect = || connect(self.server.client.clone(), self.server.tls).boxed().shared();
        self.slot().get_or_insert_with(connect).clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.server.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the client for a URL, and whether it must use TLS. `Client` is never used for TLS, because it panics if the
/// program links several providers for rustls and has installed none.
fn parse(url: &str) -> Option<(Client, bool)> {
    let mut url = Url::parse(url).ok()?;
    let plain = match url.scheme() {
        "rediss" => Some("redis"),
        "valkeys" => Some("valkey"),
        _ => None,
    };
    if let Some(plain) = plain {
        url.set_scheme(plain).ok()?;
        // `#insecure` would turn off the verification of the certificate.
        if url.fragment().is_some() {
            return None;
        }
    }
    // The connection carries many small requests at the same time.
    let info = url.into_connection_info().ok()?;
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Some((Client::open(info).ok()?, plain.is_some()))
}

async fn connect(client: Client, tls: bool) -> Result<MultiplexedConnection> {
    // `TIMEOUT` covers connecting and the response.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let info = client.get_connection_info();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) if tls => {
            connect_tls(host, *port, info.redis_settings(), config).await
        }
        _ => {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            connection.map_err(|error| explain(&error))
        }
    }
}

async fn connect_tls(
    host: &str,
    port: u16,
    settings: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::redis("the host name of Redis is invalid", false).with_source(error)
    })?;
    let unreachable = |error: io::Error| explain(&error.into());
    let socket = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    let config_error = |error| Error::redis("TLS with Redis failed", false).with_source(error);
    let connector = TlsConnector::from(Arc::new(client_config().map_err(config_error)?));
    let stream =
        connector.connect(name, socket).await.map_err(|error| match tls_failure(&error) {
            Some((failure, transient)) => Error::redis("TLS with Redis failed", transient)
                .with_source(error)
                .with_connection_failure(failure, transient),
            None => unreachable(error),
        })?;
    let connection = MultiplexedConnection::new_with_config(settings, stream, config).await;
    let (connection, driver) = connection.map_err(|error| explain(&error))?;
    // Ends when the last clone of the connection is dropped.
    tokio::spawn(driver);
    Ok(connection)
}

// The server's URL contains the password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

fn explain(error: &RedisError) -> Error {
    match error.kind() {
        // The source of these errors contains the value, which may be a token.
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            Error::redis("unexpected reply from Redis", false)
        }
        ErrorKind::Io => Error::redis("Redis cannot be reached", true).with_source(error.clone()),
        _ => {
            let is_transient = error.code().is_some_and(|code| TRANSIENT.contains(&code));
            Error::redis("Redis refused the request", is_transient).with_source(error.clone())
        }
    }
}
