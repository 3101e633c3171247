//! A position in a walk that can be written down: the query, and the place of the next unread row.

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    wire::{Cursor, Page, Query},
};

/// The version written; another one is refused.
const VERSION: u32 = 1;

/// Where a walk stands: its whole query, and the next row that was not yet yielded.
///
/// `client.resume(checkpoint)` goes on from there, in this process or another one: a checkpoint
/// serializes (its JSON is small, and holds the server's cursor, so keep it like a secret). It
/// cannot be used with another query, because it carries its own.
///
/// Row-exact as long as the page under it stays the same. When a row was inserted into that page or
/// removed from it before the position, the page is yielded anew from its start: **at least once**,
/// at most one page twice, and no row lost. How long WeCom keeps a cursor good is not documented; an
/// errcode 50100 on resuming says that it no longer is.
///
/// # Errors
///
/// Deserializing refuses what is no checkpoint, one of another version, and one whose query could
/// not be sent; its text says which.
///
/// ```
/// use wecom_enroll::{Checkpoint, Client, Query};
///
/// let client = Client::builder().access_token("TOKEN").build()?;
/// let start = client.enrolls(Query::webinar("MEETINGID1")).checkpoint();
/// let written = serde_json::to_string(&start)?;
/// assert_eq!(serde_json::from_str::<Checkpoint>(&written)?, start);
/// assert!(!start.is_end());
/// assert!(serde_json::from_str::<Checkpoint>(&written.replace("MEETINGID1", "")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Checkpoint {
    version: u32,
    query: Query,
    position: Position,
}

/// A checkpoint as it was read, before it is believed.
#[derive(Deserialize)]
struct Written {
    version: u32,
    query: Query,
    position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Position {
    /// In the page that `cursor` leads to.
    Page(Place),
    /// Behind the last row of the list.
    End,
}

/// A place in a page. Pages count from 1, at the start of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) page: u64,
    pub(super) cursor: Option<Cursor>,
    /// Rows of the page that were already yielded.
    pub(super) rows: usize,
    /// The fingerprint of those rows' ids, which tells whether the page is still the same. All of
    /// them, not only the last one: an insertion and a removal can make up for each other. And it
    /// keeps personal data out of checkpoints.
    pub(super) marks: u64,
    /// The fingerprint of the cursor behind this page, if it was refused: it is no better next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<u64>,
}

impl Checkpoint {
    pub(super) fn new(query: Query, position: Position) -> Self {
        Self { version: VERSION, query, position }
    }

    /// The walk from its first row.
    pub(crate) fn start(query: Query) -> Self {
        Self::new(query, Position::Page(Place::new(1, None)))
    }

    pub(super) fn into_parts(self) -> (Query, Position) {
        (self.query, self.position)
    }

    /// The query of the walk.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Whether every row was yielded: resuming from here yields nothing and sends nothing.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.position == Position::End
    }
}

impl TryFrom<Written> for Checkpoint {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let Written { version, query, position } = written;
        if version != VERSION {
            let text = format!(
                "the checkpoint is of version {version}, not {VERSION}; start anew without it"
            );
            return Err(Error::checkpoint_refused(text));
        }
        query.check()?;
        Ok(Self { version, query, position })
    }
}

impl Place {
    /// The start of a page.
    pub(super) fn new(page: u64, cursor: Option<Cursor>) -> Self {
        Self { page, cursor, rows: 0, marks: fingerprint([]), refused: None }
    }

    /// How many rows of `page`, which was fetched for this place, were already yielded: none that
    /// we know of, if it is no longer the page it was.
    pub(super) fn yielded_of(&self, page: &Page) -> usize {
        let same = self.rows <= page.len() && self.marks == fingerprint(page.marks(self.rows));
        if same { self.rows } else { 0 }
    }
}

/// FNV-1a over some texts and their borders. Stable, because checkpoints hold it.
pub(super) fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
