//! [`Checkpoint`]: a position in a list that can be saved.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use crate::{
    error::{Error, Result},
    wire::{Cursor, MAX_ROWS, Page, Query, integer},
};

/// The version that is written. Other versions are refused.
const VERSION: u64 = 1;

/// A position in a list: the query, and the position of the first row that was not yielded.
///
/// A checkpoint implements `Serialize` and `Deserialize`, for JSON and any other format of serde, even one
/// without the names of fields. It is small. **It contains the server's cursor, so store it like a secret**
/// (for example in a file with mode 0600).
///
/// The stream resumes at exactly the next row, unless the yielded rows of its page have changed: then the whole
/// page is yielded again. WeCom documents no snapshots: if enrollees leave the list while it is read or between two
/// runs, WeCom itself may skip rows. WeCom does not document how long a cursor is valid. If it has expired, the
/// resumed stream fails ([`Error::is_cursor_expired`]), and [`Error::resume_from`] returns `None`.
///
/// # Errors
///
/// Deserializing fails if the data is damaged, has another version, or contains an invalid query or a
/// position that no stream can have, such as page 2 without a cursor.
///
/// ```
/// use wecom_enroll::{Checkpoint, Client, Query};
///
/// let client = Client::builder().access_token("TOKEN").build()?;
/// let checkpoint = client.enrolls(Query::webinar("MEETINGID1")).checkpoint();
///
/// let json = serde_json::to_string(&checkpoint)?;
/// let loaded: Checkpoint = serde_json::from_str(&json)?;
/// assert_eq!(loaded, checkpoint);
/// assert!(client.resume(&Query::webinar("MEETINGID2"), loaded).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Checkpoint {
    #[serde(deserialize_with = "integer")]
    version: u64,
    pub(super) query: Query,
    pub(super) position: Position,
}

/// A deserialized checkpoint that is not validated yet.
#[derive(Deserialize)]
struct Unchecked {
    #[serde(deserialize_with = "integer")]
    version: u64,
    query: Query,
    position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Position {
    Page(PagePosition),
    /// After the last row of the list.
    End,
}

/// A position within a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PagePosition {
    /// The number of the page, starting with 1.
    #[serde(deserialize_with = "integer")]
    pub(super) page: u64,
    /// The cursor that the page is requested with. Only page 1 has none.
    pub(super) cursor: Option<Cursor>,
    /// How many rows of the page were yielded.
    #[serde(deserialize_with = "integer")]
    pub(super) rows: u64,
    /// The hash of the ids of these rows, to detect whether the page has changed. It covers all of them, because an
    /// insertion and a removal can cancel each other out. A hash keeps personal data out of checkpoints.
    pub(super) row_id_hash: Hash,
    /// The hash that a resumed stream must refuse: of the rows of the previous page, of this page's rows if they
    /// repeat an earlier page, or of this page's `next_cursor` if it cannot be followed.
    pub(super) refused: Option<Hash>,
}

/// A hash of texts. It is written as text, because 64 bits do not fit into the integers of TOML and JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Hash(u64);

impl Checkpoint {
    pub(super) fn new(query: Query, position: Position) -> Self {
        Self { version: VERSION, query, position }
    }

    /// Creates the checkpoint before the first row.
    pub(crate) fn start(query: Query) -> Self {
        Self::new(query, Position::Page(PagePosition::start_of(1, None, None)))
    }

    /// Checks that this is a position in the list of `query`.
    pub(crate) fn check_query(&self, query: &Query) -> Result<()> {
        if self.query == *query {
            return Ok(());
        }
        Err(Error::checkpoint_refused(
            "the checkpoint belongs to another query; resume it with its own query, or delete it to \
             start from scratch",
        ))
    }

    /// Returns the query.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Returns whether this is the position before the first row of the first page.
    pub fn is_start(&self) -> bool {
        matches!(&self.position, Position::Page(position) if position.page == 1 && position.rows == 0)
    }

    /// Returns whether every row was yielded. A stream that resumes from here yields nothing and sends
    /// nothing. To read the list again, start a new stream.
    pub fn is_end(&self) -> bool {
        self.position == Position::End
    }
}

