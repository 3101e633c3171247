//! Measures the cost of a row, from the bytes of a response to the reader. Each group includes alternatives to
//! this library. Compare only lines of the same run.
//!
//! `cargo bench --features simulator` runs everything, `cargo bench --features simulator -- decode` one
//! group. With the feature `redis` and `BENCH_REDIS_URL`, `limiter` includes the Redis limiter; use a Redis
//! without other data.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]

mod decode;
mod end_to_end;
mod limiter;
mod owned;
mod recorded;
mod stream;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, decode::bench, stream::bench, limiter::bench, end_to_end::bench);
criterion_main!(benches);
