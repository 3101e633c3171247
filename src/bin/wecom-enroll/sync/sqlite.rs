//! [`Sqlite`]: a SQLite file, locked against other processes of this program.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use fs4::{FileExt, TryLockError};
use rusqlite::{
    Connection, OpenFlags, ToSql,
    ffi::ErrorCode,
    types::{ToSqlOutput, ValueRef},
};
use tokio::time::{Instant, sleep};

use crate::sync::{
    schema::{self, LOCK_WAIT, VERSION},
    value::{Failure, Row, Value, sqlite_time},
};

/// Identifies a file of this program: "WCEN" in ASCII.
const APPLICATION_ID: u32 = 0x5743_454e;

/// The first bytes of every SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// How often a lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// The pages that are cached, in KiB. It limits the memory for long lists.
const CACHE_KIB: i64 = 2000;

/// The size of a page of the file, in bytes. A page of rows fills ten of them, so that few are written per
/// transaction.
const PAGE_BYTES: i64 = 16_384;

/// All statements are kept, so that none is compiled twice.
const STATEMENTS: usize = 32;

/// A connection to a SQLite file. Calls are synchronous: they take microseconds, or as long as a write to the
/// disk.
pub(crate) struct Sqlite {
    connection: Connection,
    name: String,
    /// The write-ahead log.
    log: PathBuf,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let cannot =
            |e: io::Error| Failure::permanent(format!("cannot open the database {name}: {e}"));
        // A name like ":memory:" is a file, too.
        let path = std::path::absolute(path).map_err(cannot)?;
        check(&path, &name)?;
        let lock = lock(&path, &name).await?;
        // SQLite would create the file with default permissions. Its other files get those of the database file.
        match create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(e)),
            _ => {}
        }
        // Again, because another process may have created or replaced the file before it was locked.
        check(&path, &name)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags);
        let connection = connection.map_err(|e| failure(&name, &e))?;
        let log = with_suffix(&path, "-wal");
        let mut database = Self { connection, name, log, _lock: lock };
        database.prepare_file().map_err(|e| failure(&database.name, &e))?;
        database.migrate()?;
        Ok(database)
    }

    fn prepare_file(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(LOCK_WAIT)?;
        self.connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Only has an effect on a file that has no tables yet.
        self.connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        self.connection.pragma_update(None, "cache_size", -CACHE_KIB)
    }

    fn migrate(&mut self) -> Result<(), Failure> {
        let version = self.connection.pragma_query_value(None, "user_version", |row| row.get(0));
        let version: i64 = version.map_err(|e| failure(&self.name, &e))?;
        if version > VERSION {
            return Err(schema::too_new(version));
        }
        if version == 0 {
            // The rollback journal is still in use, so that the file has the id as soon as it has tables.
            self.script("BEGIN IMMEDIATE")?;
            self.script(schema::TABLES)?;
            self.script(schema::SQLITE)?;
            let pragma = |name, value| self.connection.pragma_update(None, name, value);
            pragma("application_id", i64::from(APPLICATION_ID))
                .and_then(|()| pragma("user_version", VERSION))
                .map_err(|e| failure(&self.name, &e))?;
            self.script("COMMIT")?;
        }
        // Readers and the writer then do not block each other. The pragma returns the mode as a row.
        let mode = self
            .connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        // `sync` then writes commits to the disk. Where the file system does not support the mode, SQLite does it.
        let set = mode.and_then(|mode| match &*mode {
            "wal" => self.connection.pragma_update(None, "synchronous", "NORMAL"),
            _ => Ok(()),
        });
        set.map_err(|e| failure(&self.name, &e))
    }

    pub(crate) fn script(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.connection.execute_batch(sql).map_err(|e| failure(&self.name, &e))
    }

    /// Writes the log to the disk: with `NORMAL`, SQLite does that only before it moves commits from the log to the
    /// database. A transaction with `FULL` would not do it if it changes no page, for example because it sets a value
    /// that is already set.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        match OpenOptions::new().write(true).open(&self.log).and_then(|log| log.sync_data()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::permanent(format!(
                "the database {} cannot be written to the disk: {e}",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn run_each(
        &mut self,
        sql: &'static str,
        sets: &[Vec<Value<'_>>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let columns = statement.column_count();
            let mut all = Vec::with_capacity(sets.len());
            let mut bound: &[Value<'_>] = &[];
            for values in sets {
                for (at, value) in values.iter().enumerate() {
                    // SQLite copies each value, and keeps it for the next run.
                    if bound.get(at) != Some(value) {
                        statement.raw_bind_parameter(at + 1, value)?;
                    }
                }
                bound = values;
                let mut rows = statement.raw_query();
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let value = |column| row.get_ref(column).map(read);
                    found.push(Row((0..columns).map(value).collect::<Result<_, _>>()?));
                }
                all.push(found);
            }
            Ok(all)
        };
        run().map_err(|e| failure(&self.name, &e))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Json(json) => ToSqlOutput::Borrowed(ValueRef::Text(json)),
            Self::Time(time) => sqlite_time(*time).into(),
        })
    }
}

fn read(value: ValueRef<'_>) -> Value<'static> {
    match value {
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        // This program stores neither of the last two.
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
    }
}

/// Refuses a file of another program. Reads the header without SQLite, because opening a file with SQLite can
/// change it, for example by rolling back another program's transaction.
fn check(path: &Path, name: &str) -> Result<(), Failure> {
    let cannot = |e: io::Error| Failure::permanent(format!("cannot open the database {name}: {e}"));
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(100).read_to_end(&mut header).map_err(cannot)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(cannot(e)),
    };
    // The id is at byte 68: https://sqlite.org/fileformat.html#the_database_header
    let id = header.get(68..72);
    if header.is_empty() || header.starts_with(MAGIC) && id == Some(&APPLICATION_ID.to_be_bytes()) {
        return Ok(());
    }
    Err(Failure::permanent(format!(
        "{name} was not created by sync, and is left unchanged; choose another path for the database"
    )))
}

/// Creates a file that only its owner can read. Fails if it exists.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns the path of a file next to the database. Symbolic links are followed, as SQLite does.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut path = path.into_os_string();
    path.push(suffix);
    path.into()
}

/// Locks a file next to the database. The database itself cannot be locked like that: closing any handle of
/// it would remove the locks of SQLite.
async fn lock(path: &Path, name: &str) -> Result<File, Failure> {
    // Two names of one database must lead to one lock.
    let lock = with_suffix(path, ".lock");
    let cannot = |e: io::Error| {
        Failure::permanent(format!("cannot lock the database {name} with {}: {e}", lock.display()))
    };
    let file = match create(&lock) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(&lock)
        }
        created => created,
    };
    let file = file.map_err(cannot)?;
    let started = Instant::now();
    loop {
        match FileExt::try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WAIT => {
                sleep(LOCK_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => return Err(schema::in_use()),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }
    }
}

fn failure(name: &str, error: &rusqlite::Error) -> Failure {
    let transient = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    );
    Failure { message: format!("the database {name} failed: {error}"), transient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn synced_log_is_the_one_that_sqlite_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enrolls.db");
        drop(Sqlite::open(&path).await.unwrap());
        let link = directory.path().join("link.db");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [path, link].iter().filter(|path| path.exists()) {
            let mut database = Sqlite::open(path).await.unwrap();
            database.script("CREATE TABLE t (x); DROP TABLE t").unwrap();
            assert!(fs::metadata(&database.log).unwrap().len() > 0);
            database.sync().unwrap();
        }
    }
}
