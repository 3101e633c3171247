//! What a row says, whatever shape it had on the wire.

use std::time::{Duration, SystemTime};

use futures::StreamExt;
use serde_json::{Value, json};
use wecom_enroll::{
    Enroll, EnrollSource, EnrollStatus, ErrorKind, QuestionType, Reply, SpecialType,
};

use crate::support::{Act, List, Script, page, query};

fn read(row: Value) -> Enroll {
    serde_json::from_value(row).unwrap()
}

/// The row as it comes out of a walk, through the same page as a neighbour that needs care.
async fn walked(row: &Value, neighbour: Value) -> Enroll {
    let rows = vec![row.clone(), neighbour];
    let script = Script::new(move |_| page(rows.clone(), None).into());
    script.client().enrolls(query()).next().await.unwrap().unwrap()
}

/// The sample of WeCom's page 98876.
fn sample() -> Value {
    json!({"enroll_id": 1_386_442, "enroll_time": "2023-03-23 10:00:00", "enroll_source_type": 2,
        "nick_name": "ccc", "status": 3, "userid": "USERID", "tmp_openid": "MSOPENID",
        "enroll_code": "1111111", "answer_list": [{"answer_content": ["A"], "is_required": 1,
        "question_num": 1, "question_title": "testqus", "question_type": 1, "special_type": 1}]})
}

fn check_sample(row: &Enroll) {
    assert_eq!(row.enroll_id(), "1386442");
    assert_eq!(row.enroll_time(), "2023-03-23 10:00:00");
    assert_eq!(row.source(), EnrollSource::Import);
    assert_eq!((row.nick_name(), row.status()), ("ccc", EnrollStatus::Approved));
    assert_eq!(row.userid(), Some("USERID"));
    assert_eq!(row.tmp_openid(), Some("MSOPENID"));
    assert_eq!(row.enroll_code(), Some("1111111"));
    assert_eq!(row.answers().len(), 1);
    let answer = row.answers().next().unwrap();
    assert_eq!(answer.content().collect::<Vec<_>>(), ["A"]);
    assert!(!answer.is_required());
    assert_eq!((answer.question_num(), answer.question_title()), (1, "testqus"));
    assert_eq!(answer.question_type(), QuestionType::SingleChoice);
    assert_eq!(answer.special_type(), SpecialType::None);
}

#[tokio::test(start_paused = true)]
async fn the_documents_own_sample_is_read_alone_in_a_page_and_beside_a_bad_row() {
    check_sample(&read(sample()));
    check_sample(&walked(&sample(), sample()).await);
    check_sample(&walked(&sample(), json!(7)).await);
    check_sample(&walked(&sample(), json!(7)).await.detach());
}

