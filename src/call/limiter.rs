//! [`Quota`] and the limiter, which keeps all calls within several sliding windows, and holds them after
//! errcode 45009 or HTTP status 429.
//!
//! governor does the arithmetic of each window. A rate limiter with a burst of N allows up to 2N calls in its
//! first window. Here, N is divided into a burst of a tenth and a steady rate for the rest.
//!
//! # The queue
//!
//! Callers get permits in order of arrival. A caller that is blocked is queued, and sleeps until its own
//! permit is due: when the windows have capacity for it and for all callers before it. When a caller leaves
//! the queue, with a permit or because it was dropped, it wakes the next one, but only if that one sleeps
//! longer than necessary. So a permit wakes one caller.
//!
//! A position in the queue reserves nothing. A caller takes its permit only when it sends the request, so a
//! dropped wait uses no quota. A caller that is due but is not polled within [`GRACE`] is removed by the next
//! caller that is polled. Its position is restored when it is polled again. While permits are due, a caller
//! checks every [`CHECK_INTERVAL`], and every `GRACE` after it has removed another. Therefore unpolled callers
//! delay it by `CHECK_INTERVAL + 2 * GRACE` at most: half a second. With more than 1,500 callers in the queue,
//! the limit increases with their number ([`CHECK_SPACING`]).

use std::{
    collections::BTreeMap,
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
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    call::stats::WaitReason,
    error::{Error, Result},
};

/// How late a caller may be polled after it was due without losing its position to callers after it.
const GRACE: Duration = Duration::from_millis(100);

/// How long a caller may sleep after a permit has become available.
const CHECK_INTERVAL: Duration = Duration::from_millis(300);

/// The minimum of [`CHECK_INTERVAL`] per queued caller, so that thousands of callers need little CPU time.
const CHECK_SPACING: Duration = Duration::from_micros(200);

/// A caller is not woken if it will wake by itself within the resolution of tokio's timers.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

/// A rate limit: at most `calls` calls in any sliding window of length `window`, from the first call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub(crate) calls: NonZeroU32,
    pub(crate) window: Duration,
}

impl Quota {
    /// WeCom's limits per organization and API: 10,000 calls per minute and 150,000 per hour (doc 90454,
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
    /// A tenth of the calls, at least one, may be made in a burst. The rest is spread over the window. Streams
    /// that wait get permits in order of arrival.
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
}

/// Issues permits: locally for one client, or shared by several processes.
pub(crate) trait Limiter: Send + Sync {
    /// Returns what currently blocks the call, as far as this process knows. Uses no quota. Pass the same
    /// `ticket` until a permit is acquired.
    fn blocked(&self, ticket: &mut Ticket) -> Option<Blocked>;

    /// Acquires a permit for a call that is sent immediately, or returns what blocks it.
    ///
    /// # Errors
    ///
    /// Returns an error if the limiter cannot decide. Then nothing may be sent.
    fn acquire<'a>(&'a self, ticket: &'a mut Ticket) -> Acquire<'a>;

    /// Holds all calls for this time.
    fn hold(&self, retry_after: Duration);
}

/// Why no permit is available.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    pub(crate) reason: WaitReason,
    /// When the permit is expected.
    pub(crate) until: Instant,
    /// When to ask again. Earlier than `until` if callers before this one might leave their permits unused.
    pub(crate) check_at: Instant,
}

/// The state of one caller until it gets a permit. Dropping it leaves the queue.
#[derive(Default)]
pub(crate) struct Ticket {
    /// The position in the queue of a local limiter.
    position: Option<Position>,
    /// The retry time that a shared limiter assigned to this caller.
    #[cfg(feature = "redis")]
    pub(crate) due: Option<Instant>,
    /// How many permits of a shared limiter were discarded because they arrived too late.
    #[cfg(feature = "redis")]
    pub(crate) late_permits: u32,
}

impl Ticket {
    /// Waits until this time, or until the caller's permit may be available earlier.
    pub(crate) async fn wait_until(&self, check_at: Instant) {
        match &self.position {
            // Either way, it is time to check.
            Some(position) => drop(timeout_at(check_at, position.woken.notified()).await),
            None => sleep_until(check_at).await,
        }
    }
}

