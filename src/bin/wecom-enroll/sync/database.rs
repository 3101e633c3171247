//! [`Database`]: SQLite and PostgreSQL with one interface, so that `store` needs one SQL text for both.
//!
//! Statements are `'static`, so that no statement can be built from data.

use std::path::PathBuf;

use crate::{
    exit::Stop,
    sync::{
        postgres::Postgres,
        sqlite::Sqlite,
        value::{Failure, Row, Value},
    },
};

/// Where the database is, from a URL.
#[derive(Debug)]
pub(crate) enum Target {
    Sqlite(PathBuf),
    Postgres(Box<tokio_postgres::Config>),
}

impl Target {
    /// Parses a URL. No message contains a part of it, because it can contain a password.
    pub(crate) fn parse(url: &str) -> Result<Self, Stop> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Stop::Usage("the database URL has no path: use sqlite:PATH".into()));
            }
            return Ok(Self::Sqlite(path.into()));
        }
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Stop::Usage(
                "invalid database URL: use sqlite:PATH or postgres://USER@HOST/DATABASE".into(),
            ));
        }
        let config = url.parse().map_err(|_| {
            Stop::Usage(
                "invalid database URL: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, with \
                 special characters percent-encoded; the option sslmode is disable, prefer or require"
                    .into(),
            )
        })?;
        Ok(Self::Postgres(Box::new(config)))
    }
}

/// A connection that no other `sync` can have at the same time.
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Database {
    /// Opens the database. Waits a few seconds if another process is using it.
    pub(crate) async fn open(target: &Target) -> Result<Self, Failure> {
        match target {
            Target::Sqlite(path) => Sqlite::open(path).await.map(Self::Sqlite),
            Target::Postgres(config) => Postgres::open(config).await.map(Self::Postgres),
        }
    }

    /// Returns whether text can contain U+0000.
    pub(crate) fn stores_nul(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Returns whether every commit is written to the disk. Otherwise [`Self::sync`] does it.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Writes everything that was committed to the disk.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(database) => database.sync(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Starts a transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(database) => database.script("BEGIN IMMEDIATE"),
            Self::Postgres(database) => database.script("BEGIN").await,
        }
    }

    /// Commits the transaction. A transaction that is not committed is rolled back when the connection is
    /// dropped.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(database) => database.script("COMMIT"),
            Self::Postgres(database) => database.script("COMMIT").await,
        }
    }

    /// Runs a statement once. Returns its rows, if it is a query.
    pub(crate) async fn run(
        &mut self,
        sql: &'static str,
        values: Vec<Value<'_>>,
    ) -> Result<Vec<Row>, Failure> {
        let rows = self.run_each(sql, &[values]).await?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Runs a statement once for each set of values. Returns the rows for each.
    pub(crate) async fn run_each(
        &mut self,
        sql: &'static str,
        sets: &[Vec<Value<'_>>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        match self {
            Self::Sqlite(database) => database.run_each(sql, sets),
            Self::Postgres(database) => database.run_each(sql, sets).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_url_is_parsed_and_never_quoted_in_an_error() {
        let path = |url: &str| match Target::parse(url) {
            Ok(Target::Sqlite(path)) => path,
            _ => panic!("{url}"),
        };
        assert_eq!(path("sqlite:a/b.db"), PathBuf::from("a/b.db"));
        assert_eq!(path("sqlite://a.db"), PathBuf::from("a.db"));
        assert_eq!(path("sqlite:///tmp/a.db"), PathBuf::from("/tmp/a.db"));
        assert!(Target::parse("postgresql://u:p%40ss@[::1]:5433/d?sslmode=require").is_ok());
        for url in [
            "",
            "sqlite:",
            "sqlite://",
            "enrolls.db",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:p@hunter2:hunter2@h/d",
            "postgres://u:hunter2@h/d?sslmode=hunter2",
            "postgres://u:p@h/d?hunter2=1",
        ] {
            let stop = Target::parse(url).unwrap_err();
            let Stop::Usage(message) = stop else { panic!("{url}") };
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
