//! Many calls as one stream: follows cursors, keeps the position, reads ahead if asked to.
//!
//! Knows nothing of HTTP, quotas or retries: it asks for a page and gets one, or the last error.

#[cfg(feature = "blocking")]
mod blocking;
mod checkpoint;
#[cfg(feature = "redis")]
mod fleet;
mod pages;
mod read_ahead;
mod store;
mod stream;

#[cfg(feature = "blocking")]
pub use blocking::BlockingEnrolls;
pub use checkpoint::Checkpoint;
#[cfg(feature = "redis")]
pub use fleet::Fleet;
#[cfg(feature = "redis")]
pub use fleet::Lease;
pub use pages::PageStream;
pub use store::CheckpointStore;
pub use store::FileStore;
pub use stream::EnrollStream;
