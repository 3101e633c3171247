//! What a walk is doing, or all walks of a client, as numbers: for progress bars and metrics. Knows
//! nothing of calls.

use std::{
    fmt, iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What a walk has done so far, or all walks of a client; see
/// [`EnrollStream::stats`](crate::EnrollStream::stats) and [`Client::stats`](crate::Client::stats).
///
/// Times go up to now, and are added up where several streams wait at the same time. A time in which
/// a stream was not polled counts, too, if there was something to wait for.
///
/// ```
/// use wecom_enroll::{Client, Query, Stats};
///
/// let client = Client::builder().access_token("TOKEN").build()?;
/// let rows = client.enrolls(Query::webinar("MEETINGID1"));
/// assert_eq!(rows.stats(), Stats::default()); // nothing was sent yet
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Pages handed to the reader. One that was read ahead is not yet among them.
    pub pages: u64,
    /// Rows yielded, those that could not be decoded included. Rows that were yielded before the walk
    /// was resumed are not counted again.
    pub rows: u64,
    /// Attempts at list calls: what counts against the quota.
    pub attempts: u64,
    /// Attempts that followed a failed one of the same call. A replay with a new token is none.
    pub retries: u64,
    /// Replays of a request whose access token was refused, each with a new token. Several walks may
    /// have waited for the same one.
    pub refreshes: u64,
    /// Time spent waiting for quota.
    pub quota_wait: Duration,
    /// Time spent waiting for an access token: all that `gettoken` takes, its own attempts, quota and
    /// pauses included. They are counted nowhere else.
    pub token_wait: Duration,
    /// Time from sending a request to having read its reply.
    pub reply_wait: Duration,
    /// Time spent backing off between attempts.
    pub backoff_wait: Duration,
    /// Time spent in waits that the server asked for.
    pub pushback_wait: Duration,
    /// What is being waited for; where streams wait for several things, the gravest.
    pub waiting: Option<Waiting>,
}

/// A wait in progress, of a call's attempt.
///
/// ```
/// use wecom_enroll::Waiting;
///
/// fn line(Waiting { wait, left, attempt, max_attempts, .. }: &Waiting) -> String {
///     let left = left.map_or(0, |left| left.as_secs());
///     format!("{wait}: {left} s, attempt {attempt} of {max_attempts}")
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// For what.
    pub wait: Wait,
    /// For how long still, where that is known: not for a token or a reply.
    pub left: Option<Duration>,
    /// The attempt that comes after it, or that it is a part of. The first is 1.
    pub attempt: u32,
    /// As many attempts may be made.
    pub max_attempts: u32,
}

/// What a stream can wait for. The graver is the greater. `Display` prints one word, as events do.
///
/// ```
/// use wecom_enroll::Wait;
///
/// assert!(Wait::Pushback > Wait::Quota);
/// assert_eq!(Wait::Quota.to_string(), "quota");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// The server's reply.
    Reply,
    /// An access token.
    Token,
    /// Room in the quota's windows.
    Quota,
    /// Our own pause between attempts.
    Backoff,
    /// A pause that the server asked for.
    Pushback,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reply => "reply",
            Self::Token => "token",
            Self::Quota => "quota",
            Self::Backoff => "backoff",
            Self::Pushback => "pushback",
        })
    }
}

impl Stats {
    fn waited(&mut self, wait: Wait) -> &mut Duration {
        match wait {
            Wait::Reply => &mut self.reply_wait,
            Wait::Token => &mut self.token_wait,
            Wait::Quota => &mut self.quota_wait,
            Wait::Backoff => &mut self.backoff_wait,
            Wait::Pushback => &mut self.pushback_wait,
        }
    }
}

/// The figures of one walk, for another task than the one that polls it. Made by
/// [`EnrollStream::meter`](crate::EnrollStream::meter).
///
/// Cheap to clone, and good after the stream is gone. Nothing is counted for each row: those of a
/// page are counted at once, when the stream takes it up, so [`Stats::rows`] is ahead of the reader
/// by the rest of a page at most.
///
/// ```
/// # use wecom_enroll::{Client, Query, Reply, Request, Result, Transport};
/// # struct Scripted;
/// # impl Transport for Scripted {
/// #     fn send(&self, _: Request) -> std::pin::Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
/// #         Box::pin(async { Ok(Reply::new(200, r#"{"enroll_list":[{"enroll_id":1},{"enroll_id":2}]}"#)) })
/// #     }
/// # }
/// use std::time::Duration;
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let client = Client::builder().access_token("TOKEN").transport(Scripted).build()?;
/// let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
/// let meter = rows.meter();
/// let progress = tokio::spawn(async move {
///     loop {
///         let stats = meter.stats();
///         match stats.waiting {
///             Some(waiting) => println!("{} rows, waiting: {}", stats.rows, waiting.wait),
///             None => println!("{} rows", stats.rows),
///         }
///         tokio::time::sleep(Duration::from_secs(1)).await;
///     }
/// });
/// while let Some(row) = rows.try_next().await? {
///     println!("{}", row.enroll_id());
/// }
/// progress.abort();
/// assert_eq!((rows.stats().pages, rows.stats().rows), (1, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Meter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    figures: Mutex<Figures>,
    /// The client's, which counts the same for all its walks.
    client: Option<Meter>,
}

/// Under one lock, so that no figure is ahead of another.
#[derive(Default)]
struct Figures {
    /// What has come to its end.
    ended: Stats,
    live: Vec<Live>,
}

#[derive(Clone, Copy, PartialEq)]
struct Live {
    wait: Wait,
    since: Instant,
    until: Option<Instant>,
    attempt: u32,
    max_attempts: u32,
}

/// Ends the wait when dropped, so that a cancelled wait ends too.
pub(super) struct Guard<'a> {
    meter: &'a Meter,
    live: Live,
}

impl Meter {
    /// The figures of this walk up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let now = Instant::now();
        let figures = self.figures();
        let mut stats = figures.ended;
        for live in &figures.live {
            *stats.waited(live.wait) += now - live.since;
        }
        let gravest = figures.live.iter().max_by_key(|live| (live.wait, live.until));
        stats.waiting = gravest.map(|&Live { wait, until, attempt, max_attempts, .. }| {
            let left = until.map(|until| until - now);
            Waiting { wait, left, attempt, max_attempts }
        });
        stats
    }

    /// For one walk of the client whose meter this is.
    pub(super) fn of_walk(&self) -> Self {
        Self(Arc::new(Shared { client: Some(self.clone()), ..Shared::default() }))
    }

    pub(crate) fn count(&self, add: impl Fn(&mut Stats)) {
        self.each(|figures| add(&mut figures.ended));
    }

    pub(super) fn waiting(
        &self,
        wait: Wait,
        until: Option<Instant>,
        (attempt, max_attempts): (u32, u32),
    ) -> Guard<'_> {
        let live = Live { wait, since: Instant::now(), until, attempt, max_attempts };
        self.each(|figures| figures.live.push(live));
        Guard { meter: self, live }
    }

    fn each(&self, change: impl Fn(&mut Figures)) {
        for meter in iter::successors(Some(self), |meter| meter.0.client.as_ref()) {
            change(&mut meter.figures());
        }
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let time = self.live.since.elapsed();
        self.meter.each(|figures| {
            *figures.ended.waited(self.live.wait) += time;
            // One that is the same as ours will do.
            if let Some(ours) = figures.live.iter().position(|live| *live == self.live) {
                figures.live.swap_remove(ours);
            }
        });
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.stats()).finish()
    }
}
