//! The fields of a row, in every form in which the server may send them.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use wecom_enroll::{
    Enroll, EnrollSource, EnrollStatus, Error, ErrorKind, QuestionType, SpecialType,
};

use crate::support::{Act, List, Script, page, query, response};

fn read(row: Value) -> Enroll {
    serde_json::from_value(row).unwrap()
}

/// Reads the row from a page that has `neighbor` before and after it.
async fn listed(row: &Value, neighbor: Value) -> Enroll {
    let rows = vec![neighbor.clone(), row.clone(), neighbor];
    let script = Script::new(move |_| page(rows.clone(), None).into());
    script.client().enrolls(query()).skip(1).next().await.unwrap().unwrap()
}

/// The sample of WeCom document 98876.
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
    assert_eq!(answer.special_type(), SpecialType::NotSpecial);
}

#[tokio::test(start_paused = true)]
async fn documented_sample_is_read_with_any_neighbor() {
    check_sample(&read(sample()));
    check_sample(&listed(&sample(), sample()).await);
    check_sample(&listed(&sample(), json!(7)).await);
    check_sample(&listed(&sample(), json!(7)).await.detach());
}

#[test]
fn enroll_id_is_a_string_whatever_was_sent() {
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
async fn enroll_id_that_would_lose_digits_is_malformed() {
    for id in ["1.5", "123456789012345678901234567890", "1e22", "1e999", "9007199254740993.0"] {
        let body =
            format!(r#"{{"errcode":0,"enroll_list":[{{"enroll_id":{id}}},{{"enroll_id":2}}]}}"#);
        let script = Script::new(move |_| Act::Respond(response(200, body.clone())));
        let items: Vec<_> = script.client().enrolls(query()).collect().await;
        let error = items[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Row);
        assert!(error.to_string().contains("`enroll_id`") && !error.to_string().contains(id));
        assert_eq!(items[1].as_ref().unwrap().enroll_id(), "2");
    }
}

/// Reads one row from a page with this body.
async fn first_of(body: impl Into<Bytes>) -> Enroll {
    let body = body.into();
    let script = Script::new(move |_| Act::Respond(response(200, body.clone())));
    script.client().enrolls(query()).next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn number_with_a_fraction_of_zero_is_an_integer() {
    for (number, id, code) in [
        ("3.0", "3", 3),
        ("1e3", "1000", 1000),
        ("1.386442e6", "1386442", 1_386_442),
        ("4294967295.0", "4294967295", u32::MAX),
        ("-0", "0", 0),
        ("0.0", "0", 0),
    ] {
        let row = first_of(format!(
            r#"{{"errcode":0.0,"enroll_list":[{{"enroll_id":{number},"nick_name":{number},
                "status":{number},"answer_list":[{{"answer_content":{number}}}]}}]}}"#
        ));
        let row = row.await;
        assert_eq!((row.enroll_id(), row.nick_name()), (id, id));
        assert_eq!(u32::from(row.status()), code);
        assert!(row.answers().next().unwrap().content().eq([id]));
    }
    let row = first_of(r#"{"enroll_list":[{"enroll_id":-8999999999999999.0}]}"#);
    assert_eq!(row.await.enroll_id(), "-8999999999999999");
}

#[tokio::test(start_paused = true)]
async fn key_that_is_repeated_counts_with_its_last_value() {
    let body = r#"{"errcode":60020,"enroll_list":7,"has_more":true,"next_cursor":{},"errcode":0,
        "has_more":false,"next_cursor":"","enroll_list":[{"enroll_id":1,"status":{},"status":2,
        "answer_list":[{}],"answer_list":[{"question_title":"a","answer_content":["a"],
        "question_title":"b","answer_content":["b"]}],"enroll_id":"2"},{"enroll_id":3}]}"#;
    let script = Script::new(move |_| Act::Respond(response(200, body)));
    let rows: Vec<_> = script.client().enrolls(query()).try_collect().await.unwrap();
    assert_eq!(rows.iter().map(Enroll::enroll_id).collect::<Vec<_>>(), ["2", "3"]);
    assert_eq!(rows[0].status(), EnrollStatus::Rejected);
    let answers: Vec<_> = rows[0].answers().collect();
    assert_eq!((answers.len(), answers[0].question_title()), (1, "b"));
    assert!(answers[0].content().eq(["b"]));

    // Each of the values is usual, so only the repetition makes the page unusual.
    let body = r#"{"errcode":0,"has_more":true,"next_cursor":"C","enroll_list":[{"enroll_id":1}],
        "enroll_list":[{"enroll_id":2,"enroll_id":3,"answer_list":[{"question_num":1}],
        "answer_list":[{"question_num":1,"question_num":2}]}],"has_more":false}"#;
    let script = Script::new(move |_| Act::Respond(response(200, body)));
    let rows: Vec<_> = script.client().enrolls(query()).try_collect().await.unwrap();
    assert_eq!(rows.iter().map(Enroll::enroll_id).collect::<Vec<_>>(), ["3"]);
    assert!(rows[0].answers().map(|answer| answer.question_num()).eq([2]));
}

