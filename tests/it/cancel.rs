//! Cancellation: dropping a pending `next()` at every await point, and dropping the stream.

use std::{pin::pin, time::Duration};

use futures::{FutureExt, StreamExt, future::poll_fn};
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{Client, Quota};

use crate::support::{Act, List, Script, errcode, grant, ids, persistent, query, read, status};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a server that causes every kind of wait: token, response, backoff, retry-after, quota.
fn slow(list: &List) -> Script {
    let list = list.clone();
    Script::new(move |call| {
        let delay = Duration::from_millis(30);
        match (call.is_list(), call.number % 7) {
            (false, _) => grant("T", 1).after(delay),
            (_, 3) => status(503),
            (_, 5) => errcode(45009),
            (_, 6) => errcode(42001),
            _ => list.respond(call).after(delay),
        }
    })
}

fn client(script: &Script) -> Client {
    script
        .app_builder()
        .quotas([Quota::new(40, SECOND).unwrap()])
        .retry_after(Duration::from_millis(70))
        .retry(persistent())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn next_dropped_at_any_await_point_loses_no_row() {
    // Each `next()` is dropped after `cut` milliseconds. Over all values, every await point is hit.
    for cut in 1..=45 {
        for ahead in [0, 1, 3] {
            let list = List(vec![3; 8]);
            let script = slow(&list);
            let mut rows = client(&script).enrolls(query()).read_ahead(ahead);
            let mut seen = Vec::new();
            loop {
                match timeout(Duration::from_millis(cut), rows.next()).await {
                    Err(_) => {}
                    Ok(Some(row)) => seen.push(row.unwrap().enroll_id().to_owned()),
                    Ok(None) => break,
                }
            }
            assert_eq!(seen, list.ids(), "cut after {cut} ms, {ahead} ahead");
            let mut cursors: Vec<_> =
                script.list_calls().iter().map(|c| c.body.to_string()).collect();
            cursors.dedup();
            assert_eq!(cursors.len(), 8, "a page is requested twice only by a retry");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn next_dropped_after_any_number_of_polls_loses_no_row() {
    for polls in 1..6 {
        let list = List::of(120);
        let mut rows = client(&slow(&list)).enrolls(query());
        let mut seen = Vec::new();
        'rows: loop {
            {
                let mut next = pin!(rows.next());
                for _ in 0..polls {
                    match poll_fn(|cx| std::task::Poll::Ready(next.poll_unpin(cx))).await {
                        std::task::Poll::Ready(Some(row)) => {
                            seen.push(row.unwrap().enroll_id().to_owned());
                            continue 'rows;
                        }
                        std::task::Poll::Ready(None) => break 'rows,
                        std::task::Poll::Pending => sleep(Duration::from_millis(3)).await,
                    }
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(seen, list.ids(), "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn quota_wait_that_is_dropped_uses_no_quota() {
    let script = List::of(1).script();
    let client = script
        .builder()
        .quotas([Quota::new(10, 100 * SECOND).unwrap(), Quota::new(30, 1000 * SECOND).unwrap()])
        .build()
        .unwrap();
    // The first stream uses the burst, and a hundred more are dropped while they wait.
    ids(client.enrolls(query())).await.unwrap();
    for _ in 0..100 {
        let waited = timeout(Duration::from_millis(10), ids(client.enrolls(query()))).await;
        assert!(waited.is_err());
    }
    assert_eq!(script.calls().len(), 1);
    // If the dropped streams had used quota, this stream would wait longer.
    let started = Instant::now();
    ids(client.enrolls(query())).await.unwrap();
    assert!(started.elapsed() <= 10 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn token_wait_that_is_dropped_uses_no_quota() {
    let script = Script::new(|call| match call.is_list() {
        true => List::of(1).respond(call),
        false if call.number < 20 => Act::Hang,
        false => grant("T", 7200),
    });
    let quota = Quota::new(1, 1000 * SECOND).unwrap();
    let client = script.app_builder().quotas([quota]).build().unwrap();
    for _ in 1..20 {
        assert!(timeout(SECOND, ids(client.enrolls(query()))).await.is_err());
    }
    assert_eq!(script.in_flight(), 0, "a fetch is dropped when no caller waits for it");
    let started = Instant::now();
    ids(client.enrolls(query())).await.unwrap();
    assert!(started.elapsed() < SECOND, "the call of the window is still available");
}

#[tokio::test(start_paused = true)]
async fn stream_dropped_cancels_its_request_and_its_task() {
    for ahead in [0, 1, 3] {
        let script = Script::new(|call| match call.number {
            1 => List::of(200).page(0).into(),
            _ => Act::Hang,
        });
        let mut rows = script.client().enrolls(query()).read_ahead(ahead);
        read(&mut rows, 50).await;
        assert!(timeout(SECOND, rows.next()).await.is_err());
        assert_eq!(script.in_flight(), 1);
        drop(rows);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(script.in_flight(), 0, "{ahead} ahead");
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0, "{ahead} ahead");
    }
}

#[tokio::test(start_paused = true)]
async fn token_fetch_continues_if_its_first_caller_is_dropped() {
    let script = Script::new(|call| match call.number {
        1 => Act::Hang,
        _ if call.is_list() => List::of(1).respond(call),
        _ => grant("T", 7200),
    });
    let client = script.app_client();
    let mut first = client.enrolls(query());
    let mut second = client.enrolls(query());
    assert!(timeout(SECOND, first.next()).await.is_err());
    // The fetch that the first stream started continues: its attempt times out and is retried.
    drop(first);
    assert!(timeout(SECOND, second.next()).await.unwrap().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn stream_that_is_not_polled_does_not_block_others() {
    const DAY: Duration = Duration::from_secs(86_400);
    // This client waits for quota: it may make one call in ten seconds.
    let quota = Quota::new(1, 10 * SECOND).unwrap();
    let waiting = List::of(1).script().builder().quotas([quota]).build().unwrap();
    ids(waiting.enrolls(query())).await.unwrap();
    // This client has the default quotas and waits because the server throttled it.
    let held = Script::new(|call| match call.number {
        1 => errcode(45009),
        _ => List::of(1).respond(call),
    });
    for client in [waiting, held.client()] {
        let mut kept: Vec<_> = (0..3).map(|_| client.enrolls(query())).collect();
        for rows in &mut kept {
            assert!(timeout(Duration::from_millis(1), rows.next()).await.is_err());
        }
        assert!(kept[2].next().now_or_never().is_none());
        let third = timeout(DAY, ids(client.enrolls(query()))).await;
        assert!(third.is_ok(), "another list waited for a day");
        for mut rows in kept {
            assert!(rows.next().await.unwrap().is_ok());
        }
    }
}
