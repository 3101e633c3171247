//! Reads the ids of enrollments from arguments, and from lines of a file or of standard input.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    str,
};

use serde::Deserialize;

use crate::exit::Stop;

/// The largest number of ids, to bound the memory. It is ten times the size of the largest webinar.
const MAX_IDS: usize = 500_000;
/// The longest line in bytes. A row of an export cannot be longer, because a response body cannot.
const MAX_LINE: usize = 8 << 20;
/// The longest id. WeCom does not document a maximum.
const MAX_ID: usize = 128;
/// Characters of other kinds of files, such as CSV and JSON arrays.
const NOT_IN_IDS: &str = ",;\"'`{}[]()<>|\\";

const STDIN: &str = "standard input";

const EXPECTED: &str = "expected an enroll_id or a JSON object with enroll_id";

/// Returns the ids of the arguments and of the file, each once. There is at least one.
pub(super) fn read(
    meeting: &str,
    arguments: &[String],
    file: Option<&Path>,
) -> Result<BTreeSet<String>, Stop> {
    let mut ids = BTreeSet::new();
    for (number, argument) in (1..).zip(arguments) {
        check(argument).map_err(|why| Stop::Usage(format!("enroll_id {number} {why}")))?;
        ids.insert(argument.clone());
    }
    let Some(path) = file else {
        let none = "no enroll_id is given: pass ids as arguments, or a file with --from";
        return if ids.is_empty() { Err(Stop::Usage(none.into())) } else { Ok(ids) };
    };
    let name = if path == Path::new("-") {
        read_lines(io::stdin().lock(), STDIN, meeting, &mut ids)?;
        STDIN.into()
    } else {
        let name = path.to_string_lossy();
        let opened = File::open(path).map_err(|e| cannot_read(&name, &e))?;
        read_lines(BufReader::new(opened), &name, meeting, &mut ids)?;
        name
    };
    if ids.is_empty() { Err(Stop::Usage(format!("{name} contains no enroll_id"))) } else { Ok(ids) }
}

fn read_lines(
    input: impl BufRead,
    name: &str,
    meeting: &str,
    ids: &mut BTreeSet<String>,
) -> Result<(), Stop> {
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next().map_err(|e| cannot_read(name, &e))? {
        let id = match line {
            Line::Text(text) => parse(text, meeting),
            Line::TooLong => Err(format!("is longer than {MAX_LINE} bytes: {EXPECTED}")),
        };
        let id = id.map_err(|why| Stop::Usage(format!("line {} of {name} {why}", lines.number)))?;
        ids.extend(id);
        if ids.len() > MAX_IDS {
            return Err(Stop::Usage(format!("{name} contains more than {MAX_IDS} ids")));
        }
    }
    Ok(())
}

fn cannot_read(name: &str, error: &io::Error) -> Stop {
    Stop::Failed(format!("cannot read {name}: {error}; nothing was sent"))
}

/// Returns the id in a line, or `None` if the line is blank.
fn parse(line: &[u8], meeting: &str) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Row {
        enroll_id: Option<Text>,
        meetingid: Option<Text>,
    }
    // The API sends ids both as strings and as numbers.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Text(String),
        Number(u64),
    }
    impl From<Text> for String {
        fn from(text: Text) -> Self {
            match text {
                Text::Text(text) => text,
                Text::Number(number) => number.to_string(),
            }
        }
    }
    let line = str::from_utf8(line).map_err(|_| format!("is not UTF-8 text: {EXPECTED}"))?;
    // A byte-order mark is also in the middle of files that were concatenated.
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() {
        return Ok(None);
    }
    let id = if line.starts_with('{') {
        // The text of serde's errors could contain personal data.
        let row: Row = serde_json::from_str(line)
            .map_err(|e| format!("is not a row of an export (column {})", e.column()))?;
        // Ids are unique only within a meeting, so an id of another meeting could be another person here.
        if let Some(other) = row.meetingid.map(String::from).filter(|other| other != meeting) {
            return Err(format!("belongs to the meeting {other}, not {meeting}"));
        }
        row.enroll_id.ok_or("has no enroll_id")?.into()
    } else {
        line.to_owned()
    };
    check(&id).map_err(|why| format!("{why}: {EXPECTED}"))?;
    Ok(Some(id))
}

/// Checks that the text can be an id. The message does not contain the text, which may be anything.
fn check(id: &str) -> Result<(), String> {
    let is_wrong = |c: &char| !c.is_ascii_graphic() || NOT_IN_IDS.contains(*c);
    match id.chars().find(is_wrong) {
        _ if id.is_empty() => Err("is empty".to_owned()),
        Some(c) if c.is_ascii_graphic() => Err(format!("contains {c}, which is not part of an id")),
        Some(_) => Err("contains white space or another character that no id contains".to_owned()),
        None if id.len() > MAX_ID => Err(format!("is longer than {MAX_ID} characters")),
        None => Ok(()),
    }
}

/// The lines of a file, of which at most one is in memory.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// The number of the last line, starting with 1.
    pub(super) number: u64,
}

pub(super) enum Line<'a> {
    /// The line, including its line end, which only the last line can lack.
    Text(&'a [u8]),
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.number += 1;
        let limit = MAX_LINE as u64 + 1;
        match self.input.by_ref().take(limit).read_until(b'\n', &mut self.line)? {
            0 => Ok(None),
            length if length > MAX_LINE => Ok(Some(Line::TooLong)),
            _ => Ok(Some(Line::Text(&self.line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_line_bounds_the_memory() {
        let endless = io::repeat(b'1');
        let mut lines = Lines::new(BufReader::new(endless));
        assert!(matches!(lines.next().unwrap(), Some(Line::TooLong)));
        assert!(lines.line.capacity() < 4 * MAX_LINE);
    }
}