#[tokio::test(start_paused = true)]
async fn byte_order_mark_before_a_page_is_ignored() {
    for next in [json!({}), json!({"unknown": [[]]})] {
        let mut list = page(vec![sample()], None);
        list["next"] = next;
        check_sample(&first_of(format!("\u{feff}{list}")).await);
    }
}

#[test]
fn optional_field_absent_null_or_empty_is_none() {
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
fn field_of_the_other_scalar_type_is_read() {
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
fn enum_number_that_is_unknown_is_kept() {
    let row = read(json!({"status": 77, "enroll_source_type": u32::MAX,
        "answer_list": [{"question_type": 8, "special_type": 9}]}));
    assert_eq!(row.status(), EnrollStatus::Unknown(77));
    assert_eq!(u32::from(row.source()), u32::MAX);
    let answer = row.answers().next().unwrap();
    assert_eq!(answer.question_type(), QuestionType::Unknown(8));
    assert_eq!(answer.special_type(), SpecialType::Unknown(9));
}

#[test]
fn enum_number_that_is_documented_has_a_name() {
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
    for (i, name) in
        [P::NotSpecial, P::Phone, P::Email, P::Name, P::Company].into_iter().enumerate()
    {
        assert_eq!((P::from(i as u32 + 1), u32::from(name)), (name, i as u32 + 1));
    }
}

/// Checks that what `Display` prints is parsed back, and what is refused.
fn check_text<E>(names: &[&str], refusal: &str)
where
    E: From<u32> + Into<u32> + Copy + Debug + Display + PartialEq + FromStr<Err = Error>,
{
    for number in (0..10).chain([4_294_967_294, u32::MAX]) {
        let value = E::from(number);
        let name = (number as usize).checked_sub(1).and_then(|index| names.get(index));
        let text = name.map_or_else(|| number.to_string(), |name| (*name).to_owned());
        assert_eq!(value.to_string(), text);
        assert_eq!(format!("{value:>20}|{value:<20}"), format!("{text:>20}|{text:<20}"));
        assert_eq!(text.parse::<E>().unwrap(), value);
        assert_eq!(number.to_string().parse::<E>().unwrap(), value, "a number is accepted, too");
        assert_eq!(value.into(), number);
    }
    for text in ["", " ", "aproved", "Approved", " 1", "-1", "1.0", "4294967296", "unknown"] {
        let error = text.parse::<E>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.to_string(), refusal, "{text:?}");
    }
}

#[test]
fn enum_text_parses_back_for_known_and_unknown_numbers() {
    check_text::<EnrollStatus>(
        &["pending", "rejected", "approved"],
        "invalid status: expected a number or one of pending rejected approved",
    );
    check_text::<EnrollSource>(
        &["manual", "import"],
        "invalid source: expected a number or one of manual import",
    );
    check_text::<QuestionType>(
        &["single-choice", "multiple-choice", "short-answer"],
        "invalid question type: expected a number or one of single-choice multiple-choice short-answer",
    );
    check_text::<SpecialType>(
        &["not-special", "phone", "email", "name", "company"],
        "invalid special type: expected a number or one of not-special phone email name company",
    );
}

#[test]
fn enroll_time_is_parsed_as_utc_plus_8_in_both_formats() {
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
fn text_with_escapes_and_multibyte_is_read_exactly() {
    let text = "引\"号\\/\u{8}\n\t\u{1F600}é\u{0}";
    let escaped =
        r#"{"nick_name":"\u5f15\"\u53f7\\\/\b\n\t\ud83d\ude00\u00e9\u0000","userid":"\u0041"}"#;
    let row: Enroll = serde_json::from_str(escaped).unwrap();
    assert_eq!((row.nick_name(), row.userid()), (text, Some("A")));
}

#[test]
fn row_round_trips_through_json() {
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
fn row_of_another_type_is_refused_without_quoting_it() {
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
        assert!(!error.contains("``"), "{error}");
    }
}

#[test]
fn row_id_that_is_a_float_keeps_all_digits() {
    for (json, id) in [
        ("1386442.0", "1386442"),
        ("8999999999999999.0", "8999999999999999"),
        ("4503599627370497.00000", "4503599627370497"),
        ("8.999999999999999e15", "8999999999999999"),
    ] {
        let row: Enroll = serde_json::from_str(&format!(r#"{{"enroll_id": {json}}}"#)).unwrap();
        assert_eq!(row.enroll_id(), id, "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_detached_has_the_same_content() {
    let client = List::of(50).script().client();
    let mut rows = client.enrolls(query());
    let row = rows.next().await.unwrap().unwrap();
    let detached = row.detach();
    assert_eq!(serde_json::to_value(&row).unwrap(), serde_json::to_value(&detached).unwrap());
}

#[tokio::test(start_paused = true)]
async fn text_with_unescaped_control_character_is_kept() {
    let body = "{\"enroll_list\":[{\"nick_name\":\"a\tb\"}]}";
    let script = Script::new(move |_| Act::Respond(response(200, body)));
    let row = script.client().enrolls(query()).next().await.unwrap().unwrap();
    assert_eq!(row.nick_name(), "a\tb");
}

#[tokio::test(start_paused = true)]
async fn control_character_after_backslash_is_kept() {
    let body = "{\"enroll_list\":[{\"nick_name\":\"a\\\tb\"}]}";
    let script = Script::new(move |_| Act::Respond(response(200, body)));
    let row = script.client().enrolls(query()).next().await.unwrap().unwrap();
    assert_eq!(row.nick_name(), "a\tb");
}

/// The sample with one other value in each field.
fn variants() -> Vec<(&'static str, Value)> {
    let fields = [
        ("enroll_id", json!(1)),
        ("enroll_time", json!("2023-03-23 10:00:01")),
        ("enroll_source_type", json!(1)),
        ("nick_name", json!("ccd")),
        ("status", json!(2)),
        ("userid", json!(null)),
        ("tmp_openid", json!("MSOPENID2")),
        ("enroll_code", json!("1111112")),
        ("answer_list", json!([])),
    ];
    let answer_fields = [
        ("answer_content", json!(["B"])),
        ("answer_content", json!(["A", ""])),
        ("is_required", json!(2)),
        ("question_num", json!(2)),
        ("question_title", json!("testqus2")),
        ("question_type", json!(2)),
        ("special_type", json!(2)),
    ];
    let other = |(field, value)| {
        let mut other = sample();
        other[field] = value;
        (field, other)
    };
    let other_answer = |(field, value)| {
        let mut other = sample();
        other["answer_list"][0][field] = value;
        (field, other)
    };
    fields.into_iter().map(other).chain(answer_fields.into_iter().map(other_answer)).collect()
}

#[tokio::test(start_paused = true)]
async fn digest_of_equal_rows_is_equal() {
    let one = read(sample());
    let listed = listed(&sample(), json!({"nick_name": "\""})).await;
    assert_eq!([listed.digest(), one.detach().digest()], [one.digest(); 2]);
    let absent = read(json!({}));
    assert_eq!(read(json!({"userid": "", "enroll_code": null, "answer_list": []})), absent);
    assert_eq!(read(json!({"userid": "", "enroll_code": null})).digest(), absent.digest());
}

#[test]
fn digest_differs_in_every_field_and_boundary() {
    let one = read(sample()).digest();
    for (field, other) in variants() {
        assert_ne!(read(other).digest(), one, "{field}");
    }
    let digest = |json: Value| read(json).digest();
    for [one, two] in [
        [json!({"userid": "ab"}), json!({"tmp_openid": "ab"})],
        [json!({"nick_name": "a", "userid": "b"}), json!({"nick_name": "ab"})],
        [json!({"status": 1}), json!({"enroll_source_type": 1})],
        [
            json!({"answer_list": [{"answer_content": ["a", "b"]}]}),
            json!({"answer_list": [{"answer_content": ["ab"]}]}),
        ],
        [json!({"answer_list": [{}, {}]}), json!({"answer_list": [{}]})],
    ] {
        assert_ne!(digest(one.clone()), digest(two.clone()), "{one} {two}");
    }
}

/// Databases contain digests. If this test fails, they would all be wrong.
#[test]
fn digest_is_the_same_in_every_release() {
    assert_eq!(read(sample()).digest(), 0xcd45_2f6d_2d21_eddc);
    assert_eq!(read(json!({})).digest(), 0xdeb5_b816_f638_9509);
}

#[tokio::test(start_paused = true)]
async fn row_equals_the_same_row_of_another_page_only() {
    let one = read(sample());
    // The same content, at another index of another buffer, with other neighbors.
    assert_eq!(one, listed(&sample(), json!({"nick_name": "\""})).await);
    assert_eq!(one, one.detach());
    let answers = |row: &Enroll| row.answers().next().unwrap() == one.answers().next().unwrap();
    assert!(answers(&read(sample())));
    for (field, other) in variants() {
        let other = read(other);
        assert_ne!(one, other, "{field}");
        let is_answer = sample()[field].is_null();
        assert!(!is_answer || !answers(&other), "{field}");
    }
}
