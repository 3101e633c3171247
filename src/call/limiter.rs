//! [`Quota`] and the limiter, which keeps all calls within several sliding windows, and holds them after
//! errcode 45009.
//!
//! governor does the arithmetic of each window. A rate limiter with a burst of N allows up to 2N calls in its
//! first window. Here, N is divided into a burst of a tenth and a steady rate for the rest.
//!
//! A caller waits until a permit is available, and takes it only when it sends the request. So a dropped wait
//! uses no quota, and a stream that is not polled does not delay others.

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
    call::stats::WaitReason,
    error::{Error, Result},
};

/// A rate limit: at most `calls` calls in any sliding window of length `window`, from the first call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub(crate) calls: NonZeroU32,
    pub(crate) window: Duration,
}

impl Quota {
    /// WeCom's limits per organization and API: 10,000 calls per minute and 150,000 per hour (document 90454,
    /// 2023-08-28). WeCom may change them.
    pub(crate) const WECOM: [Self; 2] = [
        Self { calls: NonZeroU32::MIN.saturating_add(9_999), window: Duration::from_secs(60) },
        Self { calls: NonZeroU32::MIN.saturating_add(149_999), window: Duration::from_secs(3600) },
    ];

    /// For `gettoken`: half of the 2,000 failed calls per hour after which an IP is banned, according to
    /// WeCom's staff.
    pub(crate) const GETTOKEN: Self =
        Self { calls: NonZeroU32::MIN.saturating_add(999), window: Duration::from_secs(3600) };

    /// Creates a limit of `calls` per `window`.
    ///
    /// A tenth of the calls, at least one, may be made in a burst. The rest is spread over the window.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if `calls` or `window` is
    /// zero, or `window` is longer than 366 days.
    pub fn new(calls: u32, window: Duration) -> Result<Self> {
        let calls = NonZeroU32::new(calls)
            .ok_or_else(|| Error::invalid_argument("quota must allow at least one call"))?;
        if window.is_zero() || window > Duration::from_secs(366 * 24 * 3600) {
            return Err(Error::invalid_argument(
                "quota window must be greater than zero and at most 366 days",
            ));
        }
        Ok(Self { calls, window })
    }

    /// Chooses burst and interval such that `burst + window / interval` never exceeds `calls`, even if the
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

/// Issues permits: locally for one client, or shared by several processes.
pub(crate) trait Limiter: Send + Sync {
    /// Returns what currently blocks all calls, as far as this process knows. Uses no quota.
    fn blocked(&self) -> Option<Blocked>;

    /// Acquires a permit for a call that is sent immediately, or returns what blocks it. Pass the same
    /// `ticket` until a permit is acquired.
    ///
    /// # Errors
    ///
    /// Returns an error if the limiter cannot decide. Then nothing may be sent.
    fn acquire<'a>(&'a self, ticket: &'a mut Ticket) -> Acquire<'a>;

    /// Holds all calls for this time.
    fn hold(&self, retry_after: Duration);
}

/// Why no permit is available, and the earliest time to ask again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    pub(crate) reason: WaitReason,
    pub(crate) until: Instant,
}

/// The state of one caller in a limiter that keeps a queue. The local limiter does not use it.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only a shared limiter has a queue"))]
pub(crate) struct Ticket {
    /// The retry time that was assigned to this caller.
    pub(crate) due: Option<Instant>,
    /// How many permits were discarded because they arrived too late.
    pub(crate) late_permits: u32,
}

/// The future of [`Limiter::acquire`]. The local limiter needs no allocation for it.
pub(crate) type Acquire<'a> = Either<Ready<Result<Permit>>, BoxFuture<'a, Result<Permit>>>;
pub(crate) type Permit = Result<(), Blocked>;

/// The limiter of one client and its clones.
pub(crate) struct LocalLimiter(Mutex<State>);

struct State {
    windows: Vec<Window>,
    held_until: Option<Instant>,
}

impl LocalLimiter {
    pub(crate) fn new(quotas: &[Quota]) -> Self {
        let windows = quotas.iter().map(|&quota| Window::new(quota)).collect();
        Self(Mutex::new(State { windows, held_until: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limiter for LocalLimiter {
    fn blocked(&self) -> Option<Blocked> {
        self.state().blocked()
    }

    fn acquire<'a>(&'a self, _ticket: &'a mut Ticket) -> Acquire<'a> {
        Either::Left(ready(Ok(self.state().acquire())))
    }

    fn hold(&self, retry_after: Duration) {
        let mut state = self.state();
        state.held_until = state.held_until.max(Instant::now().checked_add(retry_after));
    }
}

impl State {
    fn blocked(&self) -> Option<Blocked> {
        let now = Instant::now();
        if let Some(until) = self.held_until.filter(|&until| until > now) {
            return Some(Blocked { reason: WaitReason::RetryAfter, until });
        }
        let full_for = self.windows.iter().filter_map(Window::full_for).max()?;
        Some(Blocked { reason: WaitReason::Quota, until: now + full_for })
    }

    /// Takes one call from every window, or changes nothing.
    fn acquire(&self) -> Permit {
        if let Some(blocked) = self.blocked() {
            return Err(blocked);
        }
        for window in &self.windows {
            // Every window has capacity, and the lock keeps others out.
            let _ = window.acquire();
        }
        Ok(())
    }
}

/// The window of one quota. `state` is governor's own state, kept here so that `full_for` can restore it.
struct Window {
    limiter: RateLimiter<NotKeyed, Cell, TokioClock, NoOpMiddleware<Duration>>,
    state: Cell,
}

impl Window {
    fn new(quota: Quota) -> Self {
        let state = Cell::default();
        let clock = TokioClock(Instant::now());
        Self { limiter: RateLimiter::new(quota.governor(), state.clone(), clock), state }
    }

    fn acquire(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// Returns the time until the window has capacity, or `None` if it has. Uses no capacity.
    fn full_for(&self) -> Option<Duration> {
        let before = self.state.0.load(Ordering::Relaxed);
        let wait = self.acquire().err();
        self.state.0.store(before, Ordering::Relaxed);
        wait
    }
}

/// governor's state of one window. It is only used under the limiter's lock, so plain loads and stores are
/// enough.
#[derive(Clone, Debug, Default)]
struct Cell(Arc<AtomicU64>);

impl StateStore for Cell {
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

/// Implements governor's clock with tokio's, so that tests can pause it. Instants are times since an origin.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
