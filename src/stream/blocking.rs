//! [`BlockingEnrolls`]: the rows of a list for synchronous code.
//!
//! The stream is polled on a runtime of this library, one per process with one thread. If each iterator had
//! its own runtime, it would leave connections in the client's pool that no runtime drives.

use std::{io, iter::FusedIterator, sync::LazyLock};

use futures::{Stream, StreamExt, stream::FusedStream};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    call::{Stats, StatsHandle},
    error::{Error, Result},
    stream::{checkpoint::Checkpoint, rows::EnrollStream},
    wire::{Enroll, Query},
};

/// The rows of a list as a blocking iterator. Returned by [`EnrollStream::into_blocking`].
///
/// It behaves like [`EnrollStream`]: nothing is sent before the first `next()`. An error ends the iterator and carries
/// the checkpoint, except for a malformed row. Dropping the iterator cancels the request in flight.
#[derive(Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct BlockingEnrolls {
    rows: EnrollStream,
}

impl EnrollStream {
    /// Converts the stream to an iterator whose `next()` blocks until the row is available.
    ///
    /// The rows are fetched on a runtime of this library: one thread for all such iterators of the process,
    /// which starts at the first `next()`. It keeps driving connections and [`read_ahead`](Self::read_ahead)
    /// between two calls of `next()`.
    ///
    /// Use a separate client for blocking code. A client whose streams were polled on another runtime may
    /// have connections that are only driven while that runtime runs; a request on such a connection waits
    /// until the attempt times out.
    ///
    /// # Errors
    ///
    /// Inside a tokio runtime, including `spawn_blocking`, a `next()` that would block returns
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) and sends nothing; poll the stream
    /// there instead, or use a thread of `std::thread`. The same error is returned if the runtime's thread cannot be
    /// created.
    pub fn into_blocking(self) -> BlockingEnrolls {
        BlockingEnrolls { rows: self }
    }
}

impl BlockingEnrolls {
    /// Returns the position after the last row that was yielded.
    pub fn checkpoint(&self) -> Checkpoint {
        self.rows.checkpoint()
    }

    /// Returns the query of this iterator.
    pub fn query(&self) -> &Query {
        self.rows.query()
    }

    /// Returns the current statistics of this iterator.
    pub fn stats(&self) -> Stats {
        self.rows.stats()
    }

    /// Returns a handle that reads the statistics from another thread, even while this one blocks.
    pub fn stats_handle(&self) -> StatsHandle {
        self.rows.stats_handle()
    }
}

impl Iterator for BlockingEnrolls {
    type Item = Result<Enroll>;

    fn next(&mut self) -> Option<Result<Enroll>> {
        if let Some(row) = self.rows.next_row() {
            return Some(row);
        }
        if self.rows.is_terminated() {
            return None;
        }
        match runtime() {
            Ok(runtime) => runtime.block_on(self.rows.next()),
            Err(error) => {
                self.rows.pages.ended = true;
                Some(Err(error.with_attachment(self.checkpoint())))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl FusedIterator for BlockingEnrolls {}

/// Returns the runtime of all blocking iterators, if this thread may block.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("wecom-enroll")
            .enable_all()
            .build()
    });

    if Handle::try_current().is_ok() {
        return Err(Error::invalid_argument(
            "a blocking iterator would block the tokio runtime of this thread; \
             poll the stream instead, or use a thread of std::thread",
        ));
    }
    RUNTIME.as_ref().map_err(|e| {
        Error::invalid_argument(format!("cannot start a runtime for blocking iterators: {e}"))
    })
}
