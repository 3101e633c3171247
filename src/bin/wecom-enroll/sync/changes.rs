//! [`Change`]: what has changed in a list. [`Lines`]: changes as they are printed.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use wecom_enroll::Enroll;

use crate::{
    exit::Stop,
    sync::value::{Failure, List},
    ui::{stdout::Blocking, text::escaped},
};

/// A change that is not stored yet.
pub(crate) struct Change<'a> {
    /// `added`, `changed` or `removed`.
    pub(crate) what: &'static str,
    pub(crate) list: List<'a>,
    pub(crate) enroll_id: &'a str,
    /// The row as `export` writes it.
    pub(crate) row: String,
}

impl<'a> Change<'a> {
    /// `json` is the row without the meeting.
    pub(crate) fn new(
        what: &'static str,
        list: List<'a>,
        row: &'a Enroll,
        mut json: String,
    ) -> Result<Self, Failure> {
        json.pop();
        json.push_str(",\"meetingid\":");
        json.push_str(&json_text(&list.meeting)?);
        json.push('}');
        Ok(Self { what, list, enroll_id: row.enroll_id(), row: json })
    }
}

/// Changes as lines of JSON, in the order of `seq`.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) json: Vec<u8>,
    /// The `seq` of the last line.
    last: i64,
}

impl Lines {
    /// Appends a change. `row` is JSON.
    pub(crate) fn add(
        &mut self,
        seq: i64,
        time: &str,
        [change, meetingid, enroll_id]: [&str; 3],
        row: &str,
    ) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Line<'a> {
            seq: i64,
            time: &'a str,
            change: &'a str,
            meetingid: &'a str,
            enroll_id: &'a str,
        }
        let mut line = json_text(&Line { seq, time, change, meetingid, enroll_id })?;
        line.pop();
        self.json.extend_from_slice(line.as_bytes());
        self.json.extend_from_slice(b",\"row\":");
        self.json.extend_from_slice(row.as_bytes());
        self.json.extend_from_slice(b"}\n");
        self.last = seq;
        Ok(())
    }

    pub(crate) fn append(&mut self, mut more: Self) {
        self.json.append(&mut more.json);
        self.last = more.last;
    }

    /// Writes the lines to standard output. Returns the last `seq`.
    pub(crate) fn print(self) -> Result<i64, Stop> {
        let mut json = self.json;
        let mut out = Blocking(io::stdout());
        if out.0.is_terminal() {
            json = escaped(&String::from_utf8_lossy(&json)).into();
        }
        out.write_all(&json).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Stop::ClosedPipe,
            _ => Stop::Failed(format!("cannot write to standard output: {e}")),
        })?;
        Ok(self.last)
    }
}

pub(crate) fn json_text(value: &impl Serialize) -> Result<String, Failure> {
    // The text of the error could contain data.
    serde_json::to_string(value)
        .map_err(|_| Failure::permanent("a value cannot be written as JSON"))
}
