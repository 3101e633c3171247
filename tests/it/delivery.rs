//! Delivery under faults: every row arrives once, in order, even if every third response fails.

use std::{thread, time::Duration};

use futures::StreamExt;
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use wecom_enroll::{Checkpoint, Client};

use crate::{
    retry::TRANSIENT,
    support::{Act, List, Script, errcode, persistent, query, response, resume},
};

/// The number of faults: the transient failures, and a refused token, which is the last one.
const FAULTS: usize = TRANSIENT.len() + 1;

fn fault(index: usize, page: &str) -> Act {
    TRANSIENT.get(index).map_or_else(|| errcode(42001), |(_, fault)| fault(page))
}

/// Returns a server that responds with a fault whenever `faults` returns its index.
fn faulty(list: &List, mut faults: impl FnMut() -> Option<usize> + Send + 'static) -> Script {
    let pages: Vec<String> = (0..list.0.len()).map(|i| list.page(i).to_string()).collect();
    Script::new(move |call| {
        let page = &pages[List::index(call.cursor())];
        match faults() {
            Some(index) => fault(index, page),
            None => Act::Respond(response(200, page.clone())),
        }
    })
}

fn client(script: &Script) -> Client {
    script.builder().retry(persistent()).attempt_timeout(Duration::from_secs(10)).build().unwrap()
}

/// Reads to the end. A token that is refused twice in one call ends the stream, which is then resumed.
/// Returns the ids, and how often the stream was resumed.
async fn all_rows(client: &Client, ahead: usize) -> (Vec<String>, usize) {
    let mut rows = client.enrolls(query()).read_ahead(ahead);
    let (mut seen, mut errors) = (Vec::new(), 0);
    while let Some(row) = rows.next().await {
        match row {
            Ok(row) => seen.push(row.enroll_id().to_owned()),
            Err(error) => {
                assert_eq!(error.errcode(), Some(42001), "{error}");
                let json = serde_json::to_string(error.checkpoint().unwrap()).unwrap();
                let checkpoint: Checkpoint = serde_json::from_str(&json).unwrap();
                rows = resume(client, checkpoint).read_ahead(ahead);
                errors += 1;
            }
        }
    }
    (seen, errors)
}

/// Runs on a thread per depth of read-ahead, because it takes minutes.
#[test]
fn delivery_with_a_third_of_responses_failing_is_exact() {
    thread::scope(|scope| {
        for ahead in [0, 1, 3] {
            scope.spawn(move || paused_runtime().block_on(two_hundred_seeds(ahead)));
        }
    });
}

async fn two_hundred_seeds(ahead: usize) {
    let (mut faults, mut calls) = (0, 0);
    for seed in 0..200 {
        let list = List::of(6000);
        let mut random = fastrand::Rng::with_seed(seed);
        let script =
            faulty(&list, move || (random.u8(..3) == 0).then(|| random.usize(..TRANSIENT.len())));
        let client = client(&script);
        let got = all_rows(&client, ahead).await;
        assert!(got == (list.ids(), 0), "seed {seed}, {ahead} ahead");
        calls += script.calls().len();
        faults += script.calls().len() - 120;
        assert_eq!(client.stats().retries, script.calls().len() as u64 - 120);
    }
    assert!(faults * 100 / calls >= 30, "{faults} faults in {calls} calls");
}

fn paused_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn delivery_of_any_list_with_any_faults_is_exact(
        shape in prop::collection::vec(prop_oneof![Just(0_usize), 1..4_usize, 48..53_usize], 1..12),
        faults in prop::collection::vec(prop::option::weighted(0.4, 0..FAULTS), 0..60),
        ahead in 0..4_usize,
    ) {
        paused_runtime().block_on(async {
            let list = List(shape);
            let mut faults = faults.into_iter();
            let script = faulty(&list, move || faults.next().flatten());
            let (seen, _) = all_rows(&client(&script), ahead).await;
            assert_eq!(seen, list.ids());
        });
    }
}
