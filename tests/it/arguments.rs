//! Invalid arguments are refused before anything is sent.

use std::time::Duration;

use futures::StreamExt;
use wecom_enroll::{Client, ClientBuilder, ErrorKind, Query, Quota, RetryPolicy};

use crate::support::{List, ids, query};

/// Checks that `build` refuses these settings, with an error that contains `words`.
#[track_caller]
fn refused(builder: ClientBuilder, words: &str) {
    let error = builder.build().unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::InvalidArgument, 0));
    assert!(error.to_string().contains(words), "{error}");
}

fn builder() -> ClientBuilder {
    Client::builder().access_token("T")
}

#[test]
fn page_size_outside_1_to_50_is_refused() {
    for rows in [0, 51, 255] {
        let error = Query::webinar("M").page_size(rows).unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::InvalidArgument, 0));
        assert!(error.to_string().contains("1 to 50"));
    }
    assert!(Query::webinar("M").page_size(1).is_ok() && Query::webinar("M").page_size(50).is_ok());
}

#[tokio::test]
async fn meeting_id_that_cannot_be_right_is_refused() {
    for (id, words) in [
        ("", "is empty"),
        ("  ", "is empty"),
        ("\u{feff}", "is empty"),
        ("M\r", r#""M\r" starts or ends with white space"#),
        ("M\n", "white space"),
        (" M", "white space"),
        ("\u{3000}M", "white space"),
        ("M\u{a0}", "white space"),
        ("\u{feff}M", "white space"),
        ("M\u{200b}", "invisible"),
        ("M\0", "control character"),
        ("M\u{1b}[2JN", "control character"),
        ("M\nN", "control character"),
        ("M\u{85}N", "control character"),
    ] {
        for query in [Query::webinar(id), Query::meeting(id)] {
            let script = List::of(1).script();
            let error = query.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{id:?}");
            let text = error.to_string();
            assert!(text.contains(words) && !text.contains(char::is_control), "{text:?}");
            let mut rows = script.client().enrolls(query);
            let error = rows.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(rows.next().await.is_none() && script.calls().is_empty());
        }
    }
    for id in ["M", "hyOl1bDgAA", "M 1", "会议", "-", "M\u{200d}N"] {
        assert!(Query::webinar(id).validate().is_ok(), "{id:?}");
    }
}

#[test]
fn quota_without_calls_or_window_is_refused() {
    for (calls, window) in [(0, 60), (1, 0), (1, u64::MAX)] {
        let error = Quota::new(calls, Duration::from_secs(window)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(Quota::new(u32::MAX, Duration::from_nanos(1)).is_ok());
}

#[test]
fn quotas_that_are_empty_are_refused() {
    refused(builder().quotas([]), "quota");
    // Only the last call of `quotas` has an effect.
    let minute = || Quota::new(1, Duration::from_secs(60)).unwrap();
    refused(builder().quotas([minute()]).quotas([]), "quota");
    assert!(builder().quotas([]).quotas([minute()]).build().is_ok());
}

#[test]
fn max_attempts_of_zero_is_refused() {
    refused(builder().retry(RetryPolicy::new().max_attempts(0)), "max_attempts");
    assert!(builder().retry(RetryPolicy::new().max_attempts(1)).build().is_ok());
}

#[test]
fn base_url_other_than_https_or_loopback_is_refused() {
    for accepted in [
        "https://qyapi.weixin.qq.com",
        "https://proxy.example/wecom/",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:80",
        "http://localhost:8080",
    ] {
        assert!(builder().base_url(accepted).build().is_ok(), "{accepted}");
    }
    for refused in [
        "http://qyapi.weixin.qq.com",
        "http://10.0.0.1",
        "http://localhost.example",
        "",
        "ftp://127.0.0.1",
        "qyapi.weixin.qq.com",
        "https://user:hunter2@host",
        "https://hunter2@host",
        "https://host?access_token=hunter2",
        "https://host#hunter2",
        "http://0.0.0.0",
        "file:///x",
    ] {
        let error = builder().base_url(refused).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{refused}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn credentials_that_are_missing_or_empty_are_refused() {
    for (builder, words) in [
        (Client::builder(), "credentials"),
        (Client::builder().access_token(" "), "access token"),
        (Client::builder().corp_secret("", "s"), "corp id"),
        (Client::builder().corp_secret("c", ""), "corp secret"),
        (Client::builder().corp_secret("c", "secret\n"), "corp secret"),
        (Client::builder().access_token(" token"), "access token"),
        (Client::builder().access_token("\u{feff}token"), "access token"),
        (Client::builder().access_token("to\nken"), "access token contains a control character"),
        (Client::builder().corp_secret("c\u{200b}", "secret"), "corp id"),
    ] {
        refused(builder, words);
    }
    assert_eq!(Client::new("c", "").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(Client::new("c", "s").is_ok());
}

#[test]
fn limits_that_no_response_could_meet_are_refused() {
    refused(builder().max_body(0), "max_body");
    refused(builder().max_body(usize::MAX), "max_body");
    refused(builder().attempt_timeout(Duration::ZERO), "attempt timeout");
    assert!(builder().attempt_timeout(Duration::MAX).build().is_ok());
}

#[test]
fn retry_after_longer_than_the_policy_accepts_is_refused() {
    // Every wait of this length would end its call with an error.
    refused(builder().retry_after(Duration::from_secs(7200)), "retry_after");
    let patient = RetryPolicy::new().max_retry_after(Duration::MAX);
    assert!(builder().retry_after(Duration::MAX).retry(patient).build().is_ok());
    assert!(builder().retry_after(Duration::from_secs(3600)).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn max_body_applies_to_custom_transports() {
    let client = List::of(50).script().builder().max_body(100).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Transport, 1));
}
