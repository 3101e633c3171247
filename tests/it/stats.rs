//! The figures of a walk: what they count, that they agree with the client's, and what it waits for.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{Client, Meter, Query, Quota, Reply, RetryPolicy, Stats, Wait, Waiting};

use crate::support::{Act, Call, List, Script, errcode, grant, query, status};

const SECOND: Duration = Duration::from_secs(1);

fn late(act: Act, by: Duration) -> Act {
    match act {
        Act::Reply(reply) => Act::After(by, reply),
        other => other,
    }
}

/// Every kind of wait, and a refresh.
fn troubled(call: &Call) -> Act {
    match (call.is_list(), call.number) {
        (false, _) => late(grant(&format!("TOKEN-{}", call.number), 7200), 3 * SECOND),
        (true, 3) => status(503),
        (true, 5) => errcode(42001),
        (true, 8) => errcode(45009),
        (true, _) => late(List::of(220).answer(call), SECOND),
    }
}

fn client(script: &Script) -> Client {
    let quota = Quota::new(10, 50 * SECOND).unwrap();
    let builder = Client::builder().corp_secret("corp", "s3cret").transport(script.clone());
    builder.quota(quota).build().unwrap()
}

fn waits(stats: Stats) -> [Duration; 5] {
    let Stats { quota_wait, token_wait, reply_wait, backoff_wait, pushback_wait, .. } = stats;
    [quota_wait, token_wait, reply_wait, backoff_wait, pushback_wait]
}

