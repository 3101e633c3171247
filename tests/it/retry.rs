//! Retries: which failures are transient, how often they are retried, and which are permanent.
//!
//! Add a new errcode to [`TRANSIENT`] if it is retried, else to [`PERMANENT`]; but if it refuses the access token, to
//! `tokens`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::time::Instant;
use wecom_enroll::{ErrorKind, RetryPolicy};

use crate::support::{Act, List, Script, errcode, ids, query, response, status, with_retry_after};

/// A failure. The function gets the page that would be the response.
type Failure = (&'static str, fn(&str) -> Act);

/// Failures that are retried.
pub(crate) const TRANSIENT: &[Failure] = &[
    ("connection reset", |_| Act::Reset),
    ("status 500", |_| status(500)),
    ("status 502", |_| status(502)),
    ("Retry-After", |_| Act::Respond(with_retry_after(response(503, ""), 2))),
    ("status 429", |_| status(429)),
    ("errcode -1", |_| errcode(-1)),
    ("errcode 45033", |_| errcode(45033)),
    ("half of the body", |page| cut(page, page.len() / 2)),
    ("40 bytes of the body", |page| cut(page, 40)),
    ("slow response", |page| Act::After(7 * SECOND, response(200, page.to_owned()))),
    ("no response", |_| Act::Hang),
    ("status 408", |_| status(408)),
    ("errcode 45009", |_| errcode(45009)),
];

/// Errcodes that are not retried.
const PERMANENT: &[i64] = &[60020, 730_005, 40058, 50100, 40001, 48002, 12_345_678, -2];

const SECOND: Duration = Duration::from_secs(1);

fn cut(page: &str, len: usize) -> Act {
    Act::Respond(response(200, page.as_bytes()[..len].to_vec()))
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_retried_up_to_four_attempts() {
    let page = List::of(1).page(0).to_string();
    for (name, failure) in TRANSIENT {
        let page = page.clone();
        let script = Script::new(move |_| failure(&page));
        let builder = script.builder().attempt_timeout(5 * SECOND);
        let error = ids(builder.build().unwrap().enrolls(query())).await.unwrap_err();
        assert!(error.is_transient(), "{name}: {error}");
        assert_eq!((error.attempts(), script.calls().len()), (4, 4), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_errcode_and_status_are_not_retried() {
    for &code in PERMANENT {
        let script = Script::new(move |_| errcode(code));
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Api, Some(code)));
        assert_eq!((error.attempts(), script.calls().len()), (1, 1), "{code}");
        assert!(error.to_string().contains(&format!("scripted {code}")), "the errmsg");
        assert!(error.hint().is_some());
    }
    for http in [301, 302, 400, 401, 403, 404] {
        let script = Script::new(move |_| status(http));
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Status, Some(http)));
        assert_eq!(script.calls().len(), 1, "{http}");
    }
}

#[tokio::test(start_paused = true)]
async fn errcode_in_a_response_of_another_status_is_decoded() {
    let script = Script::new(|call| match call.number {
        1 => Act::Respond(response(500, r#"{"errcode":42001,"errmsg":"expired"}"#)),
        2 => Act::Respond(response(403, r#"{"errcode":"60020","errmsg":"not allow"}"#)),
        _ => unreachable!(),
    });
    let error = ids(script.client().enrolls(query())).await.unwrap_err();
    assert_eq!((error.errcode(), error.status(), error.is_auth()), (Some(60020), Some(403), true));
}

#[tokio::test(start_paused = true)]
async fn errcode_comes_before_any_other_defect_of_the_response() {
    for body in [
        r#"{"errcode":60020,"errmsg":"no","enroll_list":7}"#,
        r#"{"enroll_list":[7],"errmsg":"no","errcode":60020,"has_more":[]}"#,
        r#"{"errcode":60020,"invalidtag":[],"errmsg":"no"}"#,
    ] {
        let script = Script::new(move |_| Act::Respond(response(200, body)));
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!(error.errcode(), Some(60020), "{body}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn errcode_is_read_after_a_byte_order_mark_and_last_of_two() {
    for body in [
        "\u{feff}{\"errcode\":60020,\"errmsg\":\"no\"}",
        r#"{"errcode":-1,"errmsg":"busy","errcode":60020,"errmsg":"no"}"#,
        r#"{"errcode":0,"errcode":60020.0,"errmsg":{},"errmsg":"no"}"#,
        r#"{"errcode":0,"enroll_list":[{"enroll_id":1}],"errcode":60020,"errmsg":"no"}"#,
    ] {
        for http in [200, 403, 500] {
            let script = Script::new(move |_| Act::Respond(response(http, body)));
            let error = ids(script.client().enrolls(query())).await.unwrap_err();
            assert_eq!((error.errcode(), script.calls().len()), (Some(60020), 1), "{http} {body}");
            assert!(error.to_string().contains("no"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn truncated_body_is_retried_at_any_length() {
    let page = List::of(2).page(0).to_string();
    for len in 0..page.len() {
        let page = page.clone();
        let script = Script::new(move |call| match call.number {
            1 => cut(&page, len),
            _ => List::of(2).respond(call),
        });
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap(), ["0", "1"], "{len}");
        assert_eq!(script.calls().len(), 2, "{len}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempt_timeout_is_30_seconds_including_the_body() {
    let script = Script::new(|call| match call.number {
        1 => Act::Hang,
        _ => List::of(3).respond(call).after(29 * SECOND),
    });
    let started = Instant::now();
    assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 3);
    let elapsed = started.elapsed().as_millis();
    assert!((59_000..59_600).contains(&elapsed), "30 s, up to 0.5 s, 29 s: {elapsed}");
}

#[tokio::test(start_paused = true)]
async fn unknown_errcode_does_not_hide_a_transient_status() {
    for (http, code, is_retried) in [
        (503, 500, true),
        (502, 12_345, true),
        (429, 429, true),
        (500, 40058, false),
        (400, 7, false),
    ] {
        let script = Script::new(move |call| match call.number {
            1 => {
                let body = format!(r#"{{"errcode":{code},"errmsg":"upstream"}}"#);
                Act::Respond(response(http, body))
            }
            _ => List::of(1).respond(call),
        });
        assert_eq!(
            ids(script.client().enrolls(query())).await.is_ok(),
            is_retried,
            "{http} {code}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_header_of_a_custom_transport_is_followed() {
    // Seconds, and a date relative to the response's own.
    let date = || {
        let mut response = response(503, "");
        for (name, value) in [
            ("date", "Sun, 22 Nov 2026 18:00:00 GMT"),
            ("retry-after", "Sun, 22 Nov 2026 18:01:40 GMT"),
        ] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    };
    let seconds = || with_retry_after(response(503, ""), 100);
    let too_long = || with_retry_after(response(503, ""), 100_000);
    let script = Script::new(move |call| match call.number {
        1 => Act::Respond(date()),
        2 => Act::Respond(seconds()),
        4 => Act::Respond(too_long()),
        _ => List::of(3).respond(call),
    });
    let client = script.client();
    assert_eq!(ids(client.enrolls(query())).await.unwrap().len(), 3);
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!((error.attempts(), error.retry_after()), (1, Some(100_000 * SECOND)));
    let calls = script.calls();
    assert!(calls[1].at - calls[0].at >= 100 * SECOND, "a date");
    assert!(calls[2].at - calls[1].at >= 100 * SECOND, "seconds");
}

/// Returns the wait that a response with these headers asks for.
async fn retry_after(headers: &[(&'static str, &str)]) -> Option<Duration> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let script = Script::new(move |_| {
        let mut response = response(503, "");
        response.headers_mut().clone_from(&headers);
        Act::Respond(response)
    });
    let client = script.builder().retry(RetryPolicy::never()).build().unwrap();
    ids(client.enrolls(query())).await.unwrap_err().retry_after()
}

#[tokio::test(start_paused = true)]
async fn retry_after_date_may_have_any_form_of_rfc_9110() {
    let forms = [
        ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:51:17 GMT"],
        ["Sunday, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-94 08:51:17 GMT"],
        ["Sun Nov  6 08:49:37 1994", "Sun Nov  6 08:51:17 1994"],
    ];
    for [date, _] in forms {
        for [_, later] in forms {
            let wait = retry_after(&[("date", date), ("retry-after", later)]).await;
            assert_eq!(wait, Some(100 * SECOND), "{date}, {later}");
        }
    }
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the date of a server")]
async fn retry_after_date_without_date_header_uses_the_clock() {
    let later = SystemTime::now() + 1000 * SECOND;
    let imf = httpdate::fmt_http_date(later);
    for date in [None, Some(("date", "yesterday"))] {
        let headers: Vec<_> = [("retry-after", &*imf)].into_iter().chain(date).collect();
        let wait = retry_after(&headers).await.unwrap();
        assert!(wait > 900 * SECOND && wait <= 1000 * SECOND, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_with_an_odd_value_is_never_too_short() {
    let huge = "9".repeat(400);
    for (values, expected) in [
        // Several values: the longest.
        (&["5", "7", "6"][..], Some(7 * SECOND)),
        (&["5, 7,6"], Some(7 * SECOND)),
        (&["x", "5"], Some(5 * SECOND)),
        (&[" 5 "], Some(5 * SECOND)),
        (&["1.5"], Some(SECOND * 3 / 2)),
        (&["0"], Some(Duration::ZERO)),
        // Such a call fails, because the wait is longer than the policy accepts.
        (&["18446744073709551616"], Some(Duration::MAX)),
        (&[&huge], Some(Duration::MAX)),
        // No wait at all.
        (&["-5"], None),
        (&["+5"], None),
        (&[""], None),
        (&["inf"], None),
        (&["soon"], None),
        (&["Sun, 06 Nov 1994 08:49:37 GMT"], None),
        (&["Sun, 99 Nov 1994 99:99:99 GMT"], None),
    ] {
        let headers: Vec<_> = values.iter().map(|value| ("retry-after", *value)).collect();
        assert_eq!(retry_after(&headers).await, expected, "{values:?}");
    }
    let forever = move || {
        let mut response = response(429, "");
        response.headers_mut().insert("retry-after", "9".repeat(400).parse().unwrap());
        Act::Respond(response)
    };
    assert_eq!(waits(RetryPolicy::new(), 1, forever).await, [[]], "the call fails at once");
}

/// Makes `calls` calls that always fail this way. Returns the waits between the attempts of each call.
async fn waits(policy: RetryPolicy, calls: usize, failure: fn() -> Act) -> Vec<Vec<Duration>> {
    let mut waits = Vec::new();
    for _ in 0..calls {
        let script = Script::new(move |_| failure());
        let client = script.builder().retry(policy.clone()).build().unwrap();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        let attempts: Vec<_> = script.calls().iter().map(|call| call.at).collect();
        assert_eq!(attempts.len(), error.attempts() as usize);
        waits.push(attempts.windows(2).map(|two| two[1] - two[0]).collect());
    }
    waits
}

/// The tolerance of a wait, because the clock counts in milliseconds.
const TICK: Duration = Duration::from_millis(2);

#[tokio::test(start_paused = true)]
async fn max_attempts_includes_the_first() {
    for (policy, retries) in [
        (RetryPolicy::new(), 3),
        (RetryPolicy::never(), 0),
        (RetryPolicy::new().max_attempts(1), 0),
        (RetryPolicy::new().max_attempts(2), 1),
        (RetryPolicy::never().max_attempts(7), 6),
    ] {
        assert_eq!(waits(policy, 1, || errcode(-1)).await[0].len(), retries);
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_up_to_its_cap_with_full_jitter() {
    fastrand::seed(1);
    let capped = RetryPolicy::new().base(40 * SECOND).cap(100 * SECOND);
    let defaults = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
    let of_capped = [40_000, 80_000, 100_000, 100_000, 100_000, 100_000, 100_000, 100_000, 100_000];
    for (policy, ceilings) in [(RetryPolicy::new(), defaults), (capped, of_capped)] {
        let calls = waits(policy.max_attempts(10), 200, || errcode(-1)).await;
        for (retry, ceiling) in ceilings.into_iter().map(Duration::from_millis).enumerate() {
            let waits: Vec<_> = calls.iter().map(|waits| waits[retry]).collect();
            let (min, max) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            let mean = waits.iter().sum::<Duration>() / 200;
            assert!(max <= ceiling + TICK && max > ceiling * 9 / 10, "{retry}: {max:?}");
            assert!(min < ceiling / 10, "{retry}: {min:?}");
            assert!(mean > ceiling * 4 / 10 && mean < ceiling * 6 / 10, "{retry}: {mean:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_of_many_attempts_does_not_overflow() {
    let policy = RetryPolicy::new().max_attempts(200).base(Duration::MAX).cap(SECOND);
    let waits = waits(policy, 1, || status(503)).await;
    assert_eq!(waits[0].len(), 199);
    assert!(waits[0].iter().all(|&wait| wait <= SECOND + TICK));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_followed_up_to_its_maximum() {
    let hour = || Act::Respond(with_retry_after(response(503, ""), 3600));
    let longer = || Act::Respond(with_retry_after(response(503, ""), 3601));
    let policy = RetryPolicy::new;
    let followed = waits(policy(), 1, hour).await;
    assert_eq!(followed[0].len(), 3);
    let hours = |wait: &Duration| (3600 * SECOND..3600 * SECOND + TICK).contains(wait);
    assert!(followed[0].iter().all(hours), "instead of the shorter backoff: {followed:?}");

    assert_eq!(waits(policy(), 1, longer).await, [[]]);
    assert_eq!(waits(policy().max_retry_after(3599 * SECOND), 1, hour).await, [[]]);
    assert_eq!(waits(policy().max_retry_after(3601 * SECOND), 1, longer).await[0].len(), 3);
}

#[tokio::test(start_paused = true)]
async fn retry_after_shorter_than_the_backoff_is_exceeded() {
    fastrand::seed(1);
    let policy = RetryPolicy::new().base(100 * SECOND).cap(100 * SECOND);
    let failure = || Act::Respond(with_retry_after(response(503, ""), 10));
    let waits = waits(policy, 50, failure).await.concat();
    assert!(waits.iter().all(|&wait| (10 * SECOND..100 * SECOND + TICK).contains(&wait)));
    assert!(waits.iter().any(|&wait| wait > 90 * SECOND));
    assert!(waits.iter().any(|&wait| wait < 11 * SECOND), "never shorter than the server asks");
}

#[tokio::test(start_paused = true)]
async fn max_elapsed_ends_the_retries() {
    let policy = RetryPolicy::new().max_attempts(100).base(Duration::ZERO);
    let waiting = || Act::Respond(with_retry_after(response(503, ""), 10));
    let slow = || status(503).after(10 * SECOND);
    for failure in [waiting, slow] {
        for (max_elapsed, retries) in [(5, 0), (15, 1), (35, 3), (95, 9)] {
            let policy = policy.clone().max_elapsed(max_elapsed * SECOND);
            let started = Instant::now();
            let waits = waits(policy, 1, failure).await;
            assert_eq!(waits[0].len(), retries, "in {max_elapsed} s");
            // The last attempt may end later, but nothing waits for a retry that is not made.
            assert!(started.elapsed() <= (max_elapsed + 10) * SECOND, "{max_elapsed}");
        }
    }
}
