//! A decoded page as tables: the body, and the byte range of each string in it. Rows are views of these
//! tables, so a page of 50 rows costs a few allocations instead of a thousand.

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use faststr::FastStr;
use serde::{Deserialize, Serialize};

use crate::error::MalformedRow;

/// The maximum number of rows per page: two hundred times what WeCom sends (doc 98876). It bounds the
/// memory for the rows of a hostile response; the size of the body bounds the memory for answers.
pub(crate) const MAX_ROWS: usize = 10_000;

pub(super) struct ListResponse {
    /// `body` is not set yet.
    pub(super) tables: Tables,
    pub(super) has_more: bool,
    pub(super) next_cursor: Option<Cursor>,
}

/// The tables of one page.
#[derive(Default)]
pub(super) struct Tables {
    /// Shares the memory of the response. Empty if all texts are in `side`.
    pub(super) body: FastStr,
    /// Strings that are not in the body as such, for example because they were escaped.
    pub(super) side: String,
    /// All rows of the page. A malformed row is an empty entry, so that indices match.
    pub(super) rows: Vec<Row>,
    /// The malformed rows, by index.
    pub(super) malformed: BTreeMap<usize, MalformedRow>,
    pub(super) answers: Vec<AnswerRow>,
    pub(super) contents: Vec<ByteRange>,
}

impl Tables {
    pub(super) fn text(&self, range: ByteRange) -> &str {
        self.text_in(&self.body, range)
    }

    /// Returns the string in this byte range of `body` or of the side buffer.
    pub(super) fn text_in<'t>(&'t self, body: &'t str, range: ByteRange) -> &'t str {
        let (start, len) = (range.start as usize, range.len as usize);
        match start.checked_sub(body.len()) {
            // Positions from the body's end on are in the side buffer.
            Some(start) => self.side.get(start..start + len),
            None => body.get(start..start + len),
        }
        .unwrap_or_default()
    }
}

/// Tables contain personal data, so only their size is printed.
impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tables({} rows)", self.rows.len())
    }
}

/// The byte range of a string. Ranges past the end of the body are in the side buffer. The default is the
/// empty string.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByteRange {
    start: u32,
    len: u32,
}

impl ByteRange {
    pub(super) fn new(start: usize, len: usize) -> Self {
        Self { start: narrow(start), len: narrow(len) }
    }

    /// Returns the bytes of a string in the body, with its quotes. Empty if the string is not there.
    pub(super) fn quoted_in(self, body: &str) -> &[u8] {
        let (start, len) = (self.start as usize, self.len as usize);
        body.as_bytes().get(start.wrapping_sub(1)..start + len + 1).unwrap_or_default()
    }
}

/// Converts an offset. Bodies are capped at 1 GiB (see `ClientBuilder::max_body`), so none is ever truncated.
pub(super) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[derive(Clone, Default)]
pub(super) struct Row {
    pub(super) enroll_id: ByteRange,
    pub(super) enroll_time: ByteRange,
    pub(super) nick_name: ByteRange,
    pub(super) userid: ByteRange,
    pub(super) tmp_openid: ByteRange,
    pub(super) enroll_code: ByteRange,
    pub(super) source: u32,
    pub(super) status: u32,
    /// Indices into [`Tables::answers`].
    pub(super) answers: Range<u32>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct AnswerRow {
    pub(super) title: ByteRange,
    /// Indices into [`Tables::contents`].
    pub(super) contents: Range<u32>,
    pub(super) is_required: u32,
    pub(super) question_num: u32,
    pub(super) question_type: u32,
    pub(super) special_type: u32,
}

/// WeCom's opaque reference to a page. It is sent back unchanged and never appears in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cursor(Arc<str>);

impl Cursor {
    /// Returns `None` for an empty string: the first page is requested without a cursor.
    pub(super) fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor(..)")
    }
}
