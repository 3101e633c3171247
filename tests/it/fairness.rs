//! Many streams that share a quota: each gets its share, in order of arrival, even if others are not polled.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::poll_fn, stream};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use wecom_enroll::{Client, EnrollStream, Query, Quota};

use crate::support::{Act, Call, Script, errcode, page, row};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Returns a page of one row, and the cursor of another page.
fn endless(call: &Call) -> Act {
    page(vec![row(call.number)], Some(format!("cursor-{}", call.number))).into()
}

/// Response times in milliseconds. With a quota of ten calls per second, a permit is available every 100 ms, rounded
/// up to the next millisecond of tokio's timers. So there is a response when a permit becomes available, and its
/// stream could take that permit before the streams that are waiting.
const LATENCIES: [u64; 4] = [1, 100, 101, 102];

/// Creates a script of endless lists with this response time in milliseconds.
fn endless_after(latency: u64) -> Script {
    Script::new(move |call| endless(call).after(Duration::from_millis(latency)))
}

fn client(script: &Script, calls: u32, window: Duration) -> Client {
    script.builder().quotas([Quota::new(calls, window).unwrap()]).build().unwrap()
}

/// Returns the streams of meetings 0, 1, 2 and so on.
fn streams(client: &Client, count: usize) -> impl Iterator<Item = EnrollStream> {
    (0..count).map(|meeting| client.enrolls(Query::webinar(meeting.to_string())))
}

/// Returns the meeting of each call.
fn meetings(script: &Script) -> Vec<usize> {
    let meeting = |call: Call| call.body["meetingid"].as_str().unwrap().parse().unwrap();
    script.calls().into_iter().map(meeting).collect()
}

/// Checks that each meeting made at least half and at most twice its share of the calls.
fn check_shares(meetings: &[usize], streams: usize) {
    let mut calls: BTreeMap<_, _> = (0..streams).map(|meeting| (meeting, 0)).collect();
    for meeting in meetings {
        *calls.get_mut(meeting).unwrap() += 1;
    }
    let share = calls.values().sum::<usize>() as f64 / streams as f64;
    let is_fair = |&calls: &usize| (share / 2.0..=share * 2.0).contains(&(calls as f64));
    assert!(calls.values().all(is_fair), "{calls:?}, a fair share is {share}");
}

