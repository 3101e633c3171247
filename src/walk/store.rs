//! Where a job keeps its position between two runs: [`CheckpointStore`], and the store in a file.
//!
//! One store is one place, for one job. What is kept is the job's own: a [`Checkpoint`](crate::Checkpoint)
//! alone, or in a struct beside what the job must find again with it, such as the length of its output.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, ErrorKind, Write},
    path::Path,
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::error::{Error, Result};

/// Keeps a job's position, as a whole or not at all.
///
/// [`FileStore`] keeps it in a file, and `Lease` (feature `redis`) in Redis, for as long as the job is
/// this process's. A store of one's own gets JSON from serde, and says with [`Error::store`] what
/// went wrong, or with [`Error::transport`] that it may pass.
///
/// ```
/// use futures::StreamExt;
/// use wecom_enroll::{CheckpointStore, Client, Query, Result};
///
/// /// Goes on where the last run ended.
/// async fn export(client: &Client, store: &impl CheckpointStore) -> Result<()> {
///     let mut rows = match store.load().await? {
///         Some(checkpoint) => client.resume(checkpoint),
///         None => client.enrolls(Query::webinar("MEETINGID1")),
///     };
///     while let Some(row) = rows.next().await {
///         // ... make the row safe, and only then ...
///         # row?;
///         store.save(&rows.checkpoint()).await?;
///     }
///     Ok(())
/// }
/// ```
pub trait CheckpointStore: Send + Sync {
    /// What was saved last; `None` where nothing was.
    ///
    /// # Errors
    ///
    /// Of kind `Checkpoint` when what is there cannot be read, or is no `T`; what else a store says of
    /// itself, such as kind `Shared` where a Redis is away.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing, and may be dropped and called again.
    fn load<T: DeserializeOwned + Send>(&self) -> impl Future<Output = Result<Option<T>>> + Send;

    /// Replaces what was saved. When this returns, it outlives the process; what `state` tells of
    /// must do so before.
    ///
    /// # Errors
    ///
    /// When it could not be saved. What was saved before is still there, or is already replaced.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it has replaced what was saved as a whole, or will, or has not; never
    /// after a save that was begun later.
    fn save<T: Serialize + Sync>(&self, state: &T) -> impl Future<Output = Result<()>> + Send;
}

/// Keeps a position in a file of its own, which only its owner may read: a checkpoint holds the
/// server's cursor.
///
/// The file is replaced as a whole, and is on disk when `save` returns. Two jobs at a time must not
/// have the same file; clones may. Needs a tokio runtime, whose threads for blocking work it uses.
///
/// ```
/// use wecom_enroll::{Checkpoint, CheckpointStore, Client, FileStore, Query};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let client = Client::builder().access_token("TOKEN").build()?;
/// let store = FileStore::new(folder.path().join("MEETINGID1.at"));
/// assert_eq!(store.load::<Checkpoint>().await?, None);
///
/// let rows = client.enrolls(Query::webinar("MEETINGID1"));
/// store.save(&rows.checkpoint()).await?;
/// assert_eq!(store.load().await?, Some(rows.checkpoint()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FileStore {
    path: Arc<Path>,
    /// A save that nobody waits for any more still ends before the next one.
    turn: Arc<Mutex<()>>,
}

impl FileStore {
    /// The store in the file at `path`, in a folder that exists. Touches nothing yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().into(), turn: Arc::default() }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let path = Arc::clone(&self.path);
        let work = spawn_blocking(move || {
            let _turn = turn;
            work(&path)
        });
        work.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }

    fn cannot(&self, what: &str, error: io::Error) -> Error {
        Error::store(error).saying(format!("cannot {what} the checkpoint {}", self.path.display()))
    }
}

impl CheckpointStore for FileStore {
    async fn load<T: DeserializeOwned + Send>(&self) -> Result<Option<T>> {
        match self.in_turn(|path| fs::read(path)).await {
            Ok(json) => decode(&json, &self.path.display()).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.cannot("read", e)),
        }
    }

    async fn save<T: Serialize + Sync>(&self, state: &T) -> Result<()> {
        let json = serde_json::to_vec(state).map_err(Error::store)?;
        let replaced = self.in_turn(move |path| replace(path, &json)).await;
        replaced.map_err(|e| self.cannot("write", e))
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileStore").field(&self.path).finish()
    }
}

/// What `place` holds. serde's own words could show what is in it, a cursor perhaps.
pub(super) fn decode<T: DeserializeOwned>(json: &[u8], place: &dyn fmt::Display) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| {
        Error::checkpoint_refused(format!(
            "{place} is no checkpoint that can be used: it is cut off or something else (line {}, column {})",
            e.line(),
            e.column()
        ))
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // One name, so that killed processes leave one file at most.
    let mut new = OsString::from(".");
    new.push(name);
    new.push(".new");
    let new = folder.join(new);
    let _ = fs::remove_file(&new);
    let replaced = write_private(&new, bytes).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    replaced?;
    // The entry, too; elsewhere than on Unix a folder cannot be opened for that.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
