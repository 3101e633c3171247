//! The codec against random damage: no panic, and no row that is not what the server sent.
//!
//! Damage to the structure is checked row by row against a second, slow reading of the same JSON;
//! damage to the bytes wherever what is left is still JSON. `WECOM_ENROLL_FUZZ` sets the number of
//! inputs, `WECOM_ENROLL_SEED` where to begin.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use serde_json::{Map, Value, json};
use wecom_enroll::{ErrorKind, Quota, Reply, simulator::Simulator};

use crate::{
    http::start,
    support::{Act, Script, query},
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Pages of both lists, as the simulator sends them.
async fn corpus() -> Vec<Value> {
    let sim = start(Simulator::builder().enrollees(500)).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut pages = vec![json!({"errcode": 45009, "errmsg": "freq"})];
    for path in ["webinar/enroll", "enroll"] {
        for limit in [1, 2, 3, 5] {
            let url = format!(
                "{}/cgi-bin/meeting/{path}/list?access_token={}",
                sim.base_url(),
                sim.access_token()
            );
            let body = json!({"meetingid": "M", "limit": limit}).to_string();
            let reply = http.post(url).body(body).send().await.unwrap().text().await.unwrap();
            pages.push(serde_json::from_str(&reply).unwrap());
        }
    }
    pages
}

/// Something that may stand anywhere in JSON.
fn anything(random: &mut fastrand::Rng) -> Value {
    match random.u8(..18) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.u8(..5)),
        3 => json!(random.u64(..)),
        4 => json!(random.i64(..)),
        5 => json!(random.f64() * 10.0),
        6 => json!(f64::from(random.i32(..))),
        7 => json!(random.u32(..).to_string()),
        8 => json!(""),
        9 => json!((0..random.usize(..9)).map(|_| random.char(..)).collect::<String>()),
        10 => json!(" 7 "),
        11 => json!([]),
        12 => json!({}),
        13 => json!(["a", 1, null, -2]),
        14 => json!([[anything(random)]]),
        15 => json!({"enroll_id": anything(random), "answer_content": anything(random)}),
        16 => json!("true"),
        _ => json!(u64::from(u32::MAX) + u64::from(random.u8(..2))),
    }
}

/// Replaces, removes or adds something somewhere in `value`.
fn damage(value: &mut Value, random: &mut fastrand::Rng) {
    if random.u8(..5) == 0 {
        *value = anything(random);
        return;
    }
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = random.usize(..items.len());
            match random.u8(..6) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, anything(random)),
                _ => damage(&mut items[at], random),
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let key = fields.keys().nth(random.usize(..fields.len())).unwrap().clone();
            match random.u8(..6) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert("new".into(), anything(random))),
                _ => damage(fields.get_mut(&key).unwrap(), random),
            }
        }
        _ => *value = anything(random),
    }
}

/// The slow reading: a row as it should be written again, or `None` where it cannot be decoded.
fn reading(row: &Value) -> Option<Value> {
    let row = row.as_object()?;
    let or_null = |text: String| if text.is_empty() { Value::Null } else { json!(text) };
    let answers = match row.get("answer_list") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(answers)) => answers.iter().map(answer).collect::<Option<_>>()?,
        Some(_) => return None,
    };
    Some(json!({
        "enroll_id": text(row.get("enroll_id"))?,
        "enroll_time": text(row.get("enroll_time"))?,
        "enroll_source_type": number(row.get("enroll_source_type"))?,
        "nick_name": text(row.get("nick_name"))?,
        "status": number(row.get("status"))?,
        "userid": or_null(text(row.get("userid"))?),
        "tmp_openid": or_null(text(row.get("tmp_openid"))?),
        "enroll_code": or_null(text(row.get("enroll_code"))?),
        "answer_list": answers,
    }))
}

fn answer(answer: &Value) -> Option<Value> {
    let answer = answer.as_object()?;
    let content = match answer.get("answer_content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(|i| text(Some(i))).collect::<Option<_>>()?,
        Some(bare) => vec![text(Some(bare))?],
    };
    Some(json!({
        "answer_content": content,
        "is_required": number(answer.get("is_required"))?,
        "question_num": number(answer.get("question_num"))?,
        "question_title": text(answer.get("question_title"))?,
        "question_type": number(answer.get("question_type"))?,
        "special_type": number(answer.get("special_type"))?,
    }))
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(n)) if n.is_u64() || n.is_i64() => Some(n.to_string()),
        Some(_) => None,
    }
}

