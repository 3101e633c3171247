//! Measures streams without a network: from the responses of a transport to rows, and the cost that the stream itself
//! adds per row.

use std::{hint::black_box, pin::pin, sync::Arc, time::Duration};

use async_stream::try_stream;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use wecom_enroll::Query;

use crate::{owned, recorded};

/// Twenty pages.
const ROWS: u64 = 1000;

/// The maximum number of rows of a page.
const PAGE_ROWS: u64 = 10_000;

pub(crate) fn bench(c: &mut Criterion) {
    whole_list(c);
    one_page(c);
}

fn whole_list(c: &mut Criterion) {
    let runtime = &Runtime::new().unwrap();
    let recorded = runtime.block_on(recorded::list(ROWS));
    let client = recorded::client(recorded.clone());
    let bodies: &[Bytes] = &recorded.values().cloned().collect::<Vec<_>>();
    let page = |body: &Bytes| serde_json::from_slice::<owned::Page>(body);

    let mut group = c.benchmark_group("stream");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("hand-written loop, owned rows", |b| {
        b.iter(|| bodies.iter().flat_map(|body| page(body).unwrap().enroll_list).for_each(drop));
    });
    group.bench_function("async-stream by row, owned rows", |b| {
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
        group.bench_function(format!("EnrollStream, {ahead} ahead"), |b| {
            b.to_async(runtime)
                .iter(|| count(client.enrolls(Query::webinar("M")).read_ahead(ahead)));
        });
    }
    group.finish();
}

async fn count(rows: impl Stream) -> usize {
    pin!(rows.map(black_box)).count().await
}

/// Measures only the stream's own work per row: the page is already decoded, and so large that reading
/// the clock does not matter.
fn one_page(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let rows = (0..PAGE_ROWS).map(|id| format!(r#"{{"enroll_id":{id}}}"#)).collect::<Vec<_>>();
    let body = format!(r#"{{"has_more":false,"enroll_list":[{}]}}"#, rows.join(","));
    let client = recorded::client(Arc::new([(recorded::request(None), body.into())].into()));

    let mut group = c.benchmark_group("stream, rows of a decoded page");
    group.throughput(Throughput::Elements(PAGE_ROWS));
    let mut pages = client.pages(Query::webinar("M"));
    let page = runtime.block_on(pages.next()).unwrap().unwrap();
    group.bench_function("hand-written loop", |b| b.iter(|| page.rows().map(black_box).count()));
    group.bench_function("EnrollStream", |b| {
        b.to_async(&runtime).iter_custom(async |times| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                let mut rows = client.enrolls(Query::webinar("M"));
                black_box(rows.next().await);
                let started = Instant::now();
                // Stops before the end of the page, because freeing it is not the stream's work.
                for _ in 1..PAGE_ROWS {
                    drop(black_box(rows.next().await));
                }
                elapsed += started.elapsed();
            }
            elapsed
        });
    });
    group.finish();
}
