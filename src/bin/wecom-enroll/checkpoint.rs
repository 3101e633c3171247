//! The checkpoint: how much of the output is good, and where each meeting's walk goes on behind it.
//!
//! It is written after the rows before it are on disk, and replaced as a whole, so that a process
//! killed at any moment leaves an output that is at least as long as its checkpoint says. Going on
//! cuts off what is behind that.

use std::{error::Error as _, fs::File, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wecom_enroll::{Checkpoint, CheckpointStore, Error, Query};

use crate::Stop;

/// The version written; another one is refused.
const VERSION: u32 = 1;

const ANEW: &str = "; move it and the output away to start again";

#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    arguments: Arguments,
    #[serde(flatten)]
    pub(crate) output: Extent,
    /// Which part of a fleet's file the output is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) part: String,
    pub(crate) meetings: Vec<Meeting>,
}

/// What must be the same when going on.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Arguments {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) format: String,
    pub(crate) page_size: u8,
    pub(crate) meetings: Vec<String>,
}

/// What the output holds.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) length: u64,
    /// Of those bytes.
    pub(crate) crc32: u32,
    /// The questions that have a CSV column, once the header is written.
    pub(crate) columns: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Meeting {
    pub(crate) position: Checkpoint,
    pub(crate) rows: u64,
    pub(crate) bad_rows: u64,
    pub(crate) pages: u64,
}

impl Saved {
    /// Nothing written, and every walk at `positions`.
    pub(crate) fn new(arguments: Arguments, positions: Vec<Checkpoint>) -> Self {
        let meeting = |position| Meeting { position, rows: 0, bad_rows: 0, pages: 0 };
        let meetings = positions.into_iter().map(meeting).collect();
        Self {
            version: VERSION,
            arguments,
            output: Extent::default(),
            part: String::new(),
            meetings,
        }
    }

    /// The checkpoint in `store`, if there is one; of a run with these arguments and queries. `name`
    /// tells people which one it is.
    pub(crate) async fn read(
        store: &impl CheckpointStore,
        name: &str,
        wanted: &Arguments,
        queries: &[Query],
    ) -> Result<Option<Self>, Stop> {
        let foreign =
            |why: &str| Stop::failed(format!("the checkpoint {name} cannot be used: {why}{ANEW}"));
        let unread = |error: Error| match error.source() {
            None => Stop::failed(format!("{error}{ANEW}")),
            Some(_) => error.into(),
        };
        let Some(json) = store.load::<Value>().await.map_err(unread)? else { return Ok(None) };
        if json["version"] != VERSION {
            let version = &json["version"];
            return Err(foreign(&format!("it is of version {version}, not {VERSION}")));
        }
        // serde's texts could show what is in it.
        let saved: Self =
            serde_json::from_value(json).map_err(|_| foreign("it is something else"))?;
        if let Some(differs) = saved.arguments.difference(wanted) {
            return Err(Stop::usage(format!(
                "the checkpoint {name} is of another export: {differs}; give the same arguments, or another checkpoint"
            )));
        }
        if !saved.meetings.iter().map(|meeting| meeting.position.query()).eq(queries) {
            return Err(foreign("its positions are not of its meetings"));
        }
        Ok(Some(saved))
    }

    /// Replaces what is in `store`. What this tells of must be on disk already.
    pub(crate) async fn write(&self, store: &impl CheckpointStore) -> Result<(), Stop> {
        store.save(self).await.map_err(|error| {
            let stop = Stop::from(error);
            let text = format!(
                "{}; the one before it, if any, is good: put this right and run the same command again",
                stop.text
            );
            Stop { text, ..stop }
        })
    }
}

impl Arguments {
    fn difference(&self, wanted: &Self) -> Option<String> {
        let text = |name, mine: &str, theirs: &str| {
            (mine != theirs).then(|| format!("its {name} is {mine}, not {theirs}"))
        };
        let sizes = [self.page_size, wanted.page_size].map(|size| size.to_string());
        text("kind", &self.kind, &wanted.kind)
            .or_else(|| text("status", &self.status, &wanted.status))
            .or_else(|| text("format", &self.format, &wanted.format))
            .or_else(|| text("page size", &sizes[0], &sizes[1]))
            .or_else(|| {
                let [mine, theirs] = [self, wanted].map(|arguments| arguments.meetings.join(" "));
                (self.meetings != wanted.meetings)
                    .then(|| format!("its meetings are {mine}, in this order, not {theirs}"))
            })
    }
}

/// Where `path`'s entry stands.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Puts the entry of `path` on disk; elsewhere than on Unix a folder cannot be opened for that.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}
