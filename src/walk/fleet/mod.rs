//! A list of meetings, divided among the processes of a fleet: each one is leased to one of them at a time.
//!
//! A lease ends by itself when its holder is silent, and whoever claims the meeting then goes on from its
//! last checkpoint. A holder that only slept finds out with its next step: each one is a script that
//! first looks whose the lease is. So it cannot overwrite what its successor saved; files and
//! databases of its own it must fence itself, and [`Lease::id`] is for that.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{FromRedisValue, Script, ScriptInvocation};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    call::{Redis, RetryPolicy},
    error::{Error, Result},
    walk::store::{CheckpointStore, decode},
};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static STEP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("step.lua")));
static LOAD: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('HGET', KEYS[1], ARGV[1])"));

/// How long a holder may be silent. Our choice.
const LEASE: Duration = Duration::from_secs(15);

/// How long who finds all meetings held waits at most before it looks again. Our choice.
const LOOK: Duration = Duration::from_secs(5);

/// How long what a fleet has finished is remembered after its last step. Our choice.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a step waits for a Redis that is away. Our choice.
const PATIENCE: Duration = Duration::from_secs(60);

/// Processes that divide a list of meetings among them. Made by [`Redis::fleet`].
///
/// ```no_run
/// # async fn run(client: wecom_enroll::Client) -> wecom_enroll::Result<()> {
/// use futures::TryStreamExt;
/// use wecom_enroll::{CheckpointStore, Query, Redis};
///
/// let fleet = Redis::open("redis://localhost")?.fleet("CORPID", "night of 12 May")?;
/// // The same in every process. `None`: all are finished, whoever did it.
/// while let Some(lease) = fleet.claim(&["MEETINGID1", "MEETINGID2"]).await? {
///     let mut pages = match lease.load().await? {
///         Some(checkpoint) => client.resume_pages(checkpoint),
///         None => client.pages(Query::webinar(lease.meeting())),
///     };
///     while let Some(page) = pages.try_next().await? {
///         // ... make its rows safe, and only then ...
///         # drop(page);
///         lease.save(&pages.checkpoint()).await?;
///     }
///     lease.finish().await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// A Redis that lost its data has forgotten who holds and who finished what. Holders get their leases
/// back with their next step, if nobody was faster; meetings that were finished are walked again.
#[derive(Clone)]
pub struct Fleet {
    redis: Redis,
    name: String,
    leases: String,
    checkpoints: String,
    terms: String,
    lease: Duration,
    retry: RetryPolicy,
}

impl Redis {
    /// The fleet of this name: all processes that give the same company (best its corp id) and name
    /// to the same Redis.
    ///
    /// What it finished, and how far it is with the rest, is kept for seven days after its last step.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when the company or the name is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use wecom_enroll::Redis;
    ///
    /// let redis = Redis::open("rediss://user:password@redis.example.com")?; // sends nothing
    /// let fleet = redis.fleet("CORPID", "night of 12 May")?.terms("csv").lease(Duration::from_secs(30))?;
    /// # drop(fleet);
    /// # Ok::<(), wecom_enroll::Error>(())
    /// ```
    pub fn fleet(&self, company: &str, name: impl Into<String>) -> Result<Fleet> {
        let name = name.into();
        if company.trim().is_empty() || name.trim().is_empty() {
            return Err(Error::argument("a fleet needs a company and a name"));
        }
        let key = |what| Self::key(company, &format!("fleet:{name}:{what}"));
        Ok(Fleet {
            redis: self.clone(),
            leases: key("leases"),
            checkpoints: key("checkpoints"),
            name,
            terms: String::new(),
            lease: LEASE,
            retry: RetryPolicy::new()
                .max_attempts(u32::MAX)?
                .cap(Duration::from_secs(2))
                .max_elapsed(PATIENCE),
        })
    }
}

impl Fleet {
    /// What all must agree on, such as the format of the files that they write: who comes with other
    /// terms than the first one did gets no meeting. Default: none.
    #[must_use]
    pub fn terms(self, terms: impl Into<String>) -> Self {
        Self { terms: terms.into(), ..self }
    }

    /// How long a holder may be silent before others may claim its meeting; it renews the lease three
    /// times as often. Default: 15 s, our choice.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when it is less than 100 ms or more than a day.
    pub fn lease(self, lease: Duration) -> Result<Self> {
        if (Duration::from_millis(100)..=Duration::from_secs(24 * 3600)).contains(&lease) {
            return Ok(Self { lease, ..self });
        }
        Err(Error::argument("a lease lasts 100 ms to a day"))
    }

