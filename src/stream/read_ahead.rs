//! Reads any stream ahead, in a separate task.

use std::panic::resume_unwind;

use async_stream::stream;
use futures::{SinkExt, Stream, StreamExt, channel::mpsc};
use tokio::task::{JoinSet, yield_now};
use tracing::Instrument;

/// The maximum of `items`: more than fit in memory, and less than the channel's maximum capacity.
const MAX_ITEMS: usize = 1 << 20;

/// Returns the items of `stream`, of which up to `items` are fetched before they are needed. Nothing is
/// fetched before the first poll, and dropping the returned stream cancels the task.
///
/// If the runtime shuts down, the returned stream ends without an error. A panic of `stream` is propagated.
pub(super) fn read_ahead<S>(
    mut stream: S,
    items: usize,
) -> impl Stream<Item = S::Item> + Send + 'static
where
    S: Stream<Item: Send> + Send + Unpin + 'static,
{
    stream! {
        // `send` waits until at most `items - 1` items are in the channel, so that no more than `items` are
        // fetched ahead.
        let (mut sender, mut receiver) = mpsc::channel(items.clamp(1, MAX_ITEMS) - 1);
        let fetch = async move {
            while let Some(item) = stream.next().await {
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        };
        // Dropping the set aborts the task.
        let mut task = JoinSet::new();
        task.spawn(fetch.in_current_span());
        while let Some(item) = receiver.next().await {
            // On a single-threaded runtime, a reader that does not wait for anything else would keep the task
            // from sending its next request. Twice, because the transport yields once before it sends.
            yield_now().await;
            yield_now().await;
            yield item;
        }
        if let Some(Err(error)) = task.join_next().await {
            if let Ok(panic) = error.try_into_panic() {
                resume_unwind(panic);
            }
        }
    }
}
