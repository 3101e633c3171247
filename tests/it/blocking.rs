//! `BlockingEnrolls`: the behavior of the stream without a runtime, and no panic inside one.

use std::{iter::FusedIterator, thread, time::Duration};

use serde_json::json;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::Instant,
};
use wecom_enroll::{
    BlockingEnrolls, Enroll, ErrorKind, Result, RetryPolicy,
    simulator::{Simulator, SimulatorBuilder},
};

use crate::{
    http::{builder, expected, fault},
    support::{Act, List, Script, ids, page, query, resume, row},
};

const MS: Duration = Duration::from_millis(1);

/// Starts a simulator on its own runtime with its own thread.
fn start(sim: SimulatorBuilder) -> (Runtime, Simulator) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sim = runtime.block_on(sim.start()).unwrap();
    (runtime, sim)
}

fn id(row: Result<Enroll>) -> String {
    row.unwrap().enroll_id().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "these tests have no runtime and use real time")]
fn sleep(time: Duration) {
    thread::sleep(time);
}

/// Returns whether the condition becomes true within five seconds.
fn soon(condition: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > 5000 * MS {
            return false;
        }
        sleep(MS);
    }
    true
}

#[test]
fn blocking_iterator_is_fused_and_send() {
    fn is<T: Unpin + Send + FusedIterator + 'static>() {}
    is::<BlockingEnrolls>();
}

#[test]
fn blocking_iterator_yields_the_rows_of_the_stream() {
    for shape in [vec![0], vec![3], vec![2, 0, 2], vec![50, 50, 7], vec![0, 0, 1]] {
        let list = List(shape);
        for ahead in [0, 1, 3] {
            let client = list.clone().script().client();
            let rows = client.enrolls(query()).read_ahead(ahead).into_blocking();
            assert_eq!(rows.map(id).collect::<Vec<_>>(), list.ids(), "{list:?}, {ahead} ahead");
        }
    }
    let (runtime, sim) = start(Simulator::builder().enrollees(523));
    let client = builder(&sim).build().unwrap();
    let rows = client.enrolls(query()).into_blocking();
    assert_eq!(rows.map(id).collect::<Vec<_>>(), expected(523));
    assert_eq!(
        runtime.block_on(ids(builder(&sim).build().unwrap().enrolls(query()))).unwrap(),
        expected(523)
    );
}

#[test]
fn blocking_iterator_requests_pages_only_when_needed() {
    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query()).into_blocking();
    assert_eq!((script.calls().len(), rows.size_hint()), (0, (0, None)));
    assert_eq!(rows.by_ref().take(50).count(), 50);
    assert_eq!((script.calls().len(), rows.size_hint()), (1, (0, None)));
    assert!(rows.next().is_some());
    assert_eq!((script.calls().len(), rows.size_hint()), (2, (49, None)));
}

#[test]
fn blocking_checkpoint_is_exact_to_the_row() {
    let list = List(vec![3, 0, 2]);
    for yielded in 0..=list.rows() {
        let client = list.clone().script().client();
        let mut rows = client.enrolls(query()).into_blocking();
        assert_eq!(rows.by_ref().take(yielded).count(), yielded);
        let rest = resume(&client, rows.checkpoint()).into_blocking();
        assert_eq!(rest.map(id).collect::<Vec<_>>(), list.ids()[yielded..]);
    }
}

#[test]
fn blocking_iterator_continues_after_a_malformed_row() {
    let script = Script::new(|_| page(vec![row(0), json!(7), row(2)], None).into());
    let mut rows = script.client().enrolls(query()).into_blocking();
    assert_eq!(id(rows.next().unwrap()), "0");
    assert_eq!(rows.next().unwrap().unwrap_err().kind(), ErrorKind::Row);
    assert_eq!(id(rows.next().unwrap()), "2");
    assert!(rows.next().is_none() && rows.next().is_none());
}

#[test]
fn blocking_iterator_ends_at_an_error_with_a_checkpoint() {
    for ahead in [0, 1] {
        let (_runtime, sim) =
            start(Simulator::builder().enrollees(300).fault(fault("status=503@4")));
        let client = builder(&sim).retry(RetryPolicy::never()).build().unwrap();
        let mut rows = client.enrolls(query()).read_ahead(ahead).into_blocking();
        let mut seen: Vec<_> = rows.by_ref().map_while(Result::ok).map(|row| id(Ok(row))).collect();
        assert_eq!(seen, expected(150));
        assert!(rows.next().is_none() && rows.next().is_none());

        let mut rows = resume(&client, rows.checkpoint()).into_blocking();
        seen.extend(rows.by_ref().map(id));
        assert_eq!(seen, expected(300));
        assert!(rows.checkpoint().is_end());
    }
    let script = Script::new(|_| Act::Reset);
    let client = script.builder().retry(RetryPolicy::never()).build().unwrap();
    let mut rows = client.enrolls(query()).into_blocking();
    let error = rows.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(error.checkpoint(), Some(&rows.checkpoint()));
    assert!(rows.next().is_none());
}

