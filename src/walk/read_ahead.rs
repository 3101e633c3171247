//! Any stream as the same stream, fetched ahead: bounded, cancelled by drop. Knows nothing of ours.
//!
//! A task fetches, because a future that nobody polls makes no progress while its reader is busy.
//! It reserves its place in the channel first, so that no more than asked for is ever under way.

use std::panic::resume_unwind;

use async_stream::stream;
use futures::{Stream, StreamExt};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinSet, yield_now},
};

/// `stream` with up to `ahead` items fetched before they are asked for. Nothing is fetched before
/// the first poll. A panic of `stream` is passed on.
pub(super) fn ahead<S>(stream: S, ahead: usize) -> impl Stream<Item = S::Item> + Send + 'static
where
    S: Stream<Item: Send> + Send + Unpin + 'static,
{
    stream! {
        let (sender, mut items) = mpsc::channel(ahead.min(Semaphore::MAX_PERMITS));
        // A set of one: dropping it aborts the task.
        let mut task = JoinSet::new();
        task.spawn(fetch(stream, sender));
        while let Some(item) = items.recv().await {
            // A busy reader on a runtime of one thread: let the task get its next request out first.
            yield_now().await;
            yield item;
        }
        if let Some(Err(stopped)) = task.join_next().await {
            pass_on(stopped);
        }
    }
}

async fn fetch<S: Stream + Unpin>(mut stream: S, sender: mpsc::Sender<S::Item>) {
    while let Ok(place) = sender.reserve().await {
        match stream.next().await {
            Some(item) => place.send(item),
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
