//! `EnrollStream` as a citizen among streams: its type, its hints, its combinators.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream, stream::FusedStream};
use wecom_enroll::*;

use crate::support::{Act, List, Script, ids, query};

#[test]
fn every_type_may_be_sent_and_shared_and_the_rows_are_small() {
    fn is<T: Unpin + Send + Sync + 'static>() {}
    is::<(Client, ClientBuilder, Query, StatusFilter, Checkpoint)>();
    is::<(EnrollStream, PageStream, Page, Enroll, Answer<'static>)>();
    is::<(EnrollStatus, EnrollSource, QuestionType, SpecialType)>();
    is::<(Quota, RetryPolicy, Stats, Wait, Waiting, Meter, AccessToken, FileStore)>();
    #[cfg(feature = "redis")]
    is::<(Redis, Fleet, Lease)>();
    is::<(HttpTransport, Request, Reply, Error, ErrorKind, BadRow)>();
    is::<(Box<dyn TokenSource>, Box<dyn Transport>)>();
    #[cfg(feature = "blocking")]
    is::<BlockingEnrolls>();
    #[cfg(feature = "simulator")]
    is::<(simulator::Simulator, simulator::SimulatorBuilder, simulator::Calls)>();
    #[cfg(feature = "simulator")]
    is::<(simulator::Fault, simulator::FaultKind, simulator::FaultError)>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert!(size_of::<Result<Enroll>>() <= 3 * size_of::<usize>());
}

#[tokio::test(start_paused = true)]
async fn is_terminated_is_true_exactly_when_nothing_more_will_come() {
    for shape in [vec![0], vec![3], vec![2, 2], vec![2, 0], vec![0, 2]] {
        for ahead in [0, 1] {
            let list = List(shape.clone());
            let mut rows = list.clone().script().client().enrolls(query()).read_ahead(ahead);
            let mut seen = 0;
            while !rows.is_terminated() {
                seen += usize::from(rows.next().await.is_some());
            }
            assert_eq!(seen, list.rows(), "{shape:?}");
            assert!(rows.next().await.is_none() && rows.next().await.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_select_loop_with_complete_gets_every_row() {
    let mut rows = List::of(103).script().client().enrolls(query());
    let mut seen = 0;
    loop {
        futures::select! {
            row = rows.select_next_some() => seen += usize::from(row.is_ok()),
            complete => break,
        }
    }
    assert_eq!(seen, 103);
}

#[tokio::test(start_paused = true)]
async fn the_size_hint_is_truthful_at_every_row() {
    let list = List(vec![3, 0, 4]);
    let mut rows = list.clone().script().client().enrolls(query());
    for yielded in 0..=list.rows() {
        let (lower, upper) = rows.size_hint();
        let left = list.rows() - yielded;
        assert!(lower <= left && upper.is_none_or(|upper| upper >= left));
        assert_eq!(
            (lower, upper.is_some()),
            match yielded {
                0 => (0, false),
                1..=3 => (3 - yielded, false),
                _ => (left, true),
            }
        );
        let _ = rows.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_works_with_the_combinators_of_futures() {
    let client = List::of(120).script().client();
    let walk = || client.enrolls(query());
    let id = |row: Result<Enroll>| row.unwrap().enroll_id().parse::<usize>().unwrap();

    let all: Vec<_> = stream::select_all([walk(), walk(), walk()]).map(id).collect().await;
    assert_eq!(all.len(), 360);

    let nested = stream::iter(["A", "B"]).map(|m| client.enrolls(Query::webinar(m)));
    assert_eq!(nested.flatten_unordered(2).count().await, 240);

    let buffered = walk().map(|row| async move { id(row) }).buffered(8);
    assert_eq!(buffered.collect::<Vec<_>>().await, (0..120).collect::<Vec<_>>());

    let zipped = walk().zip(stream::iter(0..)).map(|(row, i)| id(row) == i);
    assert!(zipped.all(|same| async move { same }).await);

    let chunks: Vec<_> = walk().chunks(50).map(|chunk| chunk.len()).collect().await;
    assert_eq!(chunks, [50, 50, 20]);

    let tries: Vec<_> =
        walk().try_chunks(100).map_ok(|chunk| chunk.len()).try_collect().await.unwrap();
    assert_eq!(tries, [100, 20]);
    assert_eq!(walk().take(7).count().await, 7);
    assert_eq!(tokio::time::timeout(Duration::from_secs(1), walk().count()).await, Ok(120));
}

#[tokio::test(start_paused = true)]
async fn taking_few_rows_fetches_one_page() {
    let script = List::of(500).script();
    assert_eq!(script.client().enrolls(query()).take(7).count().await, 7);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rows_can_be_kept_after_the_stream_and_the_client_are_gone() {
    let rows: Vec<Enroll> =
        List::of(70).script().client().enrolls(query()).try_collect().await.unwrap();
    assert_eq!(rows[69].nick_name(), "王69");
}

#[tokio::test(start_paused = true)]
async fn one_page_ahead_overlaps_the_servers_time_with_the_readers() {
    let script = Script::new(|call| {
        let page = List::of(500).page(List::index(call.cursor()));
        Act::After(Duration::from_millis(50), wecom_enroll::Reply::new(200, page.to_string()))
    });
    let time = async |ahead: usize| {
        let begun = tokio::time::Instant::now();
        let rows = script.client().enrolls(query()).read_ahead(ahead);
        rows.for_each(|_| tokio::time::sleep(Duration::from_millis(1))).await;
        begun.elapsed().as_millis()
    };
    // Ten pages of 50 ms, and 500 rows of 1 ms.
    assert_eq!(time(0).await, 1000);
    assert_eq!(time(1).await, 550);
}

#[tokio::test(start_paused = true)]
async fn clones_share_quota_token_and_statistics() {
    let client = List::of(120).script().client();
    let clone = client.clone();
    ids(clone.enrolls(query())).await.unwrap();
    assert_eq!(client.stats().attempts, 3);
}

#[test]
fn a_stream_whose_runtime_is_gone_does_not_end_as_if_complete() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rows = List::of(500).script().client().enrolls(query()).read_ahead(1);
    let mut seen = 0;
    runtime().block_on(async {
        rows.next().await.unwrap().unwrap();
        seen += 1;
    });
    let error = runtime().block_on(async {
        loop {
            match rows.next().await.expect("no end before the end") {
                Ok(_) => seen += 1,
                Err(error) => break error,
            }
        }
    });
    assert!(error.is_transient() && seen < 500);
    let client = List::of(500).script().client();
    let rest = runtime().block_on(ids(client.resume(error.checkpoint().unwrap().clone())));
    assert_eq!(rest.unwrap(), List::of(500).ids()[seen..]);
}
