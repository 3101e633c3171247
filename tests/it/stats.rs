//! Statistics: of a stream, of its client, and the current wait.

use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{
    Client, CurrentWait, Query, Quota, RetryPolicy, Stats, StatsHandle, WaitReason,
};

use crate::support::{
    Act, Call, List, Script, errcode, grant, query, read, response, resume, status,
    with_retry_after,
};

const SECOND: Duration = Duration::from_secs(1);

/// Causes every kind of wait, and a token refresh.
fn every_wait(call: &Call) -> Act {
    match (call.is_list(), call.number) {
        (false, _) => grant(&format!("TOKEN-{}", call.number), 7200).after(3 * SECOND),
        (true, 3) => status(503),
        (true, 5) => errcode(42001),
        (true, 8) => errcode(45009),
        (true, _) => List::of(220).respond(call).after(SECOND),
    }
}

fn client(script: &Script) -> Client {
    let quota = Quota::new(10, 50 * SECOND).unwrap();
    script.app_builder().quotas([quota]).build().unwrap()
}

fn waits(stats: Stats) -> [Duration; 5] {
    let Stats { quota_wait, token_wait, response_wait, backoff_wait, retry_after_wait, .. } = stats;
    [quota_wait, token_wait, response_wait, backoff_wait, retry_after_wait]
}

