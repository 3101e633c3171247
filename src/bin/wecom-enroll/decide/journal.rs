//! The journal: which batches were sent, and for which a response confirmed the new status.
//!
//! It is a file of JSON Lines. The first line identifies the meeting and the action. An entry is on disk before its
//! batch is sent, and another one after its response. If the process is killed, only the last entry can be
//! incomplete, and the outcome of at most one batch is unknown.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, BufReader, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    decide::ids::{Line, Lines},
    exit::Stop,
    files::{lock, sync_parent, unless_refused},
};

/// The version that is written. Other versions are refused.
const VERSION: u32 = 1;

/// The first line.
#[derive(PartialEq, Serialize, Deserialize)]
struct Header {
    journal: u32,
    kind: String,
    meetingid: String,
    action: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry<'a> {
    /// Written before a batch is sent.
    Sending(#[serde(borrow)] Vec<&'a str>),
    /// Written after the response that confirms a batch, or a part of one.
    Done(#[serde(borrow)] Vec<&'a str>),
}

pub(super) struct Journal {
    path: PathBuf,
    header: Header,
    /// `None` if nothing is written.
    file: Option<File>,
    /// The ids that a response has confirmed, in this run or an earlier one.
    pub(super) done: HashSet<String>,
}

impl Journal {
    /// Reads the journal. If `writes`, creates it if it does not exist, and locks it; else does not change it.
    pub(super) fn open(
        path: &Path,
        kind: String,
        meeting: &str,
        action: &str,
        writes: bool,
    ) -> Result<Self, Stop> {
        let (meetingid, action) = (meeting.to_owned(), action.to_owned());
        let header = Header { journal: VERSION, kind, meetingid, action };
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(writes).create(writes).truncate(false).open(path);
        let mut journal = Self { path: path.to_owned(), header, file: None, done: HashSet::new() };
        let mut file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound && !writes => return Ok(journal),
            Err(e) => return Err(journal.cannot("open", &e)),
        };
        if writes && !lock(&file, path).map_err(|e| journal.cannot("lock", &e))? {
            let name = path.display();
            return Err(Stop::Failed(format!("another process is using the journal {name}")));
        }
        let length = journal.load(&mut file)?;
        if !writes {
            return Ok(journal);
        }
        let header = if length == 0 { Some(line(&journal.header)) } else { None };
        let prepared = file
            .set_len(length)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .and_then(|_| header.map_or(Ok(()), |header| file.write_all(&header?)))
            .and_then(|()| unless_refused(file.sync_all(), path))
            .and_then(|()| sync_parent(path));
        prepared.map_err(|e| journal.cannot("write", &e))?;
        journal.file = Some(file);
        Ok(journal)
    }

    /// Reads all entries. Returns the length without an incomplete last line.
    fn load(&mut self, file: &mut File) -> Result<u64, Stop> {
        let mut lines = Lines::new(BufReader::new(file));
        let mut length = 0;
        while let Some(line) = lines.next().map_err(|e| self.cannot("read", &e))? {
            let (text, is_complete) = match line {
                Line::Text(text) => (text, text.ends_with(b"\n")),
                Line::TooLong => (&b""[..], true),
            };
            let size = text.len() as u64;
            if length == 0 {
                // An incomplete first line is overwritten, so it must be the start of this journal's header and not
                // the content of another file.
                let own = self::line(&self.header).map_err(|e| self.cannot("read", &e))?;
                if !is_complete && own.starts_with(text) {
                    break;
                }
                self.check_header(text)?;
            } else if !is_complete {
                break;
            } else {
                match serde_json::from_slice(text) {
                    Ok(Entry::Done(ids)) => self.done.extend(ids.into_iter().map(str::to_owned)),
                    Ok(Entry::Sending(_)) => {}
                    // The text of serde's errors could contain an id.
                    Err(_) => {
                        let (number, name) = (lines.number, self.path.display());
                        return Err(Stop::Failed(format!(
                            "line {number} of the journal {name} is damaged; nothing was sent; restore the \
                             journal, or use another one"
                        )));
                    }
                }
            }
            length += size;
        }
        Ok(length)
    }

    fn check_header(&self, line: &[u8]) -> Result<(), Stop> {
        let name = self.path.display();
        let found: Header = serde_json::from_slice(line)
            .map_err(|_| Stop::Usage(format!("{name} is not a journal; use another file")))?;
        if found == self.header {
            return Ok(());
        }
        let Header { journal, kind, meetingid, action } = found;
        Err(Stop::Usage(format!(
            "the journal {name} belongs to another command: {action} of {kind} {meetingid} (version {journal}); use \
             the same arguments, or another journal"
        )))
    }

    /// Records that the ids will be sent.
    pub(super) fn sending(&mut self, ids: &[String]) -> Result<(), Stop> {
        self.append(&Entry::Sending(ids.iter().map(String::as_str).collect()))
    }

    /// Records that a response has confirmed the ids.
    pub(super) fn done(&mut self, ids: &[String]) -> Result<(), Stop> {
        self.append(&Entry::Done(ids.iter().map(String::as_str).collect()))?;
        self.done.extend(ids.iter().cloned());
        Ok(())
    }

    fn append(&self, entry: &Entry<'_>) -> Result<(), Stop> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        let written = line(entry).and_then(|line| file.write_all(&line));
        let synced = written.and_then(|()| unless_refused(file.sync_data(), &self.path));
        synced.map_err(|e| self.cannot("write", &e))
    }

    fn cannot(&self, what: &str, error: &io::Error) -> Stop {
        Stop::Failed(format!("cannot {what} the journal {}: {error}", self.path.display()))
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
