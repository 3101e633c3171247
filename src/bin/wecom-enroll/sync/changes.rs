//! [`Change`]: what has changed in a list. [`Lines`]: changes as they are printed.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    ops::Range,
};

use serde::Serialize;
use wecom_enroll::Enroll;

use crate::{
    exit::Stop,
    sync::value::{Failure, List},
    ui::{stdout::Blocking, text::escaped},
};

/// More than the JSON of most rows.
const ROW_BYTES: usize = 2048;

/// A change that is not stored yet.
pub(crate) struct Change<'a> {
    /// `added`, `changed` or `removed`.
    pub(crate) what: &'static str,
    pub(crate) list: List<'a>,
    pub(crate) row: &'a Enroll,
    /// The row as `export` writes it.
    pub(crate) json: Vec<u8>,
    /// Where its list of answers is.
    answers: Range<usize>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(
        what: &'static str,
        list: List<'a>,
        row: &'a Enroll,
    ) -> Result<Self, Failure> {
        let mut json = Vec::with_capacity(ROW_BYTES);
        write_json(&mut json, row)?;
        // The list of answers is the last field. In a string, the quotes of the key would be escaped.
        let mut brackets = json.iter().enumerate().filter(|(_, byte)| **byte == b'[');
        let answers = brackets.find(|(at, _)| json[..*at].ends_with(br#","answer_list":"#));
        let (answers, _) =
            answers.ok_or_else(|| Failure::permanent("a row has no list of answers"))?;
        json.pop();
        let answers = answers..json.len();
        json.extend_from_slice(b",\"meetingid\":");
        write_json(&mut json, &list.meeting)?;
        json.push(b'}');
        Ok(Self { what, list, row, json, answers })
    }

    pub(crate) fn answers(&self) -> &[u8] {
        &self.json[self.answers.clone()]
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
        row: &[u8],
    ) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Line<'a> {
            seq: i64,
            time: &'a str,
            change: &'a str,
            meetingid: &'a str,
            enroll_id: &'a str,
        }
        write_json(&mut self.json, &Line { seq, time, change, meetingid, enroll_id })?;
        self.json.pop();
        self.json.extend_from_slice(b",\"row\":");
        self.json.extend_from_slice(row);
        self.json.extend_from_slice(b"}\n");
        self.last = seq;
        Ok(())
    }

    /// Writes the lines to standard output, and removes them. Returns the last `seq`.
    pub(crate) fn print(&mut self) -> Result<i64, Stop> {
        let mut out = Blocking(io::stdout());
        let lines = if out.0.is_terminal() {
            escaped(&String::from_utf8_lossy(&self.json)).into_bytes().into()
        } else {
            Cow::Borrowed(&*self.json)
        };
        out.write_all(&lines).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Stop::ClosedPipe,
            _ => Stop::Failed(format!("cannot write to standard output: {e}")),
        })?;
        self.json.clear();
        Ok(self.last)
    }
}

/// Appends a value as JSON.
pub(crate) fn write_json(json: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Failure> {
    // The text of the error could contain data.
    serde_json::to_writer(json, value)
        .map_err(|_| Failure::permanent("a value cannot be written as JSON"))
}
