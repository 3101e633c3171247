//! Any sliding window, from the first call on: never more than its number, and not much less.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep};
use wecom_enroll::{Client, Query, Quota, Reply};

use crate::support::{Act, Call, List, Script, errcode, ids, query, status, stubborn};

const SECOND: Duration = Duration::from_secs(1);

/// The most calls in any window that includes both its ends.
fn fullest(calls: &[Call], window: Duration) -> usize {
    let within = |call: &Call| {
        calls.iter().filter(|other| other.at >= call.at && other.at - call.at <= window).count()
    };
    calls.iter().map(within).max().unwrap_or(0)
}

fn check(calls: &[Call], quotas: &[(u32, Duration)]) {
    for &(most, window) in quotas {
        let fullest = fullest(calls, window);
        assert!(fullest <= most as usize, "{fullest} calls in {window:?}, {most} allowed");
    }
}

fn client(script: &Script, quotas: &[(u32, Duration)]) -> Client {
    let builder = script.builder().retry(stubborn());
    let with = |b: wecom_enroll::ClientBuilder, &(n, w): &(u32, Duration)| {
        b.quota(Quota::new(n, w).unwrap())
    };
    quotas.iter().fold(builder, with).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_sliding_window_ever_holds_more_than_its_number_and_nine_tenths_are_used() {
    for quota in [
        (1, SECOND),
        (2, SECOND),
        (3, SECOND),
        (10, SECOND),
        (11, SECOND),
        (37, 7 * SECOND),
        (100, 60 * SECOND),
        (600, 60 * SECOND),
    ] {
        let list = List(vec![1; 4 * quota.0 as usize + 2]);
        let script = list.clone().script();
        let client = client(&script, &[quota]);
        let begun = Instant::now();
        assert_eq!(ids(client.enrolls(query())).await.unwrap(), list.ids());
        let calls = script.calls();
        check(&calls, &[quota]);
        // From the first second on: so many windows have room for so many calls.
        let windows = (begun.elapsed().as_secs_f64() / quota.1.as_secs_f64()).ceil();
        let used = calls.len() as f64 / (windows * f64::from(quota.0));
        assert!(used >= 0.9 * 4.0 / 5.0, "{quota:?}: {used}");
        // Saturated, without the burst and the last call.
        let burst = quota.0.div_ceil(10) as usize;
        let steady = &calls[burst - 1..];
        let span = steady[steady.len() - 1].at - steady[0].at;
        let rate = (steady.len() - 1) as f64 / span.as_secs_f64() * quota.1.as_secs_f64();
        assert!(rate >= 0.9 * f64::from(quota.0), "{quota:?}: {rate} a window");
    }
}

#[tokio::test(start_paused = true)]
async fn two_windows_hold_at_once_over_many_streams_with_retries_and_refreshes() {
    let quotas = [(20, SECOND), (150, 30 * SECOND)];
    let script = Script::new(|call| match call.number % 5 {
        2 => status(500),
        4 => errcode(-1),
        _ => List(vec![2; 30]).answer(call),
    });
    let client = client(&script, &quotas);
    let walks = stream::iter(0..10).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
    let all: Vec<_> = walks.buffer_unordered(10).collect().await;
    assert!(all.into_iter().all(|ids| ids.unwrap() == List(vec![2; 30]).ids()));
    let calls = script.calls();
    assert!(calls.len() > 450);
    check(&calls, &quotas);
    let rate = calls.len() as f64 / (calls[calls.len() - 1].at - calls[0].at).as_secs_f64() * 30.0;
    assert!(rate >= 0.9 * 150.0, "{rate} in 30 s");
}

#[tokio::test(start_paused = true)]
async fn a_pause_saves_up_no_more_than_the_window_allows() {
    let quota = [(10, SECOND)];
    let script = List::of(1).script();
    let client = client(&script, &quota);
    for pause in [0, 100, 5000, 990, 1010, 0, 0, 333, 60_000] {
        sleep(Duration::from_millis(pause)).await;
        for _ in 0..15 {
            ids(client.enrolls(query())).await.unwrap();
        }
    }
    check(&script.calls(), &quota);
}

#[tokio::test(start_paused = true)]
async fn the_first_quota_given_replaces_the_defaults() {
    let begun = Instant::now();
    let script = List(vec![1; 1200]).script();
    ids(script.client().enrolls(query())).await.unwrap();
    // A burst of a tenth of 10,000 a minute, then one call every 6.67 ms.
    let by_default = begun.elapsed();
    assert!(by_default > SECOND && by_default < 2 * SECOND, "{by_default:?}");
    let begun = Instant::now();
    let script = List(vec![1; 1200]).script();
    ids(client(&script, &[(1_000_000, SECOND)]).enrolls(query())).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn the_default_quotas_are_what_wecom_allows_a_corp() {
    let script = List(vec![1; 22_000]).script();
    ids(script.client().enrolls(query())).await.unwrap();
    let times: Vec<_> = script.calls().iter().map(|call| call.at).collect();
    let most = |window: Duration| {
        let mut start = 0;
        let count = |end: usize| {
            while times[end] - times[start] > window {
                start += 1;
            }
            end - start + 1
        };
        (0..times.len()).map(count).max().unwrap()
    };
    let minute = most(60 * SECOND);
    assert!((9_900..=10_000).contains(&minute), "{minute} in a minute");
}

#[tokio::test(start_paused = true)]
async fn pushback_holds_every_stream_of_the_client_and_then_all_go_on() {
    for (pushback, expected) in [(None, 60), (Some(90), 90)] {
        let script = Script::new(|call| match call.number {
            20 => errcode(45009),
            _ => List::of(500).answer(call),
        });
        let builder = script.builder();
        let client = match pushback {
            Some(seconds) => builder.pushback(seconds * SECOND).build(),
            None => builder.build(),
        }
        .unwrap();
        let walks = stream::iter(0..7).map(|_| ids(client.enrolls(query())));
        let all: Vec<_> = walks.buffer_unordered(7).collect().await;
        assert!(all.into_iter().all(|ids| ids.unwrap() == List::of(500).ids()));
        let calls = script.calls();
        let throttled = calls[19].at;
        let during = |call: &&Call| call.number > 20 + 6 && call.at < throttled + expected * SECOND;
        assert_eq!(calls.iter().filter(during).count(), 0, "but for what was in flight");
        assert_eq!(calls.len(), 71);
        assert!(client.stats().pushback_wait >= expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_retry_after_beats_the_pushback_and_the_backoff() {
    for (act, wait) in [(429, 100), (503, 100)] {
        let script = Script::new(move |call| match call.number {
            1 => Act::Reply(Reply::new(act, "").with_pushback(wait * SECOND)),
            _ => List::of(1).answer(call),
        });
        ids(script.client().enrolls(query())).await.unwrap();
        let calls = script.calls();
        assert!(calls[1].at - calls[0].at >= Duration::from_secs(u64::from(wait)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_beyond_reason_ends_the_call_tells_the_wait_and_holds_nobody() {
    for http in [429, 503] {
        let wait = Duration::from_secs(86_400);
        let script = Script::new(move |call| match call.number {
            1 => Act::Reply(Reply::new(http, "").with_pushback(wait)),
            _ => List::of(1).answer(call),
        });
        let client = script.client();
        let begun = Instant::now();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.attempts(), error.pushback()), (1, Some(wait)));
        assert!(error.is_transient());
        assert!(ids(client.enrolls(query())).await.is_ok());
        assert!(begun.elapsed() < SECOND, "{http}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_corp_is_given_up_on_after_the_last_attempt() {
    let script = Script::new(|_| errcode(45009));
    let error = ids(script.client().enrolls(query())).await.unwrap_err();
    assert!(error.is_throttled() && error.is_transient() && !error.is_auth());
    assert_eq!((error.attempts(), error.errcode()), (4, Some(45009)));
    assert_eq!(error.pushback(), Some(60 * SECOND));
    assert!(error.hint().unwrap().contains("quota"));
    let calls = script.calls();
    assert!(calls.windows(2).all(|two| two[1].at - two[0].at >= 60 * SECOND));
}
