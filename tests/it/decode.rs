//! The decoder with randomly damaged pages: no panic, and no row that differs from the response.
//!
//! Every page that is still JSON is compared, row by row, with a second, slow decoder. The environment
//! variable `WECOM_ENROLL_FUZZ` sets the number of pages, `WECOM_ENROLL_SEED` the seed.

mod differential;
mod random_text;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use serde_json::{Map, Value, json};
use wecom_enroll::{Client, ErrorKind, HttpTransport, Quota, RetryPolicy, simulator::Simulator};

use crate::{
    http::start,
    support::{Act, Script, query, response},
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A client that makes one attempt and never waits.
fn client(script: &Script) -> Client {
    let builder = script.builder().quotas([Quota::new(u32::MAX, Duration::from_nanos(1)).unwrap()]);
    builder.retry(RetryPolicy::never()).retry_after(Duration::ZERO).build().unwrap()
}

/// Pages of both lists, as the simulator sends them.
async fn texts() -> Vec<String> {
    let sim = start(Simulator::builder().enrollees(500)).await;
    let http = HttpTransport::client_builder().unwrap().no_proxy().build().unwrap();
    let mut pages = vec![r#"{"errcode":45009,"errmsg":"freq"}"#.to_owned()];
    for path in ["webinar/enroll", "enroll"] {
        for limit in [1, 2, 3, 5] {
            let url = format!(
                "{}/cgi-bin/meeting/{path}/list?access_token={}",
                sim.base_url(),
                sim.access_token()
            );
            let body = json!({"meetingid": "M", "limit": limit}).to_string();
            pages.push(http.post(url).body(body).send().await.unwrap().text().await.unwrap());
        }
    }
    pages
}

/// A random JSON value.
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

/// The slow decoder: returns the row as it is serialized, or `None` if it is malformed. `repaired`:
/// invalid UTF-8 in the page was replaced by U+FFFD.
fn expected(row: &Value, repaired: bool) -> Option<Value> {
    let row = row.as_object()?;
    let or_null = |text: String| if text.is_empty() { Value::Null } else { json!(text) };
    let answers = match row.get("answer_list") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(answers)) => answers.iter().map(answer).collect::<Option<_>>()?,
        Some(_) => return None,
    };
    let id = text(row.get("enroll_id"))?;
    Some(json!({
        "enroll_id": (!repaired || !id.contains('\u{fffd}')).then_some(id)?,
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
        // Beyond 9e15, a float does not have all digits.
        Some(Value::Number(n)) => {
            let n = n.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15)?;
            Some((n as i64).to_string())
        }
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

/// Returns whether only rows are damaged. Other damage has its own tests.
fn is_envelope_intact(page: &Map<String, Value>, repaired: bool) -> bool {
    page.get("errcode") == Some(&json!(0))
        && page.get("has_more").is_some_and(Value::is_boolean)
        && matches!(page.get("next_cursor"), Some(Value::String(cursor))
            if !repaired || !cursor.contains('\u{fffd}'))
        && page.get("enroll_list").is_some_and(Value::is_array)
}

#[tokio::test]
async fn decoder_with_random_damage_never_panics_nor_changes_a_row() {
    let corpus: Vec<Value> =
        texts().await.iter().map(|page| serde_json::from_str(page).unwrap()).collect();
    let (inputs, seed) = (setting("WECOM_ENROLL_FUZZ", 20_000), setting("WECOM_ENROLL_SEED", 0));
    let mut random = fastrand::Rng::with_seed(seed);
    let body = Arc::new(Mutex::new(Vec::new()));
    let script = {
        let body = Arc::clone(&body);
        Script::unrecorded(move |call| match call.cursor() {
            None => Act::Respond(response(200, body.lock().unwrap().clone())),
            Some(_) => json!({"errcode": 0, "has_more": false}).into(),
        })
    };
    let client = client(&script);
    let (mut rows, mut malformed, mut refused) = (0, 0, 0);
    for number in 0..inputs {
        let mut page = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..random.u8(1..4) {
            // Mostly the rows, because a damaged envelope hides them.
            match page.get_mut("enroll_list") {
                Some(Value::Array(rows)) if !rows.is_empty() && random.u8(..8) > 0 => {
                    let at = random.usize(..rows.len());
                    damage(&mut rows[at], &mut random);
                }
                _ => damage(&mut page, &mut random),
            }
        }
        let mut bytes = page.to_string().into_bytes();
        if number % 4 == 0 {
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
        let text = String::from_utf8_lossy(&bytes);
        let repaired = matches!(text, Cow::Owned(_));
        let Ok(Value::Object(page)) = serde_json::from_str(&text) else {
            refused += 1;
            continue;
        };
        if !is_envelope_intact(&page, repaired) {
            refused += 1;
            continue;
        }
        let list = page["enroll_list"].as_array().unwrap();
        let input = || format!("page {number} of seed {seed}: {text}");
        let cursor_error =
            usize::from(page["has_more"] == json!(true) && page["next_cursor"] == "");
        assert_eq!(items.len(), list.len() + cursor_error, "{}", input());
        for (row, item) in list.iter().zip(&items) {
            match (expected(row, repaired), item) {
                (Some(expected), Ok(got)) => {
                    assert_eq!(serde_json::to_value(got).unwrap(), expected, "{}", input());
                    let detached = serde_json::to_value(got.detach()).unwrap();
                    assert_eq!(detached, expected, "{}", input());
                    rows += 1;
                }
                (None, Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Row, "{}", input());
                    malformed += 1;
                }
                (expected, got) => panic!("{expected:?} but {got:?}: {}", input()),
            }
        }
    }
    println!("{inputs} inputs: {rows} rows, {malformed} malformed rows, {refused} pages skipped");
    assert!(rows > inputs / 2 && malformed > inputs / 4 && refused > inputs / 10);
}
