//! [`EnrollStream`]: the rows of a list, one at a time.
//!
//! The stream is implemented by hand, so that a row costs only an index and an `Arc`, and so that the
//! checkpoint reports what was yielded, not what was fetched.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, stream::FusedStream};
use sync_wrapper::SyncWrapper;

use crate::{
    call::{Api, Stats, StatsHandle},
    error::{Error, MalformedRow, Result},
    stream::{
        checkpoint::Checkpoint,
        pages::{Fetched, PageStream},
    },
    wire::{Enroll, Query},
};

/// The enrollees of a list, in the server's order. Returned by [`Client::enrolls`](crate::Client::enrolls)
/// and [`Client::resume`](crate::Client::resume).
///
/// Nothing is sent before the first poll. The next page is requested when the current one is exhausted,
/// unless [`EnrollStream::read_ahead`] is set. The lower bound of `size_hint` is the number of remaining rows
/// of the current page; on the last page it is exact.
///
/// # Errors
///
/// An error ends the stream and carries the checkpoint at which it ended. The exception is a malformed row,
/// an error of kind [`ErrorKind::Row`](crate::ErrorKind::Row): the stream continues when it is polled again.
/// [`EnrollStream::on_malformed_row`] removes such rows from the stream.
///
/// # Panics
///
/// Panics if polled outside a tokio runtime that has the time driver enabled.
///
/// # Cancel safety
///
/// Dropping a pending `next()`, as `select!` and `timeout` do, loses no row and uses no additional quota: the
/// request in flight stays with the stream. Dropping the stream cancels the request.
///
/// # Examples
///
/// ```no_run
/// # async fn run(client: wecom_enroll::Client) -> wecom_enroll::Result<()> {
/// use futures::TryStreamExt;
/// use wecom_enroll::Query;
///
/// client
///     .enrolls(Query::webinar("MEETINGID1"))
///     .read_ahead(1)
///     .on_malformed_row(|row| eprintln!("page {}, row {} is malformed", row.page, row.row))
///     .try_for_each(|row| async move {
///         println!("{} {}", row.enroll_id(), row.nick_name());
///         Ok(())
///     })
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct EnrollStream {
    pub(super) pages: PageStream,
    current: Option<Fetched>,
    /// How many rows of the current page were yielded.
    yielded: usize,
    /// A copy of the current page's length, so that the check for another row does not read the page.
    rows: usize,
    /// In a `SyncWrapper`, so that `EnrollStream` is `Sync`.
    on_malformed_row: Option<SyncWrapper<MalformedRowHandler>>,
}

type MalformedRowHandler = Box<dyn FnMut(MalformedRow) + Send>;

impl EnrollStream {
    pub(crate) fn new(api: Api, checkpoint: Checkpoint) -> Self {
        let pages = PageStream::new(api, checkpoint);
        Self { pages, current: None, yielded: 0, rows: 0, on_malformed_row: None }
    }

    /// Sets how many pages are fetched before they are needed. Default: 0. Has no effect after the first poll.
    ///
    /// A task on the current tokio runtime fetches the pages; it ends when the stream is dropped. The pages
    /// use quota even if they are never read.
    pub fn read_ahead(self, pages: usize) -> Self {
        Self { pages: self.pages.read_ahead(pages), ..self }
    }

    /// Passes malformed rows to `handler` instead of yielding them as errors, so that `try_for_each` and
    /// similar combinators do not stop at them.
    pub fn on_malformed_row(self, handler: impl FnMut(MalformedRow) + Send + 'static) -> Self {
        Self { on_malformed_row: Some(SyncWrapper::new(Box::new(handler))), ..self }
    }

    /// Returns the position after the last row that was yielded.
    pub fn checkpoint(&self) -> Checkpoint {
        match &self.current {
            Some(fetched) => Checkpoint::new(self.query().clone(), fetched.position(self.yielded)),
            None => self.pages.checkpoint(),
        }
    }

    /// Returns the query of this stream.
    pub fn query(&self) -> &Query {
        self.pages.query()
    }

    /// Returns the current statistics of this stream. Rows are counted exactly.
    pub fn stats(&self) -> Stats {
        let stats = self.pages.stats();
        Stats { rows: stats.rows - (self.rows - self.yielded) as u64, ..stats }
    }

    /// Returns a handle that reads the statistics from another task.
    pub fn stats_handle(&self) -> StatsHandle {
        self.pages.stats_handle()
    }

    /// Returns the next row of the current page, if there is one.
    #[inline]
    pub(super) fn next_row(&mut self) -> Option<Result<Enroll>> {
        while self.yielded < self.rows {
            let row = self.current.as_ref()?.page.row(self.yielded);
            self.yielded += 1;
            match row {
                Ok(row) => return Some(Ok(row)),
                Err(error) => {
                    if let Some(error) = self.handle_malformed(error) {
                        return Some(Err(error));
                    }
                }
            }
        }
        None
    }

    /// Passes a malformed row to the handler, or returns its error if there is no handler.
    #[cold]
    fn handle_malformed(&mut self, error: Error) -> Option<Error> {
        match (&mut self.on_malformed_row, error.malformed_row()) {
            (Some(handler), Some(row)) => {
                handler.get_mut()(row.clone());
                None
            }
            _ => Some(error),
        }
    }

    /// Replaces the exhausted page with the next one that has rows. Not inlined, which keeps the usual path small.
    #[cold]
    #[inline(never)]
    fn poll_next_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Enroll>>> {
        loop {
            // Frees the exhausted page before the next one arrives.
            self.current = None;
            (self.yielded, self.rows) = (0, 0);
            match ready!(self.pages.poll_fetched(cx)) {
                Some(Ok(fetched)) => {
                    self.yielded = fetched.already_yielded();
                    self.rows = fetched.page.len();
                    self.current = Some(fetched);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
            if let Some(row) = self.next_row() {
                return Poll::Ready(Some(row));
            }
        }
    }
}

impl Stream for EnrollStream {
    type Item = Result<Enroll>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Enroll>>> {
        match self.next_row() {
            Some(row) => Poll::Ready(Some(row)),
            None => self.poll_next_page(cx),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Malformed rows are not yielded if they have a handler.
        let malformed = match (&self.on_malformed_row, &self.current) {
            (Some(_), Some(fetched)) => fetched.page.malformed_from(self.yielded),
            _ => 0,
        };
        let remaining = self.rows - self.yielded - malformed;
        (remaining, self.pages.is_terminated().then_some(remaining))
    }
}

impl FusedStream for EnrollStream {
    fn is_terminated(&self) -> bool {
        // Malformed rows at the end must still reach the handler.
        self.yielded == self.rows && self.pages.is_terminated()
    }
}
