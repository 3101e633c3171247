//! Malformed rows: an error for the row, and never a lost neighbor.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream::FusedStream};
use serde_json::{Value, json};
use wecom_enroll::{Enroll, EnrollStream, ErrorKind, MalformedRow, Result};

use crate::support::{Act, List, Script, page, query, response, row};

#[tokio::test(start_paused = true)]
async fn malformed_row_is_one_error_and_the_stream_continues() {
    let malformed = [
        json!(7),
        json!(null),
        json!([]),
        json!("x"),
        json!({"enroll_id": 5, "status": {}}),
        json!({"enroll_id": "5", "answer_list": 7}),
        json!({"enroll_id": 5, "status": -1}),
    ];
    for malformed in malformed {
        let raw = malformed.to_string();
        let has_id = malformed.is_object();
        let script = Script::new(move |call| {
            let mut page = List::of(60).page_for(call);
            if call.cursor().is_none() {
                page["enroll_list"][5] = malformed.clone();
            }
            page.into()
        });
        let items: Vec<_> = script.client().enrolls(query()).collect().await;
        assert_eq!(items.len(), 60, "{raw}");
        for (i, item) in items.iter().enumerate() {
            match item {
                Ok(row) => assert_eq!(row.enroll_id(), i.to_string()),
                Err(error) => {
                    assert_eq!((i, error.kind()), (5, ErrorKind::Row), "{raw}");
                    let malformed = error.malformed_row().unwrap();
                    assert_eq!((malformed.page, malformed.row, &*malformed.raw), (1, 6, &*raw));
                    assert_eq!(malformed.enroll_id.as_deref(), has_id.then_some("5"));
                    assert!(error.to_string().contains("row 6 of page 1"), "{error}");
                    assert!(error.checkpoint().is_none());
                }
            }
        }
        assert!(items[5].is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_row_raw_json_is_limited_to_4096_bytes() {
    let script = Script::new(|_| page(vec![json!(["字".repeat(10_000)])], None).into());
    let error = script.client().enrolls(query()).next().await.unwrap().unwrap_err();
    let raw = &error.malformed_row().unwrap().raw;
    assert!(raw.len() <= 4096 && raw.len() > 4090 && raw.starts_with("[\"字"), "{}", raw.len());
}

/// Lists a single page with this body and returns the items.
async fn listed(body: impl Into<Bytes>) -> Vec<Result<Enroll>> {
    let body = body.into();
    let script = Script::new(move |_| Act::Respond(response(200, body.clone())));
    script.client().enrolls(query()).collect().await
}

#[tokio::test(start_paused = true)]
async fn surrogate_that_is_lone_in_a_text_is_replaced() {
    let rows = [
        (r#""\u5f15\"\ud83d\ude00""#, "引\"\u{1F600}"),
        ("null", ""),
        ("7", "7"),
        (r#""\ud800""#, "\u{fffd}"),
        (r#""a\udc00字""#, "a\u{fffd}字"),
        (r#""\ud83d\u0041\n""#, "\u{fffd}A\n"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1F600}"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
    ];
    for count in [2, 3, rows.len()] {
        let list = rows[..count].iter().map(|(text, _)| {
            format!(
                r#"{{"nick_name":{text},"enroll_time":{text},"userid":{text},"answer_list":[
                    {{"question_title":{text},"answer_content":["a",{text}]}}]}}"#
            )
        });
        let body = format!(r#"{{"enroll_list":[{}]}}"#, list.collect::<Vec<_>>().join(","));
        let items = listed(body).await;
        assert_eq!(items.len(), count);
        for (item, &(_, text)) in items.iter().zip(&rows) {
            let row = item.as_ref().unwrap();
            assert_eq!((row.nick_name(), row.enroll_time()), (text, text));
            assert_eq!(row.userid().unwrap_or_default(), text);
            let answer = row.answers().next().unwrap();
            assert_eq!(answer.question_title(), text);
            assert!(answer.content().eq(["a", text]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn surrogate_that_is_lone_in_an_unknown_key_is_ignored() {
    let items = listed(
        r#"{"\ud800":1,"enroll_list":[{"\udc00":[],"enroll_id":"7","answer_list":[{"\ud83d":0,"question_num":3}]}]}"#,
    )
    .await;
    let row = items[0].as_ref().unwrap();
    assert_eq!((items.len(), row.enroll_id()), (1, "7"));
    assert_eq!(row.answers().next().unwrap().question_num(), 3);

    let items = listed(r#"{"\ud800":1,"errcode":50001}"#).await;
    assert_eq!(items[0].as_ref().unwrap_err().errcode(), Some(50001));
}

#[tokio::test(start_paused = true)]
async fn surrogate_that_is_lone_in_an_id_or_cursor_is_an_error() {
    let items = listed(r#"{"enroll_list":[{"enroll_id":"\ud800"},{"enroll_id":2}]}"#).await;
    let error = items[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Row);
    assert!(error.to_string().contains("`enroll_id`"), "{error}");
    assert_eq!(items[1].as_ref().unwrap().enroll_id(), "2");

    let items = listed(r#"{"has_more":true,"next_cursor":"\udc00","enroll_list":[{}]}"#).await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].as_ref().unwrap_err().kind(), ErrorKind::Decode);
}

/// Returns the body of `page` with this byte instead of the first byte of `text`.
fn with_byte(page: &Value, text: &str, byte: u8) -> Vec<u8> {
    let mut body = page.to_string().into_bytes();
    let at = body.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
    body[at] = byte;
    body
}

#[tokio::test(start_paused = true)]
async fn utf8_that_is_invalid_in_a_text_is_replaced() {
    let page = page((0..3).map(row).collect(), None);
    for (text, name) in [("王1", "\u{fffd}\u{fffd}\u{fffd}1"), ("题", "王1")] {
        // The first byte of the text is replaced, so its two other bytes are invalid, too.
        let items = listed(with_byte(&page, text, 0xff)).await;
        assert_eq!(items.len(), 3);
        let rows: Vec<_> = items.into_iter().map(Result::unwrap).collect();
        assert_eq!(rows.iter().map(Enroll::enroll_id).collect::<Vec<_>>(), ["0", "1", "2"]);
        assert_eq!((rows[1].nick_name(), rows[2].nick_name()), (name, "王2"));
    }
}

#[tokio::test(start_paused = true)]
async fn utf8_that_is_invalid_in_an_id_or_cursor_is_an_error() {
    let mut list = page((0..3).map(row).collect(), Some("C".into()));
    list["enroll_list"][1]["enroll_id"] = json!("ID");
    let items = listed(with_byte(&list, "ID", 0x80)).await;
    let malformed = items[1].as_ref().unwrap_err().malformed_row().unwrap();
    assert_eq!((malformed.page, malformed.row, &malformed.enroll_id), (1, 2, &None));
    assert!(malformed.raw.contains("\u{fffd}D"), "{}", malformed.raw);
    for at in [0, 2] {
        assert_eq!(items[at].as_ref().unwrap().enroll_id(), at.to_string());
    }

    let items = listed(with_byte(&list, r#"C""#, 0xff)).await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].as_ref().unwrap_err().kind(), ErrorKind::Decode);

    // U+FFFD that was sent as such is a character like any other.
    list["enroll_list"][1]["enroll_id"] = json!("\u{fffd}D");
    assert_eq!(listed(list.to_string()).await[1].as_ref().unwrap().enroll_id(), "\u{fffd}D");
}

type Handled = Arc<Mutex<Vec<MalformedRow>>>;

/// Lists whose pages have these malformed rows, given as (page, row) from 1. Every page has four rows.
const SHAPES: [&[(u64, usize)]; 8] = [
    &[],
    &[(1, 1)],
    &[(1, 4), (2, 1)],
    // A page without a valid row, in the middle and at the end.
    &[(2, 1), (2, 2), (2, 3), (2, 4)],
    &[(3, 1), (3, 2), (3, 3), (3, 4)],
    // The last rows of the list.
    &[(3, 4)],
    &[(1, 2), (2, 3), (3, 3), (3, 4)],
    &[
        (1, 1),
        (1, 2),
        (1, 3),
        (1, 4),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
        (3, 1),
        (3, 2),
        (3, 3),
        (3, 4),
    ],
];

/// Returns a stream of three pages with these malformed rows, what its handler receives, and the ids of
/// the valid rows.
fn handled(shape: &'static [(u64, usize)], ahead: usize) -> (EnrollStream, Handled, Vec<String>) {
    let list = List(vec![4; 3]);
    let mut valid = list.ids();
    for &(page, row) in shape {
        valid[(page as usize - 1) * 4 + row - 1].clear();
    }
    valid.retain(|id| !id.is_empty());
    let script = Script::new(move |call| {
        let number = List::index(call.cursor()) as u64 + 1;
        let mut page = list.page_for(call);
        for &(_, row) in shape.iter().filter(|&&(page, _)| page == number) {
            page["enroll_list"][row - 1] = Value::Null;
        }
        page.into()
    });
    let handled = Handled::default();
    let received = Arc::clone(&handled);
    let rows = script.client().enrolls(query()).read_ahead(ahead);
    let rows = rows.on_malformed_row(move |row| received.lock().unwrap().push(row));
    (rows, handled, valid)
}

/// Checks that the handler received the malformed rows of `shape`, in order.
fn check(handled: &Handled, shape: &[(u64, usize)]) {
    let handled = handled.lock().unwrap();
    let positions: Vec<_> = handled.iter().map(|row| (row.page, row.row)).collect();
    assert_eq!(positions, shape);
    assert!(handled.iter().all(|row| row.raw == "null"));
}

#[tokio::test(start_paused = true)]
async fn malformed_row_handler_lets_try_for_each_reach_the_end() {
    for shape in SHAPES {
        for ahead in [0, 2] {
            let (mut rows, handled, valid) = handled(shape, ahead);
            let mut seen = Vec::new();
            let done = (&mut rows).try_for_each(|row| {
                seen.push(row.enroll_id().to_owned());
                std::future::ready(Ok(()))
            });
            done.await.unwrap();
            assert_eq!(seen, valid, "{shape:?}");
            check(&handled, shape);
            assert!(rows.checkpoint().is_end());
            assert_eq!(rows.stats().rows, 12, "malformed rows count as yielded");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_row_handler_keeps_size_hint_truthful() {
    for shape in SHAPES {
        let (mut rows, handled, valid) = handled(shape, 0);
        for left in (0..=valid.len()).rev() {
            let (lower, upper) = rows.size_hint();
            assert!(lower <= left && upper.is_none_or(|upper| upper == left), "{shape:?}, {left}");
            assert_eq!(rows.next().await.is_some(), left > 0);
        }
        assert_eq!(rows.size_hint(), (0, Some(0)));
        check(&handled, shape);
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_row_handler_is_called_in_a_select_loop() {
    for shape in SHAPES {
        let (mut rows, handled, valid) = handled(shape, 0);
        let mut seen = Vec::new();
        loop {
            futures::select! {
                row = rows.select_next_some() => seen.push(row.unwrap().enroll_id().to_owned()),
                complete => break,
            }
        }
        assert_eq!(seen, valid, "{shape:?}");
        assert!(rows.is_terminated());
        check(&handled, shape);
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_row_handler_that_is_set_again_replaces() {
    let (rows, handled, valid) = handled(SHAPES[1], 0);
    let rows = rows.on_malformed_row(|_| {});
    assert_eq!(crate::support::ids(rows).await.unwrap(), valid);
    check(&handled, &[]);
}
