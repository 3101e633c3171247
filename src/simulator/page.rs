//! The pages of a list, and the cursors that link them.
//!
//! A cursor contains the position of a page and a checksum of the request that it belongs to. The server therefore
//! keeps no state per listing: a cursor stays valid after a restart, and is refused in any other request. The position
//! is an offset, as it probably is in WeCom: if rows before it leave the list, as many rows after it are skipped.

use std::io::{self, Write};

use super::{
    enrollee::{List, hash, write_row},
    fault_kind::FaultKind,
    roster::Roster,
};

/// Characters that are corrupted if a client does not encode or decode a cursor properly.
const CURSOR_PREFIX: &str = "c+/=&%\"# 游\\";

/// The nesting of arrays in the value of [`FaultKind::Deep`].
const DEPTH: usize = 200_000;

/// The parameters that all requests of one listing have in common.
#[derive(Hash)]
pub(super) struct ListRequest {
    pub(super) list: List,
    pub(super) meeting: String,
    /// The status that rows must have; 0 matches all.
    pub(super) status: u32,
    pub(super) limit: usize,
}

/// The position that a cursor contains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Hash)]
pub(super) struct Position {
    /// The number of rows before the page.
    offset: u64,
    /// The number of empty pages inserted at this offset. It keeps their cursors distinct.
    empty_pages: u64,
}

impl ListRequest {
    fn cursor(&self, position: Position) -> String {
        let Position { offset, empty_pages } = position;
        format!("{CURSOR_PREFIX}{offset:x}.{empty_pages:x}.{:016x}==", hash(&(self, position)))
    }

    /// Returns the position of a cursor, or `None` if the cursor does not belong to this request.
    pub(super) fn position(&self, cursor: &str) -> Option<Position> {
        if cursor.is_empty() {
            return Some(Position::default());
        }
        let mut parts = cursor.strip_prefix(CURSOR_PREFIX)?.split('.');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let position = Position { offset: number()?, empty_pages: number()? };
        (self.cursor(position) == cursor).then_some(position)
    }

    /// Returns the response body for one page.
    pub(super) fn page(
        &self,
        position: Position,
        roster: &Roster,
        fault: Option<&FaultKind>,
    ) -> io::Result<Vec<u8>> {
        let mut remaining = roster.enrollees(self.status, position.offset);
        let mut rows: Vec<u64> = remaining.by_ref().take(self.limit).collect();
        let mut has_more = remaining.next().is_some();
        // Even the last page has a cursor, as in WeCom's documentation.
        let offset = position.offset.saturating_add(rows.len() as u64);
        let mut cursor = Some(Position { offset, empty_pages: 0 });
        match fault {
            Some(FaultKind::RepeatCursor) => (has_more, cursor) = (true, Some(position)),
            Some(FaultKind::Cycle) => {
                let limit = self.limit as u64;
                let second = roster.enrollees(self.status, limit).next().map_or(0, |_| limit);
                (has_more, cursor) = (true, Some(Position { offset: second, empty_pages: 0 }));
            }
            Some(FaultKind::NoCursor) => (has_more, cursor) = (true, None),
            Some(FaultKind::EmptyPage | FaultKind::NullList | FaultKind::AbsentList) => {
                rows.clear();
                let empty_pages = position.empty_pages.saturating_add(1);
                (has_more, cursor) = (true, Some(Position { empty_pages, ..position }));
            }
            _ => {}
        }

        let mut out = Vec::with_capacity(300 + 1300 * rows.len());
        write!(out, r#"{{"errcode":0,"errmsg":"ok","has_more":{has_more}"#)?;
        if let Some(position) = cursor {
            out.extend_from_slice(br#","next_cursor":"#);
            serde_json::to_writer(&mut out, &self.cursor(position))?;
        }
        match fault {
            Some(FaultKind::NullList) => out.extend_from_slice(br#","enroll_list":null"#),
            Some(FaultKind::AbsentList) => {}
            _ => {
                out.extend_from_slice(br#","enroll_list":["#);
                self.write_rows(&rows, roster, fault, &mut out)?;
                out.push(b']');
            }
        }
        out.push(b'}');
        Ok(out)
    }

    fn write_rows(
        &self,
        rows: &[u64],
        roster: &Roster,
        fault: Option<&FaultKind>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        for (nth, &index) in rows.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            let start = out.len();
            write_row(self.list, &self.meeting, index, roster.status(index), out)?;
            if let Some(fault) = fault.filter(|_| nth == rows.len() / 2) {
                corrupt_last_row(out, start, fault);
            }
        }
        Ok(())
    }
}

/// Applies a fault to the row `out[start..]`.
fn corrupt_last_row(out: &mut Vec<u8>, start: usize, fault: &FaultKind) {
    let end_of = |out: &[u8], text: &[u8]| {
        let found = out[start..].windows(text.len()).position(|window| window == text);
        found.map_or(start, |at| start + at + text.len())
    };
    match fault {
        FaultKind::MalformedRow => {
            out.truncate(end_of(out, br#""answer_list":"#));
            out.extend_from_slice(b"7}");
        }
        FaultKind::NotObjectRow => {
            out.truncate(start);
            out.push(b'7');
        }
        FaultKind::InvalidUtf8 => out.insert(end_of(out, br#""nick_name":""#), 0xff),
        FaultKind::Deep => {
            let value = end_of(out, br#""nick_name":"#);
            let rest = out.split_off(value);
            out.resize(value + DEPTH, b'[');
            out.resize(value + 2 * DEPTH, b']');
            out.extend_from_slice(br#","was":"#);
            out.extend_from_slice(&rest);
        }
        _ => {}
    }
}
