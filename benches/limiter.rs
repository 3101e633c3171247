//! Measures the cost of a permit with calls that return empty pages, from one stream or many, with one or
//! more quotas; and the cost of waiting for permits.

use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::FuturesUnordered,
};
use governor::RateLimiter;
use http::{Request, Response};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep,
};
use wecom_enroll::{Client, ClientBuilder, Query, Quota, Result, Transport};

/// Calls per iteration.
const CALLS: usize = 1000;

/// An infinite list of empty pages.
#[derive(Default)]
struct Endless(AtomicU64);

impl Transport for Endless {
    fn send(&self, _: Request<Bytes>, _: usize) -> BoxFuture<'_, Result<Response<Bytes>>> {
        let cursor = self.0.fetch_add(1, Ordering::Relaxed);
        let body = format!(r#"{{"has_more":true,"next_cursor":"{cursor}"}}"#);
        future::ok(Response::new(body.into())).boxed()
    }
}

/// Returns the builder of a client whose quotas never make it wait.
fn builder(quotas: u64) -> ClientBuilder {
    let quota = |seconds| Quota::new(u32::MAX, Duration::from_secs(seconds)).unwrap();
    let builder = Client::builder().access_token("T").transport(Endless::default());
    builder.quotas((1..=quotas).map(quota))
}

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("limiter");
    group.throughput(Throughput::Elements(CALLS as u64));
    group.bench_function("governor alone, 1 quota", |b| {
        let limiter = RateLimiter::direct(governor::Quota::per_second(NonZeroU32::MAX));
        b.iter(|| (0..CALLS).for_each(|_| drop(black_box(limiter.check()))));
    });
    // To get the cost of one quota per permit, divide the difference of two lines by the difference of their quotas.
    for quotas in [1, 2, 12] {
        let client = builder(quotas).build().unwrap();
        bench_streams(&mut group, &runtime, &client, &format!("{quotas} quotas"), &[1]);
    }
    let client = builder(2).build().unwrap();
    bench_streams(&mut group, &runtime, &client, "2 quotas", &[10, 100]);
    #[cfg(feature = "redis")]
    if let Ok(url) = std::env::var("BENCH_REDIS_URL") {
        // Each permit takes one round trip. The round trips of many streams overlap.
        let redis = wecom_enroll::Redis::open(&url).unwrap().company("bench");
        let client = builder(2).redis(redis).build().unwrap();
        bench_streams(&mut group, &runtime, &client, "2 quotas in Redis", &[1, 10, 100]);
    }
    group.finish();
    waiting(c);
}

/// Measures streams that wait for 8 s, because WeCom allows 10,000 calls per minute. The clock is paused, so the
/// time is CPU time.
fn waiting(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter, 8 s of waiting");
    group.sample_size(10);
    for streams in [100, 1000, 5000] {
        group.bench_function(format!("streams: {streams}"), |b| {
            b.iter(|| {
                let runtime =
                    Builder::new_current_thread().enable_time().start_paused(true).build();
                runtime.unwrap().block_on(async {
                    let client = Client::builder().access_token("T").transport(Endless::default());
                    let client = client.build().unwrap();
                    let mut tasks = JoinSet::new();
                    for _ in 0..streams {
                        tasks.spawn(client.pages(Query::webinar("M")).map(black_box).count());
                    }
                    sleep(Duration::from_secs(8)).await;
                });
            });
        });
    }
    group.finish();
}

/// Divides the calls among streams, each in its own task.
fn bench_streams(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    client: &Client,
    quotas: &str,
    streams: &[usize],
) {
    for &streams in streams {
        group.bench_function(format!("{quotas}, streams: {streams}"), |b| {
            b.to_async(runtime).iter(|| {
                let stream = |_| {
                    let pages = client.pages(Query::webinar("M"));
                    tokio::spawn(pages.take(CALLS / streams).map(black_box).count())
                };
                (0..streams).map(stream).collect::<FuturesUnordered<_>>().count()
            });
        });
    }
}
