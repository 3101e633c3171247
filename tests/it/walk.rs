//! The cursor loop: what decides where a walk goes on and where it ends.

use futures::{StreamExt, TryStreamExt, stream::FusedStream};
use serde_json::{Value, json};
use wecom_enroll::{Enroll, ErrorKind, Query, Reply, RetryPolicy, StatusFilter};

use crate::support::{Act, List, Script, ids, page, query, row, stubborn};

#[tokio::test(start_paused = true)]
async fn rows_arrive_once_each_in_order_at_every_page_border() {
    for rows in [0, 1, 49, 50, 51, 99, 100, 101, 250] {
        let list = List::of(rows);
        let client = list.clone().script().client();
        assert_eq!(ids(client.enrolls(query())).await.unwrap(), list.ids(), "{rows} rows");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_first_poll_and_pages_come_only_when_needed() {
    let script = List::of(150).script();
    let client = script.client();
    let mut rows = client.enrolls(query());
    assert_eq!(script.calls().len(), 0);
    for i in 0..50 {
        rows.next().await.unwrap().unwrap();
        assert_eq!(script.calls().len(), 1, "after row {i}");
    }
    rows.next().await.unwrap().unwrap();
    assert_eq!(script.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn meeting_status_limit_are_the_same_on_every_page_and_cursors_pass_untouched() {
    let cursor = "a b+c/d=&%\"\\\u{7f}字\n\u{1F600}";
    let script = Script::new(move |call| match call.cursor() {
        None => page(vec![row(0)], Some(cursor.into())).into(),
        Some(_) => page(vec![row(1)], None).into(),
    });
    let query = Query::webinar("会议 1").status(StatusFilter::Approved).page_size(7).unwrap();
    assert_eq!(ids(script.client().enrolls(query)).await.unwrap(), ["0", "1"]);
    let calls = script.calls();
    assert_eq!(calls[0].path, "/cgi-bin/meeting/webinar/enroll/list");
    assert_eq!(calls[0].body, json!({"meetingid": "会议 1", "status": 3, "limit": 7}));
    assert_eq!(
        calls[1].body,
        json!({"meetingid": "会议 1", "status": 3, "limit": 7, "cursor": cursor})
    );
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_meeting_has_its_own_list() {
    let script = List::of(1).script();
    ids(script.client().enrolls(Query::meeting("M"))).await.unwrap();
    assert_eq!(script.calls()[0].path, "/cgi-bin/meeting/enroll/list");
}

#[tokio::test(start_paused = true)]
async fn empty_page_in_the_middle_does_not_end_the_walk() {
    for absent in [json!([]), Value::Null, json!("absent")] {
        let list = List(vec![3, 0, 0, 2]);
        let answer = list.clone();
        let script = Script::new(move |call| {
            let mut page = answer.page(List::index(call.cursor()));
            if page["enroll_list"] == json!([]) {
                page["enroll_list"] = absent.clone();
                if absent.is_string() {
                    page.as_object_mut().unwrap().remove("enroll_list");
                }
            }
            page.into()
        });
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap(), list.ids());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_with_has_more_false_is_not_followed() {
    let script = List::of(50).script();
    assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 50);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn absent_fields_stand_for_their_defaults_but_something_else_is_not_an_empty_list() {
    for end in [json!({"errcode": 0, "errmsg": "ok"}), json!({"enroll_list": null})] {
        let script = Script::new(move |_| end.clone().into());
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap(), [""; 0]);
    }
    for other in [json!({}), json!([]), json!(7), json!({"ret": 0}), json!({"has_more": "maybe"})] {
        let script = Script::new(move |_| other.clone().into());
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert_eq!(error.attempts(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn has_more_is_understood_as_a_bool_a_number_or_a_string() {
    for (yes, no) in
        [(json!(1), json!(0)), (json!("true"), json!("false")), (json!("1"), json!("0"))]
    {
        let script = Script::new(move |call| {
            let mut page = List::of(100).page(List::index(call.cursor()));
            page["has_more"] = if call.cursor().is_none() { yes.clone() } else { no.clone() };
            page.into()
        });
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 100);
    }
}

/// Rows until the error, the error's kind, and calls made.
async fn broken(script: &Script, ahead: usize) -> (Vec<String>, ErrorKind, usize) {
    let mut rows = script.client().enrolls(query()).read_ahead(ahead);
    let mut seen = Vec::new();
    let error = loop {
        match rows.next().await.expect("an error before the end") {
            Ok(row) => seen.push(row.enroll_id().to_owned()),
            Err(error) => break error,
        }
    };
    assert!(rows.is_terminated() && rows.next().await.is_none(), "an error ends the stream");
    let checkpoint = error.checkpoint().expect("a way on");
    assert_eq!(checkpoint, &rows.checkpoint());
    assert!(!checkpoint.is_end());
    (seen, error.kind(), script.calls().len())
}

#[tokio::test(start_paused = true)]
async fn has_more_without_a_cursor_is_an_error_after_the_rows_of_its_page() {
    for cursor in [json!(""), Value::Null] {
        for ahead in [0, 1, 3] {
            let cursor = cursor.clone();
            let script = Script::new(move |call| {
                let mut page = List::of(150).page(List::index(call.cursor()));
                if call.cursor() == Some("cursor-1") {
                    page["next_cursor"] = cursor.clone();
                }
                page.into()
            });
            let expected = List::of(100).ids();
            assert_eq!(broken(&script, ahead).await, (expected, ErrorKind::Cursor, 2));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_cycle_of_any_length_is_an_error_and_no_row_comes_twice() {
    for pages in [2_usize, 3, 4, 7, 40] {
        for back_to in 1..pages {
            for ahead in [0, 2] {
                let list = List(vec![2; pages]);
                let answer = list.clone();
                let script = Script::new(move |call| {
                    let index = List::index(call.cursor());
                    let mut page = answer.page(index);
                    if index + 1 == answer.0.len() {
                        page["has_more"] = json!(true);
                        page["next_cursor"] = json!(format!("cursor-{back_to}"));
                    }
                    page.into()
                });
                let expected = (list.ids(), ErrorKind::Cursor, pages);
                assert_eq!(broken(&script, ahead).await, expected, "{pages} back to {back_to}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_mends_its_cursor_is_gone_on_with_from_the_checkpoint() {
    let script = Script::new(|call| {
        let mut page = List::of(150).page(List::index(call.cursor()));
        if call.number == 2 {
            page["next_cursor"] = json!("cursor-1");
        }
        page.into()
    });
    let client = script.client();
    let mut rows = client.enrolls(query());
    let mut seen = Vec::new();
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(row) => seen.push(row.enroll_id().to_owned()),
            Err(error) => break error,
        }
    };
    seen.extend(ids(client.resume(error.checkpoint().unwrap().clone())).await.unwrap());
    assert_eq!(seen, List::of(150).ids());
}

#[tokio::test(start_paused = true)]
async fn more_rows_than_asked_for_are_delivered() {
    let list = List(vec![120, 3]);
    let query = query().page_size(10).unwrap();
    assert_eq!(ids(list.clone().script().client().enrolls(query)).await.unwrap(), list.ids());
}

#[tokio::test(start_paused = true)]
async fn one_bad_row_costs_neither_its_page_nor_the_pages_behind_it() {
    let bad = [
        json!(7),
        json!(null),
        json!([]),
        json!("x"),
        json!({"enroll_id": 5, "status": {}}),
        json!({"enroll_id": "5", "answer_list": 7}),
        json!({"enroll_id": 5, "status": -1}),
    ];
    for bad in bad {
        let raw = bad.to_string();
        let has_id = bad.is_object();
        let script = Script::new(move |call| {
            let mut page = List::of(60).page(List::index(call.cursor()));
            if call.cursor().is_none() {
                page["enroll_list"][5] = bad.clone();
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
                    let bad = error.bad_row().unwrap();
                    assert_eq!((bad.page, bad.index, &*bad.raw), (1, 5, &*raw));
                    assert_eq!(bad.enroll_id.as_deref(), has_id.then_some("5"));
                    assert!(error.checkpoint().is_none());
                }
            }
        }
        assert!(items[5].is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_escaped_or_a_number_or_half_a_surrogate_costs_no_other_row() {
    let rows = [
        (r#""\u5f15\"\ud83d\ude00""#, Some("引\"\u{1F600}")),
        ("null", Some("")),
        ("7", Some("7")),
        (r#""\ud800""#, None),
    ];
    for of_them in [&rows[..2], &rows[..3], &rows] {
        let list = of_them.iter().map(|(name, _)| format!(r#"{{"nick_name":{name}}}"#));
        let body = format!(r#"{{"enroll_list":[{}]}}"#, list.collect::<Vec<_>>().join(","));
        let script = Script::new(move |_| Act::Reply(Reply::new(200, body.clone())));
        let items: Vec<_> = script.client().enrolls(query()).collect().await;
        let names = items.iter().map(|item| item.as_ref().ok().map(Enroll::nick_name));
        let expected: Vec<_> = of_them.iter().map(|&(_, name)| name).collect();
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_character_that_was_not_escaped_is_a_part_of_its_text() {
    let body = "{\"enroll_list\":[{\"nick_name\":\"a\tb\"}]}";
    let script = Script::new(move |_| Act::Reply(Reply::new(200, body)));
    let row = script.client().enrolls(query()).next().await.unwrap().unwrap();
    assert_eq!(row.nick_name(), "a\tb");
}

#[tokio::test(start_paused = true)]
async fn the_raw_json_of_a_bad_row_is_capped() {
    let script = Script::new(|_| page(vec![json!(["字".repeat(10_000)])], None).into());
    let error = script.client().enrolls(query()).next().await.unwrap().unwrap_err();
    let raw = &error.bad_row().unwrap().raw;
    assert!(raw.len() <= 4096 && raw.len() > 4090 && raw.starts_with("[\"字"), "{}", raw.len());
}

#[tokio::test(start_paused = true)]
async fn pages_come_whole_for_page_sized_commits() {
    let client = List(vec![50, 0, 7]).script().client();
    let mut pages = client.pages(query());
    let mut sizes = Vec::new();
    while let Some(page) = pages.try_next().await.unwrap() {
        assert_eq!(page.rows().filter_map(Result::ok).count(), page.len());
        sizes.push((page.number(), page.len(), page.has_more()));
        if page.number() == 1 {
            let rest: Vec<_> = client.resume_pages(pages.checkpoint()).try_collect().await.unwrap();
            assert_eq!(rest.iter().map(wecom_enroll::Page::len).collect::<Vec<_>>(), [0, 7]);
        }
    }
    assert_eq!(sizes, [(1, 50, true), (2, 0, true), (3, 7, false)]);
    assert!(pages.checkpoint().is_end() && pages.is_terminated());
}

#[tokio::test(start_paused = true)]
async fn pages_resumed_behind_a_broken_cursor_bring_no_row_again() {
    let script = Script::new(|call| {
        let mut page = List::of(150).page(List::index(call.cursor()));
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
    let rest: Vec<_> = client.resume_pages(pages.checkpoint()).try_collect().await.unwrap();
    assert_eq!(rest.iter().map(wecom_enroll::Page::number).collect::<Vec<_>>(), [3]);
}

#[tokio::test(start_paused = true)]
async fn read_ahead_is_bounded_by_what_was_asked_for() {
    for ahead in [0_usize, 1, 3] {
        let script = List::of(500).script();
        let mut rows = script.client().enrolls(query()).read_ahead(ahead);
        assert_eq!(script.calls().len(), 0, "lazy all the same");
        for i in 0..500 {
            rows.next().await.unwrap().unwrap();
            // Time for the task to overshoot, if it would.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            let expected = (i / 50 + 1 + ahead).min(10);
            assert_eq!(script.calls().len(), expected, "row {i}, {ahead} ahead");
        }
        assert!(rows.next().await.is_none());
    }
}

/// Read-ahead takes the next cursor from the head of a body, where WeCom writes it. Wherever it
/// stands, and whatever stands there twice, the decoded page has the last word.
#[tokio::test(start_paused = true)]
async fn read_ahead_follows_the_page_and_not_its_head() {
    let list = List::of(300);
    for (what, text) in [
        ("in the head", r#"{"errcode":0,"has_more":MORE,"next_cursor":NEXT,"enroll_list":ROWS}"#),
        ("behind the rows", r#"{"enroll_list":ROWS,"next_cursor":NEXT,"has_more":MORE}"#),
        (
            "in both, and not the same",
            r#"{"has_more":true,"next_cursor":"astray","enroll_list":ROWS,"next_cursor":NEXT,"has_more":MORE}"#,
        ),
    ] {
        for ahead in [1, 2, 5] {
            let served = list.clone();
            let script = Script::new(move |call| {
                if call.cursor() == Some("astray") {
                    return page(vec![row(9999)], None).into();
                }
                let page = served.page(List::index(call.cursor()));
                let text = text.replace("MORE", &page["has_more"].to_string());
                let text = text.replace("NEXT", &page["next_cursor"].to_string());
                let text = text.replace("ROWS", &page["enroll_list"].to_string());
                Act::Reply(Reply::new(200, text))
            });
            let rows = script.client().enrolls(query()).read_ahead(ahead);
            assert_eq!(ids(rows).await.unwrap(), list.ids(), "{what}, {ahead} ahead");
            assert_eq!(script.in_flight(), 0, "{what}: what went astray is cancelled");
        }
    }
}

/// The page is cut short, so that nothing but its head can have led to a second request.
#[tokio::test(start_paused = true)]
async fn the_next_request_is_on_its_way_before_the_page_is_decoded() {
    const CUT: &str = r#""enroll_list":[{"enroll_id":"#;
    let long = format!(r#"{{"errmsg":"{}","has_more":true,"next_cursor":"C","#, "x".repeat(2000));
    for (head, next) in [
        (r#"{"errcode":0,"errmsg":"ok","has_more":true,"next_cursor":"C","#, Some("C")),
        (
            "{ \"errcode\" : 0 ,\r\n\t\"has_more\" : true , \"next_cursor\" : \"C\"\r\n\t,\r\n\t",
            Some("C"),
        ),
        (r#"{"next_cursor":"\u0043","has_more":"1","errcode":"0","#, Some("C")),
        (r#"{"has_more":1,"errcode":null,"new":{"a":[1]},"next_cursor":"C","#, Some("C")),
        (r#"{"errmsg":"\"enroll_list\"","has_more":true,"next_cursor":"C","#, Some("C")),
        (r#"{"errmsg":"enroll_list","has_more":true,"next_cursor":"C","#, None),
        (r#"{"errcode":0,"has_more":false,"next_cursor":"C","#, None),
        (r#"{"errcode":0,"next_cursor":"C","#, None),
        (r#"{"errcode":0,"has_more":true,"next_cursor":"","#, None),
        (r#"{"errcode":0,"has_more":true,"next_cursor":null,"#, None),
        (r#"{"errcode":0,"has_more":true,"#, None),
        (r#"{"errcode":45009,"has_more":true,"next_cursor":"C","#, None),
        (r#"{"has_more":true,"next_cursor":"C""#, None),
        ("{", None),
        ("", None),
        (&long, None),
    ] {
        let reply = format!("{head}{CUT}");
        let script = Script::new(move |_| Act::Reply(Reply::new(200, reply.clone())));
        let client = script.builder().retry(RetryPolicy::never()).build().unwrap();
        assert!(ids(client.enrolls(query()).read_ahead(1)).await.is_err(), "{head}");
        let calls = script.calls();
        let cursors: Vec<_> = calls.iter().filter_map(|call| call.cursor()).collect();
        assert_eq!(cursors, Vec::from_iter(next), "{head}");
    }
}

/// A page that has to be fetched again, when the request for the one behind it is on its way.
#[tokio::test(start_paused = true)]
async fn a_broken_page_costs_read_ahead_no_row_and_no_depth() {
    let list = List::of(500);
    let served = list.clone();
    let script = Script::new(move |call| match call.number % 3 {
        0 => {
            let mut body = served.page(List::index(call.cursor())).to_string().into_bytes();
            body.truncate(body.len() - 100);
            Act::Reply(Reply::new(200, body))
        }
        1 => Act::Reset,
        _ => served.answer(call),
    });
    let client = script.builder().retry(stubborn()).build().unwrap();
    let mut rows = client.enrolls(query()).read_ahead(2);
    for i in 0..500 {
        assert_eq!(rows.next().await.unwrap().unwrap().enroll_id(), i.to_string());
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let farthest = script.calls().iter().map(|call| List::index(call.cursor())).max();
        assert_eq!(farthest, Some((i / 50 + 2).min(9)), "row {i}");
    }
    assert!(rows.next().await.is_none());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the transport panics")]
async fn a_panic_while_reading_ahead_is_not_an_end() {
    let script = Script::new(|call| -> Act {
        assert!(call.number < 2, "the transport panics");
        List::of(100).page(0).into()
    });
    let _ = ids(script.client().enrolls(query()).read_ahead(1)).await;
}

#[tokio::test(start_paused = true)]
async fn resuming_behind_a_cycle_brings_no_row_again() {
    let script = Script::new(|call| {
        let index = List::index(call.cursor());
        let mut page = List(vec![2; 3]).page(index);
        if index == 2 {
            page["has_more"] = json!(true);
            page["next_cursor"] = json!("cursor-1");
        }
        page.into()
    });
    let client = script.client();
    let (mut rows, mut seen) = (client.enrolls(query()), Vec::new());
    for _ in 0..4 {
        let error = loop {
            match rows.next().await.unwrap() {
                Ok(row) => seen.push(row.enroll_id().to_owned()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Cursor);
        let written = serde_json::to_string(error.checkpoint().unwrap()).unwrap();
        rows = client.resume(serde_json::from_str(&written).unwrap());
    }
    assert_eq!(seen, List(vec![2; 3]).ids());
}

#[tokio::test(start_paused = true)]
async fn a_page_of_more_rows_than_anyone_asked_for_is_refused() {
    let page = |row: &str, rows: usize| {
        let rows = vec![row; rows].join(",");
        Act::Reply(wecom_enroll::Reply::new(
            200,
            format!(r#"{{"errcode":0,"enroll_list":[{rows}]}}"#),
        ))
    };
    for row in ["{}", "1"] {
        let most = Script::new(move |_| page(row, 10_000));
        assert_eq!(most.client().enrolls(query()).count().await, 10_000);
        for rows in [10_001, 2_000_000] {
            let script = Script::new(move |_| page(row, rows));
            let error = ids(script.client().enrolls(query())).await.unwrap_err();
            assert_eq!((error.kind(), script.calls().len()), (ErrorKind::Decode, 1));
            assert!(error.to_string().contains("more than 10000 rows"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_with_invalid_bytes_is_not_repaired_and_followed() {
    let body =
        b"{\"errcode\":0,\"has_more\":true,\"next_cursor\":\"c\xff\xfe\",\"enroll_list\":[]}";
    let script = Script::new(|_| Act::Reply(wecom_enroll::Reply::new(200, body.to_vec())));
    let error = ids(script.client().enrolls(query())).await.unwrap_err();
    assert_eq!((error.kind(), script.calls().len()), (ErrorKind::Decode, 1));
}
