//! Checkpoints, queries and rows in other formats than JSON: with and without the names of fields, and with
//! doubles as the only numbers.

use std::fmt::Debug;

use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use wecom_enroll::{Checkpoint, Enroll, Query, StatusFilter};

use crate::support::{Script, ids_until_error, page, query, read, row};

/// Replaces all numbers by doubles.
fn doubles(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64().unwrap()),
        Value::Array(values) => values.iter_mut().for_each(doubles),
        Value::Object(fields) => fields.values_mut().for_each(doubles),
        _ => {}
    }
}

type RoundTrip<T> = fn(&T) -> T;

fn check_formats<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let formats: [(&str, RoundTrip<T>); 11] = [
        ("JSON", |value| serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()),
        ("JSON value", |value| {
            serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap()
        }),
        ("JSON with doubles", |value| {
            let mut json = serde_json::to_value(value).unwrap();
            doubles(&mut json);
            serde_json::from_str(&json.to_string()).unwrap()
        }),
        ("postcard", |value| postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()),
        ("bincode", |value| through_bincode(value, bincode::config::standard())),
        ("bincode 1", |value| through_bincode(value, bincode::config::legacy())),
        ("TOML", |value| toml::from_str(&toml::to_string(value).unwrap()).unwrap()),
        ("CBOR", |value| {
            let mut bytes = Vec::new();
            ciborium::into_writer(value, &mut bytes).unwrap();
            ciborium::from_reader(&*bytes).unwrap()
        }),
        ("MessagePack", |value| rmp_serde::from_slice(&rmp_serde::to_vec(value).unwrap()).unwrap()),
        ("MessagePack with names", |value| {
            rmp_serde::from_slice(&rmp_serde::to_vec_named(value).unwrap()).unwrap()
        }),
        ("YAML", |value| {
            serde_yaml_ng::from_str(&serde_yaml_ng::to_string(value).unwrap()).unwrap()
        }),
    ];
    for (name, round_trip) in formats {
        println!("{name}");
        assert_eq!(round_trip(value), *value, "{name}");
    }
}

fn through_bincode<T, C>(value: &T, config: C) -> T
where
    T: Serialize + DeserializeOwned,
    C: bincode::config::Config,
{
    let bytes = bincode::serde::encode_to_vec(value, config).unwrap();
    let (value, read) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(read, bytes.len());
    value
}

#[tokio::test(start_paused = true)]
async fn checkpoint_round_trips_through_every_format() {
    // The second page links to itself, or the third one repeats it.
    for repeats_rows in [false, true] {
        let script = Script::new(move |call| match call.cursor() {
            None => page((0..3).map(row).collect(), Some("c1 \"字\n".into())).into(),
            Some(_) if repeats_rows => {
                page((3..6).map(row).collect(), Some(format!("c{}", call.number))).into()
            }
            Some(cursor) => page((3..6).map(row).collect(), Some(cursor.into())).into(),
        });
        let client = script.client();
        for stop in 0..=6 {
            let mut rows = client.enrolls(query());
            read(&mut rows, stop).await;
            check_formats(&rows.checkpoint());
        }
        let (_, error) = ids_until_error(&mut client.enrolls(query())).await;
        check_formats(error.checkpoint().unwrap());
    }
    let client = Script::new(|_| page(vec![], None).into()).client();
    let mut rows = client.enrolls(Query::meeting("会议").page_size(1).unwrap());
    assert!(rows.next().await.is_none() && rows.checkpoint().is_end());
    check_formats(&rows.checkpoint());
}

#[test]
fn query_round_trips_through_every_format() {
    check_formats(&query());
    check_formats(&Query::meeting("M\"").status(StatusFilter::Rejected).page_size(7).unwrap());
}

fn full_row() -> Value {
    json!({"enroll_id": "12345678901234567890", "enroll_time": "2023-03-23 10:00:00",
        "enroll_source_type": 2, "nick_name": "王\u{0}\"\n", "status": u32::MAX, "userid": "U",
        "tmp_openid": "O", "enroll_code": "0012", "answer_list": [
            {"answer_content": ["甲", ""], "is_required": 2, "question_num": 1,
             "question_title": "题", "question_type": 2, "special_type": 1},
            {"answer_content": [], "is_required": 7, "question_num": 2,
             "question_title": "", "question_type": 3, "special_type": 5}]})
}

#[test]
fn row_round_trips_through_every_format() {
    for json in [full_row(), row(7), json!({})] {
        check_formats(&serde_json::from_value::<Enroll>(json).unwrap());
    }
}

#[test]
fn row_without_names_of_fields_must_have_all_of_them() {
    let row: Enroll = serde_json::from_value(full_row()).unwrap();
    let mut fields: Vec<Value> = rmp_serde::from_slice(&rmp_serde::to_vec(&row).unwrap()).unwrap();
    assert_eq!(fields.len(), 9);
    let refused = |fields: &[Value]| {
        let error = rmp_serde::from_slice::<Enroll>(&rmp_serde::to_vec(fields).unwrap());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("not an enrollee") && !error.contains("秘密"), "{error}");
    };
    for count in 0..9 {
        refused(&fields[..count]);
    }
    fields[4] = json!("秘密");
    refused(&fields);
}

#[test]
fn row_with_names_of_fields_may_have_the_types_of_a_page() {
    let json = json!({"enroll_id": 1_386_442, "status": "3", "answer_list": null});
    let mut cbor = Vec::new();
    ciborium::into_writer(&json, &mut cbor).unwrap();
    let rows: [Enroll; 4] = [
        serde_json::from_value(json.clone()).unwrap(),
        ciborium::from_reader(&*cbor).unwrap(),
        rmp_serde::from_slice(&rmp_serde::to_vec(&json).unwrap()).unwrap(),
        toml::from_str("enroll_id = 1386442\nstatus = \"3\"").unwrap(),
    ];
    for row in rows {
        assert_eq!((row.enroll_id(), u32::from(row.status())), ("1386442", 3));
    }
}

/// The number of a checkpoint that was stored with doubles only must be an integer.
#[test]
fn checkpoint_with_a_fraction_or_a_huge_number_is_refused() {
    let json = |page: &str| {
        format!(
            r#"{{"version":1.0,"query":{{"list":"webinar","meetingid":"M","status":"all","limit":50.0}},
            "position":{{"page":{{"page":{page},"cursor":"c","rows":0.0,"row_id_hash":"ef46db3751d8e999","refused":null}}}}}}"#
        )
    };
    let read = |page| serde_json::from_str::<Checkpoint>(&json(page));
    for page in ["2", "2.0", "2e0", "9007199254740992", "18446744073709551615"] {
        assert!(read(page).is_ok(), "{page}");
    }
    for page in ["2.5", "-2", "-2.0", "1e16", "1e300", "18446744073709551616", "\"2\"", "null"] {
        assert!(read(page).is_err(), "{page}");
    }
}
