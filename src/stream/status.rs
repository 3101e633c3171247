//! [`StatusUpdates`]: sets the status of many enrollments, one batch after another.
//!
//! The ids are in one queue, and a batch is a prefix of it. An id leaves the queue only when a response confirms its
//! batch, or refuses it alone as unknown. So the queue is exact even after an error, a dropped `next()`, or a batch whose
//! response was lost.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{
    FutureExt, Stream,
    future::{BoxFuture, ready},
    stream::FusedStream,
};
use sync_wrapper::SyncWrapper;
use tracing::{Span, debug, field::Empty, warn_span};

use crate::{
    call::{Api, ApiRequest, Stats, StatsHandle, recorded},
    error::{Error, ErrorKind, Result},
    wire::{self, EnrollStatus, Query},
};

/// The errcode for an id that is not in the list (WeCom doc 90313).
const UNKNOWN_ID: i64 = 730_006;

/// The errcode for a wrong parameter, among others for an array that is too big (WeCom doc 90313).
const TOO_BIG: i64 = 40_058;

/// Sets the status of enrollments in batches. Returned by [`Client::set_status`](crate::Client::set_status).
///
/// Yields one [`StatusUpdate`] for each batch that WeCom has confirmed. Nothing is sent before the first poll, and
/// a batch is sent only after the response to the one before it.
///
/// ```no_run
/// # async fn run(client: wecom_enroll::Client, ids: Vec<String>) -> wecom_enroll::Result<()> {
/// use futures::StreamExt;
/// use wecom_enroll::{EnrollStatus, Query};
///
/// let query = Query::webinar("MEETINGID1");
/// let mut updates = client.set_status(query, EnrollStatus::Approved, ids);
/// while let Some(update) = updates.next().await {
///     match update {
///         Ok(update) => println!("{} of {}", update.handled, update.ids.len()),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// println!("{} ids are not confirmed", updates.unconfirmed().len());
/// # Ok(())
/// # }
/// ```
///
/// # Do not set statuses while you traverse the list
///
/// A cursor of WeCom is probably an offset. In a list with a [status filter](Query::status), an enrollment leaves
/// the list when its status changes, and one row after the cursor is skipped. Traverse the whole list first,
/// then set statuses, then list again if you must know the result.
///
/// # What a response proves
///
/// A response proves how many enrollments were handled ([`StatusUpdate::handled`]). Only the list shows which ones.
///
/// If the outcome of an attempt is unknown (a timeout, a lost or truncated response, errcode -1, or HTTP status 408 or
/// 5xx without a known errcode), it is repeated as the retry policy allows, because setting a status twice has the same
/// effect as setting it once. A response that is not what the API documents ends the stream. However, a repetition can undo a decision that an organizer made in
/// the meantime, and the enrollee may be notified twice. [`StatusUpdate::repeated`] is then true. With
/// [`RetryPolicy::never`](crate::RetryPolicy::never), the stream ends instead.
///
/// # Errors
///
/// WeCom does not document the maximum size of a batch. A batch that it refuses with errcode 40058 is halved, and
/// later batches are not larger than that half.
///
/// WeCom refuses a batch that contains an unknown id (errcode 730006). It is halved until the id is found. The stream
/// yields an error for which [`Error::enroll_id`] returns the id, and **continues** when it is polled again.
///
/// Any other error ends the stream. [`unconfirmed`](Self::unconfirmed) then returns the ids to set later.
///
/// # Panics and cancel safety
///
/// See [`EnrollStream`](crate::EnrollStream). WeCom may have carried out a canceled request nevertheless.
#[must_use = "streams do nothing unless polled"]
pub struct StatusUpdates {
    api: Api,
    query: Query,
    status: EnrollStatus,
    /// The maximum size of the next batch.
    batch_size: usize,
    /// The ids that WeCom refused one by one, because they are unknown.
    unknown: Vec<String>,
    /// All other ids that no response has confirmed.
    queue: VecDeque<String>,
    /// The sizes of the next batches, last first: the halves of a batch with an unknown id.
    halves: Vec<usize>,
    /// How many ids at the front of the queue were sent in a request whose outcome is unknown.
    maybe_set: usize,
    /// The size of the batch in flight, and its call. In a `SyncWrapper`, so that `StatusUpdates` is `Sync`.
    in_flight: Option<(usize, SyncWrapper<BoxFuture<'static, Outcome>>)>,
    batches: u64,
    /// The span of the whole stream, from the first poll on.
    span: Option<Span>,
    ended: bool,
}

/// The result of a call, and whether the outcome of one of its attempts is unknown.
type Outcome = (Result<u64>, bool);

/// A batch of enrollments whose new status WeCom has confirmed. Yielded by [`StatusUpdates`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StatusUpdate {
    /// The ids of the batch.
    pub ids: Vec<String>,
    /// How many enrollments WeCom reports to have handled. Fewer than were sent is not an error: WeCom does not report
    /// which, and does not document whether it counts those that already have the status.
    pub handled: u64,
    /// Whether one of the ids may have been set more than once, because the outcome of an earlier attempt is unknown.
    /// Then `handled` proves nothing.
    pub repeated: bool,
}

