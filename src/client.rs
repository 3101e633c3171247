//! [`Client`]: creates the streams of rows and pages. `builder.rs` creates the client.

use std::fmt;

use tracing::{field::Empty, warn_span};

use crate::{
    call::{Api, ApiRequest, Stats, recorded},
    error::Result,
    stream::{Checkpoint, EnrollStream, PageStream, StatusUpdates},
    wire::{self, EnrollSettings, EnrollStatus, Query},
};

/// Lists the enrollments of webinars and meetings, and sets their statuses. Cheap to clone: clones share the
/// quota, the access token and the connections.
///
/// The number of attempts, the time of each attempt and the size of responses are limited.
/// [`RetryPolicy`](crate::RetryPolicy) documents how long a call can take.
///
/// # Many streams at once
///
/// Every request in flight needs a connection, and clones do not limit their number: a thousand streams that are
/// polled at the same time open a thousand connections or more, which exceeds the usual limit of 1,024 open files.
/// Limit the number of streams instead, for example with [`flatten_unordered`](futures::StreamExt::flatten_unordered):
///
/// ```
/// use futures::{Stream, StreamExt, stream};
/// use wecom_enroll::{Client, Enroll, Query, Result};
///
/// /// Lists all meetings, 32 at the same time.
/// fn list(client: Client, meetings: Vec<String>) -> impl Stream<Item = Result<Enroll>> {
///     let queries = stream::iter(meetings).map(Query::webinar);
///     queries.map(move |query| client.enrolls(query)).flatten_unordered(Some(32))
/// }
/// # let client = Client::builder().access_token("T").build()?;
/// # drop(list(client, Vec::new()));
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
///
/// # Tracing
///
/// The client emits these [`tracing`](https://docs.rs/tracing) spans. They are at `WARN` level so that
/// warnings always carry their context:
///
/// | span | covers | fields, including those recorded at its end |
/// |---|---|---|
/// | `enrolls` | one stream, from its first poll | `meeting` (its id), `list` (`webinar`, `meeting`); `pages`, `rows`, `outcome` (`end`, `error`), `errcode` |
/// | `call` | the call for one page, inside `enrolls` | `page`; `rows`, `outcome` (`ok`, `error`), `errcode` |
/// | `set_status` | one stream of [`Client::set_status`], from its first poll | `meeting`, `list`, `status`; `batches`, `unconfirmed`, `outcome`, `errcode` |
/// | `call` | the call for one batch, inside `set_status` | `batch`, `ids`; `outcome`, `errcode` |
/// | `enroll_settings` | the call of [`Client::enroll_settings`] | `meeting`, `list`; `outcome`, `errcode` |
/// | `gettoken` | the call for an access token, inside the call that started it | |
///
/// | event | level | fields |
/// |---|---|---|
/// | `attempt failed, retrying` (name `attempt_failed`) | `warn` | `attempt` (the failed one), `wait` (`backoff`, `retry-after`), `delay`, `errcode`, `error` |
/// | `rate limit exceeded, holding all calls` (name `throttled`), instead of the one above, even if no attempt is left | `warn` | the same |
/// | `the access token could not be shared; …` (feature `redis`) | `warn` | `error` |
/// | `access token refused, refreshing it` | `info` | `attempt`, `errcode` |
/// | `waiting` | `debug` | `attempt`, `wait` (`quota`, or `retry-after` of another call), `delay` |
/// | `page fetched` | `debug` | `page`, `rows`, `has_more` |
/// | `list ended` | `debug` | `pages`, `rows`, `outcome`, `errcode`, `error` |
/// | `batch confirmed` | `debug` | `batch`, `ids`, `handled` |
/// | `the batch contains an unknown id, halving it`, `the batch may be too big, halving it` | `debug` | `ids` |
/// | `updates ended` | `debug` | `batches`, `unconfirmed`, `outcome`, `errcode`, `error` |
/// | `sending`, `received` | `trace` | `attempt` and `path`; `status` and `len` |
///
/// `delay` is in seconds. Fields that do not apply (for example `errcode` for a dropped connection) are
/// omitted. A stream that is dropped before its end has no `outcome`. Meeting ids are logged; secrets,
/// cursors and rows never are.
#[derive(Clone)]
pub struct Client {
    // WeCom counts the calls of each API separately, so each has its own limiter.
    pub(crate) list: Api,
    pub(crate) approve: Api,
    pub(crate) get_config: Api,
}

