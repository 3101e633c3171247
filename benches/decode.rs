//! From a page's bytes to its rows, and to every field of every row.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use futures::StreamExt;
use serde::de::IgnoredAny;
use tokio::runtime::Runtime;
use wecom_enroll::{Enroll, Query, simulator::Simulator};

use crate::{owned, recorded};

/// Twenty pages, of five answers a row.
const ROWS: u64 = 1000;

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sim = runtime.block_on(Simulator::builder().enrollees(ROWS).start()).unwrap();
    let recorded = runtime.block_on(recorded::list(&sim));
    let client = recorded::client(recorded.clone());

    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("passed over by serde_json, nothing kept", |b| {
        b.iter(|| {
            for body in recorded.values() {
                black_box(serde_json::from_slice::<IgnoredAny>(body).unwrap());
            }
        });
    });
    group.bench_function("owned strings, as one would write it", |b| {
        b.iter(|| {
            for body in recorded.values() {
                black_box(serde_json::from_slice::<owned::Page>(body).unwrap());
            }
        });
    });
    // The calls around it included: the codec has no door of its own.
    group.bench_function("pages", |b| {
        b.to_async(&runtime).iter(|| client.pages(Query::webinar("M")).map(black_box).count());
    });
    group.bench_function("pages, and every field of every row read", |b| {
        b.to_async(&runtime).iter(|| async {
            let mut pages = client.pages(Query::webinar("M"));
            while let Some(page) = pages.next().await {
                page.unwrap().rows().for_each(|row| read(&row.unwrap()));
            }
        });
    });
    group.bench_function("pages, and every row detached", |b| {
        b.to_async(&runtime).iter(|| async {
            let mut pages = client.pages(Query::webinar("M"));
            while let Some(page) = pages.next().await {
                black_box(
                    page.unwrap().rows().map(|row| row.unwrap().detach()).collect::<Vec<_>>(),
                );
            }
        });
    });
    group.finish();
}

fn read(row: &Enroll) {
    black_box((row.enroll_id(), row.enroll_time(), row.nick_name(), row.status(), row.source()));
    black_box((row.userid(), row.tmp_openid(), row.enroll_code()));
    for answer in row.answers() {
        for content in answer.content() {
            black_box(content);
        }
        black_box((answer.question_title(), answer.question_num(), answer.is_required()));
        black_box((answer.question_type(), answer.special_type()));
    }
}
