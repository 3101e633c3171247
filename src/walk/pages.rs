//! The cursor loop: one page after the other, until the server says that there is no more.
//!
//! `has_more` alone decides the end. A cursor that is missing, or that this walk has already
//! followed, is an error after the rows of its page: never a silent end, never a loop.

use std::{
    collections::HashSet,
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use async_stream::try_stream;
use futures::{
    Stream, StreamExt,
    stream::{BoxStream, FusedStream},
};
use sync_wrapper::SyncWrapper;
use tracing::{Span, debug, field::Empty, warn_span};

use crate::{
    call::{Caller, Meter, Stats},
    error::{Error, Result},
    walk::{
        Checkpoint,
        checkpoint::{Place, Position, fingerprint},
        read_ahead::{Allowance, ahead},
    },
    wire::{Cursor, Page, Query, peek_cursor},
};

/// A page, where it was found, and where the walk goes on behind it.
pub(super) struct Fetched {
    pub(super) page: Page,
    pub(super) place: Place,
    /// `Err`: the cursor cannot be followed. The page stream's next item is that error, too.
    pub(super) next: Result<Position>,
}

impl Fetched {
    /// The position when so many rows of the page were yielded. A drained page is behind us at once,
    /// if there is a way on.
    pub(super) fn position(&self, yielded: usize) -> Position {
        let refused = match &self.next {
            Ok(next) if yielded == self.page.len() => return next.clone(),
            Ok(_) => None,
            Err(_) => self.page.next_cursor().map(|cursor| fingerprint([cursor.as_str()])),
        };
        let marks = fingerprint(self.page.marks(yielded));
        Position::Page(Place { rows: yielded, marks, refused, ..self.place.clone() })
    }
}

/// The pages of `query` from `start` on. Lazy; ends at the end of the list or after an error.
pub(super) fn pages(
    caller: Arc<Caller>,
    query: Query,
    start: Position,
    allowance: Arc<Allowance>,
) -> impl Stream<Item = Result<Fetched>> + Send + 'static {
    try_stream! {
        query.check()?;
        let (mut position, mut begun) = (start, None);
        let mut followed = Followed::default();
        while let Position::Page(place) = position {
            let early = |body: &[u8]| followed.early(&place, body, &allowance);
            let early = allowance.is_on().then_some(early);
            let call = caller.page(&query, place.cursor.as_ref(), place.page, begun, early);
            let page;
            (page, begun) = call.await?;
            let next = followed.next(&place, &page);
            yield Fetched { page, place, next: next.clone() };
            position = next?;
        }
    }
}

/// The cursors that a walk has followed, as fingerprints: some 20 bytes a page.
#[derive(Default)]
struct Followed(HashSet<u64>);

impl Followed {
    /// The cursor whose request may begin before the page at `place` is decoded.
    fn early(&self, place: &Place, body: &[u8], allowance: &Allowance) -> Option<Cursor> {
        if allowance.is_empty() {
            return None;
        }
        let cursor = peek_cursor(body)?;
        let behind = place.cursor.as_ref() == Some(&cursor) || self.contains(&cursor);
        (!behind && allowance.take_early()).then_some(cursor)
    }

    fn contains(&self, cursor: &Cursor) -> bool {
        self.0.contains(&fingerprint([cursor.as_str()]))
    }

    fn next(&mut self, place: &Place, page: &Page) -> Result<Position> {
        self.0.extend(place.cursor.as_ref().map(|cursor| fingerprint([cursor.as_str()])));
        self.0.extend(place.refused);
        if !page.has_more() {
            return Ok(Position::End);
        }
        let cursor = page.next_cursor().cloned().ok_or_else(|| {
            Error::cursor("the server says that there are more rows, but sent no cursor to them")
        })?;
        if self.contains(&cursor) {
            return Err(Error::cursor(
                "the server sent a cursor that this walk has already followed",
            ));
        }
        let page = place.page.saturating_add(1);
        Ok(Position::Page(Place::new(page, Some(cursor))))
    }
}