/// The future of [`Limiter::acquire`]. The local limiter needs no allocation for it.
pub(crate) type Acquire<'a> = Either<Ready<Result<Decision>>, BoxFuture<'a, Result<Decision>>>;
pub(crate) type Decision = Result<(), Blocked>;

/// The limiter of one client and its clones.
pub(crate) struct LocalLimiter(Arc<Mutex<State>>);

struct State {
    windows: Vec<Window>,
    held_until: Option<Instant>,
    /// The blocked callers, by their number.
    queue: BTreeMap<u64, Waiter>,
    /// The number of the next caller that is queued.
    next_number: u64,
}

struct Waiter {
    /// When the caller checks again.
    check_at: Instant,
    woken: Arc<Notify>,
}

/// A position in the queue. Dropping it leaves the queue.
struct Position {
    state: Arc<Mutex<State>>,
    /// Callers are numbered in order of arrival.
    number: u64,
    woken: Arc<Notify>,
}

impl Drop for Position {
    fn drop(&mut self) {
        let woken = {
            let mut state = lock(&self.state);
            state.queue.remove(&self.number);
            let now = Instant::now();
            state.remove_absent(now);
            let free_at = state.due(now, 0);
            state.first_to_wake(now, free_at)
        };
        wake(woken);
    }
}

impl LocalLimiter {
    pub(crate) fn new(quotas: &[Quota]) -> Self {
        let windows = quotas.iter().map(|&quota| Window::new(quota)).collect();
        let (held_until, queue, next_number) = (None, BTreeMap::new(), 0);
        Self(Arc::new(Mutex::new(State { windows, held_until, queue, next_number })))
    }

    /// Returns what blocks the caller, or takes a permit if `take` is set.
    fn check(&self, position: &mut Option<Position>, take: bool) -> Decision {
        let (permit, woken) = {
            let mut state = lock(&self.0);
            let now = Instant::now();
            let free_at = state.due(now, 0);
            let (mut removed, mut woken) = (false, None);
            // A new caller does not remove others. Otherwise, it could overtake callers that are only late.
            if let Some(own) = position {
                // The position is restored if others have removed it.
                let waiter = Waiter { check_at: now, woken: Arc::clone(&own.woken) };
                state.queue.insert(own.number, waiter);
                removed = state.remove_absent(now);
                woken = state.first_to_wake(now, free_at);
            }
            let first = state.queue.keys().next().copied();
            let permit = if free_at <= now && first == position.as_ref().map(|own| own.number) {
                if take {
                    state.take();
                }
                Ok(())
            } else {
                let own = position.get_or_insert_with(|| state.enter(&self.0));
                let check_interval = if removed { GRACE } else { state.check_interval() };
                Err(state.block(own, now, free_at + check_interval))
            };
            (permit, woken)
        };
        wake(woken);
        permit
    }
}

impl Limiter for LocalLimiter {
    fn blocked(&self, ticket: &mut Ticket) -> Option<Blocked> {
        self.check(&mut ticket.position, false).err()
    }

    fn acquire<'a>(&'a self, ticket: &'a mut Ticket) -> Acquire<'a> {
        let permit = self.check(&mut ticket.position, true);
        if permit.is_ok() {
            ticket.position = None;
        }
        Either::Left(ready(Ok(permit)))
    }

    fn hold(&self, retry_after: Duration) {
        let mut state = lock(&self.0);
        state.held_until = state.held_until.max(Instant::now().checked_add(retry_after));
    }
}

impl State {
    /// Returns when a caller gets its permit if this many others get theirs first. Never earlier than `now`.
    fn due(&self, now: Instant, others: u32) -> Instant {
        let earliest = self.held_until.map_or(now, |held_until| held_until.max(now));
        let due = |window: &Window| {
            let calls = NonZeroU32::MIN.saturating_add(others);
            let first = calls.min(window.burst);
            // governor computes when the window has capacity for up to a burst. More calls follow evenly spaced.
            let others = window.interval.saturating_mul(calls.get() - first.get());
            (now + window.time_until_capacity(first)).max(earliest) + others
        };
        self.windows.iter().map(due).max().unwrap_or(earliest)
    }

