//! A third of all replies replaced by faults: every row still arrives once, in order.

use std::time::Duration;

use futures::StreamExt;
use proptest::prelude::*;
use wecom_enroll::{Checkpoint, Client, ErrorKind, Reply};

use crate::support::{Act, List, Script, errcode, ids, query, status, stubborn};

/// The `kind`-th fault, in place of `page`.
fn fault(kind: usize, page: &str) -> Act {
    let cut = |len: usize| Act::Reply(Reply::new(200, page.as_bytes()[..len].to_vec()));
    match kind {
        0 => Act::Reset,
        1 => status(500),
        2 => status(502),
        3 => Act::Reply(Reply::new(503, "").with_pushback(Duration::from_secs(2))),
        4 => status(429),
        5 => errcode(-1),
        6 => errcode(45033),
        // Cut in the middle of the JSON, at a border of characters or not.
        7 => cut(page.len() / 2),
        8 => cut(40),
        9 => Act::After(Duration::from_secs(7), Reply::new(200, page.to_owned())),
        10 => Act::Hang,
        11 => status(408),
        12 => errcode(45009),
        _ => errcode(42001),
    }
}

const KINDS: usize = 14;

/// A server that plays a fault in place of a reply where `script` says so.
fn faulty(list: &List, mut script: impl FnMut() -> Option<usize> + Send + 'static) -> Script {
    let pages: Vec<String> = (0..list.0.len()).map(|i| list.page(i).to_string()).collect();
    Script::new(move |call| {
        let page = &pages[List::index(call.cursor())];
        match script() {
            Some(kind) => fault(kind, page),
            None => Act::Reply(Reply::new(200, page.clone())),
        }
    })
}

fn client(script: &Script) -> Client {
    // Two refusals of a token in one call end it, so tests resume; all else is tried again.
    script.builder().retry(stubborn()).attempt_timeout(Duration::from_secs(10)).build().unwrap()
}

/// Walks to the end, resuming after errors that a person would resume after.
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
                rows = client.resume(checkpoint).read_ahead(ahead);
                errors += 1;
            }
        }
    }
    (seen, errors)
}

