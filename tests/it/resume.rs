//! Checkpoints: resuming at every position, after a change of the list, and what is refused.

use futures::{Stream, StreamExt};
use serde_json::json;
use wecom_enroll::{Checkpoint, Client, ErrorKind, Query, RetryPolicy, StatusFilter};

use crate::support::{
    Act, List, Script, errcode, ids, ids_until_error, page, query, read, resume, row, status,
};

fn through_json(checkpoint: &Checkpoint) -> Checkpoint {
    serde_json::from_str(&serde_json::to_string(checkpoint).unwrap()).unwrap()
}

async fn rest(client: &Client, checkpoint: Checkpoint, ahead: usize) -> Vec<String> {
    ids(resume(client, checkpoint).read_ahead(ahead)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn resume_at_every_position_yields_exactly_the_rest() {
    let shapes: [&[usize]; 9] =
        [&[0], &[1], &[3], &[2, 2], &[3, 0, 1], &[0, 2], &[2, 0], &[1, 1, 1], &[4, 0, 0, 3, 1]];
    for shape in shapes {
        let list = List(shape.to_vec());
        for ahead in [0, 1, 3] {
            for stop in 0..=list.rows() {
                let client = list.clone().script().client();
                let mut rows = client.enrolls(query()).read_ahead(ahead);
                for i in 0..stop {
                    assert_eq!(rows.next().await.unwrap().unwrap().enroll_id(), i.to_string());
                }
                let checkpoint = through_json(&rows.checkpoint());
                assert_eq!(checkpoint, rows.checkpoint());
                let got = rest(&client, checkpoint, ahead).await;
                assert_eq!(got, list.ids()[stop..], "{shape:?} from {stop}, {ahead} ahead");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn resume_after_exhausted_page_does_not_fetch_it_again() {
    let script = List::of(100).script();
    let client = script.client();
    let mut rows = client.enrolls(query());
    read(&mut rows, 50).await;
    assert_eq!(rest(&client, rows.checkpoint(), 0).await.len(), 50);
    assert_eq!(script.calls().iter().filter(|call| call.cursor().is_none()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn resume_at_the_end_sends_nothing() {
    let script = List::of(3).script();
    let client = script.client();
    let mut rows = client.enrolls(query());
    while rows.next().await.is_some() {}
    assert!(rows.checkpoint().is_end());
    let rows = resume(&client, through_json(&rows.checkpoint()));
    assert_eq!(rows.size_hint(), (0, Some(0)));
    assert_eq!(rows.count().await, 0);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn resume_after_exhausted_attempts_yields_exactly_the_rest() {
    for fails_at in 1..=5 {
        for ahead in [0, 1, 3] {
            let down = move |n: usize| (fails_at..fails_at + 4).contains(&n);
            let script = Script::new(move |call| match down(call.number) {
                true => status(503),
                false => List::of(230).respond(call),
            });
            let client = script.client();
            let mut rows = client.enrolls(query()).read_ahead(ahead);
            let (mut seen, error) = ids_until_error(&mut rows).await;
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::Status, 4));
            assert_eq!((error.status(), error.is_transient()), (Some(503), true));
            assert_eq!(seen.len(), (fails_at - 1) * 50, "all that was fetched was yielded");
            seen.extend(rest(&client, through_json(error.checkpoint().unwrap()), ahead).await);
            assert_eq!(seen, List::of(230).ids());
        }
    }
}

/// Reads `stop` rows of a page of 10, changes the page, and returns what a resumed stream yields.
async fn after_a_change(stop: usize, change: impl Fn(&mut Vec<serde_json::Value>)) -> Vec<String> {
    let before: Vec<_> = (0..10).map(row).collect();
    let mut after = before.clone();
    change(&mut after);
    let script = Script::new(move |call| match call.number {
        1 => page(before.clone(), None).into(),
        _ => page(after.clone(), None).into(),
    });
    let client = script.client();
    let mut rows = client.enrolls(query());
    read(&mut rows, stop).await;
    rest(&client, through_json(&rows.checkpoint()), 0).await
}

#[tokio::test(start_paused = true)]
async fn resume_in_a_changed_page_loses_no_row_and_repeats_one_page() {
    for stop in 1..10 {
        for at in 0..stop {
            let inserted = after_a_change(stop, |rows| rows.insert(at, row(100))).await;
            let removed = after_a_change(stop, |rows| drop(rows.remove(at))).await;
            let both = after_a_change(stop, |rows| {
                rows.remove(at);
                rows.insert(0, row(100));
            })
            .await;
            let unread: Vec<_> = (stop..10).map(|i| i.to_string()).collect();
            for (what, got) in [("inserted", &inserted), ("removed", &removed), ("both", &both)] {
                assert!(got.ends_with(&unread), "{what} at {at}, {stop} read: {got:?}");
                assert!(got.len() <= 11, "at most the page: {got:?}");
            }
            for got in [&inserted, &both] {
                assert!(got.iter().any(|id| id == "100"), "the new row is yielded: {got:?}");
            }
        }
        // A change after the position has no effect on the position.
        let appended = after_a_change(stop, |rows| rows.push(row(100))).await;
        assert_eq!(appended.len(), 10 - stop + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn resume_in_a_shortened_page_yields_what_is_left() {
    assert_eq!(after_a_change(4, |rows| rows.truncate(2)).await, ["0", "1"]);
    assert_eq!(after_a_change(4, Vec::clear).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn resume_after_a_malformed_row_does_not_repeat_it() {
    let script = Script::new(|_| {
        let mut rows: Vec<_> = (0..10).map(row).collect();
        rows[3] = json!(7);
        page(rows, None).into()
    });
    let client = script.client();
    let mut rows = client.enrolls(query());
    for _ in 0..4 {
        let _ = rows.next().await.unwrap();
    }
    let rest = ids(resume(&client, through_json(&rows.checkpoint()))).await.unwrap();
    assert_eq!(rest, ["4", "5", "6", "7", "8", "9"]);
}

#[test]
fn checkpoint_json_that_is_invalid_is_refused_with_a_reason() {
    let valid = json!({"version": 1,
        "query": {"list": "webinar", "meetingid": "M", "status": "all", "limit": 50},
        "position": {"page": {"page": 1, "cursor": null, "rows": 0, "row_id_hash": NO_ROWS,
                              "refused": null}}});
    assert!(serde_json::from_value::<Checkpoint>(valid.clone()).is_ok());
    let refused = |path: &str, value: serde_json::Value| {
        let mut invalid = valid.clone();
        *invalid.pointer_mut(path).unwrap() = value;
        serde_json::from_value::<Checkpoint>(invalid).unwrap_err().to_string()
    };
    assert!(refused("/version", json!(2)).contains("version 2"));
    assert!(refused("/query/limit", json!(51)).contains("1 to 50"));
    assert!(refused("/query/meetingid", json!("")).contains("empty"));
    assert!(!refused("/position", json!("middle")).is_empty());
    for hash in
        ["", "1", "+f46db3751d8e999", "ef46db3751d8e99g", "ef46db3751d8e9990", "字f46db3751d8e"]
    {
        assert!(
            refused("/position/page/row_id_hash", json!(hash)).contains("16 hex digits"),
            "{hash}"
        );
        assert!(refused("/position/page/refused", json!(hash)).contains("16 hex digits"), "{hash}");
    }
}

/// The hash of no row ids.
const NO_ROWS: &str = "ef46db3751d8e999";

#[test]
fn checkpoint_position_that_is_inconsistent_is_refused() {
    const OTHER: &str = "0123456789abcdef";
    for page in [0, 1, 2, 1000, u64::MAX] {
        for cursor in [None, Some(""), Some("c")] {
            for rows in [0, 1, 50, 51, 10_000, 10_001, u64::MAX] {
                for (hash, refused) in
                    [(NO_ROWS, None), (OTHER, None), (NO_ROWS, Some(OTHER)), (OTHER, Some(OTHER))]
                {
                    let json = json!({"version": 1,
                        "query": {"list": "webinar", "meetingid": "M", "status": "all", "limit": 50},
                        "position": {"page": {"page": page, "cursor": cursor, "rows": rows,
                                              "row_id_hash": hash, "refused": refused}}});
                    let is_valid = match (page, cursor) {
                        (1, None) => refused.is_none(),
                        (2.., Some("c")) => true,
                        _ => false,
                    } && rows <= 10_000
                        && (rows > 0 || hash == NO_ROWS);
                    match serde_json::from_value::<Checkpoint>(json.clone()) {
                        Ok(_) => assert!(is_valid, "{json}"),
                        Err(error) => {
                            let text = error.to_string();
                            assert!(
                                !is_valid && text.contains("the checkpoint is damaged: "),
                                "{json}: {text}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn resume_identifies_rows_without_an_id_by_other_fields() {
    let named = |names: std::ops::Range<usize>| {
        let rows = names.map(|i| json!({"nick_name": format!("n{i}")})).collect();
        page(rows, None).into()
    };
    let script = Script::new(move |call| named(if call.number == 1 { 0..6 } else { 1..6 }));
    let client = script.client();
    let mut rows = client.enrolls(query());
    read(&mut rows, 3).await;
    let rest = resume(&client, rows.checkpoint()).map(|row| row.unwrap().nick_name().to_owned());
    assert_eq!(rest.collect::<Vec<_>>().await, ["n1", "n2", "n3", "n4", "n5"]);
}

#[tokio::test(start_paused = true)]
async fn resume_with_another_query_is_refused() {
    let client = List::of(70).script().client();
    let mut rows = client.enrolls(query());
    read(&mut rows, 60).await;
    for other in [
        Query::webinar("M2"),
        Query::meeting("M1"),
        query().status(StatusFilter::Approved),
        query().page_size(49).unwrap(),
    ] {
        let refused = [
            client.resume(&other, rows.checkpoint()).unwrap_err(),
            client.resume_pages(&other, rows.checkpoint()).unwrap_err(),
        ];
        for error in refused {
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::Checkpoint, 0));
            assert!(error.to_string().contains("another query"), "{error}");
        }
    }
    assert_eq!(ids(client.resume(&query(), rows.checkpoint()).unwrap()).await.unwrap().len(), 10);
}

/// Fails at this call of a list of 150 rows, and returns the error.
async fn error_at(number: usize, fail: fn() -> Act) -> wecom_enroll::Error {
    let script = Script::new(move |call| match call.number == number {
        true => fail(),
        false => List::of(150).respond(call),
    });
    let client = script.builder().retry(RetryPolicy::never()).build().unwrap();
    ids(client.enrolls(query())).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn resume_from_is_the_checkpoint_after_an_error_in_the_middle() {
    let transient: [fn() -> Act; 4] =
        [|| status(503), || errcode(-1), || errcode(45009), || Act::Reset];
    let by_a_person: [fn() -> Act; 2] = [|| errcode(60020), || errcode(48002)];
    for (fail, is_transient) in transient
        .into_iter()
        .map(|fail| (fail, true))
        .chain(by_a_person.into_iter().map(|fail| (fail, false)))
    {
        let error = error_at(2, fail).await;
        assert_eq!(error.is_transient(), is_transient, "{error}");
        let checkpoint = error.resume_from().expect("a checkpoint");
        assert_eq!(Some(checkpoint), error.checkpoint());
        assert!(!checkpoint.is_start() && !checkpoint.is_end());
        let client = List::of(150).script().client();
        let rest = rest(&client, through_json(checkpoint), 0).await;
        assert_eq!(rest, List::of(150).ids()[50..]);
    }
}

#[tokio::test(start_paused = true)]
async fn resume_from_is_none_if_the_request_was_refused() {
    // The first two errcodes report an expired cursor, the last one a wrong meeting id.
    let refusals: [fn() -> Act; 3] = [|| errcode(50100), || errcode(701_105), || errcode(90602)];
    for fail in refusals {
        let error = error_at(2, fail).await;
        assert!(!error.checkpoint().expect("a checkpoint").is_start(), "{error}");
        assert_eq!(error.resume_from(), None, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn resume_from_is_none_before_the_first_row() {
    let failures: [fn() -> Act; 3] = [|| status(503), || errcode(60020), || errcode(50100)];
    for fail in failures {
        let error = error_at(1, fail).await;
        assert!(error.checkpoint().expect("a checkpoint").is_start(), "{error}");
        assert_eq!(error.resume_from(), None, "{error}");
    }
}
