//! Many calls as one stream: follows the cursors, keeps the position, reads ahead, or sets statuses in batches.
//! Contains no code for HTTP, quotas or retries: each call returns a page or an error.

#[cfg(feature = "blocking")]
mod blocking;
mod checkpoint;
mod pages;
mod read_ahead;
mod rows;
mod status;

#[cfg(feature = "blocking")]
pub use blocking::BlockingEnrolls;
pub use checkpoint::Checkpoint;
pub use pages::PageStream;
pub use rows::EnrollStream;
pub use status::{StatusUpdate, StatusUpdates};