#[tokio::test(start_paused = true)]
async fn six_thousand_rows_arrive_once_each_in_order_on_two_hundred_seeds() {
    let (mut faults, mut calls) = (0, 0);
    for (seed, ahead) in (0..200).flat_map(|seed| [0, 1, 3].map(|ahead| (seed, ahead))) {
        let list = List::of(6000);
        let mut random = fastrand::Rng::with_seed(seed);
        // Every third reply or so, of any kind but the refused token, which has its own tests.
        let script =
            faulty(&list, move || (random.u8(..3) == 0).then(|| random.usize(..KINDS - 1)));
        let client = client(&script);
        let got = all_rows(&client, ahead).await;
        assert!(got == (list.ids(), 0), "seed {seed}, {ahead} ahead");
        calls += script.calls().len();
        faults += script.calls().len() - 120;
        assert_eq!(client.stats().retries, script.calls().len() as u64 - 120);
    }
    assert!(faults * 100 / calls >= 30, "{faults} faults in {calls} replies");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_fault_script_on_any_list_shape_delivers_the_list_itself(
        shape in prop::collection::vec(prop_oneof![Just(0_usize), 1..4_usize, 48..53_usize], 1..12),
        faults in prop::collection::vec(prop::option::weighted(0.4, 0..KINDS), 0..60),
        ahead in 0..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let list = List(shape);
            let mut faults = faults.into_iter();
            let script = faulty(&list, move || faults.next().flatten());
            let (seen, _) = all_rows(&client(&script), ahead).await;
            assert_eq!(seen, list.ids());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn every_transient_fault_is_tried_again_with_jitter_up_to_four_attempts() {
    for kind in 0..KINDS - 1 {
        let script = faulty(&List::of(1), move || Some(kind));
        let builder = script.builder().attempt_timeout(Duration::from_secs(5));
        let error = ids(builder.build().unwrap().enrolls(query())).await.unwrap_err();
        assert!(error.is_transient(), "{kind}: {error}");
        assert_eq!((error.attempts(), script.calls().len()), (4, 4), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again() {
    let permanent = [60020, 730_005, 40058, 50100, 40001, 48002, 12_345_678, -2];
    for code in permanent {
        let script = Script::new(move |_| errcode(code));
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Api, Some(code)));
        assert_eq!((error.attempts(), script.calls().len()), (1, 1), "{code}");
        assert!(error.to_string().contains(&format!("scripted {code}")), "WeCom's own words");
        assert!(error.hint().is_some());
    }
    for http in [301, 302, 400, 401, 403, 404] {
        let script = Script::new(move |_| status(http));
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Status, Some(http)));
        assert_eq!(script.calls().len(), 1, "{http}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_errcode_in_a_reply_of_another_status_is_understood() {
    let script = Script::new(|call| match call.number {
        1 => Act::Reply(Reply::new(500, r#"{"errcode":42001,"errmsg":"expired"}"#)),
        2 => Act::Reply(Reply::new(403, r#"{"errcode":"60020","errmsg":"not allow"}"#)),
        _ => unreachable!(),
    });
    let error = ids(script.client().enrolls(query())).await.unwrap_err();
    assert_eq!((error.errcode(), error.status(), error.is_auth()), (Some(60020), Some(403), true));
}

#[tokio::test(start_paused = true)]
async fn an_errcode_comes_before_all_that_is_wrong_with_the_rest_of_the_reply() {
    for body in [
        r#"{"errcode":60020,"errmsg":"no","enroll_list":7}"#,
        r#"{"enroll_list":[7],"errmsg":"no","errcode":60020,"has_more":[]}"#,
        r#"{"errcode":60020,"invalidtag":[],"errmsg":"no"}"#,
    ] {
        let script = Script::new(move |_| Act::Reply(Reply::new(200, body)));
        let error = ids(script.client().enrolls(query())).await.unwrap_err();
        assert_eq!(error.errcode(), Some(60020), "{body}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_at_any_byte_is_tried_again() {
    let page = List::of(2).page(0).to_string();
    for len in 0..page.len() {
        let cut = page.as_bytes()[..len].to_vec();
        let script = Script::new(move |call| match call.number {
            1 => Act::Reply(Reply::new(200, cut.clone())),
            _ => List::of(2).answer(call),
        });
        assert_eq!(ids(script.client().enrolls(query())).await.unwrap(), ["0", "1"], "{len}");
        assert_eq!(script.calls().len(), 2, "{len}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_thirty_seconds_body_included() {
    let script = Script::new(|call| match call.number {
        1 => Act::Hang,
        _ => {
            let page = List::of(3).page(0).to_string();
            Act::After(Duration::from_secs(29), Reply::new(200, page))
        }
    });
    let begun = tokio::time::Instant::now();
    assert_eq!(ids(script.client().enrolls(query())).await.unwrap().len(), 3);
    let elapsed = begun.elapsed().as_millis();
    assert!((59_000..59_600).contains(&elapsed), "30 s, up to half a second, 29 s: {elapsed}");
}

#[tokio::test(start_paused = true)]
async fn an_errcode_that_nobody_knows_does_not_hide_a_status_that_may_pass() {
    for (http, code, passes) in [
        (503, 500, true),
        (502, 12_345, true),
        (429, 429, true),
        (500, 40058, false),
        (400, 7, false),
    ] {
        let script = Script::new(move |call| match call.number {
            1 => {
                let body = format!(r#"{{"errcode":{code},"errmsg":"upstream"}}"#);
                Act::Reply(Reply::new(http, body))
            }
            _ => List::of(1).answer(call),
        });
        assert_eq!(ids(script.client().enrolls(query())).await.is_ok(), passes, "{http} {code}");
    }
}
