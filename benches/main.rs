//! What a row costs, from a reply's bytes to its reader. Each group has its alternative in it: compare
//! lines of one run with one another, never with another run's.
//!
//! `cargo bench` runs all of it, `cargo bench -- decode` one group.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]

mod decode;
mod end_to_end;
mod limiter;
mod owned;
mod recorded;
#[cfg(feature = "redis")]
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/redis_server.rs"]
mod redis_server;
mod walk;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, decode::bench, walk::bench, limiter::bench, end_to_end::bench);
criterion_main!(benches);