impl StatusUpdates {
    /// The default number of ids per batch. WeCom documents no maximum.
    const BATCH_SIZE: usize = 50;

    /// The largest batch that can be set: the maximum of the API that queries enrollments by id (WeCom doc 98873).
    const MAX_BATCH_SIZE: usize = 500;

    pub(crate) fn new(
        api: Api,
        query: Query,
        status: EnrollStatus,
        ids: impl IntoIterator<Item: Into<String>>,
    ) -> Self {
        let mut seen = HashSet::new();
        let ids = ids.into_iter().map(Into::into);
        let queue: VecDeque<String> = ids.filter(|id: &String| seen.insert(id.clone())).collect();
        // Yielded instead of sending anything.
        let invalid = check_arguments(&query, status, &queue).err();
        let in_flight =
            invalid.map(|error| (0, SyncWrapper::new(ready((Err(error), false)).boxed())));
        Self {
            api: Api { stats: api.stats.for_stream(), ..api },
            query,
            status,
            batch_size: Self::BATCH_SIZE,
            ended: queue.is_empty() && in_flight.is_none(),
            unknown: Vec::new(),
            queue,
            halves: Vec::new(),
            maybe_set: 0,
            in_flight,
            batches: 0,
            span: None,
        }
    }

    /// Sets the maximum number of ids per batch, 1 to 500. Default: 50.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`] if `ids` is not in 1 to 500.
    pub fn batch_size(self, ids: usize) -> Result<Self> {
        if (1..=Self::MAX_BATCH_SIZE).contains(&ids) {
            return Ok(Self { batch_size: ids, ..self });
        }
        let max = Self::MAX_BATCH_SIZE;
        Err(Error::invalid_argument(format!("batch size must be 1 to {max} ids, not {ids}")))
    }

    /// Returns the ids that no response has confirmed, in the order in which they were passed: those that were not
    /// sent yet, those of a batch that failed or is in flight, and unknown ids. It is exact even after an error or a
    /// dropped `next()`. The enrollments of a batch without a response may have the new status nevertheless.
    pub fn unconfirmed(&self) -> Vec<&str> {
        self.unknown.iter().chain(&self.queue).map(String::as_str).collect()
    }

    /// Returns the query that selects the meeting.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Returns the current statistics of this stream. `pages` and `rows` are always 0.
    pub fn stats(&self) -> Stats {
        self.api.stats.stats()
    }

    /// Returns a handle that reads the statistics from another task.
    pub fn stats_handle(&self) -> StatsHandle {
        self.api.stats.clone()
    }

    fn send_next(&mut self) {
        let size = self.halves.pop().unwrap_or(self.batch_size).min(self.queue.len());
        self.batches += 1;
        let ids: Vec<_> = self.queue.iter().take(size).map(String::as_str).collect();
        let body = wire::encode_approval(&self.query, self.status, &ids);
        let (api, path) = (self.api.clone(), self.query.approve_path());
        let batch = self.batches;
        let span = warn_span!("call", batch, ids = size, outcome = Empty, errcode = Empty);
        let call = async move {
            let request = ApiRequest { path, parameters: &[], body: Some(body), secret: "" };
            let mut may_be_set = false;
            let on_failure = |error: &Error| may_be_set |= error.outcome_is_unknown();
            let call = api.call(&request, wire::decode_approval, on_failure);
            let handled = recorded(&span, call).await;
            if let Ok(handled) = &handled {
                debug!(parent: &span, batch, ids = size, handled, "batch confirmed");
            }
            (handled, may_be_set)
        };
        self.in_flight = Some((size, SyncWrapper::new(call.boxed())));
    }