/// The pages of a list, for page-sized commits. Made by [`Client::pages`](crate::Client::pages).
///
/// Nothing is sent before the first poll, and the next page only when it is asked for, unless
/// [`PageStream::read_ahead`] says otherwise.
///
/// # Errors
///
/// An error ends the stream and carries the checkpoint to resume from. A row that cannot be decoded is
/// none: it is an item of its page.
///
/// # Cancel safety
///
/// Dropping a pending `next()`, as `select!` and `timeout` do, loses no page and pays no quota that
/// was not used: the request in flight stays with the stream. Dropping the stream cancels it.
///
/// # Examples
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
/// let mut pages = client.pages(Query::webinar("MEETINGID1")).read_ahead(1);
/// while let Some(page) = pages.try_next().await? {
///     let rows: Vec<_> = page.rows().filter_map(Result::ok).collect();
///     let behind = serde_json::to_string(&pages.checkpoint())?;
///     // ... write the rows and the checkpoint behind them in one transaction.
/// #   drop((rows, behind));
/// }
/// assert_eq!(pages.stats().rows, 120);
/// # Ok(())
/// # }
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct PageStream {
    /// Wrapped, so that who holds a stream may be shared between threads.
    pages: SyncWrapper<BoxStream<'static, Result<Fetched>>>,
    allowance: Arc<Allowance>,
    meter: Meter,
    /// Of the whole walk, from the first poll on.
    span: OnceLock<Span>,
    query: Query,
    /// The place of the next page.
    position: Position,
    ended: bool,
}

impl PageStream {
    pub(crate) fn new(caller: Caller, checkpoint: Checkpoint) -> Self {
        let (query, position) = checkpoint.into_parts();
        let (caller, meter) = (Arc::new(caller.clone()), caller.lane.meter);
        let allowance = Arc::new(Allowance::new());
        let pages = pages(caller, query.clone(), position.clone(), Arc::clone(&allowance));
        let pages = SyncWrapper::new(pages.boxed());
        let ended = position == Position::End;
        Self { pages, allowance, meter, span: OnceLock::new(), query, position, ended }
    }

    /// Fetches up to `pages` pages before they are asked for. Default: 0.
    ///
    /// They are fetched in a task of their own, so this needs a tokio runtime; it ends when the stream
    /// is dropped. They pay quota, also those of a walk that is then abandoned. Where a reply
    /// holds the next cursor before its rows, and these begin in its first 1,024 bytes, as WeCom's do, the
    /// next request is sent before the page is decoded.
    pub fn read_ahead(mut self, pages: usize) -> Self {
        self.allowance.add(pages);
        if pages > 0 && !self.allowance.turn_on() {
            let pages = ahead(self.pages.into_inner(), Arc::clone(&self.allowance));
            self.pages = SyncWrapper::new(pages.boxed());
        }
        self
    }

    /// The position behind the last page that was yielded.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(self.query.clone(), self.position.clone())
    }

    /// The query of this walk.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// What this walk has done so far, and what it waits for.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.meter.stats()
    }

    /// The same for another task.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// The next page with all that is known of it, for the row stream.
    pub(super) fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Fetched>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let span = self.span.get_or_init(|| walk_span(&self.query));
        let _entered = span.enter();
        let item = ready!(self.pages.get_mut().poll_next_unpin(cx));
        // An end that was not said is none: its runtime may be gone, and the task with it.
        let item =
            item.unwrap_or_else(|| Err(Error::transport("the task that reads ahead was stopped")));
        match &item {
            Ok(fetched) => {
                self.position = fetched.position(fetched.page.len());
                self.ended = self.position == Position::End;
                let rows = fetched.page.len() - fetched.place.yielded_of(&fetched.page);
                self.meter.count(|stats| {
                    stats.pages += 1;
                    stats.rows += rows as u64;
                });
            }
            Err(_) => self.ended = true,
        }
        if self.ended {
            tell_end(span, self.meter.stats(), item.as_ref().err());
        }
        Poll::Ready(Some(item.map_err(|error| error.with_checkpoint(self.checkpoint()))))
    }
}

fn walk_span(query: &Query) -> Span {
    let (meeting, list) = (query.meeting_id(), query.list());
    warn_span!(
        "enrolls",
        meeting,
        list,
        pages = Empty,
        rows = Empty,
        outcome = Empty,
        errcode = Empty
    )
}

fn tell_end(span: &Span, Stats { pages, rows, .. }: Stats, error: Option<&Error>) {
    let outcome = if error.is_some() { "error" } else { "end" };
    let errcode = error.and_then(Error::errcode);
    span.record("pages", pages).record("rows", rows);
    span.record("outcome", outcome).record("errcode", errcode);
    debug!(pages, rows, outcome, errcode, error = error.map(tracing::field::display), "walk ended");
}

impl Stream for PageStream {
    type Item = Result<Page>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Page>>> {
        let stream = self.get_mut();
        loop {
            match ready!(stream.poll_fetched(cx)) {
                // The walk was resumed behind its last row.
                Some(Ok(Fetched { page, place, .. }))
                    if !page.is_empty() && place.yielded_of(&page) == page.len() => {}
                item => return Poll::Ready(item.map(|item| item.map(|fetched| fetched.page))),
            }
        }
    }
}

impl FusedStream for PageStream {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for PageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageStream")
            .field("query", &self.query)
            .field("position", &self.position)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
