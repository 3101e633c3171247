//! Bad arguments are refused before any call, with an error that says what to do.

use std::time::Duration;

use futures::StreamExt;
use wecom_enroll::{Client, ErrorKind, Query, Quota, RetryPolicy};

use crate::support::List;

#[test]
fn a_page_holds_1_to_50_rows() {
    for rows in [0, 51, 255] {
        let error = Query::webinar("M").page_size(rows).unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Argument, 0));
        assert!(error.to_string().contains("1 to 50"));
    }
    assert!(Query::webinar("M").page_size(1).is_ok() && Query::webinar("M").page_size(50).is_ok());
}

#[tokio::test]
async fn an_empty_meeting_id_is_refused_before_any_call() {
    for id in ["", "  "] {
        let script = List::of(1).script();
        let mut rows = script.client().enrolls(Query::webinar(id));
        let error = rows.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(rows.next().await.is_none() && script.calls().is_empty());
    }
}

#[test]
fn quotas_and_policies_that_let_nothing_through_are_refused() {
    for (calls, window) in [(0, 60), (1, 0), (1, u64::MAX)] {
        assert_eq!(
            Quota::new(calls, Duration::from_secs(window)).unwrap_err().kind(),
            ErrorKind::Argument
        );
    }
    assert!(Quota::new(u32::MAX, Duration::from_nanos(1)).is_ok());
    assert!(RetryPolicy::new().max_attempts(0).is_err());
}

#[test]
fn secrets_go_to_https_or_loopback_only() {
    let client = |url: &str| Client::builder().access_token("T").base_url(url).build();
    for good in [
        "https://qyapi.weixin.qq.com",
        "https://proxy.example/wecom/",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:80",
        "http://localhost:8080",
    ] {
        assert!(client(good).is_ok(), "{good}");
    }
    for bad in [
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
        let error = client(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{bad}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn missing_and_empty_credentials_are_refused() {
    let kinds = [
        Client::builder().build(),
        Client::builder().access_token(" ").build(),
        Client::builder().corp_secret("", "s").build(),
        Client::builder().corp_secret("c", "").build(),
        Client::builder().corp_secret("c", "secret\n").build(),
        Client::builder().access_token(" token").build(),
    ];
    for built in kinds {
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Argument);
    }
}

#[test]
fn caps_that_no_reply_could_keep_are_refused() {
    let builder = || Client::builder().access_token("T");
    assert!(builder().max_body(0).build().is_err());
    assert!(builder().max_body(usize::MAX).build().is_err());
    assert!(builder().attempt_timeout(Duration::ZERO).build().is_err());
    // The hold would be given up on, and so hold nobody.
    assert!(builder().pushback(Duration::from_secs(7200)).build().is_err());
    let patient = RetryPolicy::new().max_pushback(Duration::MAX);
    assert!(builder().pushback(Duration::MAX).retry(patient).build().is_ok());
    assert!(
        builder()
            .attempt_timeout(Duration::MAX)
            .pushback(Duration::from_secs(3600))
            .build()
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn the_body_cap_holds_for_a_transport_of_ones_own() {
    let script = List::of(50).script();
    let error = script.builder().max_body(100).build().unwrap().enrolls(Query::webinar("M"));
    let error = error.take(1).collect::<Vec<_>>().await.remove(0).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Transport, 1));
}