fn number(value: Option<&Value>) -> Option<u32> {
    match value {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) if text.trim().is_empty() => Some(0),
        Some(Value::String(text)) => u32::try_from(text.trim().parse::<i64>().ok()?).ok(),
        Some(Value::Number(n)) if n.is_u64() => u32::try_from(n.as_u64()?).ok(),
        Some(Value::Number(n)) => {
            let n = n.as_f64()?;
            (n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n)).then_some(n as u32)
        }
        Some(_) => None,
    }
}

/// Whether what is left of a page says so itself; damaged envelopes are their own tests.
fn envelope_is_whole(page: &Map<String, Value>) -> bool {
    page.get("errcode") == Some(&json!(0))
        && page.get("has_more").is_some_and(Value::is_boolean)
        && page.get("next_cursor").is_some_and(Value::is_string)
        && page.get("enroll_list").is_some_and(Value::is_array)
}

#[tokio::test]
async fn random_damage_finds_no_panic_and_no_wrong_row() {
    let corpus = corpus().await;
    let (inputs, seed) = (setting("WECOM_ENROLL_FUZZ", 20_000), setting("WECOM_ENROLL_SEED", 0));
    let mut random = fastrand::Rng::with_seed(seed);
    let body = Arc::new(Mutex::new(Vec::new()));
    let script = {
        let body = Arc::clone(&body);
        Script::forgetful(move |call| match call.cursor() {
            None => Act::Reply(Reply::new(200, body.lock().unwrap().clone())),
            Some(_) => json!({"errcode": 0, "has_more": false}).into(),
        })
    };
    let client = script
        .builder()
        .quota(Quota::new(u32::MAX, std::time::Duration::from_nanos(1)).unwrap())
        .retry(wecom_enroll::RetryPolicy::never())
        .pushback(std::time::Duration::ZERO)
        .build()
        .unwrap();
    let (mut rows, mut bad, mut refused) = (0, 0, 0);
    for input in 0..inputs {
        let mut page = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..random.u8(1..4) {
            // Mostly the rows: an envelope that is damaged hides what is in it.
            match page.get_mut("enroll_list") {
                Some(Value::Array(rows)) if !rows.is_empty() && random.u8(..8) > 0 => {
                    let at = random.usize(..rows.len());
                    damage(&mut rows[at], &mut random);
                }
                _ => damage(&mut page, &mut random),
            }
        }
        let mut bytes = page.to_string().into_bytes();
        let bytewise = input % 4 == 0;
        if bytewise {
            for _ in 0..random.u8(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.insert(at, random.u8(..)),
                    2 => drop(bytes.remove(at)),
                    _ => bytes[at] = random.u8(..),
                }
                if bytes.is_empty() {
                    bytes.push(b' ');
                }
            }
        }
        body.lock().unwrap().clone_from(&bytes);
        let items: Vec<_> = client.enrolls(query()).collect().await;
        let Ok(Value::Object(page)) = serde_json::from_slice(&bytes) else {
            refused += 1;
            continue;
        };
        if !envelope_is_whole(&page) {
            refused += 1;
            continue;
        }
        let list = page["enroll_list"].as_array().unwrap();
        let place = || format!("input {input} of seed {seed}: {}", String::from_utf8_lossy(&bytes));
        let cursor_error =
            usize::from(page["has_more"] == json!(true) && page["next_cursor"] == "");
        assert_eq!(items.len(), list.len() + cursor_error, "{}", place());
        for (row, item) in list.iter().zip(&items) {
            match (reading(row), item) {
                (Some(expected), Ok(got)) => {
                    assert_eq!(serde_json::to_value(got).unwrap(), expected, "{}", place());
                    let detached = serde_json::to_value(got.detach()).unwrap();
                    assert_eq!(detached, expected, "{}", place());
                    rows += 1;
                }
                (None, Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Row, "{}", place());
                    bad += 1;
                }
                // Of two fields of one name the slow reading sees the last one only.
                (Some(_), Err(_)) if bytewise => {}
                (expected, got) => panic!("{expected:?} but {got:?}: {}", place()),
            }
        }
    }
    println!("{inputs} inputs: {rows} rows read, {bad} bad rows, {refused} pages refused");
    assert!(rows > inputs / 2 && bad > inputs / 4 && refused > inputs / 10);
}