#[tokio::test(start_paused = true)]
async fn spawned_streams_get_fair_shares() {
    for latency in LATENCIES {
        for ahead in [0, 1] {
            let script = endless_after(latency);
            let mut tasks = JoinSet::new();
            for rows in streams(&client(&script, 10, SECOND), 50) {
                tasks.spawn(rows.read_ahead(ahead).count());
            }
            sleep(20 * SECOND).await;
            check_shares(&meetings(&script), 50);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_two_threads_get_fair_shares() {
    for ahead in [0, 1] {
        let script = Script::new(endless);
        let client = client(&script, 100, SECOND);
        // Uses the burst, which otherwise belongs to the streams that are started first.
        assert_eq!(client.pages(Query::webinar("0")).take(10).count().await, 10);
        let mut tasks = JoinSet::new();
        for rows in streams(&client, 20) {
            tasks.spawn(rows.read_ahead(ahead).count());
        }
        sleep(2 * SECOND).await;
        check_shares(&meetings(&script)[10..], 20);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_task_get_fair_shares() {
    // With a limit of 8, as in the cookbook, only the first eight of the lists are started.
    for (limit, started) in [(None, 50), (Some(8), 8)] {
        for (latency, ahead) in
            LATENCIES.into_iter().flat_map(|latency| [(latency, 0), (latency, 1)])
        {
            let script = endless_after(latency);
            let client = client(&script, 10, SECOND);
            let rows = stream::iter(streams(&client, 50))
                .map(|rows| rows.read_ahead(ahead))
                .flatten_unordered(limit);
            assert!(timeout(20 * SECOND, rows.count()).await.is_err());
            check_shares(&meetings(&script), started);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permits_are_issued_in_order_of_arrival() {
    for latency in LATENCIES {
        let script = endless_after(latency);
        let mut tasks = JoinSet::new();
        for rows in streams(&client(&script, 10, SECOND), 20) {
            tasks.spawn(rows.count());
        }
        sleep(10 * SECOND).await;
        let meetings = meetings(&script);
        assert!(meetings.len() > 80);
        assert!(meetings.iter().copied().eq((0..20).cycle().take(meetings.len())), "{meetings:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn queue_resumes_in_order_after_a_hold() {
    let script = Script::new(|call| match call.number {
        5 => errcode(45009),
        _ => endless(call),
    });
    let mut tasks = JoinSet::new();
    for rows in streams(&client(&script, 10, SECOND), 20) {
        tasks.spawn(rows.count());
    }
    sleep(70 * SECOND).await;
    let calls = script.calls();
    let throttled = calls[4].at;
    assert!(calls[5].at >= throttled + 60 * SECOND);
    assert!(calls[5].at <= throttled + 60 * SECOND + 2 * MS);
    // The throttled list also waits, and then asks again after all others.
    let meetings = meetings(&script);
    assert_eq!(meetings[..5], [0, 1, 2, 3, 4]);
    let resumed = (5..20).chain(0..5).cycle().take(meetings.len() - 5);
    assert!(meetings[5..].iter().copied().eq(resumed), "{meetings:?}");
    let pace = (calls[85].at - calls[5].at) / 80;
    assert!((100 * MS..112 * MS).contains(&pace), "{pace:?}");
}

/// Polls streams once and returns them.
fn polled_once(client: &Client, count: usize) -> Vec<EnrollStream> {
    let mut kept: Vec<_> = streams(client, count).collect();
    for rows in &mut kept {
        assert!(rows.next().now_or_never().is_none());
    }
    kept
}

#[tokio::test(start_paused = true)]
async fn unpolled_streams_delay_others_by_half_a_second_at_most() {
    for window in [SECOND / 10, SECOND, 10 * SECOND] {
        for (kept, idle) in [(1, 0), (3, 0), (100, 0), (1, 1000), (100, 1000)] {
            let script = Script::new(endless);
            let client = client(&script, 1, window);
            client.enrolls(Query::webinar("0")).next().await.unwrap().unwrap();
            let started = Instant::now();
            let unpolled = polled_once(&client, kept);
            sleep(idle * SECOND).await;
            let mut rows = client.enrolls(Query::webinar("1000"));
            for calls in 1..=10 {
                let row = timeout(100 * SECOND, rows.next()).await.expect("a permit in time");
                row.unwrap().unwrap();
                let free_at = (idle * SECOND).max(window) + (calls - 1) * window;
                let delay = started.elapsed().saturating_sub(free_at);
                assert!(delay <= SECOND / 2 + 20 * MS, "{window:?}, {kept} kept: {delay:?}");
            }
            drop(unpolled);
            assert_eq!(script.calls().len(), 11, "unpolled streams use no quota");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unpolled_stream_regains_its_position() {
    let script = Script::new(endless);
    let client = client(&script, 1, 10 * SECOND);
    client.enrolls(Query::webinar("9")).next().await.unwrap().unwrap();
    let mut unpolled = polled_once(&client, 2);
    let mut tasks = JoinSet::new();
    for meeting in 2..5 {
        tasks.spawn(client.enrolls(Query::webinar(meeting.to_string())).count());
        sleep(MS).await;
    }
    sleep(15 * SECOND).await;
    assert_eq!(meetings(&script), [9, 2], "the unpolled streams were overtaken");
    let first = unpolled.remove(0);
    tasks.spawn(first.count());
    sleep(40 * SECOND).await;
    assert_eq!(meetings(&script), [9, 2, 0, 3, 4, 2]);
}

/// Reads an endless list, and counts how often the stream is woken.
async fn read_and_count_polls(mut rows: EnrollStream, polls: Arc<AtomicUsize>) {
    poll_fn(|cx| {
        polls.fetch_add(1, Relaxed);
        while let Poll::Ready(row) = rows.poll_next_unpin(cx) {
            row.unwrap().unwrap();
        }
        Poll::<()>::Pending
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unpolled_stream_after_a_hold_wakes_no_others() {
    let script = Script::new(|call| match call.number {
        1 => errcode(45009),
        _ => endless(call),
    });
    let client = client(&script, 1000, SECOND);
    let mut tasks = JoinSet::new();
    tasks.spawn(client.enrolls(Query::webinar("1000")).count().map(drop));
    sleep(MS).await;
    let unpolled = polled_once(&client, 1);
    let polls = Arc::new(AtomicUsize::new(0));
    for rows in streams(&client, 50) {
        tasks.spawn(read_and_count_polls(rows, Arc::clone(&polls)));
    }
    // After the hold, there is capacity for a burst of 100 calls, but the unpolled stream is the first.
    sleep(60 * SECOND + 90 * MS).await;
    assert_eq!(script.calls().len(), 1);
    let woken = polls.load(Relaxed);
    assert!(woken <= 50 * 4, "{woken} polls of 50 streams");
    // The unpolled stream is removed 300 ms after the hold. Then a burst of 100 calls is followed by 900 per second.
    sleep(SECOND / 2).await;
    let calls = script.calls().len();
    assert!(calls > 300, "{calls}");
    drop(unpolled);
}

#[tokio::test(start_paused = true)]
async fn permit_wakes_one_of_many_waiting_streams() {
    const STREAMS: usize = 2000;
    let script = Script::new(endless);
    let polls = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for rows in streams(&client(&script, 10_000, 60 * SECOND), STREAMS) {
        tasks.spawn(read_and_count_polls(rows, Arc::clone(&polls)));
    }
    sleep(8 * SECOND).await;
    let calls = script.calls().len();
    assert!(calls > 2000, "{calls}");
    // A call takes a poll when its permit is due, and another one for the response. A caller may be woken once more
    // to learn that it is the first. Apart from that, a waiting stream checks a few times per second.
    let (polls, checks) = (polls.load(Relaxed), STREAMS * 8 * 3);
    assert!(polls < STREAMS + 3 * calls + checks, "{polls} polls for {calls} calls");
}
