//! What a client is doing, as numbers: for progress bars and metrics. Knows nothing of calls.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// What a client and its clones have done so far; see [`Client::stats`](crate::Client::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts at list calls: what counts against the quota.
    pub attempts: u64,
    /// Attempts that followed a failed one of the same call. A replay with a new token is none.
    pub retries: u64,
    /// Time spent waiting for quota, added up over all streams, up to now.
    pub quota_wait: Duration,
    /// Time spent in waits that the server asked for, added up over all streams, up to now.
    pub pushback_wait: Duration,
    /// Time spent backing off between attempts, added up over all streams, up to now.
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

pub(crate) struct Counters {
    pub(crate) attempts: AtomicU64,
    pub(crate) retries: AtomicU64,
    waits: [Mutex<Waited>; 3],
    /// Times are counted from here.
    origin: Instant,
}

/// All waits of one kind: those that ended, and those in progress as the sum of when they began.
#[derive(Clone, Copy, Default)]
struct Waited {
    ended: Duration,
    live: u32,
    begun: Duration,
}

/// A wait in progress. Ends when dropped, so that a cancelled wait ends too.
pub(crate) struct Waiting<'a> {
    counters: &'a Counters,
    wait: Wait,
    begun: Duration,
}

impl Default for Counters {
    fn default() -> Self {
        let (attempts, retries, waits) = <_>::default();
        Self { attempts, retries, waits, origin: Instant::now() }
    }
}

impl Counters {
    pub(crate) fn waiting(&self, wait: Wait) -> Waiting<'_> {
        let begun = self.origin.elapsed();
        let mut waited = self.waited(wait);
        waited.live += 1;
        waited.begun += begun;
        Waiting { counters: self, wait, begun }
    }

    fn waited(&self, wait: Wait) -> MutexGuard<'_, Waited> {
        self.waits[wait as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let now = self.origin.elapsed();
        let waited = |wait: Wait| {
            let Waited { ended, live, begun } = *self.waited(wait);
            ended + now.saturating_mul(live).saturating_sub(begun)
        };
        let live = |wait: &Wait| self.waited(*wait).live > 0;
        Stats {
            attempts: self.attempts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            quota_wait: waited(Wait::Quota),
            pushback_wait: waited(Wait::Pushback),
            backoff_wait: waited(Wait::Backoff),
            waiting_for: [Wait::Pushback, Wait::Backoff, Wait::Quota].into_iter().find(live),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.counters.origin.elapsed();
        let mut waited = self.counters.waited(self.wait);
        waited.live -= 1;
        waited.begun = waited.begun.saturating_sub(self.begun);
        waited.ended += now.saturating_sub(self.begun);
    }
}
