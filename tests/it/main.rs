//! What the library promises, each promise as a sentence.
//!
//! Scripted transports run on tokio's paused clock; real sockets and real time only in `http`, in
//! `cli`, in `doctor`, in `spreadsheets`, in `summary`, in `shared` and in the ignored `soak`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::match_bool,
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    reason = "a test fails by panicking, counts are small, and scripts read best as tables"
)]

mod arguments;
mod cancel;
mod faults;
mod log;
mod quota;
mod resume;
mod rows;
mod secrets;
mod stats;
mod store;
mod stream;
mod support;
mod tokens;
mod traces;
mod walk;

#[cfg(all(feature = "blocking", feature = "simulator"))]
mod blocking;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "simulator")]
mod codec;
#[cfg(feature = "cli")]
mod doctor;
#[cfg(all(feature = "redis", feature = "cli"))]
mod fleet;
#[cfg(feature = "simulator")]
mod hostile;
#[cfg(feature = "simulator")]
mod http;
#[cfg(all(feature = "redis", feature = "simulator"))]
mod redis_server;
#[cfg(all(feature = "redis", feature = "simulator"))]
mod shared;
#[cfg(feature = "simulator")]
mod soak;
#[cfg(feature = "cli")]
mod spreadsheets;
#[cfg(feature = "cli")]
mod summary;
