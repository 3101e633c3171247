//! [`Postgres`]: a connection to a PostgreSQL server.

use std::{
    collections::HashMap, error::Error as _, io, iter, net::IpAddr, sync::Arc, time::Duration,
};

use bytes::{BufMut, BytesMut};
use futures::future::try_join_all;
use jiff::Timestamp;
use rustls::{ClientConfig, crypto::ring};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::{
    Client, Config, Error, NoTls, Socket, Statement,
    config::{Host, SslMode},
    error::SqlState,
    tls::MakeTlsConnect,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::sync::{
    schema::{self, VERSION},
    value::{Failure, Row, Value},
};

/// The advisory lock that a `sync` holds while it is connected: "WCEN" in ASCII.
const LOCK: i64 = 0x5743_454e;

/// Limits of the connection, if the URL sets no others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);
const TCP_TIMEOUT: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Sync + Send>;

pub(crate) struct Postgres {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Postgres {
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let mut config = config.clone();
        config.application_name("wecom-enroll");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            // Otherwise a query waits for hours if the network disappears.
            config.tcp_user_timeout(TCP_TIMEOUT).keepalives_idle(KEEPALIVE);
        }
        let client = if is_local(&config) && config.get_ssl_mode() == SslMode::Prefer
            || config.get_ssl_mode() == SslMode::Disable
        {
            connect(&config, NoTls).await?
        } else {
            // Without this, the password could be sent without encryption.
            config.ssl_mode(SslMode::Require);
            connect(&config, MakeRustlsConnect::new(tls()?)).await?
        };
        let mut database = Self { client, statements: HashMap::new() };
        database.script(schema::POSTGRES_SETTINGS).await?;
        database.lock().await?;
        database.migrate().await?;
        Ok(database)
    }

    /// Waits for the lock, which ends with the connection.
    async fn lock(&mut self) -> Result<(), Failure> {
        let locked = self.client.query("SELECT pg_advisory_lock($1)", &[&LOCK]).await;
        match locked {
            Err(e) if e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Err(schema::in_use()),
            locked => locked.map(drop).map_err(|e| failure(&e)),
        }
    }

    async fn migrate(&mut self) -> Result<(), Failure> {
        self.script("BEGIN").await?;
        let sql = "SELECT to_regclass('wecom_enroll') IS NOT NULL";
        let exists = self.run_each(sql, &[Vec::new()]).await?;
        if exists == [[Row(vec![Value::Int(1)])]] {
            let rows =
                self.run_each("SELECT MAX(version) FROM wecom_enroll", &[Vec::new()]).await?;
            let row = rows.first().and_then(|rows| rows.first()).ok_or_else(Failure::altered)?;
            let version = row.int(0)?;
            if version > VERSION {
                return Err(schema::too_new(version));
            }
        } else {
            self.script(schema::TABLES).await?;
            self.script(schema::POSTGRES).await?;
            let sql = "INSERT INTO wecom_enroll (version) VALUES ($1)";
            self.run_each(sql, &[vec![VERSION.into()]]).await?;
        }
        self.script("COMMIT").await
    }

    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.client.batch_execute(sql).await.map_err(|e| failure(&e))
    }

    /// Sends all statements at once, so that they take one round trip.
    pub(crate) async fn run_each(
        &mut self,
        sql: &'static str,
        sets: &[Vec<Value<'_>>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let run = async {
            if !self.statements.contains_key(sql) {
                self.statements.insert(sql, self.client.prepare(sql).await?);
            }
            let (client, statement) = (&self.client, &self.statements[sql]);
            let queries = sets.iter().map(|values| async move {
                let values: Vec<_> =
                    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                let rows = client.query(statement, &values).await?;
                rows.iter().map(read).collect::<Result<Vec<_>, _>>()
            });
            try_join_all(queries).await
        };
        run.await.map_err(|e| failure(&e))
    }
}

