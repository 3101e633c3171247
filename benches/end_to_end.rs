//! Over loopback HTTP, the simulator's work included; and what read-ahead gains on a slow server.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use futures::StreamExt;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};
use wecom_enroll::{Client, Query, simulator::Simulator};

use crate::{owned, recorded};

const ROWS: u64 = 1000;

/// Enough that the first page, for which everybody waits, does not count.
const SLOW_ROWS: u64 = 5000;

/// What a server and a reader take for a page.
const PACE: Duration = Duration::from_millis(5);

pub(crate) fn bench(c: &mut Criterion) {
    loopback(c);
    read_ahead(c);
}

fn client(sim: &Simulator) -> Client {
    let builder = Client::builder().access_token(sim.access_token()).base_url(sim.base_url());
    recorded::ample(builder)
}

fn loopback(c: &mut Criterion) {
    // On a runtime of its own: it must not wait for its reader.
    let server = Runtime::new().unwrap();
    let sim = server.block_on(Simulator::builder().enrollees(ROWS).start()).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = client(&sim);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = recorded::url(&sim);

    let mut group = c.benchmark_group("end to end, over loopback");
    group.throughput(Throughput::Elements(ROWS)).sample_size(20);
    group.bench_function("loop, as one would write it", |b| {
        b.to_async(&runtime).iter(|| async {
            let mut cursor = None;
            loop {
                let request = http.post(&url).body(recorded::request(cursor.as_deref()));
                let reply = request.send().await.unwrap().bytes().await.unwrap();
                let page: owned::Page = serde_json::from_slice(&reply).unwrap();
                page.enroll_list.into_iter().for_each(|row| drop(black_box(row)));
                if !page.has_more {
                    break;
                }
                cursor = Some(page.next_cursor);
            }
        });
    });
    for ahead in [0, 1, 3] {
        group.bench_function(format!("stream, {ahead} ahead"), |b| {
            b.to_async(&runtime).iter(|| {
                client.enrolls(Query::webinar("M")).read_ahead(ahead).map(black_box).count()
            });
        });
    }
    group.finish();
}

/// One after the other, server and reader take 10 ms a page and what a timer adds; side by side, as long
/// as the server alone.
///
/// The reader is what `#[tokio::main]` waits for, or a task. A task is woken on the thread that has read
/// the socket, so a busy one moves at every page, and on two cores gets into the server's way.
fn read_ahead(c: &mut Criterion) {
    let server = Runtime::new().unwrap();
    let slow = Simulator::builder().enrollees(SLOW_ROWS).latency(PACE);
    let sim = server.block_on(slow.start()).unwrap();
    let mut group = c.benchmark_group("end to end, server and reader 5 ms a page each");
    group.throughput(Throughput::Elements(SLOW_ROWS)).sample_size(10);
    for (threads, mut builder) in [
        ("one thread", Builder::new_current_thread()),
        ("two threads", Builder::new_multi_thread()),
    ] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let client = client(&sim);
        for (reader, ahead) in [
            (Reader::Idle, 0),
            (Reader::Sleeping, 0),
            (Reader::Sleeping, 1),
            (Reader::Busy, 0),
            (Reader::Busy, 1),
        ] {
            group.bench_function(format!("{threads}, {reader:?} reader, {ahead} ahead"), |b| {
                b.to_async(&runtime).iter(|| reader.read(client.clone(), ahead));
            });
        }
        for ahead in [0, 1] {
            group.bench_function(format!("{threads}, Busy task, {ahead} ahead"), |b| {
                b.to_async(&runtime)
                    .iter(|| tokio::spawn(Reader::Busy.read(client.clone(), ahead)));
            });
        }
    }
    group.finish();
}

#[derive(Clone, Copy, Debug)]
enum Reader {
    /// Takes no time: what is left is the server alone.
    Idle,
    Sleeping,
    Busy,
}

impl Reader {
    async fn read(self, client: Client, ahead: usize) {
        let rows = client.enrolls(Query::webinar("M")).read_ahead(ahead);
        let mut pages = rows.chunks(50);
        while let Some(page) = pages.next().await {
            let begun = Instant::now();
            drop(black_box(page));
            match self {
                Self::Idle => {}
                Self::Sleeping => sleep(PACE).await,
                Self::Busy => while begun.elapsed() < PACE {},
            }
        }
    }
}