    /// Handles the result of a batch: removes a confirmed batch from the queue, halves a refused one, or ends the
    /// stream. Returns the item to yield, if there is one.
    fn finish(
        &mut self,
        size: usize,
        (result, may_be_set): Outcome,
    ) -> Option<Result<StatusUpdate>> {
        if may_be_set {
            self.maybe_set = self.maybe_set.max(size);
        }
        let error = match result {
            Ok(handled) => {
                let repeated = self.maybe_set > 0;
                let ids: Vec<_> = self.dequeue(size).collect();
                return Some(Ok(StatusUpdate { ids, handled, repeated }));
            }
            Err(error) => error,
        };
        let errcode = error.errcode().filter(|_| error.kind() == ErrorKind::Api);
        match errcode {
            Some(UNKNOWN_ID) if size > 1 => {
                debug!(ids = size, "the batch contains an unknown id, halving it");
                self.halves.extend([size / 2, size - size / 2]);
                None
            }
            Some(TOO_BIG) if size > 1 => {
                debug!(ids = size, "the batch may be too big, halving it");
                self.batch_size = size.div_ceil(2);
                self.halves.clear();
                None
            }
            Some(UNKNOWN_ID) => {
                let id = self.dequeue(1).next()?;
                self.unknown.push(id.clone());
                Some(Err(error.about(&format!("enrollment {id}")).with_attachment(UnknownId(id))))
            }
            _ => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    /// Removes this many ids from the queue.
    fn dequeue(&mut self, size: usize) -> impl Iterator<Item = String> {
        self.maybe_set = self.maybe_set.saturating_sub(size);
        self.ended = size == self.queue.len();
        self.queue.drain(..size)
    }
}

/// Checks the arguments, so that nothing is sent if one is invalid.
fn check_arguments(query: &Query, status: EnrollStatus, ids: &VecDeque<String>) -> Result<()> {
    query.validate()?;
    if let EnrollStatus::Unknown(number) = status {
        let text = format!("status {number} cannot be set: expected pending, rejected or approved");
        return Err(Error::invalid_argument(text));
    }
    let is_invalid =
        |id: &String| id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control());
    match ids.iter().position(is_invalid) {
        // The message contains the position, because the id could contain a line end.
        Some(position) => Err(Error::invalid_argument(format!(
            "enrollment id {} is empty, or contains white space or a control character",
            position + 1
        ))),
        None => Ok(()),
    }
}

/// The id in an error, see [`Error::enroll_id`].
struct UnknownId(String);

impl Error {
    /// Returns the id of the enrollment that WeCom does not know. [`StatusUpdates`] continues after such an error.
    pub fn enroll_id(&self) -> Option<&str> {
        self.attachment().map(|UnknownId(id)| id.as_str())
    }
}

impl Stream for StatusUpdates {
    type Item = Result<StatusUpdate>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        if stream.ended {
            return Poll::Ready(None);
        }
        let span = stream.span.get_or_insert_with(|| updates_span(&stream.query, stream.status));
        let span = span.clone();
        let _entered = span.enter();
        let item = loop {
            let Some((size, call)) = &mut stream.in_flight else {
                stream.send_next();
                continue;
            };
            let (size, outcome) = (*size, ready!(call.get_mut().poll_unpin(cx)));
            stream.in_flight = None;
            if let Some(item) = stream.finish(size, outcome) {
                break item;
            }
        };
        if stream.ended {
            report_end(&span, stream, item.as_ref().err());
        }
        Poll::Ready(Some(item))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.ended.then_some(0))
    }
}

impl FusedStream for StatusUpdates {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for StatusUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusUpdates")
            .field("query", &self.query)
            .field("status", &self.status)
            .field("unconfirmed", &(self.unknown.len() + self.queue.len()))
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn updates_span(query: &Query, status: EnrollStatus) -> Span {
    warn_span!(
        "set_status",
        meeting = query.meeting_id(),
        list = query.list(),
        %status,
        batches = Empty,
        unconfirmed = Empty,
        outcome = Empty,
        errcode = Empty
    )
}

fn report_end(span: &Span, updates: &StatusUpdates, error: Option<&Error>) {
    let (batches, unconfirmed) = (updates.batches, updates.unknown.len() + updates.queue.len());
    // An unknown id at the end is an item like any other.
    let error = error.filter(|error| error.enroll_id().is_none());
    let outcome = if error.is_some() { "error" } else { "end" };
    let errcode = error.and_then(Error::errcode);
    span.record("batches", batches).record("unconfirmed", unconfirmed);
    span.record("outcome", outcome).record("errcode", errcode);
    debug!(
        batches,
        unconfirmed,
        outcome,
        errcode,
        error = error.map(tracing::field::display),
        "updates ended"
    );
}
