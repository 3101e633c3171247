//! Access tokens: fetched once for all callers, refreshed once when refused, never in a loop.

use std::time::Duration;

use futures::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, sleep};
use wecom_enroll::{Client, ErrorKind, Query, Quota, Result};

use crate::support::{Act, Call, List, Script, errcode, grant, ids, query, response, status};

/// A server that accepts only the newest token. Tokens expire after `lifetime` seconds.
struct Tokens {
    lifetime: u64,
    newest: usize,
    granted_at: Option<Instant>,
    /// Revokes the newest token at these list calls.
    revoke_at: Vec<usize>,
    refusal: i64,
    list: List,
    list_calls: usize,
}

impl Tokens {
    fn new(lifetime: u64) -> Self {
        let list = List::of(300);
        let (newest, granted_at, revoke_at) = (0, None, Vec::new());
        Self { lifetime, newest, granted_at, revoke_at, refusal: 42001, list, list_calls: 0 }
    }

    fn script(mut self) -> Script {
        Script::new(move |call| self.respond(call))
    }

    fn respond(&mut self, call: &Call) -> Act {
        let expired = self.granted_at.is_none_or(|at| at.elapsed().as_secs() >= self.lifetime);
        if !call.is_list() {
            self.newest += 1;
            self.granted_at = Some(Instant::now());
            let token = format!("TOKEN-{}", self.newest);
            return grant(&token, self.lifetime).after(Duration::from_millis(20));
        }
        self.list_calls += 1;
        if self.revoke_at.contains(&self.list_calls) {
            self.granted_at = None;
            return errcode(self.refusal);
        }
        match expired || call.token != Some(format!("TOKEN-{}", self.newest)) {
            true => errcode(self.refusal),
            false => self.list.respond(call).after(Duration::from_millis(10)),
        }
    }
}

/// Lists this many webinars at the same time.
async fn list_all(client: &Client, webinars: usize) -> Vec<Result<Vec<String>>> {
    let query = |i| Query::webinar(format!("M{i}"));
    join_all((0..webinars).map(|i| ids(client.enrolls(query(i))))).await
}

fn gettokens(script: &Script) -> usize {
    script.calls().len() - script.list_calls().len()
}

#[tokio::test(start_paused = true)]
async fn token_is_fetched_once_for_a_hundred_streams() {
    let script = Tokens::new(7200).script();
    let client = script.app_client();
    let all = list_all(&client, 100).await;
    assert!(all.into_iter().all(|ids| ids.unwrap() == List::of(300).ids()));
    assert_eq!(gettokens(&script), 1);
}

