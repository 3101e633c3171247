//! [`Page`]: one decoded response, as rows.

use std::{ops::Range, sync::Arc};

use crate::{
    error::{Error, Result},
    wire::{
        enroll::Enroll,
        tables::{Cursor, Row, Tables},
    },
};

/// One page of a list, in the server's order. Cheap to clone: clones share the decoded response.
///
/// Yielded by the stream of [`Client::pages`](crate::Client::pages). A malformed row is an `Err` of kind
/// [`ErrorKind::Row`](crate::ErrorKind::Row) among the rows.
#[derive(Clone, Debug)]
pub struct Page {
    pub(super) tables: Arc<Tables>,
    pub(super) number: u64,
    pub(super) has_more: bool,
    pub(crate) next_cursor: Option<Cursor>,
}

impl Page {
    /// Returns the number of this page. The first page of a list is page 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of rows, including malformed ones.
    pub fn len(&self) -> usize {
        self.tables.rows.len()
    }

    /// Returns whether the page has no rows. An empty page does not end a list: [`Page::has_more`] does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the server has more pages after this one.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Returns the rows in the server's order. A malformed row is an error of kind
    /// [`ErrorKind::Row`](crate::ErrorKind::Row).
    pub fn rows(&self) -> Rows<'_> {
        Rows { page: self, indices: 0..self.len() }
    }

    /// Returns the row at `index`, which must be less than `len()`.
    #[inline]
    pub(crate) fn row(&self, index: usize) -> Result<Enroll> {
        match self.tables.malformed.get(&index) {
            None => Ok(Enroll::new(Arc::clone(&self.tables), index)),
            Some(malformed) => Err(Error::row(malformed.clone())),
        }
    }

    /// Returns how many of the rows from `index` on are malformed.
    pub(crate) fn malformed_from(&self, index: usize) -> usize {
        self.tables.malformed.range(index..).count()
    }

    /// Calls `add` with the texts that identify the first `count` rows: the `enroll_id`, followed by the other
    /// fields of a person if it is empty; the raw JSON if the row is malformed.
    pub(crate) fn for_each_row_id(&self, count: usize, mut add: impl FnMut(&str)) {
        for (index, row) in self.tables.rows.iter().take(count).enumerate() {
            let Row { enroll_id, enroll_time, nick_name, userid, tmp_openid, enroll_code, .. } =
                *row;
            let malformed = self.tables.malformed.get(&index);
            let id = malformed.map_or_else(|| self.tables.text(enroll_id), |row| &row.raw);
            add(id);
            if id.is_empty() {
                for range in [enroll_time, nick_name, userid, tmp_openid, enroll_code] {
                    add(self.tables.text(range));
                }
            }
        }
    }

    /// Returns whether any row has an id, or is a malformed object. Without ids, an equal page does not
    /// prove that the server repeated it.
    pub(crate) fn has_ids(&self) -> bool {
        self.tables.rows.iter().enumerate().any(|(index, row)| {
            match self.tables.malformed.get(&index) {
                Some(malformed) => malformed.raw.starts_with('{'),
                None => [row.enroll_id, row.userid, row.tmp_openid]
                    .iter()
                    .any(|&range| !self.tables.text(range).is_empty()),
            }
        })
    }
}

/// Two pages are equal if they have the same number, rows, next cursor and value of [`Page::has_more`].
impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        (self.number, self.has_more, self.len()) == (other.number, other.has_more, other.len())
            && self.next_cursor == other.next_cursor
            && self.tables.malformed == other.tables.malformed
            && self.rows().zip(other.rows()).all(|rows| match rows {
                (Ok(one), Ok(two)) => one == two,
                // The malformed rows were compared above.
                (one, two) => one.is_err() && two.is_err(),
            })
    }
}

impl Eq for Page {}

/// The rows of a [`Page`]. Returned by [`Page::rows`].
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct Rows<'a> {
    page: &'a Page,
    indices: Range<usize>,
}

impl Iterator for Rows<'_> {
    type Item = Result<Enroll>;

    fn next(&mut self) -> Option<Result<Enroll>> {
        self.indices.next().map(|index| self.page.row(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Result<Enroll>> {
        self.indices.next_back().map(|index| self.page.row(index))
    }
}

impl ExactSizeIterator for Rows<'_> {}

#[expect(clippy::into_iter_without_iter, reason = "the method is called `rows`")]
impl<'a> IntoIterator for &'a Page {
    type Item = Result<Enroll>;
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.rows()
    }
}
