//! Going on from a checkpoint: every place, every page shape, and a list that changed meanwhile.

use futures::{Stream, StreamExt};
use serde_json::json;
use wecom_enroll::{Checkpoint, Client, ErrorKind};

use crate::support::{List, Script, ids, page, query, row, status};

fn through_json(checkpoint: &Checkpoint) -> Checkpoint {
    serde_json::from_str(&serde_json::to_string(checkpoint).unwrap()).unwrap()
}

async fn rest(client: &Client, checkpoint: Checkpoint, ahead: usize) -> Vec<String> {
    ids(client.resume(checkpoint).read_ahead(ahead)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_row_position_of_every_page_shape_with_and_without_read_ahead() {
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
async fn a_drained_page_is_not_fetched_again() {
    let script = List::of(100).script();
    let client = script.client();
    let mut rows = client.enrolls(query());
    for _ in 0..50 {
        rows.next().await.unwrap().unwrap();
    }
    assert_eq!(rest(&client, rows.checkpoint(), 0).await.len(), 50);
    assert_eq!(script.calls().iter().filter(|call| call.cursor().is_none()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_finished_checkpoint_sends_nothing() {
    let script = List::of(3).script();
    let client = script.client();
    let mut rows = client.enrolls(query());
    while rows.next().await.is_some() {}
    assert!(rows.checkpoint().is_end());
    let mut rows = client.resume(through_json(&rows.checkpoint()));
    assert_eq!(rows.size_hint(), (0, Some(0)));
    assert!(rows.next().await.is_none());
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn exhausted_attempts_leave_a_checkpoint_from_which_exactly_the_rest_comes() {
    for fails_at in 1..=5 {
        for ahead in [0, 1, 3] {
            let down = move |n: usize| (fails_at..fails_at + 4).contains(&n);
            let script = Script::new(move |call| match down(call.number) {
                true => status(503),
                false => List::of(230).page(List::index(call.cursor())).into(),
            });
            let client = script.client();
            let mut rows = client.enrolls(query()).read_ahead(ahead);
            let mut seen = Vec::new();
            let error = loop {
                match rows.next().await.unwrap() {
                    Ok(row) => seen.push(row.enroll_id().to_owned()),
                    Err(error) => break error,
                }
            };
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::Status, 4));
            assert_eq!((error.status(), error.is_transient()), (Some(503), true));
            assert_eq!(seen.len(), (fails_at - 1) * 50, "all that was fetched was yielded");
            seen.extend(rest(&client, through_json(error.checkpoint().unwrap()), ahead).await);
            assert_eq!(seen, List::of(230).ids());
        }
    }
}

/// Yields `stop` rows of a page of 10, changes the page, and resumes: what comes after.
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
    for _ in 0..stop {
        rows.next().await.unwrap().unwrap();
    }
    rest(&client, through_json(&rows.checkpoint()), 0).await
}

#[tokio::test(start_paused = true)]
async fn a_page_that_changed_before_the_position_loses_no_row_and_repeats_at_most_itself() {
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
                assert!(got.iter().any(|id| id == "100"), "the new row comes, too: {got:?}");
            }
        }
        // A change behind the position is simply seen.
        let appended = after_a_change(stop, |rows| rows.push(row(100))).await;
        assert_eq!(appended.len(), 10 - stop + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_gone_loses_no_row() {
    assert_eq!(after_a_change(4, |rows| rows.truncate(2)).await, ["0", "1"]);
    assert_eq!(after_a_change(4, Vec::clear).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_row_counts_as_yielded() {
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
    let rest = ids(client.resume(through_json(&rows.checkpoint()))).await.unwrap();
    assert_eq!(rest, ["4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_checkpoint_of_another_kind_is_refused_with_a_reason() {
    let good = json!({"version": 1,
        "query": {"list": "webinar", "meetingid": "M", "status": "all", "limit": 50},
        "position": {"page": {"page": 1, "cursor": null, "rows": 0, "marks": 1}}});
    assert!(serde_json::from_value::<Checkpoint>(good.clone()).is_ok());
    let refused = |path: &str, value: serde_json::Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        serde_json::from_value::<Checkpoint>(bad).unwrap_err().to_string()
    };
    assert!(refused("/version", json!(2)).contains("version 2"));
    assert!(refused("/query/limit", json!(51)).contains("1 to 50"));
    assert!(refused("/query/meetingid", json!("")).contains("empty"));
    assert!(!refused("/position", json!("middle")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn rows_without_an_id_are_told_apart_by_what_else_they_have() {
    let named = |names: std::ops::Range<usize>| {
        let rows = names.map(|i| json!({"nick_name": format!("n{i}")})).collect();
        page(rows, None).into()
    };
    let script = Script::new(move |call| named(if call.number == 1 { 0..6 } else { 1..6 }));
    let client = script.client();
    let mut rows = client.enrolls(query());
    for _ in 0..3 {
        rows.next().await.unwrap().unwrap();
    }
    let rest = client.resume(rows.checkpoint()).map(|row| row.unwrap().nick_name().to_owned());
    assert_eq!(rest.collect::<Vec<_>>().await, ["n1", "n2", "n3", "n4", "n5"]);
}
