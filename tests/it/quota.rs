//! Quotas: never more calls than allowed in any sliding window, and not many fewer.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};
use wecom_enroll::{Client, Query, Quota};

use crate::support::{
    Act, Call, List, Script, errcode, ids, persistent, query, response, status, with_retry_after,
};

const SECOND: Duration = Duration::from_secs(1);

/// Returns the maximum number of calls in any window. Both ends belong to the window.
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
    let quotas = quotas.iter().map(|&(calls, window)| Quota::new(calls, window).unwrap());
    script.builder().retry(persistent()).quotas(quotas).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn quota_holds_in_any_window_and_nine_tenths_are_used() {
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
        let started = Instant::now();
        assert_eq!(ids(client.enrolls(query())).await.unwrap(), list.ids());
        let calls = script.calls();
        check(&calls, &[quota]);
        // The number of windows since the first call, whose capacity could have been used.
        let windows = (started.elapsed().as_secs_f64() / quota.1.as_secs_f64()).ceil();
        let used = calls.len() as f64 / (windows * f64::from(quota.0));
        assert!(used >= 0.9 * 4.0 / 5.0, "{quota:?}: {used}");
        // The rate after the burst.
        let burst = quota.0.div_ceil(10) as usize;
        let steady = &calls[burst - 1..];
        let span = steady[steady.len() - 1].at - steady[0].at;
        let rate = (steady.len() - 1) as f64 / span.as_secs_f64() * quota.1.as_secs_f64();
        assert!(rate >= 0.9 * f64::from(quota.0), "{quota:?}: {rate} per window");
    }
}

#[tokio::test(start_paused = true)]
async fn quotas_hold_together_over_many_streams_with_retries() {
    let quotas = [(20, SECOND), (150, 30 * SECOND)];
    let script = Script::new(|call| match call.number % 5 {
        2 => status(500),
        4 => errcode(-1),
        _ => List(vec![2; 30]).respond(call),
    });
    let client = client(&script, &quotas);
    let streams = stream::iter(0..10).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
    let all: Vec<_> = streams.buffer_unordered(10).collect().await;
    assert!(all.into_iter().all(|ids| ids.unwrap() == List(vec![2; 30]).ids()));
    let calls = script.calls();
    assert!(calls.len() > 450);
    check(&calls, &quotas);
    let rate = calls.len() as f64 / (calls[calls.len() - 1].at - calls[0].at).as_secs_f64() * 30.0;
    assert!(rate >= 0.9 * 150.0, "{rate} in 30 s");
}

#[tokio::test(start_paused = true)]
async fn quota_is_used_while_waiting_streams_are_dropped() {
    fastrand::seed(17);
    for quota in [(10, SECOND), (100, SECOND), (600, 60 * SECOND)] {
        let script = List(vec![1; 100_000]).script();
        let client = client(&script, &[quota]);
        let mut tasks = JoinSet::new();
        let mut waiting = Vec::new();
        let started = Instant::now();
        while started.elapsed() < 20 * SECOND {
            // Half of the streams are dropped at random, and new ones take their place.
            waiting.retain(|stream: &AbortHandle| {
                let kept = fastrand::bool();
                if !kept {
                    stream.abort();
                }
                kept
            });
            while waiting.len() < 40 {
                waiting.push(tasks.spawn(client.enrolls(query()).count()));
            }
            sleep(Duration::from_millis(fastrand::u64(10..500))).await;
        }
        let calls = script.calls();
        check(&calls, &[quota]);
        let rate = calls.len() as f64 / started.elapsed().as_secs_f64() * quota.1.as_secs_f64();
        assert!(rate >= 0.9 * f64::from(quota.0), "{quota:?}: {rate} per window");
    }
}

