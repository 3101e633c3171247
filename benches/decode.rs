//! Measures decoding: from the bytes of a page to its rows, and to every field of every row.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use futures::StreamExt;
use serde::de::IgnoredAny;
use tokio::runtime::Runtime;
use wecom_enroll::{Enroll, Query};

use crate::{owned, recorded};

/// Twenty pages.
const ROWS: u64 = 1000;

pub(crate) fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let recorded = runtime.block_on(recorded::list(ROWS));
    let client = recorded::client(recorded.clone());

    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("serde_json, everything skipped", |b| {
        b.iter(|| {
            for body in recorded.values() {
                black_box(serde_json::from_slice::<IgnoredAny>(body).unwrap());
            }
        });
    });
    group.bench_function("serde_json, owned strings", |b| {
        b.iter(|| {
            for body in recorded.values() {
                black_box(serde_json::from_slice::<owned::Page>(body).unwrap());
            }
        });
    });
    // Includes the calls, because the decoder is private.
    group.bench_function("pages", |b| {
        b.to_async(&runtime).iter(|| client.pages(Query::webinar("M")).map(black_box).count());
    });
    group.bench_function("pages, every field of every row read", |b| {
        b.to_async(&runtime).iter(|| async {
            let mut pages = client.pages(Query::webinar("M"));
            while let Some(page) = pages.next().await {
                page.unwrap().rows().for_each(|row| read(&row.unwrap()));
            }
        });
    });
    group.bench_function("pages, every row detached", |b| {
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
