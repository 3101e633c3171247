//! From a transport's replies to rows: the whole walk but the network, and what the stream itself
//! adds to a row.

use std::{hint::black_box, pin::pin, sync::Arc, time::Duration};

use async_stream::try_stream;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use wecom_enroll::{Query, simulator::Simulator};

use crate::{
    owned,
    recorded::{self, Replies},
};

/// Twenty pages, of five answers a row.
const ROWS: u64 = 1000;

/// The most rows that a page may hold.
const READY: u64 = 10_000;

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sim = runtime.block_on(Simulator::builder().enrollees(ROWS).start()).unwrap();
    let recorded = runtime.block_on(recorded::list(&sim));
    walk(c, &runtime, &recorded);
    adapter(c);
}

fn walk(c: &mut Criterion, runtime: &Runtime, recorded: &Replies) {
    let client = recorded::client(recorded.clone());
    let bodies: &[Bytes] = &recorded.values().cloned().collect::<Vec<_>>();
    let page = |body: &Bytes| serde_json::from_slice::<owned::Page>(body);

    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("loop, as one would write it", |b| {
        b.iter(|| bodies.iter().flat_map(|body| page(body).unwrap().enroll_list).for_each(drop));
    });
    group.bench_function("async-stream by item, owned rows", |b| {
        b.to_async(runtime).iter(|| {
            let rows = try_stream! {
                for body in bodies {
                    for row in page(body)?.enroll_list {
                        yield row;
                    }
                }
            };
            count(rows.map(|row: serde_json::Result<_>| row))
        });
    });
    group.bench_function("try_flatten, owned rows", |b| {
        b.to_async(runtime).iter(|| {
            let pages = stream::iter(bodies).map(page);
            let rows =
                pages.map_ok(|page| stream::iter(page.enroll_list).map(serde_json::Result::Ok));
            count(rows.try_flatten())
        });
    });
    for ahead in [0, 1] {
        group.bench_function(format!("stream, {ahead} ahead"), |b| {
            b.to_async(runtime)
                .iter(|| count(client.enrolls(Query::webinar("M")).read_ahead(ahead)));
        });
    }
    group.finish();
}

async fn count(rows: impl Stream) -> usize {
    pin!(rows.map(black_box)).count().await
}

/// Rows of a page that is ready: what is left is the stream's own work. The page is as large as a page
/// may be, so that the clock's own cost does not count.
fn adapter(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let rows = (0..READY).map(|id| format!(r#"{{"enroll_id":{id}}}"#)).collect::<Vec<_>>();
    let body = format!(r#"{{"has_more":false,"enroll_list":[{}]}}"#, rows.join(","));
    let client = recorded::client(Arc::new([(recorded::request(None), body.into())].into()));

    let mut group = c.benchmark_group("adapter, rows of a ready page");
    group.throughput(Throughput::Elements(READY));
    let mut pages = client.pages(Query::webinar("M"));
    let page = runtime.block_on(pages.next()).unwrap().unwrap();
    group.bench_function("plain loop", |b| b.iter(|| page.rows().map(black_box).count()));
    group.bench_function("stream", |b| {
        b.to_async(&runtime).iter_custom(async |times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let mut rows = client.enrolls(Query::webinar("M"));
                black_box(rows.next().await);
                let begun = Instant::now();
                // Up to its last row: to free the page is no work of the stream's.
                for _ in 1..READY {
                    drop(black_box(rows.next().await));
                }
                spent += begun.elapsed();
            }
            spent
        });
    });
    group.finish();
}