#[tokio::test(start_paused = true)]
async fn all_of_a_walks_time_is_accounted_for() {
    let script = Script::new(troubled);
    let mut rows = client(&script).enrolls(query());
    let begun = Instant::now();
    assert_eq!(rows.by_ref().try_fold(0, async |n, _| Ok(n + 1)).await.unwrap(), 220);
    let stats = rows.stats();
    assert_eq!((stats.pages, stats.rows, stats.attempts), (5, 220, 8));
    assert_eq!((stats.retries, stats.refreshes, stats.waiting), (2, 1, None));
    assert_eq!(waits(stats).iter().sum::<Duration>(), begun.elapsed());
    assert_eq!((stats.token_wait, stats.reply_wait), (6 * SECOND, 5 * SECOND));
    assert_eq!(stats.pushback_wait, 60 * SECOND);
    assert!(waits(stats).iter().all(|wait| !wait.is_zero()), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn the_clients_figures_are_the_sums_of_its_walks() {
    for ahead in [0, 1, 3] {
        let client = client(&Script::new(troubled));
        let walks = (0..7).map(|i| {
            let mut rows = client.enrolls(Query::webinar(format!("M{i}"))).read_ahead(ahead);
            async move {
                while rows.next().await.is_some() {}
                rows.stats()
            }
        });
        let walks = join_all(walks).await;
        let sum = |of: fn(&Stats) -> u64| walks.iter().map(of).sum::<u64>();
        let all = client.stats();
        assert_eq!((all.pages, all.rows), (sum(|s| s.pages), sum(|s| s.rows)));
        assert_eq!((all.attempts, all.retries), (sum(|s| s.attempts), sum(|s| s.retries)));
        assert_eq!(all.refreshes, sum(|s| s.refreshes));
        assert_eq!((all.rows, all.retries, all.refreshes, all.waiting), (7 * 220, 2, 1, None));
        for reason in 0..5 {
            let sum: Duration = walks.iter().map(|&stats| waits(stats)[reason]).sum();
            assert_eq!(waits(all)[reason], sum);
        }
    }
}

#[test]
fn a_meter_can_be_handed_to_any_task() {
    fn is<T: Clone + Send + Sync + 'static>() {}
    is::<Meter>();
}

/// What a walk waits for after so long.
async fn waiting(meter: &Meter, after: Duration) -> Option<Waiting> {
    sleep(after).await;
    meter.stats().waiting
}

#[tokio::test(start_paused = true)]
async fn another_task_sees_what_a_walk_waits_for_and_for_how_long() {
    let script = Script::new(|call| match call.number {
        1 => late(grant("TOKEN", 7200), 10 * SECOND),
        2 => late(List::of(150).answer(call), 10 * SECOND),
        3 => Act::Reply(Reply::new(503, "").with_pushback(60 * SECOND)),
        4 => status(500),
        _ => List::of(150).answer(call),
    });
    fastrand::seed(7);
    let retry = RetryPolicy::new().max_attempts(5).unwrap().base(50 * SECOND).cap(100 * SECOND);
    let builder = Client::builder().corp_secret("corp", "s3cret").transport(script).retry(retry);
    let quota = Quota::new(1, 100 * SECOND).unwrap();
    let client = builder.quota(quota).build().unwrap();
    let rows = client.enrolls(query());
    let meter = rows.meter();
    assert_eq!(meter.stats(), Stats::default());
    let walk = tokio::spawn(rows.count());
    let of = |wait, left: Option<u64>, attempt, waiting: Option<Waiting>| {
        let waiting = waiting.expect("it waits");
        assert_eq!((waiting.wait, waiting.attempt, waiting.max_attempts), (wait, attempt, 5));
        assert_eq!(waiting.left.map(|left| left.as_secs_f64().round() as u64), left);
    };
    of(Wait::Token, None, 1, waiting(&meter, 4 * SECOND).await);
    of(Wait::Reply, None, 1, waiting(&meter, 10 * SECOND).await);
    // Sent at 10 s, and the next one 100 s later.
    of(Wait::Quota, Some(80), 1, waiting(&meter, 16 * SECOND).await);
    assert_eq!(client.stats().waiting, meter.stats().waiting);
    of(Wait::Pushback, Some(48), 2, waiting(&meter, 92 * SECOND).await);
    of(Wait::Quota, Some(30), 2, waiting(&meter, 58 * SECOND).await);
    let waiting = waiting(&meter, 30 * SECOND + SECOND / 100).await.expect("it waits");
    assert_eq!((waiting.wait, waiting.attempt), (Wait::Backoff, 3));
    assert!(waiting.left.is_some_and(|left| left <= 100 * SECOND));
    assert_eq!(walk.await.unwrap(), 150);
    assert_eq!((meter.stats().rows, meter.stats().waiting), (150, None), "and then of the end");
}

#[tokio::test(start_paused = true)]
async fn where_walks_wait_for_several_things_the_client_tells_the_gravest() {
    let script = Script::new(|call| match call.number {
        1 => Act::Reply(Reply::new(503, "").with_pushback(20 * SECOND)),
        _ => List::of(1).answer(call),
    });
    let quota = Quota::new(1, 100 * SECOND).unwrap();
    let client = script.builder().quota(quota).build().unwrap();
    let walks = ["M1", "M2"].map(|meeting| client.enrolls(Query::webinar(meeting)));
    let meters = [walks[0].meter(), walks[1].meter()];
    let walks = tokio::spawn(join_all(walks.map(StreamExt::count)));
    sleep(10 * SECOND).await;
    // The graver one, though the other lasts longer.
    let [pushback, quota] = meters.map(|meter| meter.stats().waiting.expect("it waits"));
    assert_eq!((pushback.wait, pushback.left), (Wait::Pushback, Some(10 * SECOND)));
    assert!(quota.wait == Wait::Quota && quota.left > pushback.left, "{quota:?}");
    assert_eq!(client.stats().waiting, Some(pushback));
    assert_eq!((walks.await.unwrap(), client.stats().waiting), (vec![1, 1], None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_each_row_and_its_meter_those_of_a_page_at_once() {
    let client = List::of(120).script().client();
    let mut rows = client.enrolls(query()).read_ahead(2);
    let meter = rows.meter();
    for n in 1..=70_u64 {
        rows.next().await.unwrap().unwrap();
        let (ours, theirs) = (rows.stats(), meter.stats());
        assert_eq!((ours.rows, theirs.rows), (n, (n.div_ceil(50) * 50).min(120)));
        assert_eq!((ours.pages, client.stats().rows), (n.div_ceil(50), theirs.rows));
    }
    let rest = client.resume(rows.checkpoint());
    let meter = rest.meter();
    assert_eq!((rest.count().await, meter.stats().rows), (50, 50), "those of this walk");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_cancelled_is_none_any_more_but_its_time_counts() {
    let script = Script::new(|_| errcode(45009));
    let client = script.client();
    for ahead in [0, 1] {
        let mut rows = client.enrolls(query()).read_ahead(ahead);
        let meter = rows.meter();
        timeout(10 * SECOND, rows.next()).await.unwrap_err();
        assert!(meter.stats().waiting.is_some(), "the stream still waits");
        assert_eq!(meter.stats().pushback_wait, 10 * SECOND, "up to now");
        drop(rows);
        sleep(20 * SECOND).await;
        assert_eq!((meter.stats().waiting, client.stats().waiting), (None, None));
        assert_eq!(meter.stats().pushback_wait, 10 * SECOND);
    }
    assert_eq!(client.stats().pushback_wait, 20 * SECOND);
}
