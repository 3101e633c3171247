//! The spans and events of a walk: their names, fields and levels are a contract.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tracing::{Instrument, error_span};
use wecom_enroll::{Client, Query, Quota, Reply};

use crate::{
    log::{record, recorded},
    support::{Act, Call, List, Script, errcode, grant, ids, query, status},
};

const WALK: &str = r#"enrolls{meeting="M1" list="webinar"}"#;

/// What a walk of these answers logs: without "sending" and "received".
async fn walk(ahead: usize, answer: impl FnMut(&Call) -> Act + Send + 'static) -> Vec<String> {
    record();
    let _ = ids(Script::new(answer).client().enrolls(query()).read_ahead(ahead)).await;
    lines()
}

fn lines() -> Vec<String> {
    let ours = |line: &&str| !line.contains(": sending") && !line.contains(": received");
    recorded().lines().filter(ours).map(str::to_owned).collect()
}

/// The one line with these words, with random delays left out.
fn line(lines: &[String], words: &str) -> String {
    let found: Vec<_> = lines.iter().filter(|line| line.contains(words)).collect();
    assert_eq!(found.len(), 1, "{words}: {lines:#?}");
    let fields = found[0].split(' ').filter(|field| !field.starts_with("delay="));
    fields.collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_plain_walk_is_a_span_with_one_for_each_call_and_an_event_for_each_page() {
    for ahead in [0, 1, 3] {
        let told = walk(ahead, |call| List::of(70).answer(call)).await;
        let first = format!("{WALK}:call{{page=1 rows=50 outcome=\"ok\"}}");
        let second = format!("{WALK}:call{{page=2 rows=20 outcome=\"ok\"}}");
        let end = "pages=2 rows=70 outcome=\"end\"";
        let whole = format!("{} {end}}}", WALK.trim_end_matches('}'));
        for line in [
            format!("WARN new {WALK}"),
            format!("WARN new {WALK}:call{{page=1}}"),
            format!("WARN new {WALK}:call{{page=2}}"),
            format!("DEBUG {first}: page fetched page=1 rows=50 has_more=true"),
            format!("DEBUG {second}: page fetched page=2 rows=20 has_more=false"),
            format!("DEBUG {whole}: walk ended {end}"),
        ] {
            assert_eq!(told.iter().filter(|&told| *told == line).count(), 1, "{line}: {told:#?}");
        }
        assert!(told.iter().all(|line| line.contains(" now ") || !line.starts_with("TRACE")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_sent_and_received_in_its_own_calls_span_also_if_it_was_begun_early() {
    for ahead in [0, 1] {
        record();
        let script = List::of(200).script();
        ids(script.client().enrolls(query()).read_ahead(ahead)).await.unwrap();
        let text = recorded();
        for page in 1..=4 {
            for words in ["sending attempt=1", "received"] {
                let line = format!("TRACE {WALK}:call{{page={page}}}: {words}");
                assert_eq!(text.matches(&line).count(), 1, "{line} in {text}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_walks_span_is_a_child_of_the_one_that_polls_it_first() {
    record();
    let rows = List::of(70).script().client().enrolls(Query::meeting("M2")).read_ahead(1);
    assert_eq!(recorded(), "", "nothing before the first poll");
    record();
    rows.count().instrument(error_span!("job")).await;
    let text = recorded();
    let walk = r#"job{}:enrolls{meeting="M2" list="meeting"}"#;
    assert!(text.contains(&format!("WARN new {walk}\n")), "{text}");
    assert!(text.contains(&format!("{walk}:call{{page=2}}: sending")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn between_two_polls_the_readers_events_are_not_the_walks() {
    record();
    let mut rows = List::of(70).script().client().enrolls(query());
    assert!(rows.next().now_or_never().is_none(), "in flight");
    tracing::error!("the reader's");
    rows.next().await.unwrap().unwrap();
    tracing::error!("the reader's");
    assert_eq!(recorded().matches("ERROR it::traces: the reader's").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_one_warning() {
    let told = walk(0, |call| match call.number {
        1 => status(503),
        2 => Act::Reply(Reply::new(503, "").with_pushback(Duration::from_secs(9))),
        3 => errcode(-1),
        _ => List::of(1).answer(call),
    })
    .await;
    let warned = format!("WARN {WALK}:call{{page=1}}: attempt failed, trying again");
    for words in [
        "attempt=1 wait=backoff error=the server answered with HTTP status 503",
        "attempt=2 wait=pushback error=the server answered with HTTP status 503",
        "attempt=3 wait=backoff errcode=-1 error=",
    ] {
        assert!(line(&told, &words[..9]).starts_with(&format!("{warned} {words}")), "{told:#?}");
    }
    assert!(told.iter().any(|line| line.contains("attempt=2 wait=pushback delay=9.0")));
    assert_eq!(told.iter().filter(|line| line.starts_with("WARN enrolls")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_attempt_is_one_warning_and_whoever_it_holds_is_told_to_wait() {
    record();
    let script = Script::new(|call| match call.number {
        1 => errcode(45009),
        _ => List::of(1).answer(call),
    });
    let client = script.client();
    let other = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        ids(client.enrolls(Query::webinar("M2"))).await
    };
    let both = tokio::join!(ids(client.enrolls(query())), other);
    assert!(both.0.is_ok() && both.1.is_ok());
    let told = lines();
    let held = format!(
        "WARN {WALK}:call{{page=1}}: throttled, holding every call attempt=1 wait=pushback errcode=45009 "
    );
    assert!(line(&told, "throttled").starts_with(&held), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("wait=pushback delay=60.0 errcode=45009")));
    assert_eq!(told.iter().filter(|line| line.starts_with("WARN enrolls")).count(), 1);
    let waiting = r#"DEBUG enrolls{meeting="M2" list="webinar"}:call{page=1}: waiting attempt=1 wait=pushback"#;
    assert_eq!(line(&told, "waiting"), waiting);
    assert!(told.iter().any(|line| line.contains("waiting") && line.contains("delay=50.0")));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_quota_is_told() {
    record();
    let quota = Quota::new(1, Duration::from_secs(7)).unwrap();
    let script = List::of(70).script();
    ids(script.builder().quota(quota).build().unwrap().enrolls(query())).await.unwrap();
    let told = lines();
    let waiting = format!("DEBUG {WALK}:call{{page=2}}: waiting attempt=1 wait=quota");
    assert_eq!(line(&told, "waiting"), waiting);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_told_and_gettoken_has_a_span_of_its_own() {
    record();
    let mut tokens = 0;
    let script = Script::new(move |call| match (call.is_list(), call.number) {
        (false, 1) => status(500),
        (false, _) => {
            tokens += 1;
            grant(&format!("TOKEN-{tokens}"), 7200)
        }
        (true, 3) => errcode(42001),
        (true, _) => List::of(1).answer(call),
    });
    let client = Client::builder().corp_secret("corp", "s3cret").transport(script).build().unwrap();
    ids(client.enrolls(query())).await.unwrap();
    let told = lines();
    let call = format!("{WALK}:call{{page=1}}");
    let refused =
        format!("INFO {call}: access token refused, refreshing it attempt=1 errcode=42001");
    assert_eq!(line(&told, "refused"), refused);
    let warned =
        format!("WARN {call}:gettoken{{}}: attempt failed, trying again attempt=1 wait=backoff ");
    assert!(line(&told, "again").starts_with(&warned), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_call_and_the_walk() {
    for ahead in [0, 1] {
        let told = walk(ahead, |call| match call.number {
            1 => List::of(150).answer(call),
            _ => errcode(730_008),
        })
        .await;
        let call = format!("{WALK}:call{{page=2 outcome=\"error\" errcode=730008}}");
        assert!(told.contains(&format!("TRACE now {call}")), "{told:#?}");
        let end = "pages=1 rows=50 outcome=\"error\" errcode=730008";
        let whole = format!("{} {end}}}", WALK.trim_end_matches('}'));
        let ended = format!("DEBUG {whole}: walk ended {end} error=");
        assert!(line(&told, "walk ended").starts_with(&ended), "{told:#?}");
    }
}
