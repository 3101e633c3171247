//! Statistics of one stream, or of all streams of a client, for progress bars and metrics.

use std::{
    collections::BTreeSet,
    fmt, iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Statistics of one stream ([`EnrollStream::stats`](crate::EnrollStream::stats)) or of all streams and calls of
/// a client ([`Client::stats`](crate::Client::stats)).
///
/// Times include waits in progress. If several streams wait at the same time, their waits are added up. The
/// time in which a stream was not polled counts if it was waiting for something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Pages yielded. Pages that were read ahead are not included.
    pub pages: u64,
    /// Rows yielded, including malformed ones. Rows that were yielded before the stream was resumed are not included.
    pub rows: u64,
    /// Requests of all calls except `gettoken`, including repetitions with a refreshed access token. This is
    /// what counts against the quotas.
    pub attempts: u64,
    /// Retries after a failed attempt of the same call. A repetition with a refreshed access token does not
    /// count as a retry. The retries of `gettoken` are included in the statistics of the client only, because
    /// its streams share the token.
    pub retries: u64,
    /// Refused access tokens after which the request was repeated. Several streams may have shared one refresh.
    pub token_refreshes: u64,
    /// Time spent waiting for quota.
    pub quota_wait: Duration,
    /// Time spent waiting for an access token. This includes the attempts, quota and backoff of `gettoken`. Of
    /// these, only the retries are also counted in another field.
    pub token_wait: Duration,
    /// Time from sending a request to the end of its response.
    pub response_wait: Duration,
    /// Time spent in backoff between attempts.
    pub backoff_wait: Duration,
    /// Time spent in waits that the server asked for, including the default wait after errcode 45009.
    pub retry_after_wait: Duration,
    /// The current wait. If several streams are waiting, the most severe one.
    pub current_wait: Option<CurrentWait>,
}

/// A wait in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurrentWait {
    /// The reason for the wait.
    pub reason: WaitReason,
    /// The remaining time, if it is known. It is unknown for a token or a response.
    pub remaining: Option<Duration>,
    /// The attempt that is in progress or comes next. The first is 1.
    pub attempt: u32,
    /// The maximum number of attempts.
    pub max_attempts: u32,
}

/// What a stream can wait for, in ascending order of severity. `Display` prints the name that events use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WaitReason {
    /// The server's response.
    Response,
    /// An access token.
    Token,
    /// A permit of the quota.
    Quota,
    /// The backoff between attempts.
    Backoff,
    /// A wait that the server asked for.
    RetryAfter,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Response => "response",
            Self::Token => "token",
            Self::Quota => "quota",
            Self::Backoff => "backoff",
            Self::RetryAfter => "retry-after",
        })
    }
}

impl Stats {
    fn time_in(&mut self, reason: WaitReason) -> &mut Duration {
        match reason {
            WaitReason::Response => &mut self.response_wait,
            WaitReason::Token => &mut self.token_wait,
            WaitReason::Quota => &mut self.quota_wait,
            WaitReason::Backoff => &mut self.backoff_wait,
            WaitReason::RetryAfter => &mut self.retry_after_wait,
        }
    }
}

/// Reads the statistics of one stream from another task. Returned by
/// [`EnrollStream::stats_handle`](crate::EnrollStream::stats_handle).
///
/// Cheap to clone, and remains valid when the stream is dropped. The rows of a page are counted when the
/// stream starts to yield them, so [`Stats::rows`] may be ahead of the reader by the rest of one page.
#[derive(Clone, Default)]
pub struct StatsHandle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    counters: Mutex<Counters>,
    /// The client's handle, which receives the same updates.
    client: Option<StatsHandle>,
    /// For `gettoken`: the client's handle, which receives the retries.
    retries: Option<StatsHandle>,
}

/// The counters are under one lock, so that they are consistent.
#[derive(Default)]
struct Counters {
    /// Everything except the waits in progress.
    finished: Stats,
    waits: BTreeSet<Wait>,
}

/// A wait in progress. The most severe and longest one is the last in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wait {
    reason: WaitReason,
    until: Option<Instant>,
    since: Instant,
    attempt: u32,
    max_attempts: u32,
    /// Distinguishes waits that are otherwise equal.
    number: u64,
}

/// Ends the wait when dropped, so that a canceled wait ends too.
pub(super) struct WaitGuard<'a> {
    handle: &'a StatsHandle,
    wait: Wait,
}

impl StatsHandle {
    /// Returns the current statistics.
    pub fn stats(&self) -> Stats {
        let counters = self.counters();
        let (mut stats, now) = (counters.finished, Instant::now());
        for wait in &counters.waits {
            *stats.time_in(wait.reason) += now - wait.since;
        }
        stats.current_wait = counters.waits.last().map(|wait| CurrentWait {
            reason: wait.reason,
            remaining: wait.until.map(|until| until - now),
            attempt: wait.attempt,
            max_attempts: wait.max_attempts,
        });
        stats
    }

    /// Creates the handle of one stream of the client that `self` belongs to.
    pub(crate) fn for_stream(&self) -> Self {
        Self(Arc::new(Shared { client: Some(self.clone()), ..Shared::default() }))
    }

    /// Creates the handle of the `gettoken` calls of the client that `self` belongs to.
    pub(crate) fn for_tokens(&self) -> Self {
        Self(Arc::new(Shared { retries: Some(self.clone()), ..Shared::default() }))
    }

    pub(super) fn count_retry(&self) {
        for handle in iter::once(self).chain(&self.0.retries) {
            handle.update(|stats| stats.retries += 1);
        }
    }

    pub(crate) fn update(&self, change: impl Fn(&mut Stats)) {
        self.each(|counters| change(&mut counters.finished));
    }

    pub(super) fn waiting(
        &self,
        reason: WaitReason,
        until: Option<Instant>,
        (attempt, max_attempts): (u32, u32),
    ) -> WaitGuard<'_> {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let (since, number) = (Instant::now(), NEXT.fetch_add(1, Ordering::Relaxed));
        let wait = Wait { reason, until, since, attempt, max_attempts, number };
        self.each(|counters| {
            counters.waits.insert(wait);
        });
        WaitGuard { handle: self, wait }
    }

    /// Changes the counters of the stream and of its client.
    fn each(&self, change: impl Fn(&mut Counters)) {
        for handle in iter::successors(Some(self), |handle| handle.0.client.as_ref()) {
            change(&mut handle.counters());
        }
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.0.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        let time = self.wait.since.elapsed();
        self.handle.each(|counters| {
            *counters.finished.time_in(self.wait.reason) += time;
            counters.waits.remove(&self.wait);
        });
    }
}

impl fmt::Debug for StatsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatsHandle").field(&self.stats()).finish()
    }
}
