//! The gate of a fleet: the windows of the local one, kept on a Redis by one atomic script.
//!
//! A call that finds room takes one round trip. One that finds none is told when its turn comes and
//! asks again then, which makes two: a line, in which a place costs nothing and binds nobody, and in
//! which nobody waits for the same moment as another one. Those before it may be dead, so who has long
//! to wait looks now and then whether there is room for it, too.
//!
//! Between a leave and its call's arrival at WeCom lies time, more for one process than for another.
//! Windows are therefore kept a little longer than they are, and a leave that took longer than that to
//! come is not used.

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
        limiter::{Closed, Limiter, Quota, Taken, Taking, Turn},
        redis::Redis,
        stats::Wait,
    },
    error::{Error, Result},
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("limiter.lua")));

/// So many leaves in a row that came too late to be used end the attempt: Redis is too slow or too far.
const MOST_LATE: u32 = 3;

/// Who has longer to wait asks after so long, or a quarter of it, whether places before it are
/// unused. Our choice.
const LOOK: Duration = Duration::from_secs(1);

/// Pause before Redis is told again to hold all, when it could not be. Our choice.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// The limiter of a fleet: of all clients of a company with the same Redis.
pub(crate) struct SharedLimiter(Arc<Gate>);

struct Gate {
    redis: Redis,
    key: String,
    windows: Vec<Window>,
    longest: Duration,
    guard: Duration,
    /// What this process knows before Redis does.
    held_until: Mutex<Option<Instant>>,
}

/// A window as the script has it, in whole microseconds.
struct Window {
    name: String,
    interval: u64,
    burst: u32,
}

impl Window {
    /// As the local limiter's, over a longer window, and with half the burst: what many processes
    /// send at once arrives less evenly. But two where calls come closely: with one, each moment in which
    /// nobody asks would be lost.
    fn new(quota: Quota) -> Self {
        let calls = quota.calls.get();
        let burst = calls.div_ceil(20).max(if calls < 10 { 1 } else { 2 });
        let window = quota.window + guard(quota.window);
        Self {
            name: format!("{calls}/{}", micros(quota.window)),
            interval: micros(window) / u64::from(calls - burst + 1) + 1,
            burst,
        }
    }
}

/// How much later than another one a call may arrive after its leave. The floor is for windows
/// of less than a second, which would ask too much of a network.
fn guard(window: Duration) -> Duration {
    (window / 40).max(Duration::from_millis(25))
}

impl SharedLimiter {
    pub(crate) fn new(redis: Redis, company: &str, quotas: &[Quota]) -> Self {
        let longest = quotas.iter().map(|quota| quota.window).max().unwrap_or_default();
        let shortest = quotas.iter().map(|quota| quota.window).min().unwrap_or_default();
        Self(Arc::new(Gate {
            redis,
            key: Redis::key(company, "enroll/list:quota"),
            windows: quotas.iter().map(|&quota| Window::new(quota)).collect(),
            longest: longest + guard(longest),
            guard: guard(shortest),
            held_until: Mutex::default(),
        }))
    }
}

impl Limiter for SharedLimiter {
    /// Redis knows. Who is held asks it all the same, and is told a moment of its own.
    fn closed(&self) -> Option<Closed> {
        None
    }

    fn take<'a>(&'a self, turn: &'a mut Turn) -> Taking<'a> {
        Either::Right(self.0.take(turn).boxed())
    }

    fn hold(&self, pushback: Duration) {
        let until = Instant::now().checked_add(pushback);
        let mut held_until = self.0.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        *held_until = held_until.max(until);
        // Not in the stream's own time: that one is about to sleep, or to be dropped.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(&self.0).tell());
        }
    }
}

impl Gate {
    async fn take(&self, turn: &mut Turn) -> Result<Taken> {
        let begun = Instant::now();
        let asker = match turn.place {
            None => "new",
            Some(place) if begun < place => "early",
            Some(_) => "turn",
        };
        let (wait, held) = self.ask(asker).await?;
        let now = Instant::now();
        if !wait.is_zero() {
            if asker != "early" {
                turn.place = Some(now + wait);
            }
            let left = turn.place.map_or(wait, |place| place.saturating_duration_since(now));
            return Ok(Err(if held {
                Closed { wait: Wait::Pushback, until: now + left }
            } else {
                Closed { wait: Wait::Quota, until: now + left.min(LOOK.max(left / 4)) }
            }));
        }
        if now - begun > self.guard {
            turn.late += 1;
            if turn.late == MOST_LATE {
                return Err(Error::shared(
                    "the shared Redis answers too late for this quota",
                    true,
                ));
            }
            return Ok(Err(Closed { wait: Wait::Quota, until: now }));
        }
        // Since it was asked.
        Ok(match self.held_for() {
            Some(held_for) => Err(Closed { wait: Wait::Pushback, until: now + held_for }),
            None => Ok(()),
        })
    }

    /// Tells Redis to hold all, until it knows or that is over.
    async fn tell(self: Arc<Self>) {
        while self.held_for().is_some() && self.ask("hold").await.is_err() {
            sleep(TELL_AGAIN).await;
        }
    }

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
