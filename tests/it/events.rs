//! Tracing: the names, fields and levels of spans and events are a contract.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tracing::{Instrument, error_span};
use wecom_enroll::{EnrollStatus, Query, Quota};

use crate::support::{
    Act, Call, List, Script, errcode, grant, ids,
    log::{record, recorded},
    query, response, status, with_retry_after,
};

const STREAM: &str = r#"enrolls{meeting="M1" list="webinar"}"#;

/// Returns what a stream logs, without "sending" and "received".
async fn logged(ahead: usize, respond: impl FnMut(&Call) -> Act + Send + 'static) -> Vec<String> {
    record();
    let _ = ids(Script::new(respond).client().enrolls(query()).read_ahead(ahead)).await;
    lines()
}

fn lines() -> Vec<String> {
    let ours = |line: &&str| !line.contains(": sending") && !line.contains(": received");
    recorded().lines().filter(ours).map(str::to_owned).collect()
}

/// Returns the only line that contains these words, without its random delay.
fn line(lines: &[String], words: &str) -> String {
    let found: Vec<_> = lines.iter().filter(|line| line.contains(words)).collect();
    assert_eq!(found.len(), 1, "{words}: {lines:#?}");
    let fields = found[0].split(' ').filter(|field| !field.starts_with("delay="));
    fields.collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn span_per_stream_and_per_call_and_event_per_page_are_logged() {
    for ahead in [0, 1, 3] {
        let lines = logged(ahead, |call| List::of(70).respond(call)).await;
        let first = format!("{STREAM}:call{{page=1 rows=50 outcome=\"ok\"}}");
        let second = format!("{STREAM}:call{{page=2 rows=20 outcome=\"ok\"}}");
        let end = "pages=2 rows=70 outcome=\"end\"";
        let whole = format!("{} {end}}}", STREAM.trim_end_matches('}'));
        for line in [
            format!("WARN new {STREAM}"),
            format!("WARN new {STREAM}:call{{page=1}}"),
            format!("WARN new {STREAM}:call{{page=2}}"),
            format!("DEBUG {first}: page fetched page=1 rows=50 has_more=true"),
            format!("DEBUG {second}: page fetched page=2 rows=20 has_more=false"),
            format!("DEBUG {whole}: list ended {end}"),
        ] {
            assert_eq!(
                lines.iter().filter(|&logged| *logged == line).count(),
                1,
                "{line}: {lines:#?}"
            );
        }
        assert!(lines.iter().all(|line| line.contains(" now ") || !line.starts_with("TRACE")));
    }
}

#[tokio::test(start_paused = true)]
async fn request_is_logged_in_the_span_of_its_call() {
    for ahead in [0, 1] {
        record();
        let script = List::of(200).script();
        ids(script.client().enrolls(query()).read_ahead(ahead)).await.unwrap();
        let text = recorded();
        for page in 1..=4 {
            for words in ["sending attempt=1", "received"] {
                let line = format!("TRACE {STREAM}:call{{page={page}}}: {words}");
                assert_eq!(text.matches(&line).count(), 1, "{line} in {text}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stream_span_is_a_child_of_the_span_that_polls_it_first() {
    record();
    let rows = List::of(70).script().client().enrolls(Query::meeting("M2")).read_ahead(1);
    assert_eq!(recorded(), "", "nothing before the first poll");
    record();
    rows.count().instrument(error_span!("job")).await;
    let text = recorded();
    let stream = r#"job{}:enrolls{meeting="M2" list="meeting"}"#;
    assert!(text.contains(&format!("WARN new {stream}\n")), "{text}");
    assert!(text.contains(&format!("{stream}:call{{page=2}}: sending")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn events_of_the_reader_are_outside_of_the_stream_span() {
    record();
    let mut rows = List::of(70).script().client().enrolls(query());
    assert!(rows.next().now_or_never().is_none(), "in flight");
    tracing::error!("the reader's");
    rows.next().await.unwrap().unwrap();
    tracing::error!("the reader's");
    assert_eq!(recorded().matches("ERROR it::events: the reader's").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn retry_is_one_warning() {
    let lines = logged(0, |call| match call.number {
        1 => status(503),
        2 => Act::Respond(with_retry_after(response(503, ""), 9)),
        3 => errcode(-1),
        _ => List::of(1).respond(call),
    })
    .await;
    let warned = format!("WARN {STREAM}:call{{page=1}}: attempt failed, retrying");
    for words in [
        "attempt=1 wait=backoff error=the server responded with HTTP status 503",
        "attempt=2 wait=retry-after error=the server responded with HTTP status 503",
        "attempt=3 wait=backoff errcode=-1 error=",
    ] {
        assert!(line(&lines, &words[..9]).starts_with(&format!("{warned} {words}")), "{lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("attempt=2 wait=retry-after delay=9.0")));
    assert_eq!(lines.iter().filter(|line| line.starts_with("WARN enrolls")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn throttled_attempt_is_one_warning_and_others_log_a_wait() {
    record();
    let script = Script::new(|call| match call.number {
        1 => errcode(45009),
        _ => List::of(1).respond(call),
    });
    let client = script.client();
    let other = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        ids(client.enrolls(Query::webinar("M2"))).await
    };
    let both = tokio::join!(ids(client.enrolls(query())), other);
    assert!(both.0.is_ok() && both.1.is_ok());
    let lines = lines();
    let held = format!(
        "WARN {STREAM}:call{{page=1}}: rate limit exceeded, holding all calls attempt=1 wait=retry-after errcode=45009 "
    );
    assert!(line(&lines, "rate limit").starts_with(&held), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("wait=retry-after delay=60.0 errcode=45009")));
    assert_eq!(lines.iter().filter(|line| line.starts_with("WARN enrolls")).count(), 1);
    let waiting = r#"DEBUG enrolls{meeting="M2" list="webinar"}:call{page=1}: waiting attempt=1 wait=retry-after"#;
    assert_eq!(line(&lines, "waiting"), waiting);
    assert!(lines.iter().any(|line| line.contains("waiting") && line.contains("delay=50.0")));
}

#[tokio::test(start_paused = true)]
async fn quota_wait_is_logged() {
    record();
    let quota = Quota::new(1, Duration::from_secs(7)).unwrap();
    let script = List::of(70).script();
    ids(script.builder().quotas([quota]).build().unwrap().enrolls(query())).await.unwrap();
    let lines = lines();
    let waiting = format!("DEBUG {STREAM}:call{{page=2}}: waiting attempt=1 wait=quota");
    assert_eq!(line(&lines, "waiting"), waiting);
}

#[tokio::test(start_paused = true)]
async fn token_refresh_is_logged_and_gettoken_has_a_span() {
    record();
    let mut tokens = 0;
    let script = Script::new(move |call| match (call.is_list(), call.number) {
        (false, 1) => status(500),
        (false, _) => {
            tokens += 1;
            grant(&format!("TOKEN-{tokens}"), 7200)
        }
        (true, 3) => errcode(42001),
        (true, _) => List::of(1).respond(call),
    });
    ids(script.app_client().enrolls(query())).await.unwrap();
    let lines = lines();
    let call = format!("{STREAM}:call{{page=1}}");
    let refused =
        format!("INFO {call}: access token refused, refreshing it attempt=1 errcode=42001");
    assert_eq!(line(&lines, "refused"), refused);
    let warned =
        format!("WARN {call}:gettoken{{}}: attempt failed, retrying attempt=1 wait=backoff ");
    assert!(line(&lines, "retrying").starts_with(&warned), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn span_outcome_after_an_error_is_error() {
    for ahead in [0, 1] {
        let lines = logged(ahead, |call| match call.number {
            1 => List::of(150).respond(call),
            _ => errcode(730_008),
        })
        .await;
        let call = format!("{STREAM}:call{{page=2 outcome=\"error\" errcode=730008}}");
        assert!(lines.contains(&format!("TRACE now {call}")), "{lines:#?}");
        let end = "pages=1 rows=50 outcome=\"error\" errcode=730008";
        let whole = format!("{} {end}}}", STREAM.trim_end_matches('}'));
        let ended = format!("DEBUG {whole}: list ended {end} error=");
        assert!(line(&lines, "list ended").starts_with(&ended), "{lines:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn span_per_update_stream_and_batch_is_logged() {
    record();
    let script = Script::new(|call| match call.body["enroll_id_list"].as_array().unwrap().len() {
        2 => errcode(730_006),
        _ if call.body["enroll_id_list"][0] == "b" => errcode(730_006),
        _ => serde_json::json!({"errcode": 0, "handled_count": 1}).into(),
    });
    let updates = script.client().set_status(query(), EnrollStatus::Rejected, ["a", "b", "c"]);
    updates.batch_size(2).unwrap().count().await;
    let lines = lines();
    let stream = r#"set_status{meeting="M1" list="webinar" status=rejected}"#;
    let call =
        |batch: &str, rest: &str| format!("{stream}:call{{{batch} ids=1 outcome=\"ok\"}}: {rest}");
    let end = "batches=4 unconfirmed=1 outcome=\"end\"";
    for line in [
        format!("WARN new {stream}"),
        format!("WARN new {stream}:call{{batch=1 ids=2}}"),
        format!("DEBUG {stream}: the batch contains an unknown id, halving it ids=2"),
        format!("DEBUG {}", call("batch=2", "batch confirmed batch=2 ids=1 handled=1")),
        format!("WARN new {stream}:call{{batch=3 ids=1}}"),
        format!("DEBUG {}", call("batch=4", "batch confirmed batch=4 ids=1 handled=1")),
        format!("DEBUG {} {end}}}: updates ended {end}", stream.trim_end_matches('}')),
    ] {
        assert_eq!(lines.iter().filter(|&logged| *logged == line).count(), 1, "{line}: {lines:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn span_of_enroll_settings_is_logged() {
    record();
    let script = Script::new(|_| errcode(48002));
    script.client().enroll_settings(Query::meeting("M2")).await.unwrap_err();
    let text = recorded();
    let span = r#"enroll_settings{meeting="M2" list="meeting"}"#;
    assert!(text.contains(&format!("WARN new {span}\n")), "{text}");
    assert!(text.contains(&format!("TRACE {span}: sending attempt=1")), "{text}");
}
