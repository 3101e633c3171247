//! Dropping a pending `next()` at every await point, and dropping the stream.

use std::{pin::pin, time::Duration};

use futures::{FutureExt, StreamExt, future::poll_fn};
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{Client, Quota, Reply};

use crate::support::{Act, List, Script, errcode, grant, ids, query, status, stubborn};

const SECOND: Duration = Duration::from_secs(1);

/// A server whose every kind of wait takes time: gettoken, replies, backoff, pushback, quota.
fn slow(list: &List) -> Script {
    let list = list.clone();
    Script::new(move |call| {
        let after = |json: serde_json::Value| {
            Act::After(Duration::from_millis(30), Reply::new(200, json.to_string()))
        };
        match (call.is_list(), call.number % 7) {
            (false, _) => {
                after(serde_json::json!({"errcode": 0, "access_token": "T", "expires_in": 1}))
            }
            (_, 3) => status(503),
            (_, 5) => errcode(45009),
            (_, 6) => errcode(42001),
            _ => after(list.page(List::index(call.cursor()))),
        }
    })
}

fn client(script: &Script) -> Client {
    Client::builder()
        .corp_secret("corp", "secret")
        .transport(script.clone())
        .quota(Quota::new(40, SECOND).unwrap())
        .pushback(Duration::from_millis(70))
        .retry(stubborn())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_next_dropped_at_any_await_point_loses_no_row() {
    // Cut every `next()` off after k milliseconds: over all k, every await point is hit.
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
            assert_eq!(cursors.len(), 8, "no page was asked for twice but by a retry");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_next_dropped_after_every_number_of_polls_loses_no_row() {
    for polls in 1..6 {
        let list = List::of(120);
        let mut rows = client(&slow(&list)).enrolls(query());
        let mut seen = Vec::new();
        'walk: loop {
            {
                let mut next = pin!(rows.next());
                for _ in 0..polls {
                    match poll_fn(|cx| std::task::Poll::Ready(next.poll_unpin(cx))).await {
                        std::task::Poll::Ready(Some(row)) => {
                            seen.push(row.unwrap().enroll_id().to_owned());
                            continue 'walk;
                        }
                        std::task::Poll::Ready(None) => break 'walk,
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
async fn dropped_waits_for_quota_spend_none_of_it() {
    let script = List::of(1).script();
    let client = script
        .builder()
        .quota(Quota::new(10, 100 * SECOND).unwrap())
        .quota(Quota::new(30, 1000 * SECOND).unwrap())
        .build()
        .unwrap();
    // The burst, then a hundred walks that give up waiting.
    ids(client.enrolls(query())).await.unwrap();
    for _ in 0..100 {
        let waited = timeout(Duration::from_millis(10), ids(client.enrolls(query()))).await;
        assert!(waited.is_err());
    }
    assert_eq!(script.calls().len(), 1);
    // Had they spent anything, this would have to wait for it.
    let begun = Instant::now();
    ids(client.enrolls(query())).await.unwrap();
    assert!(begun.elapsed() <= 10 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_walk_dropped_while_its_token_is_fetched_spends_no_quota() {
    let script = Script::new(|call| match call.is_list() {
        true => List::of(1).answer(call),
        false if call.number < 20 => Act::Hang,
        false => grant("T", 7200),
    });
    let client = Client::builder()
        .corp_secret("corp", "secret")
        .transport(script.clone())
        .quota(Quota::new(1, 1000 * SECOND).unwrap())
        .build()
        .unwrap();
    for _ in 1..20 {
        assert!(timeout(SECOND, ids(client.enrolls(query()))).await.is_err());
    }
    assert_eq!(script.in_flight(), 0, "a fetch that nobody waits for is dropped");
    let begun = Instant::now();
    ids(client.enrolls(query())).await.unwrap();
    assert!(begun.elapsed() < SECOND, "the one call of the window is still there");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_stops_the_request_in_flight_and_leaves_no_task() {
    for ahead in [0, 1, 3] {
        let script = Script::new(|call| match call.number {
            1 => List::of(200).page(0).into(),
            _ => Act::Hang,
        });
        let mut rows = script.client().enrolls(query()).read_ahead(ahead);
        for _ in 0..50 {
            rows.next().await.unwrap().unwrap();
        }
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
async fn a_waiter_that_gives_up_does_not_keep_those_behind_it_waiting() {
    let script = Script::new(|call| match call.number {
        1 => Act::Hang,
        _ if call.is_list() => List::of(1).answer(call),
        _ => grant("T", 7200),
    });
    let client =
        Client::builder().corp_secret("corp", "secret").transport(script.clone()).build().unwrap();
    let mut first = client.enrolls(query());
    let mut second = client.enrolls(query());
    assert!(timeout(SECOND, first.next()).await.is_err());
    // Still the first one's fetch: its attempt times out, and is made again, for both.
    drop(first);
    assert!(timeout(SECOND, second.next()).await.unwrap().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_kept_but_not_polled_does_not_keep_the_others() {
    const DAY: Duration = Duration::from_secs(86_400);
    // Waiting for quota: the second of one call in ten seconds.
    let quota = Quota::new(1, 10 * SECOND).unwrap();
    let waiting = List::of(1).script().builder().quota(quota).build().unwrap();
    ids(waiting.enrolls(query())).await.unwrap();
    // Held by the server, with the default quotas.
    let held = Script::new(|call| match call.number {
        1 => errcode(45009),
        _ => List::of(1).answer(call),
    });
    for client in [waiting, held.client()] {
        let mut kept: Vec<_> = (0..3).map(|_| client.enrolls(query())).collect();
        for rows in &mut kept {
            assert!(timeout(Duration::from_millis(1), rows.next()).await.is_err());
        }
        assert!(kept[2].next().now_or_never().is_none());
        let third = timeout(DAY, ids(client.enrolls(query()))).await;
        assert!(third.is_ok(), "the third list waited a day");
        for mut rows in kept {
            assert!(rows.next().await.unwrap().is_ok());
        }
    }
}