#[tokio::test(start_paused = true)]
async fn quota_after_a_pause_allows_no_larger_burst() {
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
async fn quotas_replace_the_default() {
    let started = Instant::now();
    let script = List(vec![1; 1200]).script();
    ids(script.client().enrolls(query())).await.unwrap();
    // A burst of a tenth of 10,000 per minute, then one call every 6.67 ms.
    let by_default = started.elapsed();
    assert!(by_default > SECOND && by_default < 2 * SECOND, "{by_default:?}");
    let started = Instant::now();
    let script = List(vec![1; 1200]).script();
    ids(client(&script, &[(1_000_000, SECOND)]).enrolls(query())).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn quotas_set_again_replace_the_first() {
    let quota = |calls| Quota::new(calls, 100 * SECOND).unwrap();
    let script = List::of(100).script();
    let builder = script.builder().quotas([quota(1)]).quotas([quota(1000)]);
    let started = Instant::now();
    ids(builder.build().unwrap().enrolls(query())).await.unwrap();
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn quotas_by_default_use_what_wecom_allows() {
    let script = List(vec![1; 22_000]).script();
    ids(script.client().enrolls(query())).await.unwrap();
    let times: Vec<_> = script.calls().iter().map(|call| call.at).collect();
    let busiest = |window: Duration| {
        let mut start = 0;
        let count = |end: usize| {
            while times[end] - times[start] > window {
                start += 1;
            }
            end - start + 1
        };
        (0..times.len()).map(count).max().unwrap()
    };
    let minute = busiest(60 * SECOND);
    assert!((9_900..=10_000).contains(&minute), "{minute} in a minute");
}

#[tokio::test(start_paused = true)]
async fn throttled_call_holds_every_stream_of_the_client() {
    for (retry_after, expected) in [(None, 60), (Some(90), 90)] {
        let script = Script::new(|call| match call.number {
            20 => errcode(45009),
            _ => List::of(500).respond(call),
        });
        let builder = script.builder();
        let client = match retry_after {
            Some(seconds) => builder.retry_after(seconds * SECOND).build(),
            None => builder.build(),
        }
        .unwrap();
        let streams = stream::iter(0..7).map(|_| ids(client.enrolls(query())));
        let all: Vec<_> = streams.buffer_unordered(7).collect().await;
        assert!(all.into_iter().all(|ids| ids.unwrap() == List::of(500).ids()));
        let calls = script.calls();
        let throttled = calls[19].at;
        let during = |call: &&Call| call.number > 20 + 6 && call.at < throttled + expected * SECOND;
        assert_eq!(calls.iter().filter(during).count(), 0, "except for calls in flight");
        assert_eq!(calls.len(), 71);
        assert!(client.stats().retry_after_wait >= expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_header_beats_shorter_default_and_backoff() {
    for http in [429, 503] {
        let script = Script::new(move |call| match call.number {
            1 => Act::Respond(with_retry_after(response(http, ""), 100)),
            _ => List::of(1).respond(call),
        });
        ids(script.client().enrolls(query())).await.unwrap();
        let calls = script.calls();
        assert!(calls[1].at - calls[0].at >= 100 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_longer_than_accepted_fails_and_holds_no_call() {
    for http in [429, 503] {
        let wait = Duration::from_secs(86_400);
        let script = Script::new(move |call| match call.number {
            1 => Act::Respond(with_retry_after(response(http, ""), wait.as_secs())),
            _ => List::of(1).respond(call),
        });
        let client = script.client();
        let started = Instant::now();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.attempts(), error.retry_after()), (1, Some(wait)));
        assert!(error.is_transient());
        assert!(ids(client.enrolls(query())).await.is_ok());
        assert!(started.elapsed() < SECOND, "{http}");
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_call_fails_after_the_last_attempt() {
    let script = Script::new(|_| errcode(45009));
    let error = ids(script.client().enrolls(query())).await.unwrap_err();
    assert!(error.is_throttled() && error.is_transient() && !error.is_auth());
    assert_eq!((error.attempts(), error.errcode()), (4, Some(45009)));
    assert_eq!(error.retry_after(), Some(60 * SECOND));
    assert!(error.hint().unwrap().contains("quota"));
    let calls = script.calls();
    assert!(calls.windows(2).all(|two| two[1].at - two[0].at >= 60 * SECOND));
}