impl Client {
    /// Returns a stream of the rows of `query`. Nothing is sent before the first poll. For many meetings, see
    /// [above](Self#many-streams-at-once).
    pub fn enrolls(&self, query: Query) -> EnrollStream {
        EnrollStream::new(self.list.clone(), Checkpoint::start(query))
    }

    /// Returns a stream of the rows of `query` after `checkpoint`, which may be from another stream, process
    /// or machine.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Checkpoint`](crate::ErrorKind::Checkpoint) if the checkpoint belongs to another query.
    pub fn resume(&self, query: &Query, checkpoint: Checkpoint) -> Result<EnrollStream> {
        checkpoint.check_query(query)?;
        Ok(EnrollStream::new(self.list.clone(), checkpoint))
    }

    /// Returns a stream of the pages of `query`. Nothing is sent before the first poll.
    pub fn pages(&self, query: Query) -> PageStream {
        PageStream::new(self.list.clone(), Checkpoint::start(query))
    }

    /// Returns a stream of the pages of `query` after `checkpoint`. If only some rows of a page were yielded
    /// before, the whole page is yielded again.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Checkpoint`](crate::ErrorKind::Checkpoint) if the checkpoint belongs to another query.
    pub fn resume_pages(&self, query: &Query, checkpoint: Checkpoint) -> Result<PageStream> {
        checkpoint.check_query(query)?;
        Ok(PageStream::new(self.list.clone(), checkpoint))
    }

    /// Sets the status of the enrollments with these ids in a webinar or meeting: approves or rejects them, or makes
    /// them pending again (WeCom docs 98877, 98807). The status filter and the page size of `query` have no effect.
    ///
    /// Returns a stream of the batches that WeCom has confirmed. Nothing is sent before the first poll. Duplicate
    /// ids are removed. Without ids, the stream ends without a call.
    ///
    /// **Enrollees may be notified of the decision. List first, and do not set statuses while you traverse a
    /// list**: see [`StatusUpdates`].
    ///
    /// If the query is invalid, the status is [`EnrollStatus::Unknown`], or an id is empty or contains white
    /// space or a control character, the stream sends nothing and yields one error of kind
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn set_status(
        &self,
        query: Query,
        status: EnrollStatus,
        ids: impl IntoIterator<Item: Into<String>>,
    ) -> StatusUpdates {
        StatusUpdates::new(self.approve.clone(), query, status, ids)
    }

    /// Fetches the enrollment settings of a webinar or meeting: whether an organizer approves enrollments, and the
    /// questions (WeCom docs 98874, 98800). The status filter and the page size of `query` have no effect.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) without a call if the query is
    /// invalid, and otherwise the same kinds of errors as a list. If enrollment is not enabled, WeCom responds with an
    /// errcode that it does not document.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request.
    pub async fn enroll_settings(&self, query: Query) -> Result<EnrollSettings> {
        query.validate()?;
        let (path, body) = (query.config_path(), Some(wire::encode_settings(&query)));
        let request = ApiRequest { path, parameters: &[], body, secret: "" };
        let span = warn_span!(
            "enroll_settings",
            meeting = query.meeting_id(),
            list = query.list(),
            outcome = Empty,
            errcode = Empty
        );
        recorded(&span, self.get_config.call(&request, wire::decode_settings, |_| {})).await
    }

    /// Returns the current statistics of all streams and calls of this client and its clones: the sums of their
    /// statistics, and the retries of `gettoken`. The rows of a page are counted when a stream starts to yield them.
    pub fn stats(&self) -> Stats {
        self.list.stats.stats()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.list.base_url.text())
            .finish_non_exhaustive()
    }
}
