//! Any stream as the same stream, fetched ahead: bounded, cancelled by drop. Knows nothing of ours.
//!
//! A task fetches, because a future that nobody polls makes no progress while its reader is busy.
//! What it may begin is counted out to it: so many items, and one more whenever its reader asks.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use async_stream::stream;
use futures::{Stream, StreamExt};
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    task::{JoinSet, yield_now},
};
use tracing::Instrument;

/// More than fit into any memory, and few enough to be counted.
const MOST: usize = 1 << 20;

/// How many items may be begun. Nothing may, until somebody reads ahead.
pub(super) struct Allowance {
    on: AtomicBool,
    items: Semaphore,
    /// The next item was begun early, and is paid for.
    early: AtomicBool,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { on: AtomicBool::new(false), items: Semaphore::new(0), early: AtomicBool::new(false) }
    }

    /// Says that there is somebody who asks; returns whether there was before.
    pub(super) fn turn_on(&self) -> bool {
        self.on.swap(true, Relaxed)
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    pub(super) fn add(&self, items: usize) {
        self.items.add_permits(items.min(MOST));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.available_permits() == 0
    }

    /// Lets the stream begin its next item before it is polled for it.
    pub(super) fn take_early(&self) -> bool {
        let taken = self.items.try_acquire().map(SemaphorePermit::forget).is_ok();
        self.early.fetch_or(taken, Relaxed);
        taken
    }

    async fn take(&self) {
        if !self.early.swap(false, Relaxed) {
            // An error would say that it was closed, which it never is.
            let _ = self.items.acquire().await.map(SemaphorePermit::forget);
        }
    }
}

/// `stream` with as many items begun before they are asked for as `allowance` has. Nothing is fetched
/// before the first poll. A panic of `stream` is passed on.
pub(super) fn ahead<S>(
    stream: S,
    allowance: Arc<Allowance>,
) -> impl Stream<Item = S::Item> + Send + 'static
where
    S: Stream<Item: Send> + Send + Unpin + 'static,
{
    stream! {
        let (sender, mut items) = mpsc::unbounded_channel();
        // A set of one: dropping it aborts the task.
        let mut task = JoinSet::new();
        task.spawn(fetch(stream, sender, Arc::clone(&allowance)).in_current_span());
        loop {
            allowance.add(1);
            let item = if let Ok(item) = items.try_recv() {
                // A slow reader, and if busy on a runtime of one thread, then for long: first the
                // task gets to send its next request, then the connection to write it.
                yield_now().await;
                yield_now().await;
                Some(item)
            } else {
                items.recv().await
            };
            match item {
                Some(item) => yield item,
                None => break,
            }
        }
        if let Some(Err(stopped)) = task.join_next().await {
            pass_on(stopped);
        }
    }
}

async fn fetch<S: Stream + Unpin>(
    mut stream: S,
    sender: mpsc::UnboundedSender<S::Item>,
    allowance: Arc<Allowance>,
) {
    loop {
        allowance.take().await;
        match stream.next().await {
            // Its reader may be gone; then this task is, too.
            Some(item) => drop(sender.send(item)),
            None => return,
        }
    }
}

/// A panic of the task is its reader's, too: it must not look like the end of the list.
fn pass_on(stopped: tokio::task::JoinError) {
    if let Ok(panic) = stopped.try_into_panic() {
        resume_unwind(panic);
    }
}
