//! What a permit costs: calls of empty pages, of one stream and of many, under one window and more.

use std::{
    future::Future,
    hint::black_box,
    num::NonZeroU32,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use criterion::{Criterion, Throughput};
use futures::{StreamExt, stream::FuturesUnordered};
use governor::RateLimiter;
use tokio::runtime::Runtime;
use wecom_enroll::{Client, ClientBuilder, Query, Quota, Reply, Request, Result, Transport};

/// Calls an iteration.
const CALLS: usize = 1000;

/// A list without an end and without a row.
#[derive(Default)]
struct Endless(AtomicU64);

impl Transport for Endless {
    fn send(&self, _: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let cursor = self.0.fetch_add(1, Ordering::Relaxed);
        let body = format!(r#"{{"has_more":true,"next_cursor":"{cursor}"}}"#);
        Box::pin(async move { Ok(Reply::new(200, body)) })
    }
}

fn client(windows: u64) -> Client {
    builder(windows).build().unwrap()
}

fn builder(windows: u64) -> ClientBuilder {
    // As wide as windows get, and never full.
    let quota = |seconds| Quota::new(u32::MAX, Duration::from_secs(seconds)).unwrap();
    let builder = Client::builder().access_token("T").transport(Endless::default());
    (1..=windows).map(quota).fold(builder, ClientBuilder::quota)
}

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("limiter");
    group.throughput(Throughput::Elements(CALLS as u64));
    group.bench_function("governor's own check, one window", |b| {
        let cells = RateLimiter::direct(governor::Quota::per_second(NonZeroU32::MAX));
        b.iter(|| (0..CALLS).for_each(|_| drop(black_box(cells.check()))));
    });
    // What a window costs a permit is the difference of two lines over the windows between them.
    for windows in [1, 2, 12] {
        let client = client(windows);
        group.bench_function(format!("calls of one stream, windows: {windows}"), |b| {
            b.to_async(&runtime).iter(|| calls(&client, CALLS));
        });
    }
    for streams in [10, 100] {
        let client = client(2);
        let name = format!("calls of {streams} streams on two threads, windows: 2");
        group.bench_function(name, |b| b.to_async(&runtime).iter(|| spread(&client, streams)));
    }
    #[cfg(feature = "redis")]
    if let Some(server) = runtime.block_on(crate::redis_server::RedisServer::start()) {
        // One round trip a permit; many streams have theirs on the way at once.
        let redis = wecom_enroll::Redis::open(&server.url()).unwrap();
        let client = builder(2).redis(redis).company("bench").build().unwrap();
        group.bench_function("shared permits: calls of one stream, windows: 2", |b| {
            b.to_async(&runtime).iter(|| calls(&client, CALLS));
        });
        for streams in [10, 100] {
            let name = format!("shared permits: calls of {streams} streams on two threads");
            group.bench_function(name, |b| b.to_async(&runtime).iter(|| spread(&client, streams)));
        }
    }
    group.finish();
}

async fn spread(client: &Client, streams: usize) -> usize {
    let stream = |_| {
        let client = client.clone();
        tokio::spawn(async move { calls(&client, CALLS / streams).await })
    };
    (0..streams).map(stream).collect::<FuturesUnordered<_>>().count().await
}

async fn calls(client: &Client, calls: usize) -> usize {
    client.pages(Query::webinar("M")).take(calls).map(black_box).count().await
}
