//! [`MalformedRow`]: the content of an error of kind `Row`.

use std::fmt;

/// A row that could not be decoded.
///
/// `Debug` prints only where the row is, because the raw row is personal data.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MalformedRow {
    /// The number of its page. The first page of a list is page 1.
    pub page: u64,
    /// The number of the row within its page. The first row is row 1.
    pub row: usize,
    /// The `enroll_id`, if the row has one of at most 64 bytes.
    pub enroll_id: Option<String>,
    /// The name of the malformed field; empty if the row is not an object.
    pub field: &'static str,
    /// At most 4096 bytes of the row's JSON. Control characters in strings are escaped, and invalid UTF-8 is
    /// replaced by U+FFFD.
    pub raw: String,
}

impl fmt::Debug for MalformedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, row, .. } = self;
        f.debug_struct("MalformedRow").field("page", page).field("row", row).finish_non_exhaustive()
    }
}