impl TryFrom<Unchecked> for Checkpoint {
    type Error = Error;

    fn try_from(Unchecked { version, query, position }: Unchecked) -> Result<Self> {
        if version != VERSION {
            return Err(Error::checkpoint_refused(format!(
                "the checkpoint has version {version}, but this program needs version {VERSION}; \
                 delete it to start from scratch"
            )));
        }
        query.validate()?;
        if let Position::Page(position) = &position {
            position.validate()?;
        }
        Ok(Self { version, query, position })
    }
}

impl Error {
    /// Returns the position at which the stream ended. Every error that ends a stream of rows or pages has one; an
    /// error of kind [`ErrorKind::Row`](crate::ErrorKind::Row), after which the stream continues, has none.
    ///
    /// To decide what to save, use [`Error::resume_from`].
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.attachment()
    }

    /// Returns the checkpoint from which a later run should resume. `None` if it should start from scratch, because the
    /// stream ended before its first row, the cursor has expired, or WeCom refused the request itself. Also `None` for
    /// an error that did not end the stream.
    pub fn resume_from(&self) -> Option<&Checkpoint> {
        self.checkpoint().filter(|checkpoint| !checkpoint.is_start() && !self.refuses_request())
    }
}

impl PagePosition {
    /// Creates the position before the first row of a page.
    pub(super) fn start_of(page: u64, cursor: Option<Cursor>, refused: Option<Hash>) -> Self {
        Self { page, cursor, rows: 0, row_id_hash: no_rows(), refused }
    }

    /// Checks that a stream can have this position.
    fn validate(&self) -> Result<()> {
        let cursor = self.cursor.as_ref().map(Cursor::as_str);
        let problem = match (self.page, cursor) {
            (0, _) => "it is on page 0",
            (1, Some(_)) => "it is on page 1, but has a cursor",
            (2.., None | Some("")) => "it is not on page 1, but has no cursor",
            _ if self.page == 1 && self.refused.is_some() => {
                "it is on page 1, but refuses rows or a cursor of an earlier page"
            }
            _ if self.rows > MAX_ROWS as u64 => "it counts more rows than a page can have",
            _ if self.rows == 0 && self.row_id_hash != no_rows() => {
                "it counts no rows, but has a hash of their ids"
            }
            _ => return Ok(()),
        };
        Err(Error::checkpoint_refused(format!(
            "the checkpoint is damaged: {problem}; delete it to start from scratch"
        )))
    }

    /// Returns how many rows of `page`, which was fetched for this position, were already yielded. Returns 0
    /// if the page has changed.
    pub(super) fn yielded_rows(&self, page: &Page) -> usize {
        let rows = usize::try_from(self.rows).unwrap_or(usize::MAX);
        let is_same = rows <= page.len() && self.row_id_hash == rows_hash(page, rows);
        if is_same { rows } else { 0 }
    }
}

/// The seeds of the hashes. They differ, so that a cursor and a page with the same text have different hashes.
const ROWS: u64 = 0;
const CURSOR: u64 = 1;

/// Hashes the ids of the first `count` rows. The result must be stable, because checkpoints contain it.
pub(super) fn rows_hash(page: &Page, count: usize) -> Hash {
    let mut hasher = Xxh64::new(ROWS);
    page.for_each_row_id(count, |text| {
        hasher.update(text.as_bytes());
        hasher.update(&[255]);
    });
    Hash(hasher.digest())
}

fn no_rows() -> Hash {
    Hash(xxh64(&[], ROWS))
}

pub(super) fn cursor_hash(cursor: &Cursor) -> Hash {
    Hash(xxh64(cursor.as_str().as_bytes(), CURSOR))
}

impl From<Hash> for String {
    fn from(Hash(hash): Hash) -> Self {
        format!("{hash:016x}")
    }
}

impl TryFrom<String> for Hash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = u64::from_str_radix(&text, 16).ok().filter(|_| is_hex);
        hash.map(Self).ok_or_else(|| {
            Error::checkpoint_refused("the checkpoint is damaged: a hash must have 16 hex digits")
        })
    }
}
