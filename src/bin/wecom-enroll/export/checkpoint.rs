//! The checkpoint file of an export: how much of the output is complete, and from where to resume each meeting.
//!
//! The file is replaced only when all rows before its positions are on disk. If the process is killed at any moment,
//! the output is therefore at least as long as the checkpoint records. Resuming cuts off the rest.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;
use wecom_enroll::{Checkpoint, Query};

use crate::{
    exit::Stop,
    files::{follow_links, parent, sync_parent, temporary_name, unless_refused},
};

/// The version that is written. Other versions are refused.
const VERSION: u32 = 1;

const START_AGAIN: &str = "; move the checkpoint and the output away to start again";

#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    arguments: Arguments,
    #[serde(flatten)]
    pub(crate) output: Extent,
    pub(crate) meetings: Vec<Meeting>,
}

/// The arguments that must be the same when an export is resumed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Arguments {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) format: String,
    pub(crate) page_size: u8,
    pub(crate) meetings: Vec<String>,
}

/// What the output contains.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// The length in bytes.
    pub(crate) length: u64,
    /// The checksum of these bytes.
    pub(crate) crc32: u32,
    /// The questions that have a CSV column, once the header is written.
    pub(crate) columns: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Meeting {
    pub(crate) position: Checkpoint,
    pub(crate) rows: u64,
    pub(crate) malformed_rows: u64,
    pub(crate) pages: u64,
}

impl Saved {
    /// Creates the checkpoint of an empty output.
    pub(crate) fn new(arguments: Arguments, positions: Vec<Checkpoint>) -> Self {
        let meeting = |position| Meeting { position, rows: 0, malformed_rows: 0, pages: 0 };
        let meetings = positions.into_iter().map(meeting).collect();
        Self { version: VERSION, arguments, output: Extent::default(), meetings }
    }
}

/// The file that a checkpoint is kept in.
pub(crate) struct CheckpointFile {
    /// The path that the user gave, for messages.
    name: PathBuf,
    /// The file that is replaced. Replacing a symbolic link would not change the file that it leads to.
    path: PathBuf,
}

impl CheckpointFile {
    pub(crate) fn new(name: &Path) -> Result<Self, Stop> {
        let path = follow_links(name).map_err(|e| {
            Stop::Failed(format!("cannot find the checkpoint {}: {e}", name.display()))
        })?;
        Ok(Self { name: name.to_owned(), path })
    }

    /// Reads the checkpoint, if there is one. Refuses it if it belongs to other arguments or queries.
    pub(crate) fn read(
        &self,
        wanted: &Arguments,
        queries: &[Query],
    ) -> Result<Option<Saved>, Stop> {
        let name = self.name.display();
        let unusable = |why: &str| {
            Stop::Failed(format!("the checkpoint {name} cannot be used: {why}{START_AGAIN}"))
        };
        let json = match fs::read(&self.path) {
            Ok(json) => json,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Stop::Failed(format!("cannot read the checkpoint {name}: {e}"))),
        };
        // The text of serde's errors could contain the cursor.
        let json: Value = serde_json::from_slice(&json).map_err(|e| {
            unusable(&format!("invalid JSON at line {}, column {}", e.line(), e.column()))
        })?;
        if json["version"] != VERSION {
            let version = &json["version"];
            return Err(unusable(&format!("its version is {version}, not {VERSION}")));
        }
        let saved: Saved = serde_json::from_value(json)
            .map_err(|_| unusable("it is not a checkpoint of an export"))?;
        if let Some(difference) = saved.arguments.difference(wanted) {
            return Err(Stop::Usage(format!(
                "the checkpoint {name} belongs to another export: {difference}; use the same arguments, or \
                 another checkpoint"
            )));
        }
        if !saved.meetings.iter().map(|meeting| meeting.position.query()).eq(queries) {
            return Err(unusable("its positions do not belong to its meetings"));
        }
        Ok(Some(saved))
    }

    /// Replaces the checkpoint. The rows before its positions must be on disk already.
    pub(crate) async fn write(&self, saved: &Saved) -> Result<(), Stop> {
        let failed = |e: io::Error| {
            Stop::Failed(format!(
                "cannot write the checkpoint {}: {e}; an earlier checkpoint, if any, is still valid: correct the \
                 problem and run the same command again",
                self.name.display()
            ))
        };
        let json = serde_json::to_vec(saved).map_err(|e| failed(e.into()))?;
        let path = self.path.clone();
        let replaced = spawn_blocking(move || replace(&path, &json)).await;
        replaced.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(failed)
    }
}

/// Replaces the file atomically with one that only its owner can read.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (name, directory) = (temporary_name(path).ok_or(ErrorKind::InvalidInput)?, parent(path));
    // Left by a killed process.
    let _ = fs::remove_file(directory.join(&name));
    let mut file = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(directory)?;
    file.write_all(bytes)?;
    unless_refused(file.as_file().sync_all(), path)?;
    file.persist(path)?;
    sync_parent(path)
}

impl Arguments {
    fn difference(&self, wanted: &Self) -> Option<String> {
        let page_sizes = [self, wanted].map(|arguments| arguments.page_size.to_string());
        let meetings = [self, wanted].map(|arguments| arguments.meetings.join(" "));
        let values = [
            ("kind is", &self.kind, &wanted.kind),
            ("status is", &self.status, &wanted.status),
            ("format is", &self.format, &wanted.format),
            ("page size is", &page_sizes[0], &page_sizes[1]),
            ("meetings, in this order, are", &meetings[0], &meetings[1]),
        ];
        let (name, own, wanted) = values.into_iter().find(|(_, own, wanted)| own != wanted)?;
        Some(format!("its {name} {own}, not {wanted}"))
    }
}
