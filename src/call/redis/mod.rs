//! What a fleet shares, on a Redis or Valkey that it already runs: one handle, one connection.
//!
//! All that is asked of it are scripts, each one atomic and bounded in time. An error says whether it
//! may pass; trying again is up to whoever asked, under the retry policy.

mod limiter;
mod token;

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

pub(crate) use limiter::SharedLimiter;
pub(crate) use token::SharedApp;

use crate::error::{Error, Result};

/// How long a script may take, connecting included. Our choice.
const LIMIT: Duration = Duration::from_secs(5);

/// A Redis (or Valkey) that a fleet shares. Cheap to clone: clones share one connection, which is made
/// when it is first needed, and again when it is lost. What is shared stands under [`fleet`](crate::fleet).
///
/// ```
/// use wecom_enroll::{Client, Redis};
///
/// let redis = Redis::open("rediss://user:password@redis.example.com")?;
/// let client = Client::builder().corp_secret("CORPID", "SECRET").redis(redis).build()?;
/// # drop(client);
/// assert!(Redis::open("http://redis.example.com").is_err());
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Server>);

struct Server {
    client: Client,
    connection: Mutex<Option<Connection>>,
}

/// Shared, so that whoever waits for it gets it on: a stream that nobody polls must not keep the others.
type Connection = Shared<BoxFuture<'static, Result<MultiplexedConnection, RedisError>>>;

impl Redis {
    /// At `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS with the system's roots.
    /// Sends nothing.
    ///
    /// Without TLS the password and the access token pass in the clear: only where the network is
    /// your own.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when it is no such URL. The error does not repeat it: it may hold a password.
    pub fn open(url: &str) -> Result<Self> {
        let info = url.into_connection_info().map(|info| {
            // Many small scripts at once over one connection.
            info.set_tcp_settings(TcpSettings::default().set_nodelay(true))
        });
        let client = info.and_then(Client::open).map_err(|_| {
            Error::argument(
                "not a Redis URL: it is redis://[user:password@]host[:port][/db], or rediss:// for TLS; \
                 signs in the password are percent-encoded",
            )
        })?;
        Ok(Self(Arc::new(Server { client, connection: Mutex::default() })))
    }

    /// The name of a key. The braces keep all keys of a company on one node of a cluster.
    pub(crate) fn key(company: &str, name: &str) -> String {
        let company: String = byte_serialize(company.as_bytes()).collect();
        format!("wecom-enroll:{{{company}}}:{name}")
    }

    /// Runs a script, which the server is taught if it does not know it.
    ///
    /// # Errors
    ///
    /// Of kind `Shared`. It may have run nevertheless.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let connection = self.connection();
        let run = async { script.invoke_async(&mut connection.clone().await?).await };
        let (error, lost) = match timeout(LIMIT, run).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                (explain(&error), error.is_io_error() || error.is_unrecoverable_error())
            }
            // Perhaps the other end is gone and nobody said so: TCP would take minutes to notice.
            Err(_) => (Error::shared("the shared Redis did not answer in time", true), true),
        };
        if lost || connection.peek().is_some_and(Result::is_err) {
            self.slot().take_if(|present| present.ptr_eq(&connection));
        }
        Err(error)
    }

    fn connection(&self) -> Connection {
        let connect = || connect(self.0.client.clone()).boxed().shared();
        self.slot().get_or_insert_with(connect).clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(client: Client) -> Result<MultiplexedConnection, RedisError> {
    if CryptoProvider::get_default().is_none() {
        // Where the program has two to choose from, rustls would panic. `Err`: somebody was faster.
        let _ = aws_lc_rs::default_provider().install_default();
    }
    // `LIMIT` is for all of it.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

// The server's URL holds the password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

fn explain(error: &RedisError) -> Error {
    let passes = |code| {
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
        // Those would show the value, which may be a token.
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            Error::shared("the shared Redis gave something that is not ours", false)
        }
        ErrorKind::Io => {
            Error::shared("the shared Redis is out of reach", true).with_source(error.clone())
        }
        _ => Error::shared("the shared Redis refused", error.code().is_some_and(passes))
            .with_source(error.clone()),
    }
}
