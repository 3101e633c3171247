//! A page is one slice of the roster, and the cursor that leads to the next one.
//!
//! The cursor is all the state there is: it holds where to go on and a checksum over the request that it belongs to, so
//! a walk survives a restart of the simulator, and a cursor that strayed into another request is noticed.

use std::io::{self, Write};

use super::{
    fault::FaultKind,
    roster::{self, List, Roster, hash, mix},
};

/// What a WeCom cursor might contain and a careless client would spoil.
const AWKWARD: &str = "c+/=&%\"# 游\\";

const DEEP: usize = 200_000;

/// What a walk asks for; the same in each of its requests.
pub(super) struct Asked {
    pub(super) list: List,
    pub(super) meeting: String,
    /// 0 is all.
    pub(super) status: u32,
    pub(super) limit: usize,
}

/// Where a cursor leads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Place {
    index: u64,
    /// Tells apart the cursors that lead to the same rows; an empty page takes a detour.
    detour: u64,
}

impl Asked {
    fn cursor(&self, place: Place) -> String {
        let Place { index, detour } = place;
        let bound = format!(
            "{:?} {} {} {index} {detour} {}",
            self.list, self.status, self.limit, self.meeting
        );
        format!("{AWKWARD}{index:x}.{detour:x}.{:016x}==", mix(hash(bound.as_bytes())))
    }

    /// Where this cursor leads; `None` if it is not one of this walk's.
    pub(super) fn place(&self, cursor: &str) -> Option<Place> {
        if cursor.is_empty() {
            return Some(Place::default());
        }
        let mut parts =
            cursor.strip_prefix(AWKWARD)?.split('.').map(|part| u64::from_str_radix(part, 16).ok());
        let place = Place { index: parts.next()??, detour: parts.next()?? };
        (self.cursor(place) == cursor).then_some(place)
    }

    /// The reply's body.
    pub(super) fn page(
        &self,
        place: Place,
        enrollees: u64,
        fault: Option<&FaultKind>,
    ) -> io::Result<Vec<u8>> {
        let matching = |from| {
            (from..enrollees)
                .filter(|&index| self.status == 0 || roster::status(index) == self.status)
        };
        let mut rest = matching(place.index);
        let mut rows: Vec<u64> = rest.by_ref().take(self.limit).collect();
        let next = rest.next();
        let mut has_more = next.is_some();
        // As in the documented sample, the last page has a cursor, too.
        let mut cursor = Some(Place { index: next.unwrap_or(enrollees), detour: 0 });
        match fault {
            Some(FaultKind::RepeatCursor) => (has_more, cursor) = (true, Some(place)),
            Some(FaultKind::Cycle) => {
                let second = matching(0).nth(self.limit).unwrap_or(0);
                (has_more, cursor) = (true, Some(Place { index: second, detour: 0 }));
            }
            Some(FaultKind::NoCursor) => (has_more, cursor) = (true, None),
            Some(FaultKind::EmptyPage | FaultKind::NullList | FaultKind::AbsentList) => {
                rows.clear();
                (has_more, cursor) = (true, Some(Place { detour: place.detour + 1, ..place }));
            }
            _ => {}
        }

        let mut out = Vec::with_capacity(300 + 1300 * rows.len());
        write!(out, r#"{{"errcode":0,"errmsg":"ok","has_more":{has_more}"#)?;
        if let Some(place) = cursor {
            out.extend_from_slice(br#","next_cursor":"#);
            serde_json::to_writer(&mut out, &self.cursor(place))?;
        }
        match fault {
            Some(FaultKind::NullList) => out.extend_from_slice(br#","enroll_list":null"#),
            Some(FaultKind::AbsentList) => {}
            _ => {
                out.extend_from_slice(br#","enroll_list":["#);
                self.write_rows(&rows, fault, &mut out)?;
                out.push(b']');
            }
        }
        out.push(b'}');
        Ok(out)
    }

    fn write_rows(
        &self,
        rows: &[u64],
        fault: Option<&FaultKind>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let roster = Roster::new(self.list, &self.meeting);
        for (number, &index) in rows.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let start = out.len();
            roster.write(index, out)?;
            if number == rows.len() / 2 {
                spoil(out, start, fault);
            }
        }
        Ok(())
    }
}

/// Spoils the row that begins at `start` and ends the buffer.
fn spoil(out: &mut Vec<u8>, start: usize, fault: Option<&FaultKind>) {
    let after = |out: &[u8], key: &[u8]| {
        out[start..]
            .windows(key.len())
            .position(|found| found == key)
            .map_or(start, |at| start + at + key.len())
    };
    match fault {
        Some(FaultKind::BrokenRow) => {
            out.truncate(after(out, br#""answer_list":"#));
            out.extend_from_slice(b"7}");
        }
        Some(FaultKind::NotObjectRow) => {
            out.truncate(start);
            out.push(b'7');
        }
        Some(FaultKind::InvalidUtf8) => out.insert(after(out, br#""nick_name":""#), 0xff),
        Some(FaultKind::Deep) => {
            let value = after(out, br#""nick_name":"#);
            let rest = out.split_off(value);
            out.resize(value + DEEP, b'[');
            out.resize(value + 2 * DEEP, b']');
            out.extend_from_slice(br#","was":"#);
            out.extend_from_slice(&rest);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(list: List, meeting: &str, status: u32, limit: usize) -> Asked {
        Asked { list, meeting: meeting.into(), status, limit }
    }

    #[test]
    fn a_cursor_belongs_to_one_request() {
        let place = Place { index: 150, detour: 2 };
        let mine = asked(List::Webinar, "M", 0, 50);
        let cursor = mine.cursor(place);
        assert!("+/=&%\"# 游\\".chars().all(|c| cursor.contains(c)));
        assert_eq!(mine.place(&cursor), Some(place));
        assert_eq!(mine.place(""), Some(Place::default()));
        for other in [
            asked(List::Meeting, "M", 0, 50),
            asked(List::Webinar, "N", 0, 50),
            asked(List::Webinar, "M", 1, 50),
            asked(List::Webinar, "M", 0, 49),
        ] {
            assert_eq!(other.place(&cursor), None);
        }
    }

    #[test]
    fn a_damaged_cursor_is_noticed() {
        let mine = asked(List::Webinar, "M", 0, 50);
        let cursor = mine.cursor(Place { index: 150, detour: 0 });
        for (at, c) in cursor.char_indices() {
            let cut = [&cursor[..at], &cursor[at + c.len_utf8()..]].concat();
            assert_eq!(mine.place(&cut), None, "{cut}");
        }
        for bad in
            [format!("{cursor} "), cursor.replace('+', " "), cursor.to_uppercase(), "x".into()]
        {
            assert_eq!(mine.place(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cursor_outlives_the_process() {
        let cursor = asked(List::Webinar, "M", 0, 50).cursor(Place { index: 50, detour: 0 });
        assert_eq!(cursor, "c+/=&%\"# 游\\32.0.e3a3ed35b02fec2e==");
    }
}