    /// Claims the first of these meetings that is neither finished nor held; waits while all that are
    /// not finished are held. `None`: all are finished.
    ///
    /// A meeting that failed for good is left out by leaving it out of `meetings`.
    ///
    /// # Errors
    ///
    /// Of kind `Shared`, transient when Redis was away for a minute; of kind `Argument` when others came with other
    /// [`terms`](Self::terms).
    ///
    /// # Cancel safety
    ///
    /// A meeting that is claimed in the moment of the drop is given back.
    pub async fn claim<S: AsRef<str> + Sync>(&self, meetings: &[S]) -> Result<Option<Lease>> {
        let id = format!("{:032x}", fastrand::u128(..));
        let mut script = CLAIM.key(&*self.leases);
        script.arg(&*self.terms).arg(&*id).arg(millis(self.lease)).arg(millis(KEPT));
        for meeting in meetings {
            script.arg(meeting.as_ref());
        }
        let meetings = meetings.iter().map(|meeting| meeting.as_ref().to_owned()).collect();
        let claim = Arc::new(Claim { fleet: self.clone(), id, script, meetings });
        loop {
            let once = || {
                // In a task: whoever drops this must not leave a lease behind that nobody knows of.
                let once = tokio::spawn(Arc::clone(&claim).once());
                async { once.await.unwrap_or_else(|_| Err(Error::shared(STOPPED, true))) }
            };
            match self.patiently(once).await? {
                Found::Claimed(lease) => return Ok(Some(lease)),
                Found::Finished => return Ok(None),
                // Its holder may finish it before, or give up.
                Found::Held(left) => sleep(left.min(self.lease / 3).min(LOOK)).await,
            }
        }
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        self.patiently(|| self.redis.run(script)).await
    }

    /// While Redis is away, again and again until the patience is at its end.
    async fn patiently<T, F: Future<Output = Result<T>>>(
        &self,
        mut attempted: impl FnMut() -> F,
    ) -> Result<T> {
        let begun = Instant::now();
        let mut attempt = 1;
        loop {
            let error = match attempted().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match self.retry.delay(&error, attempt, begun.elapsed()) {
                Some(delay) => sleep(delay).await,
                None => return Err(error.with_attempts(attempt)),
            }
            attempt = attempt.saturating_add(1);
        }
    }
}

const STOPPED: &str = "the runtime was stopped in the middle of a claim";

/// A claim that is made until it is answered, always under the same name.
struct Claim {
    fleet: Fleet,
    id: String,
    script: ScriptInvocation<'static>,
    meetings: Vec<String>,
}

enum Found {
    Claimed(Lease),
    /// For so long at least.
    Held(Duration),
    Finished,
}

impl Claim {
    async fn once(self: Arc<Self>) -> Result<Found> {
        let Self { fleet, id, script, meetings } = &*self;
        let (found, number): (String, u64) = fleet.redis.run(script).await?;
        match (&*found, usize::try_from(number).ok().and_then(|at| meetings.get(at))) {
            ("claimed", Some(meeting)) => {
                Ok(Found::Claimed(Lease::new(fleet.clone(), meeting, id.clone())))
            }
            ("wait", _) => Ok(Found::Held(Duration::from_millis(number))),
            ("finished", _) => Ok(Found::Finished),
            _ => Err(Error::argument(format!(
                "the fleet {} was begun on other terms: keep to them, or choose another name",
                fleet.name
            ))),
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, terms, lease, .. } = self;
        f.debug_struct("Fleet")
            .field("name", name)
            .field("terms", terms)
            .field("lease", lease)
            .finish_non_exhaustive()
    }
}

/// A meeting that is this process's, and the store of its checkpoint. Made by [`Fleet::claim`].
///
/// A task renews it, however long the walk waits. Dropping it gives the meeting back; when the process
/// dies, the lease ends by itself. The store's `save` is refused once another process has the meeting:
/// then [`is_lost`](Self::is_lost) is true, and there is nothing left to do but to stop.
///
/// ```no_run
/// use futures::TryStreamExt;
/// use wecom_enroll::{CheckpointStore, Client, Lease, Query, Result};
///
/// /// `None`: another process has the meeting now, and goes on behind what was saved.
/// async fn count(client: &Client, lease: Lease) -> Result<Option<usize>> {
///     let mut rows = client.enrolls(Query::webinar(lease.meeting()));
///     let walk = async {
///         let mut count = 0;
///         while rows.try_next().await?.is_some() {
///             count += 1;
///         }
///         Ok(count)
///     };
///     tokio::select! {
///         counted = walk => {
///             let counted = counted?;
///             lease.finish().await?;
///             Ok(Some(counted))
///         }
///         () = lease.lost() => Ok(None),
///     }
/// }
/// # let _ = count;
/// ```
pub struct Lease {
    holder: Arc<Holder>,
    /// Dropped with the lease, which the task notices.
    held: oneshot::Sender<Infallible>,
    task: JoinHandle<Result<()>>,
}

