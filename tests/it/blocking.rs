//! The walk as an iterator: the stream's promises without a runtime, and no panic inside one.

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
    support::{Act, List, Script, ids, page, query, row},
};

const MS: Duration = Duration::from_millis(1);

/// A simulator on a runtime of its own, driven by that one's thread.
fn start(sim: SimulatorBuilder) -> (Runtime, Simulator) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sim = runtime.block_on(sim.start()).unwrap();
    (runtime, sim)
}

fn id(row: Result<Enroll>) -> String {
    row.unwrap().enroll_id().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "there is no runtime here, and its clock is real")]
fn sleep(time: Duration) {
    thread::sleep(time);
}

/// Whether it comes true within five seconds.
fn soon(condition: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > 5000 * MS {
            return false;
        }
        sleep(MS);
    }
    true
}

#[test]
fn it_is_a_fused_iterator_that_can_be_sent() {
    fn is<T: Unpin + Send + FusedIterator + 'static>() {}
    is::<BlockingEnrolls>();
}

#[test]
fn its_rows_are_those_of_the_stream() {
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
fn nothing_is_sent_before_the_first_next_and_the_next_page_only_when_it_is_needed() {
    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query()).into_blocking();
    assert_eq!((script.calls().len(), rows.size_hint()), (0, (0, None)));
    assert_eq!(rows.by_ref().take(50).count(), 50);
    assert_eq!((script.calls().len(), rows.size_hint()), (1, (0, None)));
    assert!(rows.next().is_some());
    assert_eq!((script.calls().len(), rows.size_hint()), (2, (49, None)));
}

#[test]
fn the_checkpoint_is_row_exact() {
    let list = List(vec![3, 0, 2]);
    for yielded in 0..=list.rows() {
        let client = list.clone().script().client();
        let mut rows = client.enrolls(query()).into_blocking();
        assert_eq!(rows.by_ref().take(yielded).count(), yielded);
        let rest = client.resume(rows.checkpoint()).into_blocking();
        assert_eq!(rest.map(id).collect::<Vec<_>>(), list.ids()[yielded..]);
    }
}

#[test]
fn it_goes_on_after_a_row_that_cannot_be_decoded() {
    let script = Script::new(|_| page(vec![row(0), json!(7), row(2)], None).into());
    let mut rows = script.client().enrolls(query()).into_blocking();
    assert_eq!(id(rows.next().unwrap()), "0");
    assert_eq!(rows.next().unwrap().unwrap_err().kind(), ErrorKind::Row);
    assert_eq!(id(rows.next().unwrap()), "2");
    assert!(rows.next().is_none() && rows.next().is_none());
}

#[test]
fn an_error_ends_it_and_carries_the_checkpoint() {
    for ahead in [0, 1] {
        let (_runtime, sim) =
            start(Simulator::builder().enrollees(300).fault(fault("status=503@4")));
        let client = builder(&sim).retry(RetryPolicy::never()).build().unwrap();
        let mut rows = client.enrolls(query()).read_ahead(ahead).into_blocking();
        let mut seen: Vec<_> = rows.by_ref().map_while(Result::ok).map(|row| id(Ok(row))).collect();
        assert_eq!(seen, expected(150));
        assert!(rows.next().is_none() && rows.next().is_none());

        let mut rows = client.resume(rows.checkpoint()).into_blocking();
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
fn inside_a_runtime_it_is_a_clear_error_and_nothing_is_sent() {
    let refused = |list: List| {
        let script = list.script();
        let mut rows = script.client().enrolls(query()).read_ahead(1).into_blocking();
        let error = rows.next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Argument, 0));
        assert!(error.to_string().contains("inside a tokio runtime"), "{error}");
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
        // Outside, and also where tokio lets one wait, there is a way on.
        let client = list.clone().script().client();
        let rows = client.resume(checkpoint.clone()).into_blocking();
        assert_eq!(rows.map(id).collect::<Vec<_>>(), list.ids());
        let waiting = runtime
            .spawn_blocking(move || Handle::current().block_on(ids(client.resume(checkpoint))));
        assert_eq!(runtime.block_on(waiting).unwrap().unwrap(), list.ids());
    }
}

