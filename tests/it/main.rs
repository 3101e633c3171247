//! The behavior of the library, one module per subject.
//!
//! Tests with scripted transports run on tokio's paused clock. Real sockets and real time are used only
//! in `blocking`, `cli`, `connection`, `cookbook_postgres`, `decode`, `hostile`, `http`, `proxy`,
//! `readme_example`, `redis`, `simulator`, `soak`, `status_faults` and `tls`, and real time in one test of
//! `fairness`.
//!
//! | to test | see |
//! |---|---|
//! | which failures are retried, a new errcode | `retry` |
//! | how a value of the response is read | `rows` |
//! | what a hostile server can do | `hostile` |
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
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "some tests need Linux or Unix")
)]

mod architecture;
mod arguments;
mod cancel;
mod cursors;
mod delivery;
mod errcodes;
mod events;
mod fairness;
mod formats;
mod hints;
mod malformed_rows;
mod pages;
mod public_api;
mod quota;
mod read_ahead;
mod resume;
mod retry;
mod rows;
mod secrets;
mod settings;
mod stats;
mod status_updates;
mod stream;
mod support;
mod token_source;
mod tokens;

#[cfg(all(feature = "blocking", feature = "simulator"))]
mod blocking;
#[cfg(feature = "cli")]
mod cli;
mod connection;
#[cfg(all(feature = "simulator", target_os = "linux"))]
mod cookbook_postgres;
#[cfg(feature = "simulator")]
mod decode;
#[cfg(feature = "simulator")]
mod hostile;
#[cfg(feature = "simulator")]
mod http;
mod proxy;
#[cfg(feature = "simulator")]
mod readme_example;
#[cfg(all(feature = "redis", feature = "simulator"))]
mod redis;
#[cfg(feature = "simulator")]
mod simulator;
#[cfg(feature = "simulator")]
mod soak;
#[cfg(feature = "simulator")]
mod status_faults;
mod tls;
