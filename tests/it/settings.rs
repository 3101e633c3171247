//! `Client::enroll_settings`: what is sent, and how the response is read.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use wecom_enroll::{
    ApprovalType, EnrollSettings, ErrorKind, Query, Question, QuestionType, Result, SpecialType,
    StatusFilter,
};

use crate::support::{Act, List, Script, errcode, ids, query, response, status};

/// Returns the settings in this response, and what was sent.
async fn settings(body: &'static str) -> (Result<EnrollSettings>, Script) {
    let script = Script::new(move |_| Act::Respond(response(200, body)));
    (script.client().enroll_settings(query()).await, script)
}

#[tokio::test(start_paused = true)]
async fn settings_have_every_field_of_the_response() {
    let (settings, script) = settings(
        r#"{"errcode":0,"errmsg":"ok","approve_type":2,"is_collect_question":2,
        "no_registration_needed_for_staff":true,"question_list":[
        {"is_required":2,"question_type":1,"question_title":"岗位","special_type":1,
         "option_list":[{"content":"甲"},{"content":"乙"}]},
        {"is_required":1,"question_type":3,"question_title":"","special_type":2,"option_list":[]},
        {"is_required":1,"question_type":9,"question_title":"x","special_type":6}]}"#,
    )
    .await;
    let settings = settings.unwrap();
    assert_eq!(settings.approval, ApprovalType::Manual);
    assert!(settings.collects_answers && settings.staff_need_no_enrollment);
    let fields = |question: &Question| {
        let Question { title, is_required, question_type, special_type, options, .. } = question;
        (title.clone(), *is_required, *question_type, *special_type, options.clone())
    };
    let fields: Vec<_> = settings.questions.iter().map(fields).collect();
    let options = vec!["甲".to_owned(), "乙".to_owned()];
    let (single, text) = (QuestionType::SingleChoice, QuestionType::ShortAnswer);
    assert_eq!(
        fields,
        [
            ("岗位".to_owned(), true, single, SpecialType::NotSpecial, options),
            (String::new(), false, text, SpecialType::Phone, vec![]),
            ("x".to_owned(), false, QuestionType::Unknown(9), SpecialType::Unknown(6), vec![]),
        ]
    );
    let call = &script.calls()[0];
    assert_eq!(call.path, "/cgi-bin/meeting/webinar/enroll/get_config");
    assert_eq!((&call.body, &call.token), (&json!({"meetingid": "M1"}), &Some("TOKEN-0".into())));
}

#[tokio::test(start_paused = true)]
async fn settings_are_read_leniently() {
    for body in [
        r#"{"errcode":0}"#,
        r#"{"errcode":"0","approve_type":null,"question_list":null}"#,
        r#"{"approve_type":0,"is_collect_question":"1","no_registration_needed_for_staff":0}"#,
        r#"{"question_list":[],"approve_type":"","is_collect_question":1.0}"#,
    ] {
        let settings = settings(body).await.0.unwrap();
        assert_eq!(settings.approval, ApprovalType::Unknown(0), "{body}");
        assert!(!settings.collects_answers && !settings.staff_need_no_enrollment, "{body}");
        assert_eq!(settings.questions, [], "{body}");
    }
    let bytes =
        b"{\"approve_type\":1,\"question_list\":[{\"question_title\":\"\xff\\ud800\x01\"}]}";
    let script = Script::new(move |_| Act::Respond(response(200, &bytes[..])));
    let settings = script.client().enroll_settings(query()).await.unwrap();
    assert_eq!(settings.approval, ApprovalType::Automatic);
    assert_eq!(settings.questions[0].title, "\u{fffd}\u{fffd}\u{1}");
}

#[tokio::test(start_paused = true)]
async fn settings_of_another_shape_are_an_error() {
    for (body, field) in [
        (r#"{"errcode":0,"approve_type":[]}"#, "approve_type"),
        (r#"{"errcode":0,"approve_type":-1}"#, "approve_type"),
        (r#"{"errcode":0,"is_collect_question":"x"}"#, "is_collect_question"),
        (r#"{"errcode":0,"no_registration_needed_for_staff":2}"#, "no_registration"),
        (r#"{"errcode":0,"question_list":{}}"#, "question_list"),
        (r#"{"errcode":0,"question_list":[7]}"#, "question_list"),
        (r#"{"errcode":0,"question_list":[{"question_title":[]}]}"#, "question_list"),
        (r#"{"errcode":0,"question_list":[{"option_list":["x"]}]}"#, "question_list"),
        (r#"{"errcode":{}}"#, "errcode"),
        ("{}", "settings"),
        ("[]", "settings"),
        ("<html>", "settings"),
    ] {
        let error = settings(body).await.0.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Decode, false), "{body}");
        assert!(error.to_string().contains(field), "{error}");
    }
    let (truncated, script) = settings(r#"{"errcode":0,"question_list":[{"quest"#).await;
    assert!(truncated.unwrap_err().is_transient());
    assert_eq!(script.calls().len(), 4, "a truncated response is retried");
}

#[tokio::test(start_paused = true)]
async fn settings_call_is_retried_and_has_a_quota_of_its_own() {
    let script = Script::new(|call| match call.number {
        1 => status(503),
        2 => errcode(45009),
        _ if call.is_list() => List::of(1).respond(call),
        _ => json!({"errcode": 0, "approve_type": 1}).into(),
    });
    let client = script.client();
    let filtered = Query::meeting("M2").status(StatusFilter::Pending).page_size(7).unwrap();
    let started = Instant::now();
    let (settings, rows) = futures::join!(client.enroll_settings(filtered), async {
        sleep(Duration::from_secs(10)).await;
        let rows = ids(client.enrolls(query())).await;
        (rows, started.elapsed().as_secs())
    });
    assert_eq!(settings.unwrap().approval, ApprovalType::Automatic);
    assert!(started.elapsed().as_secs() >= 60, "errcode 45009 holds the call");
    assert_eq!((rows.0.unwrap().len(), rows.1), (1, 10), "but not the lists");
    let calls = script.calls();
    let sent = calls.iter().find(|call| !call.is_list()).unwrap();
    assert_eq!(sent.path, "/cgi-bin/meeting/enroll/get_config");
    assert_eq!(sent.body, json!({"meetingid": "M2"}));
    assert_eq!((client.stats().attempts, client.stats().retries), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn settings_of_an_invalid_meeting_are_refused_without_a_call() {
    let script = Script::new(|_| errcode(0));
    let error = script.client().enroll_settings(Query::webinar(" ")).await.unwrap_err();
    assert_eq!((error.kind(), script.calls().len()), (ErrorKind::InvalidArgument, 0));
    // WeCom does not document the errcode for "enrollment is not enabled".
    let script = Script::new(|_| errcode(101));
    let error = script.client().enroll_settings(query()).await.unwrap_err();
    assert_eq!((error.kind(), error.errcode(), error.attempts()), (ErrorKind::Api, Some(101), 1));
    assert!(error.hint().unwrap().contains("enrollment is enabled"));
}
