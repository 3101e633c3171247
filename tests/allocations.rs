//! Counts the allocations of a stream, to catch regressions that are too small for a benchmark.
//!
//! This is a separate binary, because counting requires a global allocator. The transport is scripted
//! except in one test, because `benches/peers` measures the allocations of HTTP.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "small numbers, in ratios")]

use std::{
    future::{Future, ready},
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::{Request, Response};
use wecom_enroll::{Client, Query, Result, RetryPolicy, Transport};

const ROWS: u64 = 50;

/// Pages that were created before the count starts, and the index of the next one.
struct Pages(Arc<Vec<Bytes>>, AtomicUsize);

/// Creates this many full pages, with five answers per row.
fn pages(count: u64) -> Arc<Vec<Bytes>> {
    let page = |number| Bytes::from_owner(body(number, number + 1 < count));
    Arc::new((0..count).map(page).collect())
}

fn body(page: u64, has_more: bool) -> String {
    let answer = |number| {
        format!(
            r#"{{"answer_content":["希望了解企业微信与现有客户管理系统的对接"],"is_required":2,"question_num":{number},"question_title":"请填写您的手机号码,以便会前提醒","question_type":3,"special_type":1}}"#
        )
    };
    let row = |id| {
        let answers = (1..=5).map(answer).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"enroll_id":"{id}","enroll_time":"2023-03-23 10:00:00","enroll_source_type":1,"nick_name":"周静","status":3,"userid":"jing{id}","enroll_code":"4601998","answer_list":[{answers}]}}"#
        )
    };
    let rows = (ROWS * page..ROWS * (page + 1)).map(row).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"errcode":0,"errmsg":"ok","has_more":{has_more},"next_cursor":"cursor-{page}","enroll_list":[{rows}]}}"#
    )
}

impl Transport for Pages {
    fn send(&self, _: Request<Bytes>, _: usize) -> BoxFuture<'_, Result<Response<Bytes>>> {
        let page = self.0[self.1.fetch_add(1, SeqCst)].clone();
        Box::pin(ready(Ok(Response::new(page))))
    }
}

fn client(pages: &Arc<Vec<Bytes>>) -> Client {
    let transport = Pages(Arc::clone(pages), AtomicUsize::new(0));
    Client::builder().access_token("T").transport(transport).build().unwrap()
}

fn query() -> Query {
    Query::webinar("M")
}

/// Runs the future on this thread, whose allocations are counted.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Returns the allocations of a stream of this many pages.
fn stream(count: u64, ahead: usize) -> AllocationInfo {
    let pages = pages(count);
    measure(|| {
        let rows = client(&pages).enrolls(query()).read_ahead(ahead);
        assert_eq!(block_on(rows.count()) as u64, ROWS * count);
    })
}

#[test]
fn page_has_few_allocations_and_row_has_none() {
    // What is initialized once, such as the callsites of tracing, is not counted.
    stream(1, 1);
    // Measured: 12.04 and 14.04. This includes the URL and the headers of the `http::Request`.
    for (ahead, limit) in [(0, 12.5), (1, 14.5)] {
        let (short, long) = (stream(20, ahead), stream(70, ahead));
        let per_page = (long.count_total - short.count_total) as f64 / 50.0;
        assert!(per_page <= limit, "{per_page} allocations per page, {ahead} ahead");
        assert!(per_page >= limit - 2.0, "{per_page}: lower the limit, or not all are counted");
    }
    block_on(async {
        let mut rows = client(&pages(1)).enrolls(query());
        rows.next().await.unwrap().unwrap();
        for _ in 1..ROWS {
            let mut row = None;
            let info = measure(|| row = rows.next().now_or_never());
            assert_eq!(info, AllocationInfo::default());
            assert!(row.flatten().unwrap().unwrap().answers().len() == 5);
        }
    });
}

#[test]
fn memory_does_not_grow_with_the_list() {
    // What is initialized once is not counted.
    stream(1, 1);
    for ahead in [0, 1] {
        let (short, long) = (stream(20, ahead), stream(320, ahead));
        let grown = long.bytes_max.saturating_sub(short.bytes_max);
        // The set of followed cursors: 8 bytes per page, and several times that while it grows. A page
        // has 50 kB.
        assert!(grown <= 300 * 64, "{grown} more bytes for 300 more pages, {ahead} ahead");
    }
}

#[test]
fn page_adds_little_to_its_response() {
    block_on(async {
        let bodies = pages(1);
        let body = bodies[0].len() as f64;
        let (client, mut page) = (client(&bodies), None);
        let added = measure(|| page = client.pages(query()).next().now_or_never());
        let page = page.flatten().unwrap().unwrap();
        // A page shares the memory of the response, and adds tables of byte ranges.
        let added = added.bytes_current as f64 / body;
        assert!((0.1..=0.3).contains(&added), "a page adds {added} times its body");

        let row = page.rows().next().unwrap().unwrap();
        let mut detached = None;
        let copy = measure(|| detached = Some(row.detach()));
        let bytes = copy.bytes_current as f64 / (body / ROWS as f64);
        assert!(bytes <= 1.3, "a detached row is {bytes} times its part of the body");
        assert!(copy.count_current <= 5, "{copy:?}");
        assert_eq!(detached.unwrap().enroll_id(), row.enroll_id());
    });
}

/// Each byte of the body is a chunk, and a chunk that is kept takes at least 32 bytes.
#[test]
fn body_in_small_chunks_takes_a_few_times_its_size() {
    const LIMIT: usize = 256 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Sends until the client closes the connection.
        while socket.write_all(&b"1\r\nx\r\n".repeat(1000)).is_ok() {}
    });
    let client = Client::builder().access_token("T").base_url(url).max_body(LIMIT);
    let client = client.retry(RetryPolicy::never()).build().unwrap();
    let mut error = String::new();
    let info = measure(|| {
        let row = block_on(async { client.enrolls(query()).next().await });
        error = row.unwrap().unwrap_err().to_string();
    });
    server.join().unwrap();
    assert!(error.contains(&format!("larger than {LIMIT} bytes")), "{error}");
    assert!(info.bytes_max >= LIMIT as u64, "{}: some allocations are not counted", info.bytes_max);
    assert!(info.bytes_max <= 6 * LIMIT as u64, "{} bytes for {LIMIT}", info.bytes_max);
}
