//! One decoded reply: its body, and tables that say where in it each row's strings lie.
//!
//! Rows are views of the page, so a page of 50 costs a handful of allocations instead of a
//! thousand. The price is that a kept row keeps its page: see [`Enroll::detach`].

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    error::{BadRow, Error, Result},
    wire::Enroll,
};

/// One page of a list, in the server's order. Cheap to clone: clones share the decoded reply.
///
/// Made by [`Client::pages`](crate::Client::pages). Rows that cannot be decoded are items of it, too:
///
/// ```
/// use futures::TryStreamExt;
/// use wecom_enroll::Query;
///
/// # use wecom_enroll::{Client, simulator::Simulator};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Simulator::builder().enrollees(120).start().await?;
/// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
/// let page = client.pages(Query::webinar("MEETINGID1")).try_next().await?.ok_or("no page")?;
/// assert_eq!((page.number(), page.len(), page.has_more()), (1, 50, true));
/// for row in page.rows() {
///     match row {
///         Ok(row) => println!("{}", row.enroll_id()),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Page {
    pub(super) tables: Arc<Tables>,
    pub(super) number: u64,
    pub(super) has_more: bool,
    pub(super) next_cursor: Option<Cursor>,
}

impl Page {
    /// The page's number, counted from 1 at the start of the list.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many rows it holds, those that cannot be decoded included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.rows.len()
    }

    /// Whether it holds no row. An empty page does not end a list: [`Page::has_more`] does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the server has more pages after this one.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// The rows; one that cannot be decoded is an error of kind `Row`, the others follow it.
    #[must_use]
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Result<Enroll>> + '_ {
        (0..self.len()).map(|index| self.row(index))
    }

    /// The row at `index`, which must be below `len()`.
    #[inline]
    pub(crate) fn row(&self, index: usize) -> Result<Enroll> {
        match self.tables.bad.get(&index) {
            None => Ok(Enroll::new(Arc::clone(&self.tables), index)),
            Some(bad) => Err(self.bad_row(index, bad)),
        }
    }

    #[cold]
    fn bad_row(&self, index: usize, bad: &Bad) -> Error {
        let Bad { enroll_id, raw, field } = bad.clone();
        Error::row(BadRow { page: self.number, index, enroll_id, raw }, field)
    }

    /// What tells the first `count` rows from others: their `enroll_id`, or whatever else there is.
    pub(crate) fn marks(&self, count: usize) -> impl Iterator<Item = &str> {
        self.tables.rows.iter().take(count).enumerate().flat_map(|(index, row)| {
            let [id, time, name] =
                [row.enroll_id, row.enroll_time, row.nick_name].map(|span| self.tables.text(span));
            match self.tables.bad.get(&index) {
                None if id.is_empty() => [time, name],
                None => [id, ""],
                Some(bad) => [&bad.raw, ""],
            }
        })
    }

    pub(crate) fn next_cursor(&self) -> Option<&Cursor> {
        self.next_cursor.as_ref()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("number", &self.number)
            .field("len", &self.len())
            .field("has_more", &self.has_more)
            .finish_non_exhaustive()
    }
}

/// The server's opaque mark of a page. It passes through untouched and never shows in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cursor(Arc<str>);

impl Cursor {
    /// An empty string is no cursor: the first page is asked for without one.
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

/// Where a string lies: in the body, or past its end in the side buffer. The default is empty.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    at: u32,
    len: u32,
}

impl Span {
    pub(super) fn new(at: usize, len: usize) -> Self {
        Self { at: narrow(at), len: narrow(len) }
    }
}

/// Bodies are capped far below 4 GiB (see `ClientBuilder::max_body`), so nothing is cut off here.
pub(super) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The decoded reply. `text` turns a span back into its string.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) body: String,
    /// Strings that do not stand in the body as they are: unescaped ones, and ids sent as numbers.
    pub(super) side: String,
    /// Every row of the page; a bad one stands here empty, so that indices agree.
    pub(super) rows: Vec<Row>,
    pub(super) bad: BTreeMap<usize, Bad>,
    pub(super) answers: Vec<AnswerRow>,
    pub(super) contents: Vec<Span>,
}

#[derive(Clone, Default)]
pub(super) struct Row {
    pub(super) enroll_id: Span,
    pub(super) enroll_time: Span,
    pub(super) nick_name: Span,
    pub(super) userid: Span,
    pub(super) tmp_openid: Span,
    pub(super) enroll_code: Span,
    pub(super) source: u32,
    pub(super) status: u32,
    pub(super) answers: Range<u32>,
}

#[derive(Clone, Default)]
pub(super) struct AnswerRow {
    pub(super) title: Span,
    pub(super) contents: Range<u32>,
    pub(super) is_required: u32,
    pub(super) question_num: u32,
    pub(super) question_type: u32,
    pub(super) special_type: u32,
}

/// A row that could not be decoded, and the field at which decoding stopped.
#[derive(Clone)]
pub(super) struct Bad {
    pub(super) enroll_id: Option<String>,
    pub(super) raw: String,
    pub(super) field: &'static str,
}

impl Tables {
    pub(super) fn text(&self, span: Span) -> &str {
        let (at, len) = (span.at as usize, span.len as usize);
        match at.checked_sub(self.body.len()) {
            // An empty span may lie at the body's end.
            Some(at) => self.side.get(at..at + len),
            None => self.body.get(at..at + len),
        }
        .unwrap_or_default()
    }
}
