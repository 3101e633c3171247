//! The checkpoint file: how much of the output is good, and where each meeting's walk goes on behind it.
//!
//! It is written after the rows before it are on disk, and replaced as a whole, so that a process
//! killed at any moment leaves an output that is at least as long as its checkpoint says. Going on
//! cuts off what is behind that. It holds cursors, so only its owner may read it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use wecom_enroll::{Checkpoint, Query};

use crate::Stop;

/// The version written; another one is refused.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    arguments: Arguments,
    #[serde(flatten)]
    pub(crate) output: Extent,
    pub(crate) meetings: Vec<Meeting>,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    version: u32,
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
        Self { version: VERSION, arguments, output: Extent::default(), meetings }
    }

    /// The checkpoint at `path`, if there is one; of a run with these arguments and queries.
    pub(crate) fn read(
        path: &Path,
        wanted: &Arguments,
        queries: &[Query],
    ) -> Result<Option<Self>, Stop> {
        let name = path.display();
        let foreign = |why: String| {
            Stop::failed(format!(
                "{name} is no checkpoint that can be used: {why}; move it and the output away to start again"
            ))
        };
        // serde's texts could show what is in the file; the place is enough.
        let unreadable = |e: serde_json::Error| {
            let (line, column) = (e.line(), e.column());
            foreign(format!("it is cut off or something else (line {line}, column {column})"))
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Stop::failed(format!("cannot read the checkpoint {name}: {e}"))),
        };
        let Head { version } = serde_json::from_slice(&text).map_err(unreadable)?;
        if version != VERSION {
            return Err(foreign(format!("it is of version {version}, not {VERSION}")));
        }
        let saved: Self = serde_json::from_slice(&text).map_err(unreadable)?;
        if let Some(differs) = saved.arguments.difference(wanted) {
            return Err(Stop::usage(format!(
                "the checkpoint {name} is of another export: {differs}; give the same arguments, or another checkpoint"
            )));
        }
        if !saved.meetings.iter().map(|meeting| meeting.position.query()).eq(queries) {
            return Err(foreign("its positions are not of its meetings".to_owned()));
        }
        Ok(Some(saved))
    }

    /// Replaces the file at `path` as a whole. What it tells of must be on disk already.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Stop> {
        self.replace(path).map_err(|e| {
            Stop::failed(format!(
                "cannot write the checkpoint {}: {e}; the one before it, if any, is good: put this right and run the \
                 same command again",
                path.display()
            ))
        })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        let folder = folder(path);
        // One name, so that killed processes leave one file at most. The output's lock protects it.
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(".new");
        let _ = fs::remove_file(folder.join(&temporary));
        let mut file =
            tempfile::Builder::new().prefix(&temporary).rand_bytes(0).tempfile_in(folder)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(path)
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
