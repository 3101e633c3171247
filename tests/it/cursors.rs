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

/// A server that sends these pages again and again, each behind a cursor that was never sent before. Each page
/// is a list of row numbers.
fn repeating(pages: &'static [&'static [usize]], back_to: usize) -> Script {
    Script::new(move |call| {
        let at = call.number - 1;
        let at =
            if at < pages.len() { at } else { back_to + (at - back_to) % (pages.len() - back_to) };
        let rows = pages[at].iter().map(|&i| row(i)).collect();
        page(rows, Some(format!("fresh-{}", call.number))).into()
    })
}

#[tokio::test(start_paused = true)]
async fn repeated_page_is_an_error_and_repeats_no_row() {
    let pages: [&[&[usize]]; 6] = [
        &[&[0, 1]],
        &[&[0, 1], &[2, 3]],
        &[&[0, 1], &[2, 3], &[4]],
        &[&[0, 1], &[2, 3], &[], &[4]],
        &[&[], &[0, 1], &[], &[]],
        &[&[0], &[1], &[2], &[3], &[4], &[5], &[6]],
    ];
    for pages in pages {
        for back_to in 0..pages.len() {
            let Some(again) = (back_to..pages.len()).find(|&page| !pages[page].is_empty()) else {
                continue;
            };
            for ahead in [0, 1, 3] {
                let script = repeating(pages, back_to);
                let rows: usize = pages.iter().map(|page| page.len()).sum();
                let calls = pages.len() + again - back_to + 1;
                let expected = (List(vec![rows]).ids(), ErrorKind::Cursor, calls);
                assert_eq!(outcome(&script, ahead).await, expected, "{pages:?} back to {back_to}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_page_ends_a_stream_of_pages() {
    let script = repeating(&[&[0, 1], &[2]], 0);
    let mut pages = script.client().pages(query());
    let lens =
        [pages.next().await.unwrap().unwrap().len(), pages.next().await.unwrap().unwrap().len()];
    let error = pages.next().await.unwrap().unwrap_err();
    assert_eq!((lens, error.kind()), ([2, 1], ErrorKind::Cursor));
    assert!(pages.is_terminated() && pages.next().await.is_none());
    assert_eq!(error.checkpoint(), Some(&pages.checkpoint()));
    assert_eq!((pages.stats().pages, pages.stats().rows), (2, 3));
}

/// Without the error, the list would end silently although pages are missing.
#[tokio::test(start_paused = true)]
async fn repeated_page_at_the_end_is_an_error() {
    let script = Script::new(|call| {
        let next = (call.number < 3).then(|| format!("fresh-{}", call.number));
        page(vec![row(usize::from(call.number == 2)), row(7)], next).into()
    });
    let (ids, kind, calls) = outcome(&script, 0).await;
    assert_eq!(
        (ids, kind, calls),
        (["0", "7", "1", "7"].map(String::from).into(), ErrorKind::Cursor, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_page_without_ids_is_an_error() {
    let named = |i: usize| json!({"nick_name": "王", "tmp_openid": format!("o{i}")});
    let malformed = |i: usize| json!({"enroll_id": i, "status": "?"});
    let pages: [Vec<Value>; 4] = [
        vec![named(0), named(1)],
        vec![malformed(0), malformed(1)],
        vec![json!({"userid": "U"}), json!(null)],
        vec![row(0), malformed(1), named(2)],
    ];
    for rows in pages {
        let script = Script::new(move |call| {
            page(rows.clone(), Some(format!("fresh-{}", call.number))).into()
        });
        let mut stream = script.client().enrolls(query()).on_malformed_row(|_| ());
        let (_, error) = ids_until_error(&mut stream).await;
        assert_eq!((error.kind(), script.calls().len()), (ErrorKind::Cursor, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn similar_pages_are_not_taken_for_repeated_ones() {
    // Each page differs from all others by one row, or only by the order or number of its rows.
    let pages: [Vec<Value>; 9] = [
        vec![row(0), row(1)],
        vec![row(1), row(0)],
        vec![row(0)],
        vec![row(1)],
        vec![row(0), row(1), row(2)],
        vec![json!({"nick_name": "王", "tmp_openid": "o1"})],
        vec![json!({"nick_name": "王", "tmp_openid": "o2"})],
        vec![json!({"nick_name": "王", "userid": "o2"})],
        vec![json!({"nick_name": "王", "enroll_code": "o2"})],
    ];
    let script = Script::new(move |call| {
        let more = call.number < pages.len();
        page(pages[call.number - 1].clone(), more.then(|| format!("fresh-{}", call.number))).into()
    });
    assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 13);
}

#[tokio::test(start_paused = true)]
async fn repeated_page_after_resume_repeats_no_row() {
    let cases: [(&[&[usize]], usize); 2] = [(&[&[0, 1]], 0), (&[&[0, 1], &[2], &[3, 4]], 2)];
    for ahead in [0, 2] {
        for (pages, back_to) in cases {
            let script = repeating(pages, back_to);
            let client = script.client();
            let mut rows = client.enrolls(query()).read_ahead(ahead);
            let list = List(pages.iter().map(|page| page.len()).collect());
            let mut seen = read(&mut rows, list.rows()).await;
            // The position after the last page, before the error, knows the rows of that page.
            for _ in 0..4 {
                let json = serde_json::to_string(&rows.checkpoint()).unwrap();
                rows = resume(&client, serde_json::from_str(&json).unwrap()).read_ahead(ahead);
                let (ids, error) = ids_until_error(&mut rows).await;
                seen.extend(ids);
                assert_eq!(error.kind(), ErrorKind::Cursor);
                assert_eq!(error.resume_from(), Some(&rows.checkpoint()));
            }
            assert_eq!(seen, list.ids());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_page_corrected_by_the_server_can_be_resumed() {
    // The third page is the first one again, at the first attempt and after the first resume.
    let script = Script::new(|call| match call.number {
        3 | 4 => {
            let mut page = List::of(250).page(0);
            page["next_cursor"] = json!(format!("fresh-{}", call.number));
            page.into()
        }
        _ => List::of(250).respond(call),
    });
    let client = script.client();
    let mut rows = client.enrolls(query());
    let (mut seen, _) = ids_until_error(&mut rows).await;
    let mut rows = resume(&client, rows.checkpoint());
    let (none, error) = ids_until_error(&mut rows).await;
    assert_eq!((none.len(), error.kind()), (0, ErrorKind::Cursor));
    seen.extend(ids(resume(&client, error.checkpoint().unwrap().clone())).await.unwrap());
    assert_eq!(seen, List::of(250).ids());
}

/// A filter can make pages empty, but a webinar has at most 50,000 people (WeCom document 98842). Rows
/// without ids can be the same on two pages.
#[tokio::test(start_paused = true)]
async fn pages_without_ids_are_an_error_if_too_many() {
    let cases = [
        (50, 1000, vec![]),
        (49, 1020, vec![]),
        (50, 1000, vec![json!(null), json!([])]),
        (50, 1000, vec![json!({"nick_name": "王"})]),
    ];
    for (limit, most, nobody) in cases {
        let script = Script::new(move |call| {
            let rows =
                if call.number % 1500 == 1 { vec![row(call.number)] } else { nobody.clone() };
            page(rows, Some(format!("fresh-{}", call.number))).into()
        });
        let client = script.client();
        let query = query().page_size(limit).unwrap();
        let mut rows = client.enrolls(query).on_malformed_row(|_| ());
        let (ids, error) = ids_until_error(&mut rows).await;
        assert_eq!((&*ids[0], error.kind()), ("1", ErrorKind::Cursor));
        assert_eq!(script.calls().len(), 1 + most + 1);
        // Resumed, it continues at the page that was refused.
        let rows = resume(&client, error.checkpoint().unwrap().clone());
        let ids = rows.filter_map(async |row| row.ok().filter(|row| !row.enroll_id().is_empty()));
        assert_eq!(std::pin::pin!(ids).next().await.unwrap().enroll_id(), "1501");
        let call = &script.calls()[most + 2];
        assert_eq!(call.cursor(), Some(&*format!("fresh-{}", most + 1)));
    }
}
