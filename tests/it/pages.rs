//! Pages: what a response may contain, and `PageStream`.

use futures::{StreamExt, TryStreamExt, stream::FusedStream};
use serde_json::{Value, json};
use wecom_enroll::{ErrorKind, Page, Result};

use crate::support::{Act, List, Script, ids, page, query, response, row};

#[tokio::test(start_paused = true)]
async fn page_stream_yields_every_page_with_its_number() {
    let client = List(vec![50, 0, 7]).script().client();
    let mut pages = client.pages(query());
    let mut seen = Vec::new();
    while let Some(page) = pages.try_next().await.unwrap() {
        assert_eq!(page.rows().filter_map(Result::ok).count(), page.len());
        seen.push((page.number(), page.len(), page.has_more()));
        if page.number() == 1 {
            let rest = client.resume_pages(&query(), pages.checkpoint()).unwrap();
            let rest: Vec<_> = rest.try_collect().await.unwrap();
            assert_eq!(rest.iter().map(Page::len).collect::<Vec<_>>(), [0, 7]);
        }
    }
    assert_eq!(seen, [(1, 50, true), (2, 0, true), (3, 7, false)]);
    assert!(pages.checkpoint().is_end() && pages.is_terminated());
}

#[tokio::test(start_paused = true)]
async fn page_stream_resumed_after_missing_cursor_repeats_no_row() {
    let script = Script::new(|call| {
        let mut page = List::of(150).page_for(call);
        if call.number == 2 {
            page["next_cursor"] = json!("");
        }
        page.into()
    });
    let client = script.client();
    let mut pages = client.pages(query());
    let mut rows = 0;
    let error = loop {
        match pages.next().await.unwrap() {
            Ok(page) => rows += page.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((rows, error.checkpoint()), (100, Some(&pages.checkpoint())));
    let rest = client.resume_pages(&query(), pages.checkpoint()).unwrap();
    let rest: Vec<_> = rest.try_collect().await.unwrap();
    assert_eq!(rest.iter().map(Page::number).collect::<Vec<_>>(), [3]);
}

/// Returns the only page of a list with these rows.
async fn only_page(rows: Vec<Value>) -> Page {
    let script = Script::new(move |_| page(rows.clone(), None).into());
    script.client().pages(query()).next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn page_rows_are_double_ended_and_exact_size() {
    let page = only_page(vec![row(0), json!(7), row(2), row(3)]).await;
    let id = |row: Result<wecom_enroll::Enroll>| row.ok().map(|row| row.enroll_id().to_owned());
    let (mut rows, mut seen) = (page.rows(), Vec::new());
    for left in (0..4).rev() {
        seen.push(id(if left % 2 == 0 { rows.next() } else { rows.next_back() }.unwrap()));
        assert_eq!((rows.len(), rows.size_hint()), (left, (left, Some(left))));
    }
    assert_eq!(seen, [Some("3"), Some("0"), Some("2"), None].map(|id| id.map(str::to_owned)));
    assert!(rows.next().is_none() && rows.next_back().is_none());
    assert_eq!((&page).into_iter().rev().map(id).collect::<Vec<_>>().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn page_equals_only_pages_with_the_same_content() {
    let one = only_page(vec![row(0), json!(7), row(2)]).await;
    assert_eq!(one, one.clone());
    assert_eq!(one, only_page(vec![row(0), json!(7), row(2)]).await);
    let mut changed = row(0);
    changed["answer_list"][0]["answer_content"] = json!(["乙"]);
    for rows in [
        vec![changed, json!(7), row(2)],
        vec![row(0), json!(8), row(2)],
        vec![row(0), row(2), json!(7)],
        vec![row(0), json!(7)],
    ] {
        assert_ne!(one, only_page(rows).await);
    }

    let list = List(vec![2, 2]);
    let pages: Vec<_> = list.clone().script().client().pages(query()).try_collect().await.unwrap();
    assert_ne!(pages[0], pages[1]);
    // These pages have the same rows and numbers, but another next cursor.
    let other = Script::new(move |call| {
        let mut page = list.page_for(call);
        page["next_cursor"] = json!("another");
        page.into()
    });
    let other = other.client().pages(query()).next().await.unwrap().unwrap();
    assert_ne!(pages[0], other);
}

#[tokio::test(start_paused = true)]
async fn page_with_more_rows_than_requested_is_delivered() {
    let list = List(vec![120, 3]);
    let query = query().page_size(10).unwrap();
    assert_eq!(ids(list.clone().script().client().enrolls(query)).await.unwrap(), list.ids());
}

#[tokio::test(start_paused = true)]
async fn page_of_more_than_10000_rows_is_refused() {
    let page = |row: &str, rows: usize| {
        let rows = vec![row; rows].join(",");
        Act::Respond(response(200, format!(r#"{{"errcode":0,"enroll_list":[{rows}]}}"#)))
    };
    for row in ["{}", "1"] {
        let largest = Script::new(move |_| page(row, 10_000));
        assert_eq!(largest.client().enrolls(query()).count().await, 10_000);
        for rows in [10_001, 2_000_000] {
            let script = Script::new(move |_| page(row, rows));
            let error = ids(script.client().enrolls(query())).await.unwrap_err();
            assert_eq!((error.kind(), script.calls().len()), (ErrorKind::Decode, 1));
            assert!(error.to_string().contains("more than 10000 rows"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn page_fields_that_are_absent_have_defaults() {
    for last in [json!({"errcode": 0, "errmsg": "ok"}), json!({"enroll_list": null})] {
        let script = Script::new(move |_| last.clone().into());
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn page_that_is_another_json_value_is_a_decode_error() {
    for other in [json!({}), json!([]), json!(7), json!({"ret": 0}), json!({"has_more": "maybe"})] {
        let script = Script::new(move |_| other.clone().into());
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Decode, 1));
    }
}
