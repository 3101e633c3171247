//! The rows of a list, one at a time: the current page, how far it was read, and the position.
//!
//! Written by hand so that a row costs an index and an `Arc`, and so that the position always tells
//! what was yielded, whatever was fetched ahead.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, stream::FusedStream};

use crate::{
    call::{Caller, Meter, Stats},
    error::Result,
    walk::{Checkpoint, PageStream, checkpoint::Position, pages::Fetched},
    wire::{Enroll, Query},
};

/// The enrollees of a list, in the server's order. Made by [`Client::enrolls`](crate::Client::enrolls)
/// and [`Client::resume`](crate::Client::resume).
///
/// Nothing is sent before the first poll, and the next page only when the current one is drained,
/// unless [`EnrollStream::read_ahead`] says otherwise. `size_hint` tells the rows at hand, and is
/// exact on the last page.
///
/// # Errors
///
/// An error ends the stream and carries the checkpoint to resume from. The exception is kind `Row`:
/// one row that could not be decoded, after which the stream goes on if polled again.
///
/// # Cancel safety
///
/// Dropping a pending `next()`, as `select!` and `timeout` do, loses no row and pays no quota that
/// was not used: the request in flight stays with the stream. Dropping the stream cancels it.
///
/// # Examples
///
/// ```
/// use futures::StreamExt;
/// use wecom_enroll::{ErrorKind, Query};
///
/// # use wecom_enroll::{Client, simulator::Simulator};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Simulator::builder().enrollees(120).start().await?;
/// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
/// let mut rows = client.enrolls(Query::webinar("MEETINGID1")).read_ahead(1);
/// let mut seen = 0;
/// while let Some(row) = rows.next().await {
///     match row {
///         Ok(row) => println!("{} {}", row.enroll_id(), row.nick_name()),
///         Err(error) if error.kind() == ErrorKind::Row => eprintln!("{error}"), // and on
///         Err(error) => return Err(error.into()), // error.checkpoint() is where to go on
///     }
///     seen += 1;
/// }
/// assert_eq!(seen, 120);
/// # Ok(())
/// # }
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct EnrollStream {
    pages: PageStream,
    current: Option<Fetched>,
    /// Rows of the current page that were yielded.
    yielded: usize,
    /// Rows of the current page. Beside it, so that a poll between two rows looks at nothing else.
    rows: usize,
    /// The position while no page is current.
    position: Position,
    failed: bool,
}

impl EnrollStream {
    pub(crate) fn new(caller: Caller, checkpoint: Checkpoint) -> Self {
        let (_, position) = checkpoint.clone().into_parts();
        let pages = PageStream::new(caller, checkpoint);
        Self { pages, current: None, yielded: 0, rows: 0, position, failed: false }
    }

    /// Fetches up to `pages` pages before they are needed. Default: 0.
    ///
    /// They are fetched in a task of their own, so this needs a tokio runtime; it ends when the stream
    /// is dropped. They pay quota, also those of a walk that is then abandoned. Where a reply
    /// holds the next cursor before its rows, and these begin in its first 1,024 bytes, as WeCom's do, the
    /// next request is sent before the page is decoded.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// let mut rows = client.enrolls(Query::webinar("MEETINGID1")).read_ahead(1);
    /// rows.next().await;
    /// tokio::time::sleep(std::time::Duration::from_millis(500)).await; // slow work
    /// assert_eq!(sim.calls().list, 2); // the second page is there before its first row is asked for
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_ahead(self, pages: usize) -> Self {
        Self { pages: self.pages.read_ahead(pages), ..self }
    }

    /// The position behind the last row that was yielded, whatever was fetched ahead.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(self.query().clone(), self.position())
    }

    /// The query of this walk.
    #[must_use]
    pub fn query(&self) -> &Query {
        self.pages.query()
    }

    /// What this walk has done so far, and what it waits for. Its rows are counted exactly.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    /// use wecom_enroll::Query;
    ///
    /// # use wecom_enroll::{Client, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().enrollees(120).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
    /// rows.by_ref().take(70).count().await;
    /// let stats = rows.stats();
    /// assert_eq!((stats.pages, stats.rows, stats.attempts), (2, 70, 2));
    /// println!("{:?} waiting for replies", stats.reply_wait);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = self.pages.stats();
        Stats { rows: stats.rows - (self.rows - self.yielded) as u64, ..stats }
    }

    /// The same for another task, which sees a page's rows counted at once. [`Meter`] has an example.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.pages.meter()
    }

    fn position(&self) -> Position {
        match &self.current {
            None => self.position.clone(),
            Some(fetched) => fetched.position(self.yielded),
        }
    }

    /// The next row of the current page.
    #[inline]
    pub(super) fn next_row(&mut self) -> Option<Result<Enroll>> {
        let row = self.current.as_ref()?.page.row(self.yielded);
        self.yielded += 1;
        Some(row)
    }

    /// The first row of the next page that has any. Out of line, for the sake of the other rows.
    #[cold]
    #[inline(never)]
    fn poll_refilled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Enroll>>> {
        while self.yielded == self.rows {
            match ready!(self.poll_page(cx)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(self.next_row())
    }

    /// Replaces the drained page by the next one. `None`: nothing more will come.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if let Some(drained) = self.current.take() {
            // Its memory is free while the next one is on its way.
            self.position = drained.position(self.yielded);
            (self.yielded, self.rows) = (0, 0);
        }
        match ready!(self.pages.poll_fetched(cx)) {
            Some(Ok(fetched)) => {
                self.yielded = fetched.place.yielded_of(&fetched.page);
                self.rows = fetched.page.len();
                self.current = Some(fetched);
                Poll::Ready(Some(Ok(())))
            }
            Some(Err(error)) => {
                self.failed = true;
                Poll::Ready(Some(Err(error.with_checkpoint(self.checkpoint()))))
            }
            None => Poll::Ready(None),
        }
    }
}

impl Stream for EnrollStream {
    type Item = Result<Enroll>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Enroll>>> {
        if self.yielded < self.rows { Poll::Ready(self.next_row()) } else { self.poll_refilled(cx) }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let at_hand = self.rows - self.yielded;
        (at_hand, (self.failed || self.pages.is_terminated()).then_some(at_hand))
    }
}

impl FusedStream for EnrollStream {
    fn is_terminated(&self) -> bool {
        self.yielded == self.rows && (self.failed || self.pages.is_terminated())
    }
}

impl fmt::Debug for EnrollStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollStream")
            .field("query", self.query())
            .field("position", &self.position())
            .field("at_hand", &(self.rows - self.yielded))
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
