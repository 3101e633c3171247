//! The gate that keeps every call within the quotas: several sliding windows, and pushback.
//!
//! governor does the arithmetic of each window, on tokio's clock, so that tests can pause it. A
//! cell limiter whose burst is N would let 2N through in its first window; ours divide N into a
//! burst of a tenth and a steady flow of the rest, so that no sliding window ever holds more than N.
//! A turn is waited for first and spent later, at the moment of sending: a dropped wait costs nothing.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};
use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    call::stats::{Counters, Wait},
    error::{Error, Result},
};

/// At most so many calls in any sliding window of this length, from the first call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    calls: NonZeroU32,
    window: Duration,
}

impl Quota {
    /// What WeCom allows a corp per API: 10,000 calls a minute and 150,000 an hour (page 90454,
    /// 2023-08-28). WeCom may adjust them.
    pub(crate) const WECOM: [Self; 2] = [
        Self { calls: NonZeroU32::MIN.saturating_add(9_999), window: Duration::from_secs(60) },
        Self { calls: NonZeroU32::MIN.saturating_add(149_999), window: Duration::from_secs(3600) },
    ];

    /// For `gettoken`: half of the 2,000 erroneous calls an hour after which WeCom's staff say an IP
    /// is banned.
    pub(crate) const GETTOKEN: Self =
        Self { calls: NonZeroU32::MIN.saturating_add(999), window: Duration::from_secs(3600) };

    /// At most `calls` in any window of this length.
    ///
    /// A tenth of them, and at least one, may come at once; the rest is spread over the window.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when either is zero, or the window longer than 366 days.
    pub fn new(calls: u32, window: Duration) -> Result<Self> {
        let calls = NonZeroU32::new(calls)
            .ok_or_else(|| Error::argument("a quota of 0 calls would never let one through"))?;
        if window.is_zero() || window > Duration::from_secs(366 * 24 * 3600) {
            return Err(Error::argument("a quota's window is longer than 0 and at most 366 days"));
        }
        Ok(Self { calls, window })
    }

    /// Burst and flow such that `burst + window / interval` never exceeds `calls`, even where the
    /// window includes both its ends.
    fn governor(self) -> governor::Quota {
        let burst = self.calls.get().div_ceil(10);
        let interval = self.window / (self.calls.get() - burst + 1) + Duration::from_nanos(1);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_hour(NonZeroU32::MIN))
            .allow_burst(burst)
    }
}

/// Lets calls pass in the order they came, when every window has room.
pub(crate) struct Limiter {
    windows: AsyncMutex<Vec<Window>>,
    held_until: Mutex<Option<Instant>>,
    counters: Arc<Counters>,
}

/// The right to send next. Others wait until it is spent or dropped.
pub(crate) struct Turn<'a> {
    windows: MutexGuard<'a, Vec<Window>>,
    limiter: &'a Limiter,
}

impl Limiter {
    pub(crate) fn new(quotas: &[Quota], counters: Arc<Counters>) -> Self {
        let windows = quotas.iter().map(|&quota| Window::new(quota)).collect();
        Self { windows: AsyncMutex::new(windows), held_until: Mutex::new(None), counters }
    }

    /// Waits until a call may be sent. Cancel safe: nothing is spent before [`Turn::spend`].
    pub(crate) async fn turn(&self) -> Turn<'_> {
        // Those in line behind a waiting turn wait for the same thing.
        let waiting = self.counters.waiting(Wait::Quota);
        let windows = self.windows.lock().await;
        let turn = Turn { windows, limiter: self };
        drop(waiting);
        loop {
            if let Some(held_until) = self.held_until() {
                let _waiting = self.counters.waiting(Wait::Pushback);
                sleep_until(held_until).await;
            } else if let Some(wait) = turn.full_for() {
                let _waiting = self.counters.waiting(Wait::Quota);
                sleep(wait).await;
            } else {
                return turn;
            }
        }
    }

    /// Holds every call for `pushback` from now on.
    pub(crate) fn hold(&self, pushback: Duration) {
        let until = Instant::now().checked_add(pushback);
        let mut held = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held = until.max(*held);
    }

    fn held_until(&self) -> Option<Instant> {
        let held = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        held.filter(|&until| until > Instant::now())
    }
}

impl Turn<'_> {
    /// Pays for one call, at once before it is sent. `false`: a hold began in the meantime, and
    /// nothing was paid.
    pub(crate) fn spend(self) -> bool {
        self.limiter.held_until().is_none() && self.windows.iter().all(|w| w.take().is_ok())
    }

    /// How long the fullest window stays full; `None` when all have room.
    fn full_for(&self) -> Option<Duration> {
        self.windows.iter().filter_map(Window::full_for).max()
    }
}

/// One quota's window. `state` is governor's, reachable from here so that a look costs nothing.
struct Window {
    cells: RateLimiter<NotKeyed, State, TokioClock, NoOpMiddleware<Duration>>,
    state: State,
}

impl Window {
    fn new(quota: Quota) -> Self {
        let state = State::default();
        let cells = RateLimiter::new(quota.governor(), state.clone(), TokioClock(Instant::now()));
        Self { cells, state }
    }

    fn take(&self) -> Result<(), Duration> {
        self.cells.check().map_err(|until| until.wait_time_from(self.cells.clock().now()))
    }

    fn full_for(&self) -> Option<Duration> {
        let before = self.state.0.load(Ordering::Relaxed);
        let wait = self.take().err();
        self.state.0.store(before, Ordering::Relaxed);
        wait
    }
}

/// Governor's state of one window. Only the holder of a [`Turn`] touches it, so no exchange is needed.
#[derive(Clone, Debug, Default)]
struct State(Arc<AtomicU64>);

impl StateStore for State {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let before = self.0.load(Ordering::Relaxed);
        let (decision, after) = measure((before != 0).then(|| before.into()))?;
        self.0.store(after.into(), Ordering::Relaxed);
        Ok(decision)
    }
}

/// governor's clock on tokio's, so that a paused clock holds for both: the time since an origin.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
