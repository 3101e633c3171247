//! Measures streams over loopback HTTP, including the work of the simulator, and the gain of read-ahead with a slow
//! server.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use futures::StreamExt;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};
use wecom_enroll::{Client, HttpTransport, Query, simulator::Simulator};

use crate::{owned, recorded};

const ROWS: u64 = 1000;

/// With so many rows, the first page, which cannot be read ahead, does not matter.
const SLOW_ROWS: u64 = 5000;

/// The time that the slow server and the slow reader take for each page.
const PAGE_TIME: Duration = Duration::from_millis(5);

pub(crate) fn bench(c: &mut Criterion) {
    loopback(c);
    read_ahead(c);
}

fn client(sim: &Simulator) -> Client {
    let builder = Client::builder().access_token(sim.access_token()).base_url(sim.base_url());
    recorded::unlimited(builder)
}

fn loopback(c: &mut Criterion) {
    // The server has its own runtime, so that it does not wait for its reader.
    let server = Runtime::new().unwrap();
    let sim = server.block_on(Simulator::builder().enrollees(ROWS).start()).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = client(&sim);
    let http = HttpTransport::client_builder().unwrap().no_proxy().build().unwrap();
    let url = recorded::url(&sim);

    let mut group = c.benchmark_group("end to end, over loopback");
    group.throughput(Throughput::Elements(ROWS)).sample_size(20);
    group.bench_function("hand-written loop", |b| {
        b.to_async(&runtime).iter(|| async {
            let mut cursor = None;
            loop {
                let request = http.post(&url).body(recorded::request(cursor.as_deref()));
                let body = request.send().await.unwrap().bytes().await.unwrap();
                let page: owned::Page = serde_json::from_slice(&body).unwrap();
                page.enroll_list.into_iter().for_each(|row| drop(black_box(row)));
                if !page.has_more {
                    break;
                }
                cursor = Some(page.next_cursor);
            }
        });
    });
    for ahead in [0, 1] {
        group.bench_function(format!("stream, {ahead} ahead"), |b| {
            b.to_async(&runtime).iter(|| {
                client.enrolls(Query::webinar("M")).read_ahead(ahead).map(black_box).count()
            });
        });
    }
    group.finish();
}

/// Without read-ahead, server and reader together take 10 ms per page plus the timers' delay. With
/// read-ahead, they take as long as the server alone.
///
/// The reader is either the future that the runtime blocks on, or a spawned task. A busy spawned reader
/// can be moved to another thread at every page, where it competes with the server for a core.
fn read_ahead(c: &mut Criterion) {
    let server = Runtime::new().unwrap();
    let slow = Simulator::builder().enrollees(SLOW_ROWS).latency(PAGE_TIME);
    let sim = server.block_on(slow.start()).unwrap();
    let client = client(&sim);
    let mut group = c.benchmark_group("end to end, 5 ms per page for server and reader");
    group.throughput(Throughput::Elements(SLOW_ROWS)).sample_size(10);
    for (threads, mut builder) in [
        ("one thread", Builder::new_current_thread()),
        ("two threads", Builder::new_multi_thread()),
    ] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        group.bench_function(format!("{threads}, server alone"), |b| {
            b.to_async(&runtime).iter(|| Reader::Idle.read(&client, 0));
        });
        for ahead in [0, 1] {
            for reader in [Reader::Sleeping, Reader::Busy] {
                group.bench_function(format!("{threads}, {reader:?} reader, {ahead} ahead"), |b| {
                    b.to_async(&runtime).iter(|| reader.read(&client, ahead));
                });
            }
            group.bench_function(format!("{threads}, Busy spawned reader, {ahead} ahead"), |b| {
                b.to_async(&runtime).iter(|| {
                    let client = client.clone();
                    tokio::spawn(async move { Reader::Busy.read(&client, ahead).await })
                });
            });
        }
    }
    group.finish();
}

#[derive(Clone, Copy, Debug)]
enum Reader {
    Idle,
    Sleeping,
    Busy,
}

impl Reader {
    async fn read(self, client: &Client, ahead: usize) {
        let rows = client.enrolls(Query::webinar("M")).read_ahead(ahead);
        let mut pages = rows.chunks(50);
        while let Some(page) = pages.next().await {
            let started = Instant::now();
            drop(black_box(page));
            match self {
                Self::Idle => {}
                Self::Sleeping => sleep(PAGE_TIME).await,
                Self::Busy => while started.elapsed() < PAGE_TIME {},
            }
        }
    }
}