    /// Takes one call from every window.
    fn take(&self) {
        for window in &self.windows {
            // Every window has capacity, and the lock keeps others out.
            let _ = window.limiter.check();
        }
    }

    /// Creates the last position of the queue.
    fn enter(&mut self, state: &Arc<Mutex<Self>>) -> Position {
        let number = self.next_number;
        self.next_number += 1;
        Position { state: Arc::clone(state), number, woken: Arc::default() }
    }

    fn check_interval(&self) -> Duration {
        let callers = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        CHECK_INTERVAL.max(CHECK_SPACING.saturating_mul(callers))
    }

    /// Queues a blocked caller, which checks again when its permit is due, or at `check_at` if that is earlier.
    fn block(&mut self, own: &Position, now: Instant, check_at: Instant) -> Blocked {
        let first = self.queue.keys().next().map_or(own.number, |&first| first.min(own.number));
        // Numbers of callers that have left the queue count, too. If this makes the result too late, the
        // caller is woken when it becomes the first.
        let until = self.due(now, u32::try_from(own.number - first).unwrap_or(u32::MAX));
        // If there is capacity now, but other callers are first, this caller is woken when it becomes the first.
        let due = if until > now { until } else { check_at };
        // At least the resolution of a timer, or a caller with a short interval would not sleep at all.
        let check_at = check_at.min(due).max(now + TIMER_RESOLUTION);
        self.queue.insert(own.number, Waiter { check_at, woken: Arc::clone(&own.woken) });
        let held = self.held_until.is_some_and(|held_until| held_until > now);
        let reason = if held { WaitReason::RetryAfter } else { WaitReason::Quota };
        Blocked { reason, until, check_at }
    }

    /// Removes the first callers if they were due but not polled. Returns whether there were any.
    fn remove_absent(&mut self, now: Instant) -> bool {
        let callers = self.queue.len();
        let is_absent = |waiter: &Waiter| waiter.check_at + GRACE <= now;
        while self.queue.first_key_value().is_some_and(|(_, first)| is_absent(first)) {
            self.queue.pop_first();
        }
        self.queue.len() < callers
    }

    /// Returns the first caller if it must be woken, because its permit is available earlier than it will check.
    fn first_to_wake(&mut self, now: Instant, free_at: Instant) -> Option<Arc<Notify>> {
        let mut first = self.queue.first_entry()?;
        if first.get().check_at <= free_at + TIMER_RESOLUTION {
            return None;
        }
        first.get_mut().check_at = now;
        Some(Arc::clone(&first.get().woken))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a caller. Must be called without the lock, because waking may run code of the executor.
fn wake(woken: Option<Arc<Notify>>) {
    if let Some(woken) = woken {
        woken.notify_one();
    }
}

/// The window of one quota. `state` is governor's own state, kept here so that `time_until_capacity` can restore it.
struct Window {
    limiter: RateLimiter<NotKeyed, Cell, TokioClock, NoOpMiddleware<Duration>>,
    state: Cell,
    burst: NonZeroU32,
    /// The time between two calls after the burst.
    interval: Duration,
}

impl Window {
    /// Chooses burst and interval such that `burst + window / interval` never exceeds `calls`, even if the
    /// window includes both its ends.
    fn new(Quota { calls, window }: Quota) -> Self {
        let burst = calls.get().div_ceil(10);
        let interval = window / (calls.get() - burst + 1) + Duration::from_nanos(1);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_hour(NonZeroU32::MIN))
            .allow_burst(burst);
        let (state, clock) = (Cell::default(), TokioClock(Instant::now()));
        Self { limiter: RateLimiter::new(quota, state.clone(), clock), state, burst, interval }
    }

    /// Returns the time until the window has capacity for this many calls, at most a burst. Uses no capacity.
    fn time_until_capacity(&self, calls: NonZeroU32) -> Duration {
        let before = self.state.0.load(Ordering::Relaxed);
        let outcome = self.limiter.check_n(calls);
        self.state.0.store(before, Ordering::Relaxed);
        match outcome {
            Ok(Err(until)) => until.wait_time_from(self.limiter.clock().now()),
            Ok(Ok(())) | Err(_) => Duration::ZERO,
        }
    }
}

/// governor's state of one window. It is only used under the limiter's lock, so plain loads and stores are enough.
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
