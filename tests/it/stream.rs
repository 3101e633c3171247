//! `EnrollStream` as a `Stream`: its type, its size hint, and combinators.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream, stream::FusedStream};
use wecom_enroll::*;

use crate::support::{List, ids, query};

#[test]
fn types_are_send_and_sync_and_rows_are_small() {
    fn is<T: Unpin + Send + Sync + 'static>() {}
    is::<(Client, ClientBuilder, Query, StatusFilter, Checkpoint)>();
    is::<(EnrollStream, PageStream, Page, Enroll, Answer<'static>)>();
    is::<(StatusUpdates, StatusUpdate, EnrollSettings, Question, ApprovalType)>();
    is::<(EnrollStatus, EnrollSource, QuestionType, SpecialType)>();
    is::<(Rows<'static>, Answers<'static>, AnswerContent<'static>)>();
    is::<(Quota, RetryPolicy, Stats, WaitReason, CurrentWait, StatsHandle, AccessToken)>();
    #[cfg(feature = "redis")]
    is::<Redis>();
    is::<(HttpTransport, Error, ErrorKind, MalformedRow)>();
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
async fn stream_is_terminated_when_nothing_more_will_come() {
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
async fn select_loop_receives_every_row() {
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
async fn size_hint_is_correct_at_every_row() {
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
async fn stream_works_with_combinators_of_futures() {
    let client = List::of(120).script().client();
    let rows = || client.enrolls(query());
    let id = |row: Result<Enroll>| row.unwrap().enroll_id().parse::<usize>().unwrap();

    let all: Vec<_> = stream::select_all([rows(), rows(), rows()]).map(id).collect().await;
    assert_eq!(all.len(), 360);

    let nested = stream::iter(["A", "B"]).map(|m| client.enrolls(Query::webinar(m)));
    assert_eq!(nested.flatten_unordered(2).count().await, 240);

    let buffered = rows().map(|row| async move { id(row) }).buffered(8);
    assert_eq!(buffered.collect::<Vec<_>>().await, (0..120).collect::<Vec<_>>());

    let zipped = rows().zip(stream::iter(0..)).map(|(row, i)| id(row) == i);
    assert!(zipped.all(|same| async move { same }).await);

    let chunks: Vec<_> = rows().chunks(50).map(|chunk| chunk.len()).collect().await;
    assert_eq!(chunks, [50, 50, 20]);

    let tries: Vec<_> =
        rows().try_chunks(100).map_ok(|chunk| chunk.len()).try_collect().await.unwrap();
    assert_eq!(tries, [100, 20]);
    assert_eq!(rows().take(7).count().await, 7);
    assert_eq!(tokio::time::timeout(Duration::from_secs(1), rows().count()).await, Ok(120));
}

#[tokio::test(start_paused = true)]
async fn take_of_few_rows_fetches_one_page() {
    let script = List::of(500).script();
    assert_eq!(script.client().enrolls(query()).take(7).count().await, 7);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rows_outlive_the_stream_and_the_client() {
    let rows: Vec<Enroll> =
        List::of(70).script().client().enrolls(query()).try_collect().await.unwrap();
    assert_eq!(rows[69].nick_name(), "王69");
}

#[tokio::test(start_paused = true)]
async fn client_clones_share_statistics() {
    let client = List::of(120).script().client();
    let clone = client.clone();
    ids(clone.enrolls(query())).await.unwrap();
    assert_eq!(client.stats().attempts, 3);
}