#[test]
fn moved_into_a_runtime_in_the_middle_it_yields_the_rows_at_hand_and_loses_none() {
    let (list, runtime) = (List::of(120), Runtime::new().unwrap());
    let client = list.clone().script().client();
    let mut rows = client.enrolls(query()).into_blocking();
    let mut seen = vec![id(rows.next().unwrap())];
    let error = runtime.block_on(async {
        seen.extend(rows.by_ref().take(49).map(id));
        rows.next().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Argument);
    seen.extend(client.resume(error.checkpoint().unwrap().clone()).into_blocking().map(id));
    assert_eq!(seen, list.ids());
}

#[test]
fn iterators_of_one_client_do_not_wait_for_each_other_in_turn_alternating_or_across_threads() {
    let (_runtime, sim) = start(Simulator::builder().enrollees(300));
    let client = builder(&sim).attempt_timeout(5000 * MS).build().unwrap();
    let walk = || client.enrolls(query()).into_blocking();
    assert_eq!(walk().map(id).collect::<Vec<_>>(), expected(300));
    // Of a thread that ends: its connections do not stand still.
    thread::scope(|scope| {
        let other = scope.spawn(|| walk().map(id).collect::<Vec<_>>());
        assert_eq!(other.join().unwrap(), expected(300));
    });

    let ahead = client.enrolls(query()).read_ahead(1).into_blocking();
    let alternating: Vec<_> = walk().map(id).zip(ahead.map(id)).collect();
    assert!(alternating.iter().all(|(one, other)| one == other) && alternating.len() == 300);

    thread::scope(|scope| {
        let walks: Vec<_> =
            (0..4).map(|_| scope.spawn(|| walk().map(id).collect::<Vec<_>>())).collect();
        for walk in walks {
            assert_eq!(walk.join().unwrap(), expected(300));
        }
    });
    assert_eq!(client.stats().retries, 0, "no request went into a connection that nobody drives");
}

#[test]
fn connections_of_a_runtime_that_is_gone_are_opened_anew() {
    let (_runtime, sim) = start(Simulator::builder().enrollees(120));
    let client = builder(&sim).retry(RetryPolicy::never()).build().unwrap();
    let gone = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(gone.block_on(ids(client.enrolls(query()))).unwrap(), expected(120));
    drop(gone);
    let rows = client.enrolls(query()).into_blocking();
    assert_eq!(rows.map(id).collect::<Vec<_>>(), expected(120));
    // And back: the library's own is driven all the time.
    let another = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(another.block_on(ids(client.enrolls(query()))).unwrap(), expected(120));
}

#[test]
fn a_connection_of_a_runtime_that_nobody_drives_costs_the_time_of_an_attempt() {
    let (_runtime, sim) = start(Simulator::builder().enrollees(120));
    let client = builder(&sim).attempt_timeout(300 * MS).build().unwrap();
    let idle = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(idle.block_on(ids(client.enrolls(query()))).unwrap(), expected(120));
    let rows = client.enrolls(query()).into_blocking();
    assert_eq!(rows.map(id).collect::<Vec<_>>(), expected(120));
    assert!(client.stats().retries > 0);
}

#[test]
fn a_page_is_read_ahead_while_the_loop_is_busy() {
    let script = List::of(500).script();
    let mut rows = script.client().enrolls(query()).read_ahead(2).into_blocking();
    assert!(rows.next().is_some());
    assert!(soon(|| script.calls().len() == 3), "{} calls", script.calls().len());
    sleep(20 * MS);
    assert_eq!(script.calls().len(), 3, "and no more than that");
    assert_eq!(rows.count(), 499);
}

#[test]
fn dropped_in_the_middle_it_leaves_no_request() {
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
