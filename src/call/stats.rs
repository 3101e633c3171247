//! What a client is doing, as numbers: for progress bars and metrics. Knows nothing of calls.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// What a client and its clones have done so far; see [`Client::stats`](crate::Client::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts at list calls: what counts against the quota.
    pub attempts: u64,
    /// Those of them that were not the first of their call.
    pub retries: u64,
    /// Time spent waiting for quota, added up over all streams.
    pub quota_wait: Duration,
    /// Time spent in waits that the server asked for, added up over all streams.
    pub pushback_wait: Duration,
    /// Time spent backing off between attempts, added up over all streams.
    pub backoff_wait: Duration,
    /// What the streams that are waiting right now wait for; the gravest, where they differ.
    pub waiting_for: Option<Wait>,
}

/// What a stream can wait for, other than a reply. The graver is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// Room in the quota's windows.
    Quota,
    /// Our own pause between attempts.
    Backoff,
    /// A pause that the server asked for.
    Pushback,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) attempts: AtomicU64,
    pub(crate) retries: AtomicU64,
    waits: [Waited; 3],
}

#[derive(Default)]
struct Waited {
    now: AtomicU64,
    nanos: AtomicU64,
}

/// A wait in progress. Ends when dropped, so that a cancelled wait ends too.
pub(crate) struct Waiting<'a> {
    waited: &'a Waited,
    since: Instant,
}

impl Counters {
    pub(crate) fn waiting(&self, wait: Wait) -> Waiting<'_> {
        let waited = &self.waits[wait as usize];
        waited.now.fetch_add(1, Relaxed);
        Waiting { waited, since: Instant::now() }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let waited =
            |wait: Wait| Duration::from_nanos(self.waits[wait as usize].nanos.load(Relaxed));
        let now = |wait: &Wait| self.waits[*wait as usize].now.load(Relaxed) > 0;
        Stats {
            attempts: self.attempts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            quota_wait: waited(Wait::Quota),
            pushback_wait: waited(Wait::Pushback),
            backoff_wait: waited(Wait::Backoff),
            waiting_for: [Wait::Pushback, Wait::Backoff, Wait::Quota].into_iter().find(now),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited.nanos.fetch_add(nanos, Relaxed);
        self.waited.now.fetch_sub(1, Relaxed);
    }
}