#[test]
fn ids_come_as_strings_whatever_they_were() {
    for (wire, id) in [
        (json!("mexxxxxx"), "mexxxxxx"),
        (json!(0), "0"),
        (json!(-5), "-5"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(i64::MIN), "-9223372036854775808"),
        (json!(null), ""),
    ] {
        assert_eq!(read(json!({"enroll_id": wire})).enroll_id(), id);
    }
    assert_eq!(read(json!({})).enroll_id(), "");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_would_lose_digits_is_an_error_not_another_id() {
    for id in ["1.5", "123456789012345678901234567890", "1e3", "1e999"] {
        let body =
            format!(r#"{{"errcode":0,"enroll_list":[{{"enroll_id":{id}}},{{"enroll_id":2}}]}}"#);
        let script = Script::new(move |_| Act::Reply(Reply::new(200, body.clone())));
        let items: Vec<_> = script.client().enrolls(query()).collect().await;
        let error = items[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Row);
        assert!(error.to_string().contains("`enroll_id`") && !error.to_string().contains(id));
        assert_eq!(items[1].as_ref().unwrap().enroll_id(), "2");
    }
}

#[test]
fn absent_null_and_empty_are_none() {
    for row in [
        json!({}),
        json!({"userid": null, "tmp_openid": null, "enroll_code": null}),
        json!({"userid": "", "tmp_openid": "", "enroll_code": ""}),
    ] {
        let row = read(row);
        assert_eq!((row.userid(), row.tmp_openid(), row.enroll_code()), (None, None, None));
        assert_eq!(
            (row.status(), row.source()),
            (EnrollStatus::Unknown(0), EnrollSource::Unknown(0))
        );
        assert_eq!((row.nick_name(), row.enroll_time(), row.answers().len()), ("", "", 0));
    }
}

#[test]
fn numbers_for_strings_and_strings_for_numbers_are_read() {
    let row = read(json!({"enroll_code": 12345, "status": "3", "enroll_source_type": 1.0,
        "nick_name": 7, "unknown": {"deep": [1, {}]}, "answer_list": [
        {"answer_content": "bare", "is_required": "2", "question_num": "9", "question_type": null},
        {"answer_content": 42, "extra": true}, {"answer_content": ["a", 1, null, "b"]},
        {"answer_content": null}, {}]}));
    assert_eq!((row.enroll_code(), row.nick_name()), (Some("12345"), "7"));
    assert_eq!((row.status(), row.source()), (EnrollStatus::Approved, EnrollSource::Manual));
    let answers: Vec<Vec<&str>> = row.answers().map(|a| a.content().collect()).collect();
    assert_eq!(answers, [vec!["bare"], vec!["42"], vec!["a", "1", "", "b"], vec![], vec![]]);
    let first = row.answers().next().unwrap();
    assert!(first.is_required());
    assert_eq!((first.question_num(), first.question_type()), (9, QuestionType::Unknown(0)));
}

#[test]
fn unknown_numbers_are_kept() {
    let row = read(json!({"status": 77, "enroll_source_type": u32::MAX,
        "answer_list": [{"question_type": 8, "special_type": 9}]}));
    assert_eq!(row.status(), EnrollStatus::Unknown(77));
    assert_eq!(u32::from(row.source()), u32::MAX);
    let answer = row.answers().next().unwrap();
    assert_eq!(answer.question_type(), QuestionType::Unknown(8));
    assert_eq!(answer.special_type(), SpecialType::Unknown(9));
}

#[test]
fn every_documented_number_has_its_name() {
    use {EnrollSource as S, EnrollStatus as E, QuestionType as Q, SpecialType as P};
    for (i, name) in [E::Pending, E::Rejected, E::Approved].into_iter().enumerate() {
        assert_eq!((E::from(i as u32 + 1), u32::from(name)), (name, i as u32 + 1));
    }
    for (i, name) in [S::Manual, S::Import].into_iter().enumerate() {
        assert_eq!((S::from(i as u32 + 1), u32::from(name)), (name, i as u32 + 1));
    }
    for (i, name) in [Q::SingleChoice, Q::MultipleChoice, Q::ShortAnswer].into_iter().enumerate() {
        assert_eq!((Q::from(i as u32 + 1), u32::from(name)), (name, i as u32 + 1));
    }
    for (i, name) in [P::None, P::Phone, P::Email, P::Name, P::Company].into_iter().enumerate() {
        assert_eq!((P::from(i as u32 + 1), u32::from(name)), (name, i as u32 + 1));
    }
}

#[test]
fn times_are_utc_plus_8_in_both_documented_formats() {
    let at = |time: &str| read(json!({"enroll_time": time})).enrolled_at();
    let seconds = |n| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(n));
    assert_eq!(at("2023-03-23 10:00:00"), seconds(1_679_536_800));
    assert_eq!(at("2023/03/23 14:00"), seconds(1_679_551_200));
    assert_eq!(at("1970-01-01 08:00:00"), seconds(0));
    assert_eq!(at("1970-01-01 07:59:59"), Some(SystemTime::UNIX_EPOCH - Duration::from_secs(1)));
    for odd in ["", "1679536800", "2023-13-23 10:00:00", "2023-03-23", "9999-12-31 23:59:61"] {
        assert_eq!(at(odd), None, "{odd}");
        assert_eq!(read(json!({"enroll_time": odd})).enroll_time(), odd, "as sent");
    }
}

#[test]
fn escapes_and_multibyte_text_are_read_exactly() {
    let text = "引\"号\\/\u{8}\n\t\u{1F600}é\u{0}";
    let escaped =
        r#"{"nick_name":"\u5f15\"\u53f7\\\/\b\n\t\ud83d\ude00\u00e9\u0000","userid":"\u0041"}"#;
    let row: Enroll = serde_json::from_str(escaped).unwrap();
    assert_eq!((row.nick_name(), row.userid()), (text, Some("A")));
}

#[test]
fn a_row_survives_being_written_and_read() {
    let odd = json!({"enroll_id": 5, "nick_name": "\"\n", "status": 9, "answer_list": [
        {"answer_content": ["a", "b"], "is_required": 7, "question_title": "\\"}]});
    for row in [read(sample()), read(odd), read(json!({}))] {
        for row in [row.clone(), row.detach()] {
            let written = serde_json::to_value(&row).unwrap();
            assert_eq!(serde_json::to_value(read(written.clone())).unwrap(), written);
            assert!(written["enroll_id"].is_string() && written["answer_list"].is_array());
        }
    }
    let mut expected = sample();
    expected["enroll_id"] = json!("1386442");
    assert_eq!(serde_json::to_value(read(sample())).unwrap(), expected);
}

#[test]
fn what_is_no_row_is_refused_without_quoting_it() {
    for other in [
        json!(7),
        json!("秘密"),
        json!(["秘密"]),
        json!({"answer_list": "秘密"}),
        json!({"status": "秘密"}),
        json!({"nick_name": {"秘密": 1}}),
    ] {
        let error = serde_json::from_value::<Enroll>(other).unwrap_err().to_string();
        assert!(error.contains("not an enrollee") && !error.contains("秘密"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_row_says_the_same_and_lets_its_page_go() {
    let client = List::of(50).script().client();
    let mut rows = client.enrolls(query());
    let row = rows.next().await.unwrap().unwrap();
    let detached = row.detach();
    assert_eq!(serde_json::to_value(&row).unwrap(), serde_json::to_value(&detached).unwrap());
}

#[tokio::test(start_paused = true)]
async fn invalid_utf8_costs_its_row_only() {
    let mut body = page((0..3).map(crate::support::row).collect(), None).to_string().into_bytes();
    let at = body.windows(4).position(|w| w == "王1".as_bytes()).unwrap();
    body[at] = 0xff;
    let script = Script::new(move |_| Act::Reply(Reply::new(200, body.clone())));
    let items: Vec<_> = script.client().enrolls(query()).collect().await;
    assert_eq!(items.len(), 3);
    assert_eq!(items[1].as_ref().unwrap_err().bad_row().unwrap().enroll_id.as_deref(), Some("1"));
    assert_eq!(items[2].as_ref().unwrap().nick_name(), "王2");
}
