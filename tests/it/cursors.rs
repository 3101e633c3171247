//! The cursor loop: which page is requested next, and where the list ends.

use futures::{StreamExt, stream::FusedStream};
use serde_json::{Value, json};
use wecom_enroll::{ErrorKind, Query, StatusFilter};

use crate::support::{
    Act, List, Script, ids, ids_until_error, page, query, read, response, resume, row,
};

#[tokio::test(start_paused = true)]
async fn rows_around_page_boundaries_arrive_once_in_order() {
    for rows in [0, 1, 49, 50, 51, 99, 100, 101, 250] {
        let list = List::of(rows);
        let client = list.clone().script().client();
        assert_eq!(ids(client.enrolls(query())).await.unwrap(), list.ids(), "{rows} rows");
    }
}

#[tokio::test(start_paused = true)]
async fn page_is_requested_only_when_needed() {
    let script = List::of(150).script();
    let mut rows = script.client().enrolls(query());
    assert_eq!(script.calls().len(), 0);
    for i in 0..50 {
        read(&mut rows, 1).await;
        assert_eq!(script.calls().len(), 1, "after row {i}");
    }
    read(&mut rows, 1).await;
    assert_eq!(script.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn cursor_and_query_are_sent_unchanged_on_every_page() {
    let cursor = "a b+c/d=&%\"\\\u{7f}字\n\u{1F600}";
    let script = Script::new(move |call| match call.cursor() {
        None => page(vec![row(0)], Some(cursor.into())).into(),
        Some(_) => page(vec![row(1)], None).into(),
    });
    let query = Query::webinar("会议 1").status(StatusFilter::Approved).page_size(7).unwrap();
    assert_eq!(ids(script.client().enrolls(query)).await.unwrap(), ["0", "1"]);
    let calls = script.calls();
    let mut body = json!({"meetingid": "会议 1", "status": 3, "limit": 7});
    assert_eq!(calls[0].path, "/cgi-bin/meeting/webinar/enroll/list");
    assert_eq!(calls[0].body, body);
    body["cursor"] = json!(cursor);
    assert_eq!(calls[1].body, body);
}

#[tokio::test(start_paused = true)]
async fn query_for_meeting_uses_path_of_meetings() {
    let script = List::of(1).script();
    ids(script.client().enrolls(Query::meeting("M"))).await.unwrap();
    assert_eq!(script.calls()[0].path, "/cgi-bin/meeting/enroll/list");
}

#[tokio::test(start_paused = true)]
async fn empty_page_in_the_middle_does_not_end_the_list() {
    for empty in [Some(json!([])), Some(Value::Null), None] {
        let list = List(vec![3, 0, 0, 2]);
        let served = list.clone();
        let script = Script::new(move |call| {
            let mut page = served.page_for(call);
            if page["enroll_list"] == json!([]) {
                let fields = page.as_object_mut().unwrap();
                fields.remove("enroll_list");
                fields.extend(empty.clone().map(|empty| ("enroll_list".to_owned(), empty)));
            }
            page.into()
        });
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap(), list.ids());
    }
}

#[tokio::test(start_paused = true)]
async fn cursor_without_has_more_is_not_followed() {
    let script = List::of(50).script();
    assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 50);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn has_more_may_be_a_bool_a_number_or_a_string() {
    for (yes, no) in
        [(json!(1), json!(0)), (json!("true"), json!("false")), (json!("1"), json!("0"))]
    {
        let script = Script::new(move |call| {
            let mut page = List::of(100).page_for(call);
            page["has_more"] = if call.cursor().is_none() { yes.clone() } else { no.clone() };
            page.into()
        });
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 100);
    }
}

/// Reads until the error, which must end the stream. Returns the ids, the error's kind, and the number
/// of calls.
async fn outcome(script: &Script, ahead: usize) -> (Vec<String>, ErrorKind, usize) {
    let mut rows = script.client().enrolls(query()).read_ahead(ahead);
    let (ids, error) = ids_until_error(&mut rows).await;
    assert!(rows.is_terminated() && rows.next().await.is_none(), "an error ends the stream");
    let checkpoint = error.checkpoint().expect("a checkpoint");
    assert_eq!(checkpoint, &rows.checkpoint());
    assert!(!checkpoint.is_end());
    (ids, error.kind(), script.calls().len())
}

#[tokio::test(start_paused = true)]
async fn cursor_missing_is_an_error_after_the_rows_of_its_page() {
    for cursor in [json!(""), Value::Null] {
        for ahead in [0, 1, 3] {
            let cursor = cursor.clone();
            let script = Script::new(move |call| {
                let mut page = List::of(150).page_for(call);
                if call.cursor() == Some("cursor-1") {
                    page["next_cursor"] = cursor.clone();
                }
                page.into()
            });
            let expected = (List::of(100).ids(), ErrorKind::Cursor, 2);
            assert_eq!(outcome(&script, ahead).await, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cursor_cycle_is_an_error_and_repeats_no_row() {
    for pages in [2_usize, 3, 4, 7, 40] {
        for back_to in 1..pages {
            for ahead in [0, 2] {
                let list = List(vec![2; pages]);
                let served = list.clone();
                let script = Script::new(move |call| {
                    let mut page = served.page_for(call);
                    if page["has_more"] == json!(false) {
                        page["has_more"] = json!(true);
                        page["next_cursor"] = json!(format!("cursor-{back_to}"));
                    }
                    page.into()
                });
                let expected = (list.ids(), ErrorKind::Cursor, pages);
                assert_eq!(outcome(&script, ahead).await, expected, "{pages} back to {back_to}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cursor_corrected_by_the_server_can_be_resumed() {
    let script = Script::new(|call| {
        let mut page = List::of(150).page_for(call);
        if call.number == 2 {
            page["next_cursor"] = json!("cursor-1");
        }
        page.into()
    });
    let client = script.client();
    let (mut seen, error) = ids_until_error(&mut client.enrolls(query())).await;
    seen.extend(ids(resume(&client, error.checkpoint().unwrap().clone())).await.unwrap());
    assert_eq!(seen, List::of(150).ids());
}

#[tokio::test(start_paused = true)]
async fn cursor_cycle_after_resume_repeats_no_row() {
    let script = Script::new(|call| {
        let mut page = List(vec![2; 3]).page_for(call);
        if page["has_more"] == json!(false) {
            page["has_more"] = json!(true);
            page["next_cursor"] = json!("cursor-1");
        }
        page.into()
    });
    let client = script.client();
    let (mut rows, mut seen) = (client.enrolls(query()), Vec::new());
    for _ in 0..4 {
        let (ids, error) = ids_until_error(&mut rows).await;
        seen.extend(ids);
        assert_eq!(error.kind(), ErrorKind::Cursor);
        let json = serde_json::to_string(error.checkpoint().unwrap()).unwrap();
        rows = resume(&client, serde_json::from_str(&json).unwrap());
    }
    assert_eq!(seen, List(vec![2; 3]).ids());
}

#[tokio::test(start_paused = true)]
async fn cursor_with_invalid_utf8_is_not_followed() {
    let body =
        b"{\"errcode\":0,\"has_more\":true,\"next_cursor\":\"c\xff\xfe\",\"enroll_list\":[]}";
    let script = Script::new(|_| Act::Respond(response(200, body.to_vec())));
    let error = ids(script.client().enrolls(query())).await.unwrap_err();
    assert_eq!((error.kind(), script.calls().len()), (ErrorKind::Decode, 1));
}
