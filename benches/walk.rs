//! What a row costs: decoding, walking, resuming, and serving it from the simulator.
//!
//! `cargo bench --features simulator`. Compare lines of one run with one another: `loop` is what a
//! user would write by hand, over the same pages.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{future::Future, hint::black_box, pin::Pin, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use wecom_enroll::{
    Client, Enroll, Query, Quota, Reply, Request, Result, Transport, simulator::Simulator,
};

const PAGES: usize = 20;
const ROWS: u64 = 50 * PAGES as u64;

/// Replies as the simulator sent them, without a network.
#[derive(Clone)]
struct Recorded(Vec<(String, Bytes)>);

impl Transport for Recorded {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let body = request.body().unwrap();
        let reply = self.0.iter().find(|(sent, _)| sent.as_bytes() == body).unwrap().1.clone();
        // A body of its own, as a socket would have made it.
        Box::pin(async move { Ok(Reply::new(200, reply.to_vec())) })
    }
}

/// What a user would write: every string owned.
#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded for the cost of it")]
struct OwnPage {
    has_more: bool,
    next_cursor: String,
    enroll_list: Vec<OwnRow>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded for the cost of it")]
struct OwnRow {
    enroll_id: serde_json::Value,
    enroll_time: String,
    enroll_source_type: u32,
    nick_name: String,
    status: u32,
    userid: Option<String>,
    tmp_openid: Option<String>,
    enroll_code: Option<String>,
    answer_list: Vec<OwnAnswer>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded for the cost of it")]
struct OwnAnswer {
    answer_content: Vec<String>,
    is_required: u32,
    question_num: u32,
    question_title: String,
    question_type: u32,
    special_type: u32,
}

async fn record(sim: &Simulator) -> Recorded {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!(
        "{}/cgi-bin/meeting/webinar/enroll/list?access_token={}",
        sim.base_url(),
        sim.access_token()
    );
    let mut recorded = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let cursor_field =
            cursor.map(|c| format!(r#""cursor":{},"#, serde_json::to_string(&c).unwrap()));
        let body = format!(
            r#"{{"meetingid":"M","status":0,{}"limit":50}}"#,
            cursor_field.unwrap_or_default()
        );
        let reply = http.post(&url).body(body.clone()).send().await.unwrap().bytes().await.unwrap();
        let page: OwnPage = serde_json::from_slice(&reply).unwrap();
        recorded.push((body, reply));
        if !page.has_more {
            return Recorded(recorded);
        }
        cursor = Some(page.next_cursor);
    }
}

fn open(builder: wecom_enroll::ClientBuilder) -> Client {
    let ample = Quota::new(u32::MAX, Duration::from_secs(1)).unwrap();
    builder.quota(ample).build().unwrap()
}

fn length(row: &Enroll) -> usize {
    row.enroll_id().len()
        + row.nick_name().len()
        + row.answers().map(|a| a.question_title().len()).sum::<usize>()
}

fn walk(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sim = runtime.block_on(Simulator::builder().enrollees(ROWS).start()).unwrap();
    let recorded = runtime.block_on(record(&sim));
    let client = open(Client::builder().access_token("T").transport(recorded.clone()));
    let query = || Query::webinar("M");

    let mut group = c.benchmark_group("recorded");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("loop", |b| {
        b.iter(|| {
            for (_, body) in &recorded.0 {
                let page: OwnPage = serde_json::from_slice(body).unwrap();
                for row in page.enroll_list {
                    black_box(row);
                }
            }
        });
    });
    group.bench_function("stream", |b| {
        b.to_async(&runtime).iter(|| client.enrolls(query()).map(black_box).count());
    });
    group.bench_function("stream, every string looked at", |b| {
        b.to_async(&runtime).iter(|| async {
            let lengths = client.enrolls(query()).map_ok(|row| length(&row));
            lengths.try_fold(0, |sum, length| async move { Ok(sum + length) }).await
        });
    });
    group.bench_function("stream, every row detached", |b| {
        b.to_async(&runtime).iter(|| async {
            client.enrolls(query()).map_ok(|row| row.detach()).try_collect::<Vec<_>>().await
        });
    });
    group.bench_function("pages", |b| {
        b.to_async(&runtime).iter(|| client.pages(query()).map(black_box).count());
    });
    group.finish();

    let http = Client::builder().access_token(sim.access_token()).base_url(sim.base_url());
    let http = open(http);
    let mut group = c.benchmark_group("over loopback, the simulator's work included");
    group.throughput(Throughput::Elements(ROWS)).sample_size(20);
    for ahead in [0, 1, 3] {
        group.bench_function(format!("{ahead} pages ahead"), |b| {
            b.to_async(&runtime)
                .iter(|| http.enrolls(query()).read_ahead(ahead).map(black_box).count());
        });
    }
    group.finish();
}

/// A server that takes 5 ms a page, and a reader that is busy for 5 ms a page: one after the other
/// that is 10 ms a page, and side by side 5.
fn read_ahead(c: &mut Criterion) {
    let mut group = c.benchmark_group("20 pages of 5 ms, a busy reader of 5 ms a page");
    group.sample_size(10);
    for (threads, mut builder) in [
        ("one thread", Builder::new_current_thread()),
        ("two threads", Builder::new_multi_thread()),
    ] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        // On a runtime of its own: a busy reader must not keep the server from its work.
        let server = Runtime::new().unwrap();
        let slow = Simulator::builder().enrollees(ROWS).latency(Duration::from_millis(5));
        let sim = server.block_on(slow.start()).unwrap();
        let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url());
        let client = open(client);
        for ahead in [0, 1, 3] {
            group.bench_function(format!("{threads}, {ahead} ahead"), |b| {
                b.to_async(&runtime).iter(|| async {
                    let mut rows = client.enrolls(Query::webinar("M")).read_ahead(ahead);
                    while rows.next().await.is_some() {
                        let begun = Instant::now();
                        while begun.elapsed() < Duration::from_micros(100) {}
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, walk, read_ahead);
criterion_main!(benches);
