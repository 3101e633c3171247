//! Access tokens: fetched once for all who wait, refreshed once when refused, never in a loop.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, sleep};
use wecom_enroll::{
    AccessToken, Client, ClientBuilder, Error, ErrorKind, Query, Reply, Result, TokenSource,
};

use crate::support::{Act, Call, List, Script, errcode, grant, ids, query, status};

/// A WeCom that accepts only its newest token, and grants tokens of `life` seconds.
struct Tokens {
    life: u64,
    newest: usize,
    granted_at: Option<Instant>,
    /// Revokes the newest token at these list calls.
    revoke_at: Vec<usize>,
    refusal: i64,
    list: List,
    list_calls: usize,
}

impl Tokens {
    fn new(life: u64) -> Self {
        let list = List::of(300);
        let (newest, granted_at, revoke_at) = (0, None, Vec::new());
        Self { life, newest, granted_at, revoke_at, refusal: 42001, list, list_calls: 0 }
    }

    fn script(mut self) -> Script {
        Script::new(move |call| self.answer(call))
    }

    fn answer(&mut self, call: &Call) -> Act {
        let expired = self.granted_at.is_none_or(|at| at.elapsed().as_secs() >= self.life);
        if !call.is_list() {
            self.newest += 1;
            self.granted_at = Some(Instant::now());
            return match grant(&format!("TOKEN-{}", self.newest), self.life) {
                Act::Reply(reply) => Act::After(Duration::from_millis(20), reply),
                act => act,
            };
        }
        self.list_calls += 1;
        if self.revoke_at.contains(&self.list_calls) {
            self.granted_at = None;
            return errcode(self.refusal);
        }
        match expired || call.token != Some(format!("TOKEN-{}", self.newest)) {
            true => errcode(self.refusal),
            false => {
                let page = self.list.page(List::index(call.cursor()));
                Act::After(Duration::from_millis(10), Reply::new(200, page.to_string()))
            }
        }
    }
}

fn builder(script: &Script) -> ClientBuilder {
    Client::builder().corp_secret("corp", "s3cret").transport(script.clone())
}

