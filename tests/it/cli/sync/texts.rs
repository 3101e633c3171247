//! Texts that could be mistaken for SQL, that databases cannot store, or that are long.

use serde_json::{Value, json};

use super::{Mirror, code, finish, lines, stderr};
use crate::support::serve;

/// The names and answers that a list of hostile rows has.
pub(super) fn texts() -> Vec<String> {
    let mut texts: Vec<_> = [
        "'); DROP TABLE enrolls; --",
        "\"quoted\" 'quoted' `quoted` \\",
        "$1 %s {} ?1 :a @b",
        "👩‍👩‍👧 𠮷 🐟 \u{202e}",
        "\t\r\n\u{1}\u{7f}\u{2028}",
        "\\u0000 \\\\u0000",
        "\u{0}",
        "a\u{0}b\\\u{0}",
        "null",
        "1e999",
    ]
    .map(str::to_owned)
    .into();
    texts.push("长".repeat(33_000));
    texts
}

fn rows() -> Vec<Value> {
    let row = |(index, text): (usize, String)| {
        json!({"enroll_id": index + 1, "enroll_time": text, "nick_name": text, "status": 1, "userid": text,
            "tmp_openid": text, "enroll_code": text, "answer_list": [{"answer_content": [text, ""],
            "question_num": 1, "question_title": text}]})
    };
    texts().into_iter().enumerate().map(row).collect()
}

/// Starts a server whose list has these rows, as one page. Returns its URL.
async fn list_of(rows: &[Value]) -> String {
    let body = json!({"errcode": 0, "has_more": false, "enroll_list": rows}).to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    format!("http://{}", serve((head + &body).into_bytes()).await)
}

async fn sync(mirror: &Mirror, rows: &[Value]) -> (i32, Vec<Value>, String) {
    let mut command = mirror.command(&list_of(rows).await, &[]);
    command.env_remove("WECOM_CORP_SECRET").env_remove("WECOM_CORP_ID");
    command.env("WECOM_ACCESS_TOKEN", "T");
    let done = finish(command).await;
    (code(&done), lines(&done.stdout), stderr(&done))
}

/// Synchronizes hostile rows twice. The database must have what `stored` returns for each text.
pub(super) async fn store_hostile_texts(mirror: &Mirror, stored: fn(&str) -> String) -> String {
    let (code, first, stderr) = sync(mirror, &rows()).await;
    assert_eq!((code, first.len()), (0, texts().len()), "{stderr}");
    let table = mirror.table().await;
    for (index, text) in texts().iter().map(|text| stored(text)).enumerate() {
        let row = &table[&(index + 1).to_string()];
        for field in ["enroll_time", "nick_name", "userid", "tmp_openid", "enroll_code"] {
            assert_eq!(row[field], text, "{field}");
        }
        let answer = &row["answer_list"][0];
        assert_eq!(
            (&answer["answer_content"], &answer["question_title"]),
            (&json!([text, ""]), &json!(text))
        );
        assert_eq!(first[index]["row"], *row);
    }
    let (code, second, _) = sync(mirror, &rows()).await;
    assert_eq!((code, second.len()), (0, 0), "nothing has changed");
    assert_eq!(mirror.replay().await, table);
    stderr
}

#[tokio::test]
async fn hostile_texts_are_stored_as_they_are() {
    let stderr = store_hostile_texts(&Mirror::sqlite(), str::to_owned).await;
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[tokio::test]
async fn id_that_is_no_key_is_malformed_and_removes_nobody() {
    let mirror = Mirror::sqlite();
    let named = |id: &str| json!({"enroll_id": id, "nick_name": "n"});
    assert_eq!(sync(&mirror, &[named("7"), named("8")]).await.0, 0);
    let long = "7".repeat(501);
    for unusable in ["", "7\u{0}", &long] {
        for _ in 0..3 {
            let (code, lines, stderr) = sync(&mirror, &[named(unusable), named("8")]).await;
            assert_eq!((code, lines.len()), (1, 0), "{stderr}");
            assert!(stderr.contains("meeting M, page 1, row 1: no usable `enroll_id`"), "{stderr}");
        }
    }
    // The longest one.
    assert_eq!(sync(&mirror, &[named("7"), named("8"), named(&long[1..])]).await.1.len(), 1);
}

#[tokio::test]
async fn id_that_a_page_has_twice_is_one_row() {
    let mirror = Mirror::sqlite();
    let row = |name: &str| json!({"enroll_id": "7", "nick_name": name});
    let (code, lines, _) = sync(&mirror, &[row("a"), row("a"), row("b")]).await;
    let changes: Vec<_> = lines.iter().map(|line| line["change"].as_str().unwrap()).collect();
    assert_eq!((code, changes), (0, vec!["added", "changed"]));
    assert_eq!(mirror.replay().await, mirror.table().await);
}

#[tokio::test]
async fn odd_times_and_numbers_are_stored_without_a_utc_time() {
    let mirror = Mirror::sqlite();
    let times = ["", "soon", "-9999-01-01 00:00:00", "0000-01-01 00:00:00", "9999-12-30 23:59:59"];
    let row = |(index, time): (usize, &&str)| json!({"enroll_id": index, "enroll_time": time, "status": u32::MAX, "enroll_source_type": u32::MAX});
    let rows: Vec<_> = times.iter().enumerate().map(row).collect();
    let (code, lines, stderr) = sync(&mirror, &rows).await;
    assert_eq!((code, lines.len()), (0, times.len()), "{stderr}");
    let dated = "SELECT enroll_id, enrolled_at FROM enrolls WHERE enrolled_at IS NOT NULL";
    let found = mirror.query(dated).await;
    assert_eq!(found, [[Some("4".into()), Some("9999-12-30 15:59:59".into())]]);
    assert_eq!(mirror.replay().await, mirror.table().await);
}
