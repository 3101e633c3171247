//! [`PageStream`] and the cursor loop: requests one page after another until the server has no more.
//!
//! Only `has_more` decides where the list ends. If a page announces more rows, but its next cursor is missing
//! or was already followed, its rows are yielded, and then an error. A page with the rows of an earlier page
//! is not yielded; it is an error. So are too many consecutive pages without ids. A list therefore never ends silently or repeats endlessly.

use std::{
    collections::HashSet,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_stream::try_stream;
use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{BoxStream, FusedStream},
};
use sync_wrapper::SyncWrapper;
use tracing::{Span, debug, field::Empty, warn_span};

use crate::{
    call::{Api, ApiRequest, Stats, StatsHandle, recorded},
    error::{Error, Result},
    stream::{
        checkpoint::{Checkpoint, Hash, PagePosition, Position, cursor_hash, rows_hash},
        read_ahead::read_ahead,
    },
    wire::{self, Cursor, Page, Query},
};

/// The pages of a list, for example to commit one page per transaction. Returned by
/// [`Client::pages`](crate::Client::pages) and [`Client::resume_pages`](crate::Client::resume_pages).
///
/// Nothing is sent before the first poll. The next page is requested when it is polled for, unless
/// [`PageStream::read_ahead`] is set.
///
/// # Errors
///
/// An error ends the stream and carries the checkpoint at which it ended. A malformed row is not an error of
/// this stream; it is an `Err` in [`Page::rows`].
///
/// # Panics and cancel safety
///
/// See [`EnrollStream`](crate::EnrollStream).
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct PageStream {
    api: Api,
    read_ahead: usize,
    /// The span of the whole stream and the cursor loop, from the first poll on.
    running: Option<(Span, CursorLoop)>,
    /// The position after the last page that was yielded.
    pub(super) checkpoint: Checkpoint,
    pub(super) ended: bool,
}

/// In a `SyncWrapper`, so that `PageStream` is `Sync`.
type CursorLoop = SyncWrapper<BoxStream<'static, Result<Fetched, Stopped>>>;

/// A page, and its position in the list.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) page: Page,
    /// Where this page was requested from: its number and cursor, and the rows that an earlier stream yielded.
    requested: PagePosition,
    /// The position after the page, or the error to yield after it if its next cursor cannot be followed.
    next: Result<Position>,
}

impl Fetched {
    /// Returns the position after `yielded` rows of the page.
    pub(super) fn position(&self, yielded: usize) -> Position {
        let mut position = self.requested.clone();
        match &self.next {
            Ok(next) if yielded == self.page.len() => return next.clone(),
            Ok(_) => {}
            // A resumed stream has an empty `Seen`, and must refuse the cursor again.
            Err(_) => position.refused = self.page.next_cursor.as_ref().map(cursor_hash),
        }
        position.rows = yielded as u64;
        position.row_id_hash = rows_hash(&self.page, yielded);
        Position::Page(position)
    }

    /// Returns how many rows of this page an earlier stream has yielded; 0 if the page has changed since.
    pub(super) fn already_yielded(&self) -> usize {
        self.requested.yielded_rows(&self.page)
    }
}

/// An error that ends the cursor loop.
struct Stopped {
    error: Error,
    /// Where the stream stopped, if not directly after the previous page.
    position: Option<PagePosition>,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self { error, position: None }
    }
}

fn pages(
    api: Api,
    Checkpoint { query, mut position, .. }: Checkpoint,
) -> impl Stream<Item = Result<Fetched, Stopped>> + Send + 'static {
    try_stream! {
        query.validate()?;
        let mut seen = Seen::default();
        while let Position::Page(requested) = position {
            let page = fetch(&api, &query, &requested).await?;
            let rows = seen.check_rows(query.limit, &requested, &page)?;
            let next = seen.next(&requested, &page, rows);
            yield Fetched { page, requested, next: next.clone() };
            position = next?;
        }
    }
}

async fn fetch(api: &Api, query: &Query, position: &PagePosition) -> Result<Page> {
    let (number, cursor) = (position.page, position.cursor.as_ref());
    let request = ApiRequest {
        path: query.list_path(),
        parameters: &[],
        body: Some(wire::encode(query, cursor)?),
        secret: cursor.map_or("", Cursor::as_str),
    };
    let span = warn_span!("call", page = number, rows = Empty, outcome = Empty, errcode = Empty);
    let decode = |body: &Bytes| {
        let page = wire::decode_page(body, number)?;
        span.record("rows", page.len());
        Ok(page)
    };
    let page = recorded(&span, api.call(&request, decode, |_| {})).await?;
    let (rows, has_more) = (page.len(), page.has_more());
    debug!(parent: &span, page = number, rows, has_more, "page fetched");
    Ok(page)
}

/// The maximum number of people who enroll in a webinar (WeCom doc 98842).
const MAX_PEOPLE: u64 = 50_000;

/// The hashes of the cursors that a stream has followed and of the pages that it has yielded: about 40 bytes
/// per page.
#[derive(Default)]
struct Seen {
    hashes: HashSet<Hash>,
    /// The number of consecutive pages without an id, such as empty pages.
    pages_without_ids: u64,
}

