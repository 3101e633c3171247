//! Read-ahead: pages are fetched before they are needed, in order, and never more of them than allowed.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, advance, sleep};

use crate::support::{Act, List, Script, ids, persistent, query, read, response, resume};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn read_ahead_never_fetches_more_pages_than_allowed() {
    for ahead in [0_usize, 1, 3] {
        let script = List::of(500).script();
        let mut rows = script.client().enrolls(query()).read_ahead(ahead);
        assert_eq!(script.calls().len(), 0, "nothing is sent before the first poll");
        for i in 0..500 {
            read(&mut rows, 1).await;
            // Gives the task time to fetch too many pages.
            sleep(MS).await;
            let expected = (i / 50 + 1 + ahead).min(10);
            assert_eq!(script.calls().len(), expected, "row {i}, {ahead} ahead");
        }
        assert!(rows.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn read_ahead_set_again_replaces_the_first() {
    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query()).read_ahead(3).read_ahead(1);
    read(&mut rows, 1).await;
    sleep(MS).await;
    assert_eq!(script.calls().len(), 2);

    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query()).read_ahead(3).read_ahead(0);
    read(&mut rows, 1).await;
    sleep(MS).await;
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn read_ahead_after_the_first_poll_has_no_effect() {
    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query());
    read(&mut rows, 1).await;
    let mut rows = rows.read_ahead(3);
    read(&mut rows, 50).await;
    sleep(MS).await;
    assert_eq!(script.calls().len(), 2);
    assert_eq!(rows.count().await, 449);
}

/// The cursor may be before or after the rows. If a page has two cursors, the last one counts.
#[tokio::test(start_paused = true)]
async fn read_ahead_follows_the_cursor_wherever_it_is_in_the_page() {
    let list = List::of(300);
    for text in [
        r#"{"errcode":0,"has_more":MORE,"next_cursor":NEXT,"enroll_list":ROWS}"#,
        r#"{"enroll_list":ROWS,"next_cursor":NEXT,"has_more":MORE}"#,
        r#"{"has_more":true,"next_cursor":"other","enroll_list":ROWS,"next_cursor":NEXT,"has_more":MORE}"#,
    ] {
        for ahead in [1, 2, 5] {
            let served = list.clone();
            let script = Script::new(move |call| {
                let page = served.page_for(call);
                let text = text.replace("MORE", &page["has_more"].to_string());
                let text = text.replace("NEXT", &page["next_cursor"].to_string());
                let text = text.replace("ROWS", &page["enroll_list"].to_string());
                Act::Respond(response(200, text))
            });
            let rows = script.client().enrolls(query()).read_ahead(ahead);
            assert_eq!(ids(rows).await.unwrap(), list.ids(), "{text}, {ahead} ahead");
            assert_eq!((script.calls().len(), script.in_flight()), (6, 0), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn read_ahead_with_failing_pages_loses_no_row_and_no_depth() {
    let list = List::of(500);
    let served = list.clone();
    let script = Script::new(move |call| match call.number % 3 {
        0 => {
            let mut body = served.page_for(call).to_string().into_bytes();
            body.truncate(body.len() - 100);
            Act::Respond(response(200, body))
        }
        1 => Act::Reset,
        _ => served.respond(call),
    });
    let client = script.builder().retry(persistent()).build().unwrap();
    let mut rows = client.enrolls(query()).read_ahead(2);
    for i in 0..500 {
        assert_eq!(rows.next().await.unwrap().unwrap().enroll_id(), i.to_string());
        sleep(1000 * MS).await;
        let farthest = script.calls().iter().map(|call| List::index(call.cursor())).max();
        assert_eq!(farthest, Some((i / 50 + 2).min(9)), "row {i}");
    }
    assert!(rows.next().await.is_none());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the transport panics")]
async fn read_ahead_propagates_a_panic() {
    let script = Script::new(|call| -> Act {
        assert!(call.number < 2, "the transport panics");
        List::of(100).page(0).into()
    });
    let _ = ids(script.client().enrolls(query()).read_ahead(1)).await;
}

/// Returns a server that needs 50 ms per page of a list of 500 rows.
fn slow_server() -> Script {
    Script::new(|call| List::of(500).respond(call).after(50 * MS))
}

#[tokio::test(start_paused = true)]
async fn read_ahead_overlaps_server_time_with_reader_waits() {
    let time = async |ahead: usize| {
        let started = Instant::now();
        let rows = slow_server().client().enrolls(query()).read_ahead(ahead);
        rows.for_each(|_| sleep(MS)).await;
        started.elapsed()
    };
    // Ten pages of 50 ms, and 500 rows of 1 ms.
    assert_eq!(time(0).await, 1000 * MS);
    assert_eq!(time(1).await, 550 * MS);
}

/// The reader computes for 1 ms per row and never waits: on one thread, the task runs only when the
/// stream yields to it.
#[tokio::test(start_paused = true)]
async fn read_ahead_overlaps_server_time_with_a_busy_reader() {
    let time = async |ahead: usize| {
        let started = Instant::now();
        let mut rows = slow_server().client().enrolls(query()).read_ahead(ahead);
        while let Some(row) = rows.next().await {
            row.unwrap();
            // If `advance` is polled only once, it moves the clock without running another task.
            assert!(advance(MS).now_or_never().is_none());
        }
        started.elapsed()
    };
    let (without, with) = (time(0).await, time(1).await);
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("{with:?} with read-ahead, {without:?} without: {ratio:.3}");
    assert!(ratio <= 0.6, "{with:?} with read-ahead, {without:?} without");
}

#[test]
fn read_ahead_after_its_runtime_shut_down_is_an_error() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rows = List::of(500).script().client().enrolls(query()).read_ahead(1);
    runtime().block_on(read(&mut rows, 1));
    let (seen, error) = runtime().block_on(crate::support::ids_until_error(&mut rows));
    assert!(error.is_transient() && seen.len() < 499);
    let client = List::of(500).script().client();
    let rest = runtime().block_on(ids(resume(&client, error.checkpoint().unwrap().clone())));
    assert_eq!(rest.unwrap(), List::of(500).ids()[1 + seen.len()..]);
}
