//! What a walk allocates, counted: a guard against what no timing would notice.
//!
//! A binary of its own, because counting takes a global allocator. The transport is scripted but for
//! one test: what HTTP allocates is `reqwest`'s, and measured by `benches/peers`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "small numbers, in ratios")]

use std::{
    future::{Future, ready},
    io::{Read, Write},
    net::TcpListener,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use wecom_enroll::{Client, Query, Reply, Request, Result, RetryPolicy, Transport};

const ROWS: u64 = 50;

/// Pages that were made before anybody counts, and the number of the next one.
struct Pages(Arc<Vec<Bytes>>, AtomicUsize);

/// As many full pages, of five answers a row.
fn pages(count: u64) -> Arc<Vec<Bytes>> {
    let page = |number| Bytes::from_owner(body(number, number + 1 < count));
    Arc::new((0..count).map(page).collect())
}

fn body(page: u64, more: bool) -> String {
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
        r#"{{"errcode":0,"errmsg":"ok","has_more":{more},"next_cursor":"cursor-{page}","enroll_list":[{rows}]}}"#
    )
}

impl Transport for Pages {
    fn send(&self, _: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let reply = Reply::new(200, self.0[self.1.fetch_add(1, SeqCst)].clone());
        Box::pin(ready(Ok(reply)))
    }
}

fn client(pages: &Arc<Vec<Bytes>>) -> Client {
    let transport = Pages(Arc::clone(pages), AtomicUsize::new(0));
    Client::builder().access_token("T").transport(transport).build().unwrap()
}

fn query() -> Query {
    Query::webinar("M")
}

/// A runtime on this thread, which is the one that is counted.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a walk of so many pages allocates.
fn walk(count: u64, ahead: usize) -> AllocationInfo {
    let pages = pages(count);
    measure(|| {
        let rows = client(&pages).enrolls(query()).read_ahead(ahead);
        assert_eq!(block_on(rows.count()) as u64, ROWS * count);
    })
}

#[test]
fn a_page_costs_seven_allocations_and_a_row_of_it_none() {
    for (ahead, most) in [(0, 7.5), (1, 9.5)] {
        let (short, long) = (walk(20, ahead), walk(70, ahead));
        let a_page = (long.count_total - short.count_total) as f64 / 50.0;
        assert!(a_page <= most, "{a_page} allocations a page, {ahead} ahead");
        assert!(a_page >= 5.0, "{a_page}: something is not counted");
    }
    block_on(async {
        let mut rows = client(&pages(1)).enrolls(query());
        rows.next().await.unwrap().unwrap();
        for _ in 1..ROWS {
            let mut row = None;
            let spent = measure(|| row = rows.next().now_or_never());
            assert_eq!(spent, AllocationInfo::default());
            assert!(row.flatten().unwrap().unwrap().answers().len() == 5);
        }
    });
}

#[test]
fn memory_does_not_grow_with_the_walk() {
    for ahead in [0, 1] {
        let (short, long) = (walk(20, ahead), walk(320, ahead));
        let grown = long.bytes_max - short.bytes_max;
        // The set of followed cursors: 8 bytes a page, some times that while it doubles, and nothing
        // like the pages themselves, of 50 kB each.
        assert!(grown <= 300 * 64, "{grown} bytes more for 300 pages more, {ahead} ahead");
    }
}

#[test]
fn a_kept_page_is_its_body_and_a_quarter_and_a_detached_row_its_own_bytes() {
    block_on(async {
        let bodies = pages(1);
        let body = bodies[0].len() as f64;
        let (client, mut page) = (client(&bodies), None);
        let kept = measure(|| page = client.pages(query()).next().now_or_never());
        let page = page.flatten().unwrap().unwrap();
        // Rows, answers and contents as tables of spans.
        let kept = kept.bytes_current as f64 / body;
        assert!((1.0..=1.3).contains(&kept), "a kept page is {kept} times its body");

        let row = page.rows().next().unwrap().unwrap();
        let mut detached = None;
        let copy = measure(|| detached = Some(row.detach()));
        let bytes = copy.bytes_current as f64 / (body / ROWS as f64);
        assert!(bytes <= 1.3, "a detached row is {bytes} times its part of the body");
        assert!(copy.count_current <= 5, "{copy:?}");
        assert_eq!(detached.unwrap().enroll_id(), row.enroll_id());
    });
}

/// A body of which each byte is a piece of its own: a piece that is kept takes 32 bytes and more.
#[test]
fn a_body_in_crumbs_takes_no_more_than_a_few_times_its_bytes() {
    const CAP: usize = 256 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Until its client has had enough.
        while socket.write_all(&b"1\r\nx\r\n".repeat(1000)).is_ok() {}
    });
    let client = Client::builder().access_token("T").base_url(url).max_body(CAP);
    let client = client.retry(RetryPolicy::never()).build().unwrap();
    let mut error = String::new();
    let spent = measure(|| {
        let row = block_on(async { client.enrolls(query()).next().await });
        error = row.unwrap().unwrap_err().to_string();
    });
    server.join().unwrap();
    assert!(error.contains(&format!("larger than {CAP} bytes")), "{error}");
    assert!(spent.bytes_max >= CAP as u64, "{}: something is not counted", spent.bytes_max);
    assert!(spent.bytes_max <= 6 * CAP as u64, "{} bytes for {CAP}", spent.bytes_max);
}
