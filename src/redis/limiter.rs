//! [`SharedLimiter`]: the windows of the local limiter, kept on Redis by one atomic script.
//!
//! `guide.md` documents how windows are padded, and how callers are queued. Callers with long waits ask early whether
//! there is unused capacity, but less often than with the local limiter, because each time is a round trip.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::Either};
use redis::Script;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use crate::{
    call::{
        Quota, WaitReason,
        limiter::{Acquire, Blocked, Decision, Limiter, Ticket},
    },
    error::{Error, Result},
    redis::connection::Redis,
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("limiter.lua")));

/// If this many permits of an attempt arrive too late, the attempt fails: Redis is too slow or too far away.
const MAX_LATE_PERMITS: u32 = 3;

/// A caller that waits longer than this asks early whether capacity before its retry time is unused: after this time
/// or a quarter of its wait, whichever is longer.
const EARLY_CHECK: Duration = Duration::from_secs(1);

/// The pause before a hold is reported to Redis again, if it could not be reported.
const HOLD_RETRY: Duration = Duration::from_secs(1);

/// The limiter of all clients of an organization that use the same Redis.
pub(crate) struct SharedLimiter(Arc<State>);

struct State {
    redis: Redis,
    key: String,
    windows: Vec<Window>,
    longest: Duration,
    /// The maximum latency of a permit. Later permits are discarded.
    padding: Duration,
    /// The hold that this process knows of. Redis may not know it yet.
    held_until: Mutex<Option<Instant>>,
}

/// The arguments of the script for one window, in microseconds.
struct Window {
    name: String,
    interval: u64,
    burst: u32,
}

impl Window {
    /// Computes interval and burst like the local limiter, but for a padded window and with half the burst, because
    /// calls of many processes arrive less evenly. For 10 or more calls the burst is at least 2: with a burst of 1,
    /// capacity is lost whenever no caller asks.
    fn new(quota: Quota) -> Self {
        let calls = quota.calls.get();
        let burst = calls.div_ceil(20).max(if calls < 10 { 1 } else { 2 });
        let window = quota.window + padding(quota.window);
        Self {
            name: format!("{calls}/{}", micros(quota.window)),
            interval: micros(window) / u64::from(calls - burst + 1) + 1,
            burst,
        }
    }
}

/// Returns by how much a window is padded. The minimum is for windows shorter than a second, for which
/// 2.5 % would be less than the latency of a network.
fn padding(window: Duration) -> Duration {
    (window / 40).max(Duration::from_millis(25))
}

impl SharedLimiter {
    /// Creates the limiter of the API with this name, whose calls count together.
    pub(crate) fn new(redis: Redis, api: &str, quotas: &[Quota]) -> Self {
        let longest = quotas.iter().map(|quota| quota.window).max().unwrap_or_default();
        let shortest = quotas.iter().map(|quota| quota.window).min().unwrap_or_default();
        Self(Arc::new(State {
            key: redis.key(&format!("{api}:quota")),
            redis,
            windows: quotas.iter().map(|&quota| Window::new(quota)).collect(),
            longest: longest + padding(longest),
            padding: padding(shortest),
            held_until: Mutex::default(),
        }))
    }
}

impl Limiter for SharedLimiter {
    /// Returns `None`, because only Redis knows this. Callers ask even during a hold, to get distinct retry times.
    fn blocked(&self, _ticket: &mut Ticket) -> Option<Blocked> {
        None
    }

    fn acquire<'a>(&'a self, ticket: &'a mut Ticket) -> Acquire<'a> {
        Either::Right(self.0.acquire(ticket).boxed())
    }

    fn hold(&self, retry_after: Duration) {
        let until = Instant::now().checked_add(retry_after);
        let mut held_until = self.0.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held_until = held_until.max(until);
        // In a separate task, because the stream may be dropped.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(&self.0).report_hold());
        }
    }
}

impl State {
    async fn acquire(&self, ticket: &mut Ticket) -> Result<Decision> {
        let asked_at = Instant::now();
        let asker = match ticket.due {
            None => "new",
            Some(due) if asked_at < due => "early",
            Some(_) => "due",
        };
        let (wait, held) = self.ask(asker).await?;
        let now = Instant::now();
        if !wait.is_zero() {
            if asker != "early" {
                ticket.due = Some(now + wait);
            }
            let wait = ticket.due.map_or(wait, |due| due.saturating_duration_since(now));
            let (reason, check_after) = if held {
                (WaitReason::RetryAfter, wait)
            } else {
                (WaitReason::Quota, wait.min(EARLY_CHECK.max(wait / 4)))
            };
            return Ok(Err(Blocked { reason, until: now + wait, check_at: now + check_after }));
        }
        if now - asked_at > self.padding {
            ticket.late_permits += 1;
            if ticket.late_permits == MAX_LATE_PERMITS {
                return Err(Error::redis("Redis responds too slowly for this quota", true));
            }
            return Ok(Err(Blocked { reason: WaitReason::Quota, until: now, check_at: now }));
        }
        // Another stream may have started a hold in the meantime.
        Ok(match self.held_for() {
            Some(held_for) => {
                let until = now + held_for;
                Err(Blocked { reason: WaitReason::RetryAfter, until, check_at: until })
            }
            None => Ok(()),
        })
    }

    /// Reports the hold to Redis, until Redis has stored it or the hold has ended.
    async fn report_hold(self: Arc<Self>) {
        while self.held_for().is_some() && self.ask("hold").await.is_err() {
            sleep(HOLD_RETRY).await;
        }
    }

    /// Runs the script. Returns how long to wait (zero is a permit), and whether all calls are held.
    async fn ask(&self, asker: &str) -> Result<(Duration, bool)> {
        let mut ask = SCRIPT.key(&*self.key);
        ask.arg(asker).arg(micros(self.held_for().unwrap_or_default())).arg(micros(self.longest));
        for Window { name, interval, burst } in &self.windows {
            ask.arg(name).arg(interval).arg(burst);
        }
        let (wait, held) = self.redis.run(&ask).await?;
        Ok((Duration::from_micros(wait), held))
    }

    fn held_for(&self) -> Option<Duration> {
        let held_until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        held_until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
