//! The gate that keeps every call within the quotas: several sliding windows, and pushback.
//!
//! governor does the arithmetic of each window, on tokio's clock, so that tests can pause it. A
//! cell limiter whose burst is N would let 2N through in its first window; ours divide N into a
//! burst of a tenth and a steady flow of the rest, so that no sliding window ever holds more than N.
//! Room is waited for first and paid for later, at the moment of sending: a dropped wait costs nothing.

use std::{
    future::{Ready, ready},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, Either};
use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};
use tokio::time::Instant;

use crate::{
    call::stats::Wait,
    error::{Error, Result},
};

/// At most so many calls in any sliding window of this length, from the first call on.
///
/// ```
/// use std::time::Duration;
///
/// use wecom_enroll::Quota;
///
/// let a_third_of_wecoms = Quota::new(3_333, Duration::from_secs(60))?;
/// # let _ = a_third_of_wecoms;
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub(super) calls: NonZeroU32,
    pub(super) window: Duration,
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

/// Lets calls pass when every window has room: those of one client, or of a fleet.
///
/// Nobody holds anything while waiting: a stream that is kept, but not polled, must not keep the
/// others, and one that is dropped costs nothing.
pub(crate) trait Limiter: Send + Sync {
    /// What is known to keep every call back. A look: nothing is spent, and nobody is asked.
    fn closed(&self) -> Option<Closed>;

    /// Pays for one call, which is then sent at once, or says what keeps it back. `turn` is the
    /// call's own, the same one until it has been paid for.
    ///
    /// # Errors
    ///
    /// When it cannot be known whether there is room; then nothing may be sent.
    fn take<'a>(&'a self, turn: &'a mut Turn) -> Taking<'a>;

    /// Holds every call for `pushback` from now on.
    fn hold(&self, pushback: Duration);
}

/// What keeps a call back, and until when at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub(crate) wait: Wait,
    pub(crate) until: Instant,
}

/// What a call has behind it where there is a line.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// When its place in the line comes.
    #[cfg(feature = "redis")]
    pub(crate) place: Option<Instant>,
    /// Leaves to call that came too late to be used.
    #[cfg(feature = "redis")]
    pub(crate) late: u32,
}

/// Not boxed where nobody has to be asked.
pub(crate) type Taking<'a> = Either<Ready<Result<Taken>>, BoxFuture<'a, Result<Taken>>>;
pub(crate) type Taken = Result<(), Closed>;

/// The limiter of one client and its clones.
pub(crate) struct LocalLimiter(Mutex<Gate>);

struct Gate {
    windows: Vec<Window>,
    held_until: Option<Instant>,
}

impl LocalLimiter {
    pub(crate) fn new(quotas: &[Quota]) -> Self {
        let windows = quotas.iter().map(|&quota| Window::new(quota)).collect();
        Self(Mutex::new(Gate { windows, held_until: None }))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limiter for LocalLimiter {
    fn closed(&self) -> Option<Closed> {
        self.gate().closed()
    }

    fn take<'a>(&'a self, _turn: &'a mut Turn) -> Taking<'a> {
        Either::Left(ready(Ok(self.gate().take())))
    }

    fn hold(&self, pushback: Duration) {
        let mut gate = self.gate();
        gate.held_until = gate.held_until.max(Instant::now().checked_add(pushback));
    }
}

impl Gate {
    fn closed(&self) -> Option<Closed> {
        let now = Instant::now();
        if let Some(until) = self.held_until.filter(|&until| until > now) {
            return Some(Closed { wait: Wait::Pushback, until });
        }
        let full_for = self.windows.iter().filter_map(Window::full_for).max()?;
        Some(Closed { wait: Wait::Quota, until: now + full_for })
    }

    /// All windows, or none.
    fn take(&self) -> Taken {
        if let Some(closed) = self.closed() {
            return Err(closed);
        }
        for window in &self.windows {
            // There is room: nobody else is at the gate.
            let _ = window.take();
        }
        Ok(())
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

/// governor's state of one window. It is touched under the gate's lock only, so no exchange is needed.
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
