//! The same rows for synchronous code: an iterator that waits for each page.
//!
//! It drives the stream on a runtime of the library's own, one for the whole process with one thread.
//! Connections belong to the runtime that they were opened on and stand still when nobody drives it.
//! A runtime for each iterator would leave its connections in the client's pool, where the next
//! iterator would send into them and wait in vain; and reading ahead would rest between two rows.

use std::{iter::FusedIterator, sync::OnceLock};

use futures::{Stream, StreamExt, stream::FusedStream};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    call::{Meter, Stats},
    error::{Error, Result},
    walk::{Checkpoint, EnrollStream},
    wire::{Enroll, Query},
};

/// The rows of a list for synchronous code. Made by [`EnrollStream::into_blocking`].
///
/// With the guarantees of [`EnrollStream`]: nothing is sent before the first `next()`, an error ends
/// it and carries the checkpoint, and one of kind `Row` does not. Dropping it cancels what is in flight.
///
/// ```
/// use wecom_enroll::{ErrorKind, Query};
///
/// # use wecom_enroll::{Client, simulator::Simulator};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tokio::runtime::Runtime::new()?;
/// # let sim = server.block_on(Simulator::builder().enrollees(120).start())?;
/// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
/// let mut seen = 0;
/// for row in client.enrolls(Query::webinar("MEETINGID1")).into_blocking() {
///     match row {
///         Ok(row) => println!("{}", row.enroll_id()),
///         Err(error) if error.kind() == ErrorKind::Row => eprintln!("{error}"),
///         Err(error) => return Err(error.into()),
///     }
///     seen += 1;
/// }
/// assert_eq!(seen, 120);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "iterators do nothing unless they are asked"]
pub struct BlockingEnrolls {
    rows: EnrollStream,
    /// It could not wait, so the walk is over.
    failed: bool,
}

impl EnrollStream {
    /// The same rows for synchronous code, which `next()` blocks until they are there.
    ///
    /// They are fetched on a runtime of the library's own: one thread for all such iterators of the
    /// process, begun at the first `next()` of the first one and kept. It drives connections and
    /// [`read_ahead`](Self::read_ahead) also while nobody is in `next()`.
    ///
    /// A client whose streams were polled on another runtime may hold connections that only live
    /// while that one is driven; a request sent into one that is not takes until the attempt times
    /// out. Give blocking code a client of its own.
    ///
    /// # Errors
    ///
    /// Where a tokio runtime is current, a `next()` that would have to wait is an error of kind
    /// `Argument`, with the checkpoint, and sends nothing: it would block the runtime. There, poll the
    /// stream; a thread of one's own has no runtime, and in `spawn_blocking`, which has one,
    /// `Handle::current().block_on(rows.next())` may wait. The same kind, when the system gives no
    /// thread.
    pub fn into_blocking(self) -> BlockingEnrolls {
        BlockingEnrolls { rows: self, failed: false }
    }
}

impl BlockingEnrolls {
    /// The position behind the last row that was yielded, whatever was fetched ahead.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        self.rows.checkpoint()
    }

    /// The query of this walk.
    #[must_use]
    pub fn query(&self) -> &Query {
        self.rows.query()
    }

    /// What this walk has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.rows.stats()
    }

    /// The same for another thread, also while this one waits in `next()`.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.rows.meter()
    }
}

impl Iterator for BlockingEnrolls {
    type Item = Result<Enroll>;

    fn next(&mut self) -> Option<Result<Enroll>> {
        if self.rows.size_hint().0 > 0 {
            return self.rows.next_row();
        }
        if self.failed || self.rows.is_terminated() {
            return None;
        }
        match runtime() {
            Ok(runtime) => runtime.block_on(self.rows.next()),
            Err(error) => {
                self.failed = true;
                Some(Err(error.with_checkpoint(self.checkpoint())))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (at_hand, most) = self.rows.size_hint();
        (at_hand, if self.failed { Some(at_hand) } else { most })
    }
}

impl FusedIterator for BlockingEnrolls {}

/// The runtime of all blocking iterators, if this thread may wait for it.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();

    if Handle::try_current().is_ok() {
        return Err(Error::argument(
            "a blocking iterator was asked inside a tokio runtime, which it would block; \
             poll the stream there, or take a thread of your own",
        ));
    }
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("wecom-enroll")
        .enable_all()
        .build()
        .map_err(|e| Error::argument(format!("no runtime for a blocking iterator: {e}")))?;
    // Of two threads that come at once, one drops its own.
    Ok(RUNTIME.get_or_init(|| runtime))
}