#[tokio::test(start_paused = true)]
async fn token_refused_is_refreshed_once_for_all_streams() {
    for refusal in [42001, 40014] {
        let mut tokens = Tokens::new(7200);
        (tokens.revoke_at, tokens.refusal) = (vec![150, 400], refusal);
        let script = tokens.script();
        let client = script.app_client();
        let all = list_all(&client, 100).await;
        assert!(all.into_iter().all(|ids| ids.unwrap() == List::of(300).ids()));
        assert_eq!(gettokens(&script), 3, "errcode {refusal}");
        assert_eq!(client.stats().retries, 0, "a refresh does not count as a retry");
        // After a replacement was sent, the old token is never sent again.
        let calls = script.list_calls();
        for token in ["TOKEN-1", "TOKEN-2"] {
            let last = calls.iter().rposition(|c| c.token.as_deref() == Some(token)).unwrap();
            let newer = format!("TOKEN-{}", if token == "TOKEN-1" { 2 } else { 3 });
            let first = calls.iter().position(|c| c.token.as_ref() == Some(&newer)).unwrap();
            assert!(last < first);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn token_is_refreshed_before_it_expires() {
    for lifetime in [60, 600, 7200] {
        let mut tokens = Tokens::new(lifetime);
        tokens.list = List(vec![1; 60]);
        let script = tokens.script();
        let client = script.app_client();
        let step = Duration::from_secs(lifetime) / 20;
        let seen = client.enrolls(query()).then(async |row| {
            sleep(step).await;
            row.unwrap().enroll_id().to_owned()
        });
        assert_eq!(seen.count().await, 60);
        // The list takes three lifetimes. No token was refused, so every refresh was in time.
        assert_eq!(script.list_calls().len(), 60, "lifetime {lifetime}");
        assert!((3..=4).contains(&gettokens(&script)), "lifetime {lifetime}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_expires_during_a_quota_wait_is_not_used() {
    let script = Tokens::new(100).script();
    let quota = Quota::new(1, Duration::from_secs(150)).unwrap();
    let client = script.app_builder().quotas([quota]).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), List::of(300).ids());
    assert_eq!(script.list_calls().len(), 6, "no call was made with an expired token");
}

#[tokio::test(start_paused = true)]
async fn token_refused_every_time_is_an_error_after_two_calls() {
    for refusal in [42001, 40014] {
        let script = Script::new(move |call| match call.is_list() {
            true => errcode(refusal),
            false => grant("T", 7200),
        });
        let client = script.app_client();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Api, Some(refusal)));
        assert!(error.is_auth() && !error.is_transient() && error.hint().is_some());
        assert!(error.checkpoint().is_some());
        assert_eq!((script.list_calls().len(), gettokens(&script)), (2, 2));

        let fixed = Script::new(move |_| errcode(refusal));
        assert!(ids(fixed.client().enrolls(query())).await.is_err());
        assert_eq!(fixed.calls().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn secret_that_is_wrong_is_sent_once_for_all_streams() {
    for refusal in [40001, 40013, 40091] {
        let script = Script::new(move |_| errcode(refusal).after(Duration::from_millis(20)));
        let client = script.app_client();
        for error in list_all(&client, 100).await {
            let error = error.unwrap_err();
            assert_eq!((error.kind(), error.errcode()), (ErrorKind::Token, Some(refusal)));
            assert!(error.is_auth() && !error.is_transient());
            assert!(error.hint().is_some() && error.checkpoint().is_some());
        }
        // A service that keeps trying does not get its IP banned.
        for _ in 0..50 {
            sleep(Duration::from_secs(1)).await;
            assert!(ids(client.enrolls(query())).await.is_err());
        }
        assert_eq!(script.calls().len(), 1);
        sleep(Duration::from_secs(60)).await;
        assert!(ids(client.enrolls(query())).await.is_err());
        assert_eq!(script.calls().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn gettoken_that_is_down_is_retried_once_for_all_streams() {
    let script = Script::new(|_| status(502));
    let client = script.app_client();
    for error in list_all(&client, 100).await {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Token, Some(502)));
        assert_eq!((error.attempts(), error.is_transient()), (4, true));
    }
    assert_eq!(script.calls().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn gettoken_is_retried_after_transient_failures() {
    let script = Script::new(|call| match (call.is_list(), call.number) {
        (false, 1) => status(500),
        (false, 2) => errcode(-1),
        (false, 3) => Act::Reset,
        (false, _) => grant("T", 7200),
        _ => List::of(3).respond(call),
    });
    let client = script.app_client();
    assert_eq!(ids(client.enrolls(query())).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn gettoken_quota_is_separate_from_the_list_quota() {
    // The tokens expire immediately, so every list call needs a new one.
    let script = Script::new(|call| match call.is_list() {
        true => List(vec![1; 1500]).respond(call),
        false => grant("T", 0),
    });
    let list = Quota::new(1_000_000, Duration::from_secs(1)).unwrap();
    let client = script.app_builder().quotas([list]).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap().len(), 1500);
    let calls: Vec<_> = script.calls().into_iter().filter(|call| !call.is_list()).collect();
    let hour = Duration::from_secs(3600);
    let in_an_hour =
        calls.iter().map(|a| calls.iter().filter(|b| b.at >= a.at && b.at - a.at <= hour).count());
    let most = in_an_hour.max().unwrap();
    assert!((900..=1000).contains(&most), "{most} in an hour");
}

#[tokio::test(start_paused = true)]
async fn gettoken_response_without_a_token_is_an_error() {
    for (body, transient) in [
        (&br#"{"errcode":0}"#[..], false),
        (b"{}", false),
        (b"<html>", false),
        (br#"{"errcode":0,"access_token":""}"#, false),
        (b"{\"errcode\":0,\"access_token\":\"T\xff\"}", false),
        (br#"{"access_token":"T"#, true),
    ] {
        let script = Script::new(move |_| Act::Respond(response(200, body)));
        let error = ids(script.app_client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Token, transient), "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_lifetime_may_be_huge_text_or_absent() {
    for lifetime in ["18446744073709551615", "9223372036854775807", "\"7200\"", "null"] {
        let script = Script::new(move |call| match call.is_list() {
            true => List::of(3).respond(call),
            false => Act::Respond(response(
                200,
                format!(r#"{{"errcode":0,"access_token":"T","expires_in":{lifetime}}}"#),
            )),
        });
        let outcome = ids(script.app_client().enrolls(query())).await;
        assert_eq!(outcome.is_ok(), lifetime != "18446744073709551615", "{lifetime}");
    }
}

#[tokio::test(start_paused = true)]
async fn gettoken_response_with_a_byte_order_mark_is_read() {
    let script = Script::new(|call| match call.is_list() {
        true => List::of(3).respond(call),
        false => Act::Respond(response(
            200,
            "\u{feff}{\"errcode\":0,\"access_token\":\"T\",\"expires_in\":7.2e3}",
        )),
    });
    assert_eq!(ids(script.app_client().enrolls(query())).await.unwrap().len(), 3);
    assert_eq!(script.list_calls()[0].token.as_deref(), Some("T"));

    let refusal = "\u{feff}{\"errcode\":40001,\"errmsg\":\"invalid secret\"}";
    for status in [200, 403] {
        let script = Script::new(move |_| Act::Respond(response(status, refusal)));
        let error = ids(script.app_client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.errcode(), script.calls().len()), (Some(40001), 1), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn gettoken_response_with_repeated_keys_counts_the_last() {
    let script = Script::new(|call| match call.is_list() {
        true => List(vec![1, 1]).respond(call),
        false => Act::Respond(response(
            200,
            r#"{"errcode":40001,"access_token":7.5,"expires_in":"x",
                "errcode":0,"access_token":"T","expires_in":7200}"#,
        )),
    });
    assert_eq!(ids(script.app_client().enrolls(query())).await.unwrap().len(), 2);
    assert_eq!(script.list_calls()[0].token.as_deref(), Some("T"));
    assert_eq!(gettokens(&script), 1);

    let refusal = r#"{"errcode":0,"access_token":"T","errcode":40001}"#;
    let script = Script::new(move |_| Act::Respond(response(200, refusal)));
    let error = ids(script.app_client().enrolls(query())).await.unwrap_err();
    assert_eq!((error.errcode(), script.calls().len()), (Some(40001), 1));
}

#[tokio::test(start_paused = true)]
async fn gettoken_that_hangs_is_a_timeout_for_all_streams() {
    let script = Script::new(|_| Act::Hang);
    let client = script.app_client();
    for error in list_all(&client, 100).await {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Token, 4));
        assert!(error.is_timeout() && error.is_transient());
    }
    assert_eq!(script.calls().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn token_refresh_is_shared_by_streams_that_start_and_end() {
    let mut tokens = Tokens::new(7200);
    tokens.revoke_at = (1..50).map(|i| i * 9).collect();
    let script = tokens.script();
    let client = script.app_client();
    let lists = stream::iter(0..50).map(|_| ids(client.enrolls(query()).read_ahead(1)));
    let all: Vec<_> = lists.buffer_unordered(8).collect().await;
    // Two revocations in one call are an error.
    for outcome in all {
        match outcome {
            Ok(ids) => assert_eq!(ids, List::of(300).ids()),
            Err(error) => assert_eq!(error.errcode(), Some(42001)),
        }
    }
    assert!(gettokens(&script) <= 50, "{} refreshes for 49 revocations", gettokens(&script));
}

#[tokio::test(start_paused = true)]
async fn secret_refused_in_an_odd_response_is_sent_once() {
    for body in [
        r#"{"errcode":40001,"errmsg":null}"#,
        r#"{"errcode":"40001","errmsg":7,"expires_in":1.5}"#,
        r#"{"errcode":40001,"errmsg":"secret is invalid","access_token":null,"expires_in":0}"#,
    ] {
        let script = Script::new(move |_| Act::Respond(response(200, body)));
        let client = script.app_client();
        for _ in 0..20 {
            let error = ids(client.enrolls(query())).await.unwrap_err();
            assert_eq!((error.errcode(), error.is_auth()), (Some(40001), true), "{body}");
        }
        assert_eq!(script.calls().len(), 1, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_is_fetched_after_the_quota_wait() {
    // Twelve streams may make one call in 40 s, so the tokens, which live 100 s, expire during the waits.
    let mut tokens = Tokens::new(100);
    tokens.list = List::of(1);
    let script = tokens.script();
    let quota = Quota::new(1, Duration::from_secs(40)).unwrap();
    let client = script.app_builder().quotas([quota]).build().unwrap();
    assert!(list_all(&client, 12).await.iter().all(Result::is_ok));
    assert_eq!(script.list_calls().len(), 12, "no call was made with an expired token");
}

#[tokio::test(start_paused = true)]
async fn token_with_a_huge_lifetime_is_cached_for_a_day() {
    let script = Script::new(|call| match call.is_list() {
        true => List(vec![1; 20]).respond(call),
        false => grant("T", i64::MAX as u64),
    });
    let client = script.app_client();
    ids(client.enrolls(query())).await.unwrap();
    assert_eq!(gettokens(&script), 1);
    sleep(Duration::from_secs(86_400)).await;
    ids(client.enrolls(query())).await.unwrap();
    assert_eq!(gettokens(&script), 2);
}