#[tokio::test(start_paused = true)]
async fn stats_account_for_all_of_the_time() {
    let script = Script::new(every_wait);
    let mut rows = client(&script).enrolls(query());
    let started = Instant::now();
    assert_eq!(rows.by_ref().try_fold(0, async |n, _| Ok(n + 1)).await.unwrap(), 220);
    let stats = rows.stats();
    assert_eq!((stats.pages, stats.rows, stats.attempts), (5, 220, 8));
    assert_eq!((stats.retries, stats.token_refreshes, stats.current_wait), (2, 1, None));
    assert_eq!(waits(stats).iter().sum::<Duration>(), started.elapsed());
    assert_eq!((stats.token_wait, stats.response_wait), (6 * SECOND, 5 * SECOND));
    assert_eq!(stats.retry_after_wait, 60 * SECOND);
    assert!(waits(stats).iter().all(|wait| !wait.is_zero()), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn stats_of_a_client_are_the_sums_of_its_streams() {
    for ahead in [0, 1, 3] {
        let client = client(&Script::new(every_wait));
        let streams = (0..7).map(|i| {
            let mut rows = client.enrolls(Query::webinar(format!("M{i}"))).read_ahead(ahead);
            async move {
                while rows.next().await.is_some() {}
                rows.stats()
            }
        });
        let streams = join_all(streams).await;
        let sum = |of: fn(&Stats) -> u64| streams.iter().map(of).sum::<u64>();
        let all = client.stats();
        assert_eq!((all.pages, all.rows), (sum(|s| s.pages), sum(|s| s.rows)));
        assert_eq!((all.attempts, all.retries), (sum(|s| s.attempts), sum(|s| s.retries)));
        assert_eq!(all.token_refreshes, sum(|s| s.token_refreshes));
        assert_eq!((all.rows, all.retries, all.token_refreshes), (7 * 220, 2, 1));
        assert_eq!(all.current_wait, None);
        for reason in 0..5 {
            let sum: Duration = streams.iter().map(|&stats| waits(stats)[reason]).sum();
            assert_eq!(waits(all)[reason], sum);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stats_of_a_client_include_the_retries_of_gettoken() {
    let script = Script::new(|call| match call.number {
        1 | 2 | 4 => status(503),
        3 => grant("TOKEN", 7200),
        _ => List::of(60).respond(call),
    });
    let client = script.app_client();
    let mut rows = client.enrolls(query());
    assert_eq!(rows.by_ref().count().await, 60);
    let (all, one) = (client.stats(), rows.stats());
    assert_eq!((all.retries, one.retries), (3, 1), "the streams of a client share its token");
    assert_eq!((all.attempts, waits(all)), (3, waits(one)), "nothing else of gettoken counts");
}

/// Returns the current wait after this time.
async fn wait_after(handle: &StatsHandle, time: Duration) -> CurrentWait {
    sleep(time).await;
    handle.stats().current_wait.expect("a wait")
}

#[tokio::test(start_paused = true)]
async fn stats_handle_reports_the_current_wait_to_another_task() {
    let script = Script::new(|call| match call.number {
        1 => grant("TOKEN", 7200).after(10 * SECOND),
        2 => List::of(150).respond(call).after(10 * SECOND),
        3 => Act::Respond(with_retry_after(response(503, ""), 60)),
        4 => status(500),
        _ => List::of(150).respond(call),
    });
    fastrand::seed(7);
    let retry = RetryPolicy::new().max_attempts(5).base(50 * SECOND).cap(100 * SECOND);
    let quota = Quota::new(1, 100 * SECOND).unwrap();
    let client = script.app_builder().retry(retry).quotas([quota]).build().unwrap();
    let rows = client.enrolls(query());
    let handle = rows.stats_handle();
    assert_eq!(handle.stats(), Stats::default());
    let count = tokio::spawn(rows.count());
    let check = |wait: CurrentWait, reason, remaining: Option<u64>, attempt| {
        assert_eq!((wait.reason, wait.attempt, wait.max_attempts), (reason, attempt, 5));
        let seconds = wait.remaining.map(|remaining| remaining.as_secs_f64().round() as u64);
        assert_eq!(seconds, remaining);
    };
    check(wait_after(&handle, 4 * SECOND).await, WaitReason::Token, None, 1);
    check(wait_after(&handle, 10 * SECOND).await, WaitReason::Response, None, 1);
    // The first list request was sent at 10 s, so the next one may be sent 100 s later.
    check(wait_after(&handle, 16 * SECOND).await, WaitReason::Quota, Some(80), 1);
    assert_eq!(client.stats().current_wait, handle.stats().current_wait);
    check(wait_after(&handle, 92 * SECOND).await, WaitReason::RetryAfter, Some(48), 2);
    check(wait_after(&handle, 58 * SECOND).await, WaitReason::Quota, Some(30), 2);
    let wait = wait_after(&handle, 30 * SECOND + SECOND / 100).await;
    assert_eq!((wait.reason, wait.attempt), (WaitReason::Backoff, 3));
    assert!(wait.remaining.is_some_and(|remaining| remaining <= 100 * SECOND));
    assert_eq!(count.await.unwrap(), 150);
    let stats = handle.stats();
    assert_eq!((stats.rows, stats.current_wait), (150, None), "after the stream was dropped");
}

#[tokio::test(start_paused = true)]
async fn current_wait_of_a_client_is_the_most_severe() {
    let script = Script::new(|call| match call.number {
        1 => Act::Respond(with_retry_after(response(503, ""), 20)),
        _ => List::of(1).respond(call),
    });
    let quota = Quota::new(1, 100 * SECOND).unwrap();
    let client = script.builder().quotas([quota]).build().unwrap();
    let streams = ["M1", "M2"].map(|meeting| client.enrolls(Query::webinar(meeting)));
    let handles = [streams[0].stats_handle(), streams[1].stats_handle()];
    let counts = tokio::spawn(join_all(streams.map(StreamExt::count)));
    sleep(10 * SECOND).await;
    // A wait for `Retry-After` is more severe, although the wait for quota is longer.
    let [held, quota] = handles.map(|handle| handle.stats().current_wait.expect("a wait"));
    assert_eq!((held.reason, held.remaining), (WaitReason::RetryAfter, Some(10 * SECOND)));
    assert!(quota.reason == WaitReason::Quota && quota.remaining > held.remaining, "{quota:?}");
    assert_eq!(client.stats().current_wait, Some(held));
    assert_eq!((counts.await.unwrap(), client.stats().current_wait), (vec![1, 1], None));
}

#[tokio::test(start_paused = true)]
async fn waits_of_many_streams_add_up_and_the_longest_is_current() {
    let client = List::of(1).script().builder();
    let client = client.quotas([Quota::new(1, 10 * SECOND).unwrap()]).build().unwrap();
    assert_eq!(client.enrolls(query()).count().await, 1);
    let mut streams: Vec<_> = (0..4).map(|_| client.enrolls(query())).collect();
    for rows in &mut streams {
        assert!(rows.next().now_or_never().is_none());
    }
    sleep(3 * SECOND).await;
    let stats = client.stats();
    assert_eq!(stats.quota_wait, 4 * 3 * SECOND);
    let remaining = |stats: Stats| stats.current_wait.unwrap().remaining.unwrap().as_secs();
    assert_eq!((remaining(stats), remaining(streams[0].stats())), (37, 7));
    // The last stream waits longest. When it is dropped, the wait of the third one is the longest.
    streams.pop();
    let stats = client.stats();
    assert_eq!((stats.quota_wait, remaining(stats)), (4 * 3 * SECOND, 27));
    drop(streams);
    sleep(SECOND).await;
    let stats = client.stats();
    assert_eq!((stats.quota_wait, stats.current_wait), (4 * 3 * SECOND, None));
}

#[tokio::test(start_paused = true)]
async fn expected_wait_includes_the_burst_of_each_quota() {
    // After the first call, the first quota allows one call per second, and the second one allows 99 at once.
    let quotas = [(10, 10 * SECOND), (1000, 3600 * 1000 * SECOND)];
    let quotas = quotas.map(|(calls, window)| Quota::new(calls, window).unwrap());
    let client = List::of(1).script().builder().quotas(quotas).build().unwrap();
    assert_eq!(client.enrolls(query()).count().await, 1);
    let mut streams: Vec<_> = (0..5).map(|_| client.enrolls(query())).collect();
    for (rows, seconds) in streams.iter_mut().zip(1..) {
        assert!(rows.next().now_or_never().is_none());
        let wait = rows.stats().current_wait.unwrap().remaining.unwrap();
        assert_eq!(wait.as_secs_f64().round() as u64, seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn stats_count_yielded_rows_and_handle_counts_pages() {
    let client = List::of(120).script().client();
    let mut rows = client.enrolls(query()).read_ahead(2);
    let handle = rows.stats_handle();
    for n in 1..=70_u64 {
        read(&mut rows, 1).await;
        let (ours, theirs) = (rows.stats(), handle.stats());
        assert_eq!((ours.rows, theirs.rows), (n, (n.div_ceil(50) * 50).min(120)));
        assert_eq!((ours.pages, client.stats().rows), (n.div_ceil(50), theirs.rows));
    }
    let rest = resume(&client, rows.checkpoint());
    let handle = rest.stats_handle();
    assert_eq!((rest.count().await, handle.stats().rows), (50, 50), "rows of this stream only");
}

#[tokio::test(start_paused = true)]
async fn wait_that_was_canceled_ends_but_its_time_counts() {
    let script = Script::new(|_| errcode(45009));
    let client = script.client();
    for ahead in [0, 1] {
        let mut rows = client.enrolls(query()).read_ahead(ahead);
        let handle = rows.stats_handle();
        timeout(10 * SECOND, rows.next()).await.unwrap_err();
        assert!(handle.stats().current_wait.is_some(), "the stream is still waiting");
        assert_eq!(handle.stats().retry_after_wait, 10 * SECOND, "including the wait in progress");
        drop(rows);
        sleep(20 * SECOND).await;
        assert_eq!((handle.stats().current_wait, client.stats().current_wait), (None, None));
        assert_eq!(handle.stats().retry_after_wait, 10 * SECOND);
    }
    assert_eq!(client.stats().retry_after_wait, 20 * SECOND);
}