impl Seen {
    /// Refuses `page` if an earlier page had the same rows, or if too many consecutive pages have no ids.
    /// Returns the hash of the rows, or `None` if they have no ids.
    fn check_rows(
        &mut self,
        limit: u64,
        requested: &PagePosition,
        page: &Page,
    ) -> Result<Option<Hash>, Stopped> {
        self.hashes.extend(requested.refused);
        if !page.has_ids() {
            self.pages_without_ids += 1;
            if self.pages_without_ids * limit > MAX_PEOPLE {
                let text = "the server sent too many consecutive pages without an enrollee id";
                return Err(Error::cursor(text).into());
            }
            return Ok(None);
        }
        self.pages_without_ids = 0;
        let rows = rows_hash(page, page.len());
        if self.hashes.insert(rows) {
            return Ok(Some(rows));
        }
        // A resumed stream has an empty `Seen`, and must refuse the rows again.
        let position = PagePosition { refused: Some(rows), ..requested.clone() };
        let error = Error::cursor("the server sent the rows of an earlier page again");
        Err(Stopped { error, position: Some(position) })
    }

    /// Returns the position after `page`. `requested` is the position that `page` was requested from, and
    /// `rows` is the hash of its rows.
    fn next(
        &mut self,
        requested: &PagePosition,
        page: &Page,
        rows: Option<Hash>,
    ) -> Result<Position> {
        self.hashes.extend(requested.cursor.as_ref().map(cursor_hash));
        if !page.has_more() {
            return Ok(Position::End);
        }
        let cursor = page.next_cursor.clone().ok_or_else(|| {
            Error::cursor("the server reports more rows, but sent no cursor for them")
        })?;
        if self.hashes.contains(&cursor_hash(&cursor)) {
            return Err(Error::cursor("the server sent a cursor that was already followed"));
        }
        let number = requested.page.saturating_add(1);
        // Only the hash of this page's rows is recorded, so that a checkpoint remains small.
        let refused = rows.or(requested.refused);
        Ok(Position::Page(PagePosition::start_of(number, Some(cursor), refused)))
    }
}

impl PageStream {
    pub(crate) fn new(api: Api, checkpoint: Checkpoint) -> Self {
        let api = Api { stats: api.stats.for_stream(), ..api };
        let ended = checkpoint.is_end();
        Self { api, read_ahead: 0, running: None, checkpoint, ended }
    }

    /// Sets how many pages are fetched before they are needed, like
    /// [`EnrollStream::read_ahead`](crate::EnrollStream::read_ahead).
    pub fn read_ahead(self, pages: usize) -> Self {
        Self { read_ahead: pages, ..self }
    }

    /// Returns the position after the last page that was yielded.
    pub fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.clone()
    }

    /// Returns the query of this stream.
    pub fn query(&self) -> &Query {
        self.checkpoint.query()
    }

    /// Returns the current statistics of this stream.
    pub fn stats(&self) -> Stats {
        self.api.stats.stats()
    }

    /// Returns a handle that reads the statistics from another task.
    pub fn stats_handle(&self) -> StatsHandle {
        self.api.stats.clone()
    }

    pub(super) fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Fetched>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let (span, pages) = self.running.get_or_insert_with(|| {
            let pages = pages(self.api.clone(), self.checkpoint.clone()).boxed();
            let pages = match self.read_ahead {
                0 => pages,
                items => read_ahead(pages, items).boxed(),
            };
            (list_span(self.checkpoint.query()), SyncWrapper::new(pages))
        });
        let span = span.clone();
        let _entered = span.enter();
        let item = ready!(pages.get_mut().poll_next_unpin(cx));
        // The cursor loop ends with `Position::End` or an error. Any other end means that the runtime of the
        // read-ahead task was shut down.
        let item =
            item.unwrap_or_else(|| Err(Error::transport("the read-ahead task was stopped").into()));
        let item = item.map_err(|Stopped { error, position }| {
            if let Some(position) = position {
                self.checkpoint.position = Position::Page(position);
            }
            error
        });
        match &item {
            Ok(fetched) => {
                self.checkpoint.position = fetched.position(fetched.page.len());
                self.ended = self.checkpoint.is_end();
                let rows = fetched.page.len() - fetched.already_yielded();
                self.api.stats.update(|stats| {
                    stats.pages += 1;
                    stats.rows += rows as u64;
                });
            }
            Err(_) => self.ended = true,
        }
        if self.ended {
            report_end(&span, self.stats(), item.as_ref().err());
        }
        Poll::Ready(Some(item.map_err(|error| error.with_attachment(self.checkpoint()))))
    }
}

/// Creates the span of a stream. It has the level `WARN`, so that a filter for warnings also shows it.
fn list_span(query: &Query) -> Span {
    warn_span!(
        "enrolls",
        meeting = query.meeting_id(),
        list = query.list(),
        pages = Empty,
        rows = Empty,
        outcome = Empty,
        errcode = Empty
    )
}

fn report_end(span: &Span, Stats { pages, rows, .. }: Stats, error: Option<&Error>) {
    let outcome = if error.is_some() { "error" } else { "end" };
    let errcode = error.and_then(Error::errcode);
    span.record("pages", pages).record("rows", rows);
    span.record("outcome", outcome).record("errcode", errcode);
    debug!(pages, rows, outcome, errcode, error = error.map(tracing::field::display), "list ended");
}

impl Stream for PageStream {
    type Item = Result<Page>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Page>>> {
        let stream = self.get_mut();
        loop {
            match ready!(stream.poll_fetched(cx)) {
                // All rows of this page were yielded before the stream was resumed, so the page is skipped.
                Some(Ok(fetched))
                    if !fetched.page.is_empty()
                        && fetched.already_yielded() == fetched.page.len() => {}
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