/// Returns whether the server is on this machine.
fn is_local(config: &Config) -> bool {
    // `hostaddr` is what is connected to, whatever the name of the host is.
    config.get_hostaddrs().iter().all(IpAddr::is_loopback)
        && config.get_hosts().iter().all(|host| match host {
            #[cfg(unix)]
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost"
                    || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        })
}

async fn connect<T>(config: &Config, tls: T) -> Result<Client, Failure>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await.map_err(|e| failure(&e))?;
    // It ends with the client. The client's next call returns its error.
    tokio::spawn(connection);
    Ok(client)
}

/// Certificates are verified with the roots of the system.
fn tls() -> Result<ClientConfig, Failure> {
    let cannot = |e: rustls::Error| Failure::permanent(format!("cannot set up TLS: {e}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(cannot)?;
    Ok(builder.with_platform_verifier().map_err(cannot)?.with_no_client_auth())
}

fn read(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let value =
        |column| Ok(row.try_get::<_, Option<Read>>(column)?.map_or(Value::Null, |read| read.0));
    Ok(Row((0..row.len()).map(value).collect::<Result<_, Error>>()?))
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql(ty, out),
            Self::Text(text) => {
                out.put_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            Self::Json(json) => {
                if *ty == Type::JSONB {
                    // The version of the format.
                    out.put_u8(1);
                }
                out.put_slice(json);
                Ok(IsNull::No)
            }
            Self::Time(time) => time.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value that is not null.
struct Read(Value<'static>);

impl<'a> FromSql<'a> for Read {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(match *ty {
            Type::BOOL => i64::from(bool::from_sql(ty, raw)?).into(),
            Type::INT8 => i64::from_sql(ty, raw)?.into(),
            Type::TIMESTAMPTZ => Timestamp::from_sql(ty, raw)?.into(),
            // After the version of the format.
            Type::JSONB => String::from_utf8(raw.get(1..).unwrap_or_default().into())?.into(),
            _ => String::from_utf8(raw.into())?.into(),
        }))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Returns the failure. The message contains neither data nor the URL.
fn failure(error: &Error) -> Failure {
    if let Some(db) = error.as_db_error() {
        let code = db.code();
        // Messages of these classes can quote values.
        let quotes = ["22", "23"].iter().any(|class| code.code().starts_with(class));
        let message = if quotes { "it refused a value" } else { db.message() };
        let message = format!("PostgreSQL failed: {message} (SQLSTATE {})", code.code());
        return Failure { message, transient: is_transient(code) };
    }
    let causes = iter::successors(error.source(), |&cause| cause.source());
    let io = causes.clone().find_map(|cause| cause.downcast_ref::<io::Error>());
    // A certificate that is not valid is an error of this kind.
    let transient = io.map_or(error.is_closed(), |e| e.kind() != io::ErrorKind::InvalidData);
    let texts = iter::once(error.to_string()).chain(causes.map(ToString::to_string));
    let text = texts.collect::<Vec<_>>().join(": ");
    Failure { message: format!("PostgreSQL failed: {text}"), transient }
}

/// Returns whether the server may accept the same statement later.
fn is_transient(code: &SqlState) -> bool {
    // Class 08 contains failed connections, class 40 deadlocks and other conflicts.
    ["08", "40"].iter().any(|class| code.code().starts_with(class))
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_local_only_if_all_its_addresses_are() {
        for (url, local) in [
            ("postgres://u@localhost/d", true),
            ("postgres://u@127.0.0.2,[::1]/d", true),
            ("postgres://u@%2Frun%2Fpostgresql/d", cfg!(unix)),
            ("postgres://u@db.example/d", false),
            ("postgres://u@localhost,db.example/d", false),
            ("postgres://u@localhost/d?hostaddr=192.0.2.1", false),
            ("postgres://u@127.0.0.1.example/d", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), local, "{url}");
        }
    }
}