struct Holder {
    fleet: Fleet,
    meeting: String,
    id: String,
    /// Lost or finished: no longer this process's.
    over: watch::Sender<bool>,
}

impl Lease {
    fn new(fleet: Fleet, meeting: &str, id: String) -> Self {
        let (meeting, over) = (meeting.to_owned(), watch::Sender::new(false));
        let holder = Arc::new(Holder { fleet, meeting, id, over });
        let (held, dropped) = oneshot::channel();
        let task = tokio::spawn(Arc::clone(&holder).renew(dropped));
        Self { holder, held, task }
    }

    /// The meeting.
    #[must_use]
    pub fn meeting(&self) -> &str {
        &self.holder.meeting
    }

    /// A name that no other lease has, in 32 hexadecimal digits: for a file that only this holder
    /// writes to, say, so that a holder that was taken over damages nothing.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.holder.id
    }

    /// Whether another process has claimed the meeting meanwhile, as far as this one knows.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.holder.is_over()
    }

    /// Waits until [`is_lost`](Self::is_lost).
    ///
    /// # Cancel safety
    ///
    /// It changes nothing, and may be dropped and called again.
    pub async fn lost(&self) {
        // Its sender is ours.
        let _ = self.holder.over.subscribe().wait_for(|&over| over).await;
    }

    /// Marks the meeting as finished, for all of the fleet.
    ///
    /// # Errors
    ///
    /// Of kind `Checkpoint` when the lease was lost; of kind `Shared`, transient when Redis was away for a minute.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, the meeting is finished or given back, as chance has it: given back, it is
    /// claimed again, and found at its end.
    pub async fn finish(self) -> Result<()> {
        self.holder.step("finish", &[]).await?;
        self.holder.over.send_replace(true);
        Ok(())
    }

    /// Gives the meeting back: whoever claims it goes on from its checkpoint. So does dropping the
    /// lease, of which nobody knows when it is done, nor whether the runtime still lived to do it.
    ///
    /// # Errors
    ///
    /// As with [`finish`](Self::finish), but after one attempt: the lease ends by itself, if later.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it is as if the lease were dropped: it is given back all the same.
    pub async fn release(self) -> Result<()> {
        let Self { held, task, .. } = self;
        drop(held);
        task.await.unwrap_or(Ok(()))
    }
}

impl CheckpointStore for Lease {
    async fn load<T: DeserializeOwned + Send>(&self) -> Result<Option<T>> {
        let Holder { fleet, meeting, .. } = &*self.holder;
        let mut load = LOAD.key(&*fleet.checkpoints);
        let json: Option<Vec<u8>> = fleet.run(load.arg(&**meeting)).await?;
        let place = format_args!("what the fleet {} kept of the meeting {meeting}", fleet.name);
        json.map(|json| decode(&json, &place)).transpose()
    }

    async fn save<T: Serialize + Sync>(&self, state: &T) -> Result<()> {
        let json = serde_json::to_vec(state).map_err(Error::store)?;
        self.holder.step("save", &json).await
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("meeting", &self.holder.meeting)
            .field("id", &self.holder.id)
            .field("is_lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl Holder {
    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Renews the lease until it is dropped, and then ends it. Not in the caller's own time: a walk may
    /// wait an hour for its quota.
    async fn renew(self: Arc<Self>, mut dropped: oneshot::Receiver<Infallible>) -> Result<()> {
        while !self.is_over() {
            if timeout(self.fleet.lease / 3, &mut dropped).await.is_ok() {
                if self.is_over() {
                    break;
                }
                return self.done(self.fleet.redis.run(&self.invocation("release", &[])).await?);
            }
            // Away: the next one may come through, and each save tries for itself.
            if let Ok(done) = self.fleet.redis.run(&self.invocation("renew", &[])).await {
                let _ = self.done(done);
            }
        }
        Ok(())
    }

    async fn step(&self, what: &str, checkpoint: &[u8]) -> Result<()> {
        // It would be refused, but with Redis away not at once.
        self.done(!self.is_over())?;
        self.done(self.fleet.run(&self.invocation(what, checkpoint)).await?)
    }

    fn invocation(&self, what: &str, checkpoint: &[u8]) -> ScriptInvocation<'static> {
        let Fleet { leases, checkpoints, lease, .. } = &self.fleet;
        let mut step = STEP.key(&**leases);
        step.key(&**checkpoints).arg(&*self.meeting).arg(&*self.id);
        step.arg(millis(*lease)).arg(millis(KEPT)).arg(what).arg(checkpoint);
        step
    }

    fn done(&self, done: bool) -> Result<()> {
        if done {
            return Ok(());
        }
        self.over.send_replace(true);
        let text = format!("another process has taken the meeting {} over", self.meeting);
        Err(Error::checkpoint_refused(text))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