fn gettokens(script: &Script) -> usize {
    script.calls().len() - script.list_calls().len()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_streams_fetch_one_token() {
    let script = Tokens::new(7200).script();
    let client = builder(&script).build().unwrap();
    let walks = (0..100).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
    let all = join_all(walks).await;
    assert!(all.into_iter().all(|ids| ids.unwrap() == List::of(300).ids()));
    assert_eq!(gettokens(&script), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_refreshed_once_for_all_and_every_page_replayed_with_the_new_one() {
    for refusal in [42001, 40014] {
        let mut tokens = Tokens::new(7200);
        (tokens.revoke_at, tokens.refusal) = (vec![150, 400], refusal);
        let script = tokens.script();
        let client = builder(&script).build().unwrap();
        let walks = (0..100).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
        let all = join_all(walks).await;
        assert!(all.into_iter().all(|ids| ids.unwrap() == List::of(300).ids()));
        assert_eq!(gettokens(&script), 3, "errcode {refusal}");
        assert_eq!(client.stats().retries, 0, "a refresh is no retry");
        // Nobody sent a token after it was known to be refused and replaced.
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
async fn tokens_are_refreshed_before_they_expire() {
    for life in [60, 600, 7200] {
        let mut tokens = Tokens::new(life);
        tokens.list = List(vec![1; 60]);
        let script = tokens.script();
        let client = builder(&script).build().unwrap();
        let step = Duration::from_secs(life) / 20;
        let seen = client.enrolls(query()).then(async |row| {
            sleep(step).await;
            row.unwrap().enroll_id().to_owned()
        });
        assert_eq!(seen.count().await, 60);
        // Three lives: no token was refused, so every refresh came in time.
        assert_eq!(script.list_calls().len(), 60, "life {life}");
        assert!((3..=4).contains(&gettokens(&script)), "life {life}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ages_while_quota_is_waited_for_is_not_used() {
    let script = Tokens::new(100).script();
    let quota = wecom_enroll::Quota::new(1, Duration::from_secs(150)).unwrap();
    let client = builder(&script).quota(quota).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), List::of(300).ids());
    assert_eq!(script.list_calls().len(), 6, "no call was spent on an expired token");
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_for_ever_is_a_bounded_number_of_calls_and_a_clear_error() {
    for refusal in [42001, 40014] {
        let script = Script::new(move |call| match call.is_list() {
            true => errcode(refusal),
            false => grant("T", 7200),
        });
        let client = builder(&script).build().unwrap();
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
async fn a_wrong_secret_is_asked_about_once_for_all_streams() {
    for refusal in [40001, 40013, 40091] {
        let script = Script::new(move |_| match errcode(refusal) {
            Act::Reply(reply) => Act::After(Duration::from_millis(20), reply),
            act => act,
        });
        let client = builder(&script).build().unwrap();
        for error in join_all((0..100).map(|_| ids(client.enrolls(query())))).await {
            let error = error.unwrap_err();
            assert_eq!((error.kind(), error.errcode()), (ErrorKind::Token, Some(refusal)));
            assert!(error.is_auth() && !error.is_transient());
            assert!(error.hint().is_some() && error.checkpoint().is_some());
        }
        // A service that tries again and again does not get its IP banned, either.
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
async fn a_gettoken_that_is_down_goes_through_the_retry_policy_once_for_all_streams() {
    let script = Script::new(|_| status(502));
    let client = builder(&script).build().unwrap();
    for error in join_all((0..100).map(|_| ids(client.enrolls(query())))).await {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Token, Some(502)));
        assert_eq!((error.attempts(), error.is_transient()), (4, true));
    }
    assert_eq!(script.calls().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_gettoken_that_stumbles_is_tried_again() {
    let script = Script::new(|call| match (call.is_list(), call.number) {
        (false, 1) => status(500),
        (false, 2) => errcode(-1),
        (false, 3) => Act::Reset,
        (false, _) => grant("T", 7200),
        _ => List::of(3).answer(call),
    });
    let client = builder(&script).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn gettoken_has_a_quota_of_its_own() {
    // Tokens that are born stale: every list call needs a new one.
    let script = Script::new(|call| match call.is_list() {
        true => List(vec![1; 1500]).answer(call),
        false => grant("T", 0),
    });
    let list = wecom_enroll::Quota::new(1_000_000, Duration::from_secs(1)).unwrap();
    let client = builder(&script).quota(list).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap().len(), 1500);
    let calls: Vec<_> = script.calls().into_iter().filter(|call| !call.is_list()).collect();
    let hour = Duration::from_secs(3600);
    let most =
        calls.iter().map(|a| calls.iter().filter(|b| b.at >= a.at && b.at - a.at <= hour).count());
    let most = most.max().unwrap();
    assert!((900..=1000).contains(&most), "{most} in an hour");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_grant_is_a_clear_error() {
    for (body, transient) in [
        (r#"{"errcode":0}"#, false),
        ("{}", false),
        ("<html>", false),
        (r#"{"errcode":0,"access_token":""}"#, false),
        (r#"{"access_token":"T"#, true),
    ] {
        let script = Script::new(move |_| Act::Reply(Reply::new(200, body)));
        let error = ids(builder(&script).build().unwrap().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Token, transient), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_with_an_endless_life_or_none_said_is_used() {
    for life in ["18446744073709551615", "9223372036854775807", "\"7200\"", "null"] {
        let script = Script::new(move |call| match call.is_list() {
            true => List::of(3).answer(call),
            false => Act::Reply(Reply::new(
                200,
                format!(r#"{{"errcode":0,"access_token":"T","expires_in":{life}}}"#),
            )),
        });
        let outcome = ids(builder(&script).build().unwrap().enrolls(query())).await;
        assert_eq!(outcome.is_ok(), life != "18446744073709551615", "{life}");
    }
}

/// A company's token service.
#[derive(Clone, Default)]
struct Central {
    version: Arc<AtomicUsize>,
    forgotten: Arc<AtomicUsize>,
    down: bool,
}

impl TokenSource for Central {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
        Box::pin(async {
            sleep(Duration::from_millis(5)).await;
            match self.down {
                true => Err(Error::token("the vault is sealed")),
                false => Ok(AccessToken::new(format!("C{}", self.version.load(SeqCst)))),
            }
        })
    }

    fn forget(&self, refused: &AccessToken) {
        self.forgotten.fetch_add(1, SeqCst);
        let version = self.version.load(SeqCst);
        if refused.expose() == format!("C{version}") {
            let _ = self.version.compare_exchange(version, version + 1, SeqCst, SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_source_of_ones_own_is_asked_on_every_attempt_and_told_of_refusals() {
    let script = Script::new(|call| match call.token.as_deref() {
        Some("C0") if call.number > 3 => errcode(42001),
        _ => List::of(300).answer(call),
    });
    let central = Central::default();
    let client =
        Client::builder().token_source(central.clone()).transport(script.clone()).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), List::of(300).ids());
    assert_eq!(central.forgotten.load(SeqCst), 1);
    assert_eq!(script.calls().last().unwrap().token.as_deref(), Some("C1"));
}

#[tokio::test(start_paused = true)]
async fn a_token_source_that_fails_ends_the_call_with_its_own_error_as_the_source() {
    let script = List::of(1).script();
    let central = Central { down: true, ..Central::default() };
    let client = Client::builder().token_source(central).transport(script.clone()).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Token);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the vault is sealed");
    assert!(script.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn streams_that_come_and_go_share_one_refresh() {
    let mut tokens = Tokens::new(7200);
    tokens.revoke_at = (1..50).map(|i| i * 9).collect();
    let script = tokens.script();
    let client = builder(&script).build().unwrap();
    let walks = stream::iter(0..50).map(|_| ids(client.enrolls(query()).read_ahead(1)));
    let all: Vec<_> = walks.buffer_unordered(8).collect().await;
    // A walk may meet two revocations in one call; then it says so.
    for outcome in all {
        match outcome {
            Ok(ids) => assert_eq!(ids, List::of(300).ids()),
            Err(error) => assert_eq!(error.errcode(), Some(42001)),
        }
    }
    assert!(gettokens(&script) <= 50, "{} refreshes for 49 revocations", gettokens(&script));
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_known_as_one_whatever_else_is_odd_about_the_reply() {
    for body in [
        r#"{"errcode":40001,"errmsg":null}"#,
        r#"{"errcode":"40001","errmsg":7,"expires_in":1.5}"#,
        r#"{"errcode":40001,"errmsg":"secret is invalid","access_token":null,"expires_in":0}"#,
    ] {
        let script = Script::new(move |_| Act::Reply(Reply::new(200, body)));
        let client = builder(&script).build().unwrap();
        for _ in 0..20 {
            let error = ids(client.enrolls(query())).await.unwrap_err();
            assert_eq!((error.errcode(), error.is_auth()), (Some(40001), true), "{body}");
        }
        assert_eq!(script.calls().len(), 1, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_ages_in_the_line_for_quota() {
    // Twelve walks, tokens of 100 s, one call in 40 s.
    let mut tokens = Tokens::new(100);
    tokens.list = List::of(1);
    let script = tokens.script();
    let quota = wecom_enroll::Quota::new(1, Duration::from_secs(40)).unwrap();
    let client = builder(&script).quota(quota).build().unwrap();
    let walks = (0..12).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
    assert!(join_all(walks).await.into_iter().all(|ids| ids.is_ok()));
    assert_eq!(script.list_calls().len(), 12, "no call was spent on a dead token");
}

#[tokio::test(start_paused = true)]
async fn a_life_beyond_reason_is_kept_for_a_day_at_most() {
    let script = Script::new(|call| match call.is_list() {
        true => List(vec![1; 20]).answer(call),
        false => grant("T", i64::MAX as u64),
    });
    let client = builder(&script).build().unwrap();
    ids(client.enrolls(query())).await.unwrap();
    assert_eq!(gettokens(&script), 1);
    sleep(Duration::from_secs(86_400)).await;
    ids(client.enrolls(query())).await.unwrap();
    assert_eq!(gettokens(&script), 2);
}