#[test]
fn blocking_inside_a_runtime_is_an_error_and_sends_nothing() {
    let refused = |list: List| {
        let script = list.script();
        let mut rows = script.client().enrolls(query()).read_ahead(1).into_blocking();
        let error = rows.next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::InvalidArgument, 0));
        assert!(error.to_string().contains("block the tokio runtime"), "{error}");
        assert_eq!(error.checkpoint(), Some(&rows.checkpoint()));
        assert_eq!(rows.size_hint(), (0, Some(0)));
        assert!(rows.next().is_none() && rows.next().is_none());
        assert_eq!(script.calls().len(), 0);
        error.checkpoint().unwrap().clone()
    };
    let list = List::of(120);
    for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = runtime.enable_all().build().unwrap();
        let checkpoint = runtime.block_on(async {
            refused(list.clone());
            let list = list.clone();
            tokio::spawn(async move { refused(list) }).await.unwrap()
        });
        // The checkpoint can be resumed outside of the runtime, and where tokio allows blocking.
        let client = list.clone().script().client();
        let rows = resume(&client, checkpoint.clone()).into_blocking();
        assert_eq!(rows.map(id).collect::<Vec<_>>(), list.ids());
        let waiting = runtime
            .spawn_blocking(move || Handle::current().block_on(ids(resume(&client, checkpoint))));
        assert_eq!(runtime.block_on(waiting).unwrap().unwrap(), list.ids());
    }
}

#[test]
fn blocking_iterator_moved_into_a_runtime_loses_no_row() {
    let (list, runtime) = (List::of(120), Runtime::new().unwrap());
    let client = list.clone().script().client();
    let mut rows = client.enrolls(query()).into_blocking();
    let mut seen = vec![id(rows.next().unwrap())];
    let error = runtime.block_on(async {
        seen.extend(rows.by_ref().take(49).map(id));
        rows.next().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    seen.extend(resume(&client, error.checkpoint().unwrap().clone()).into_blocking().map(id));
    assert_eq!(seen, list.ids());
}

#[test]
fn blocking_iterators_of_one_client_are_independent() {
    let (_runtime, sim) = start(Simulator::builder().enrollees(300));
    let client = builder(&sim).attempt_timeout(5000 * MS).build().unwrap();
    let rows = || client.enrolls(query()).into_blocking();
    assert_eq!(rows().map(id).collect::<Vec<_>>(), expected(300));
    // The connections that were opened by a thread remain usable after the thread has ended.
    thread::scope(|scope| {
        let other = scope.spawn(|| rows().map(id).collect::<Vec<_>>());
        assert_eq!(other.join().unwrap(), expected(300));
    });

    let ahead = client.enrolls(query()).read_ahead(1).into_blocking();
    let alternating: Vec<_> = rows().map(id).zip(ahead.map(id)).collect();
    assert!(alternating.iter().all(|(one, other)| one == other) && alternating.len() == 300);

    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| rows().map(id).collect::<Vec<_>>())).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected(300));
        }
    });
    assert_eq!(client.stats().retries, 0, "no request was sent on a stalled connection");
}

#[test]
fn connections_of_a_dropped_runtime_are_opened_again() {
    let (_runtime, sim) = start(Simulator::builder().enrollees(120));
    let client = builder(&sim).retry(RetryPolicy::never()).build().unwrap();
    let gone = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(gone.block_on(ids(client.enrolls(query()))).unwrap(), expected(120));
    drop(gone);
    let rows = client.enrolls(query()).into_blocking();
    assert_eq!(rows.map(id).collect::<Vec<_>>(), expected(120));
    // In the other direction, the library's own runtime still runs the connections.
    let another = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(another.block_on(ids(client.enrolls(query()))).unwrap(), expected(120));
}

#[test]
fn connection_of_an_idle_runtime_costs_one_attempt_timeout() {
    let (_runtime, sim) = start(Simulator::builder().enrollees(120));
    let client = builder(&sim).attempt_timeout(300 * MS).build().unwrap();
    let idle = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(idle.block_on(ids(client.enrolls(query()))).unwrap(), expected(120));
    let rows = client.enrolls(query()).into_blocking();
    assert_eq!(rows.map(id).collect::<Vec<_>>(), expected(120));
    assert!(client.stats().retries > 0);
}

#[test]
fn blocking_read_ahead_continues_while_the_reader_is_busy() {
    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query()).read_ahead(2).into_blocking();
    assert!(rows.next().is_some());
    assert!(soon(|| script.calls().len() == 3), "{} calls", script.calls().len());
    sleep(20 * MS);
    assert_eq!(script.calls().len(), 3, "no more than 2 pages ahead");
    assert_eq!(rows.count(), 499);
}

#[test]
fn blocking_iterator_dropped_cancels_its_request() {
    for ahead in [0, 1, 3] {
        let script = Script::new(|call| match call.number {
            1 => List::of(200).page(0).into(),
            _ => Act::Hang,
        });
        let mut rows = script.client().enrolls(query()).read_ahead(ahead).into_blocking();
        assert_eq!(rows.by_ref().take(50).count(), 50);
        assert!(soon(|| script.in_flight() == ahead.min(1)));
        drop(rows);
        assert!(soon(|| script.in_flight() == 0), "{ahead} ahead");
    }
    let (_runtime, sim) = start(Simulator::builder().enrollees(200).fault(fault("hang@2")));
    let client = builder(&sim).build().unwrap();
    let mut rows = client.enrolls(query()).read_ahead(1).into_blocking();
    assert!(rows.next().is_some() && soon(|| sim.calls().list == 2));
    drop((rows, client));
    assert!(soon(|| sim.calls().connections_open == 0), "no task holds the client");
}
