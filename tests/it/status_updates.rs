//! `Client::set_status`: what is sent, what is reported, and which ids remain unconfirmed.

mod halving;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream::FusedStream};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{
    Client, EnrollStatus, Error, ErrorKind, Query, Quota, RetryPolicy, StatusUpdate, StatusUpdates,
};

use crate::support::{
    Act, Call, List, Script, errcode, full_text, grant, ids, persistent, query, response, status,
    with_retry_after,
};

const SECOND: Duration = Duration::from_secs(1);
const APPROVED: u64 = 3;

/// A meeting with pending enrollments whose status can be set.
#[derive(Clone, Default)]
struct Meeting(Arc<Mutex<BTreeMap<String, u64>>>);

impl Meeting {
    fn of(enrollees: usize) -> Self {
        Self(Arc::new(Mutex::new(names(enrollees).into_iter().map(|id| (id, 1)).collect())))
    }

    /// Sets the status of all ids, or of none if one is unknown.
    fn respond(&self, call: &Call) -> Act {
        let mut enrollees = self.0.lock().unwrap();
        let ids = sent(call);
        if ids.iter().any(|id| !enrollees.contains_key(id)) {
            return errcode(730_006);
        }
        let action = call.body["action"].as_u64().unwrap();
        let handled = ids.iter().filter(|&id| enrollees.insert(id.clone(), action) != Some(action));
        json!({"errcode": 0, "errmsg": "ok", "handled_count": handled.count()}).into()
    }

    /// Returns the ids with this status.
    fn with(&self, status: u64) -> BTreeSet<String> {
        let enrollees = self.0.lock().unwrap();
        let with_status = enrollees.iter().filter(|(_, other)| **other == status);
        with_status.map(|(id, _)| id.clone()).collect()
    }

    fn script(self) -> Script {
        Script::new(move |call| self.respond(call))
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("id{i}")).collect()
}

/// Returns the ids in a request.
fn sent(call: &Call) -> Vec<String> {
    let ids = call.body["enroll_id_list"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn sizes(script: &Script) -> Vec<usize> {
    script.calls().iter().map(|call| sent(call).len()).collect()
}

fn approve(client: &Client, ids: &[String]) -> StatusUpdates {
    client.set_status(query(), EnrollStatus::Approved, ids)
}

/// Reads all items. Returns the confirmed ids and the errors.
async fn finish(updates: &mut StatusUpdates) -> (Vec<String>, Vec<Error>) {
    let (mut confirmed, mut errors) = (Vec::new(), Vec::new());
    while let Some(update) = updates.next().await {
        match update {
            Ok(update) => confirmed.extend(update.ids),
            Err(error) => errors.push(error),
        }
    }
    assert!(updates.is_terminated() && updates.next().await.is_none());
    (confirmed, errors)
}

#[tokio::test(start_paused = true)]
async fn updates_send_each_id_once_in_batches() {
    for (query, path, status, action) in [
        (query(), "/cgi-bin/meeting/webinar/enroll/approve", EnrollStatus::Approved, 3),
        (Query::meeting("M1"), "/cgi-bin/meeting/enroll/approve", EnrollStatus::Rejected, 2),
        (query(), "/cgi-bin/meeting/webinar/enroll/approve", EnrollStatus::Pending, 1),
    ] {
        let script = Meeting::of(120).script();
        let ids = names(120);
        let twice = ids.iter().chain(&ids[20..70]).chain(&ids);
        let mut updates = script.client().set_status(query, status, twice);
        assert_eq!((updates.unconfirmed().len(), updates.size_hint()), (120, (0, None)));
        for (batch, changed) in [(0..50, 50), (50..100, 50), (100..120, 20)] {
            let StatusUpdate { ids: confirmed, handled, repeated, .. } =
                updates.next().await.unwrap().unwrap();
            assert_eq!((&confirmed[..], repeated), (&ids[batch.clone()], false));
            let changed = if action == 1 { 0 } else { changed };
            assert_eq!(handled, changed, "what the server reports");
            assert_eq!(updates.unconfirmed(), ids[batch.end..]);
            let call = &script.calls()[batch.start / 50];
            let body = json!({"meetingid": "M1", "enroll_id_list": confirmed, "action": action});
            assert_eq!((&*call.path, &call.body), (path, &body));
        }
        assert!(updates.is_terminated());
        assert_eq!((updates.size_hint(), updates.next().await.is_none()), ((0, Some(0)), true));
        assert_eq!((script.calls().len(), updates.stats().attempts), (3, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn updates_send_nothing_before_the_first_poll() {
    let script = Meeting::of(3).script();
    let client = script.client();
    let updates = approve(&client, &names(3));
    sleep(SECOND).await;
    drop(updates);
    assert_eq!(script.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn updates_without_ids_end_without_a_call() {
    let script = Meeting::of(3).script();
    let mut updates = approve(&script.client(), &[]);
    assert!(updates.is_terminated());
    assert!(updates.next().await.is_none());
    assert_eq!(script.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn updates_are_sent_one_batch_at_a_time() {
    let meeting = Meeting::of(100);
    let served = meeting.clone();
    let script = Script::new(move |call| served.respond(call).after(SECOND));
    let mut updates = approve(&script.client(), &names(100)).batch_size(10).unwrap();
    for batch in 1..=10 {
        assert!(timeout(SECOND / 2, updates.next()).await.is_err());
        assert_eq!((script.calls().len(), script.in_flight()), (batch, 1));
        assert!(updates.next().await.unwrap().is_ok());
        // The next batch is not sent until it is polled for.
        sleep(SECOND).await;
        assert_eq!((script.calls().len(), script.in_flight()), (batch, 0));
    }
    assert_eq!(meeting.with(APPROVED).len(), 100);
}

#[tokio::test(start_paused = true)]
async fn updates_refuse_invalid_arguments_without_a_call() {
    let script = Meeting::of(3).script();
    let client = script.client();
    let approved = EnrollStatus::Approved;
    let valid = || names(2);
    let with = |id: &str| [names(2), vec![id.to_owned()]].concat();
    for (query, status, ids, text) in [
        (Query::webinar(" "), approved, valid(), "meeting id"),
        (query(), EnrollStatus::Unknown(0), valid(), "status 0 "),
        (query(), EnrollStatus::Unknown(4), vec![], "status 4 "),
        (query(), approved, with(""), "id 3 "),
        (query(), approved, with(" "), "id 3 "),
        (query(), approved, with("id3 "), "id 3 "),
        (query(), approved, with("i d"), "id 3 "),
        (query(), approved, with("id3\r"), "id 3 "),
        (query(), approved, with("\u{3000}id3"), "id 3 "),
        (query(), approved, with("id\u{7f}"), "id 3 "),
        (query(), approved, with("id\u{0}"), "id 3 "),
    ] {
        let mut updates = client.set_status(query, status, &ids);
        assert!(!updates.is_terminated());
        let error = updates.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.enroll_id()), (ErrorKind::InvalidArgument, None));
        assert!(error.to_string().contains(text), "{error}");
        assert!(updates.is_terminated() && updates.next().await.is_none());
        assert_eq!(updates.unconfirmed(), ids);
    }
    for size in [0, 501, usize::MAX] {
        let error = approve(&client, &valid()).batch_size(size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert_eq!(script.calls().len(), 0);
    for (size, calls) in [(500, 1), (1, 3)] {
        let mut updates = approve(&client, &names(3)).batch_size(size).unwrap();
        let before = script.calls().len();
        assert_eq!(finish(&mut updates).await.0, names(3));
        assert_eq!(script.calls().len() - before, calls);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_outcome_is_repeated_and_marked() {
    type Respond = fn() -> Act;
    let cases: [(Respond, bool); 12] = [
        (|| Act::Reset, true),
        (|| Act::Hang, true),
        (|| Act::Respond(response(200, r#"{"errcode":0,"errm"#)), true),
        (|| errcode(-1), true),
        (|| status(500), true),
        (|| status(504), true),
        (|| status(408), true),
        (|| errcode(45009), false),
        (|| errcode(45033), false),
        (|| status(429), false),
        (|| errcode(42001), false),
        (|| Act::Respond(with_retry_after(response(503, ""), 5)), true),
    ];
    for (number, (fails, repeated)) in cases.into_iter().enumerate() {
        let meeting = Meeting::of(20);
        let served = meeting.clone();
        let script = Script::new(move |call| match call.number {
            2 => {
                // The change is made, but its response is lost.
                served.respond(call);
                fails()
            }
            _ => served.respond(call),
        });
        let mut updates = approve(&script.client(), &names(20)).batch_size(10).unwrap();
        let mut marks = Vec::new();
        while let Some(update) = updates.next().await {
            let update = update.unwrap();
            marks.push((update.repeated, update.handled));
        }
        assert_eq!(marks, [(false, 10), (repeated, 0)], "case {number}");
        let calls = script.calls();
        assert_eq!(calls.len(), 3, "case {number}");
        assert_eq!(calls[1].body, calls[2].body, "the same batch is sent again");
        assert_eq!((meeting.with(APPROVED).len(), updates.unconfirmed().len()), (20, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn policy_never_ends_at_an_unknown_outcome() {
    let meeting = Meeting::of(30);
    let served = meeting.clone();
    let script = Script::new(move |call| {
        let response = served.respond(call);
        if call.number == 2 { Act::Reset } else { response }
    });
    let client = script.builder().retry(RetryPolicy::never()).build().unwrap();
    let mut updates = approve(&client, &names(30)).batch_size(10).unwrap();
    let (confirmed, errors) = finish(&mut updates).await;
    assert_eq!((confirmed, script.calls().len()), (names(10), 2));
    assert!(errors[0].is_transient() && errors[0].attempts() == 1);
    assert_eq!(updates.unconfirmed(), names(30)[10..]);
    assert_eq!(meeting.with(APPROVED).len(), 20, "the second batch was set nevertheless");
    // What is not confirmed can be set again.
    let unconfirmed: Vec<_> = updates.unconfirmed().into_iter().map(str::to_owned).collect();
    let mut rest = approve(&client, &unconfirmed);
    assert_eq!(finish(&mut rest).await.0, names(30)[10..]);
    assert_eq!(meeting.with(APPROVED).len(), 30);
}

#[tokio::test(start_paused = true)]
async fn error_ends_updates_and_leaves_unconfirmed_exact() {
    for code in [48002, 730_008, 50100, -1, 45009, 1_234_567] {
        let meeting = Meeting::of(50);
        let served = meeting.clone();
        let script = Script::new(move |call| match call.number {
            1..=2 => served.respond(call),
            _ => errcode(code),
        });
        let mut updates = approve(&script.client(), &names(50)).batch_size(10).unwrap();
        let (confirmed, errors) = finish(&mut updates).await;
        assert_eq!((confirmed, errors.len()), (names(20), 1), "{code}");
        assert_eq!((errors[0].errcode(), errors[0].enroll_id()), (Some(code), None));
        assert!(errors[0].checkpoint().is_none());
        assert_eq!(updates.unconfirmed(), names(50)[20..]);
        assert_eq!(meeting.with(APPROVED).len(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn next_dropped_at_any_await_point_loses_no_batch() {
    for cut in 1..=45 {
        let meeting = Meeting::of(23);
        meeting.0.lock().unwrap().remove("id7");
        let served = meeting.clone();
        let script = Script::new(move |call| {
            let delay = Duration::from_millis(30);
            match (call.path.ends_with("/approve"), call.number % 7) {
                (false, _) => grant("T", 1).after(delay),
                (_, 3) => status(503),
                (_, 5) => errcode(45009),
                (_, 6) => errcode(42001),
                _ => served.respond(call).after(delay),
            }
        });
        let client = script
            .app_builder()
            .quotas([Quota::new(40, SECOND).unwrap()])
            .retry_after(Duration::from_millis(70))
            .retry(persistent())
            .build()
            .unwrap();
        let mut updates = approve(&client, &names(23)).batch_size(4).unwrap();
        let (mut confirmed, mut unknown) = (Vec::new(), Vec::new());
        loop {
            match timeout(Duration::from_millis(cut), updates.next()).await {
                Err(_) => {}
                Ok(Some(Ok(update))) => confirmed.extend(update.ids),
                Ok(Some(Err(error))) => unknown.push(error.enroll_id().unwrap().to_owned()),
                Ok(None) => break,
            }
            let mut unconfirmed = names(23);
            unconfirmed.retain(|id| !confirmed.contains(id));
            assert_eq!(updates.unconfirmed(), unconfirmed, "cut after {cut} ms");
        }
        assert_eq!((meeting.with(APPROVED).len(), confirmed.len()), (22, 22));
        assert_eq!((unknown, updates.unconfirmed()), (vec!["id7".to_owned()], vec!["id7"]));
        // A dropped `next()` causes no other request: 6 batches, and 4 more to find the unknown id.
        let mut bodies: Vec<_> = script.calls().into_iter().map(|call| call.body).collect();
        bodies.retain(|body| !body.is_null());
        bodies.dedup();
        assert_eq!(bodies.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn updates_dropped_cancel_the_request() {
    let script = Script::new(|_| Act::Hang);
    let mut updates = approve(&script.client(), &names(3));
    assert!(timeout(SECOND, updates.next()).await.is_err());
    assert_eq!((script.in_flight(), updates.unconfirmed()), (1, vec!["id0", "id1", "id2"]));
    drop(updates);
    assert_eq!(script.in_flight(), 0);
}

/// Returns the maximum number of these calls in any window. Both ends belong to the window.
fn fullest(times: &[Instant], window: Duration) -> usize {
    let from =
        |start: Instant| times.iter().filter(move |&&at| at >= start && at - start <= window);
    times.iter().map(|&start| from(start).count()).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn quota_of_updates_is_kept_exactly_beside_that_of_lists() {
    let meeting = Meeting::of(100);
    let script = Script::new(move |call| match call.is_list() {
        true => List(vec![1; 100]).respond(call),
        false if call.number % 7 == 0 => errcode(-1),
        false => meeting.respond(call),
    });
    let quota = (20, SECOND);
    let client = script.builder().quotas([Quota::new(quota.0, quota.1).unwrap()]);
    let client = client.retry(persistent()).build().unwrap();
    let mut updates = approve(&client, &names(100)).batch_size(1).unwrap();
    let started = Instant::now();
    let (rows, (confirmed, _)) = futures::join!(ids(client.enrolls(query())), finish(&mut updates));
    assert_eq!((rows.unwrap().len(), confirmed.len()), (100, 100));
    let (lists, approvals): (Vec<_>, Vec<_>) = script.calls().into_iter().partition(Call::is_list);
    assert!(approvals.len() > 105, "retries use quota");
    for calls in [lists, approvals] {
        let times: Vec<_> = calls.iter().map(|call| call.at).collect();
        let fullest = fullest(&times, quota.1);
        assert!((18..=20).contains(&fullest), "{fullest} calls in a window");
    }
    let elapsed = started.elapsed();
    assert!(elapsed < 7 * SECOND, "each has a quota of its own: {elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn throttled_updates_and_lists_hold_only_themselves() {
    for approve_is_throttled in [true, false] {
        let meeting = Meeting::of(10);
        let mut throttled = false;
        let script = Script::new(move |call| {
            if call.is_list() != approve_is_throttled && !throttled {
                throttled = true;
                return errcode(45009);
            }
            if call.is_list() { List::of(10).respond(call) } else { meeting.respond(call) }
        });
        let client = script.client();
        let mut updates = approve(&client, &names(10));
        let mut again = approve(&client, &names(10));
        let mut rows = client.enrolls(query());
        assert!(updates.next().now_or_never().is_none());
        let hour = 60 * 60 * SECOND;
        let started = Instant::now();
        let elapsed = |item: bool| (item, started.elapsed() >= 60 * SECOND);
        let (update, row, other) = futures::join!(
            timeout(hour, updates.next()).map(|item| elapsed(item.unwrap().unwrap().is_ok())),
            timeout(hour, rows.next()).map(|item| elapsed(item.unwrap().unwrap().is_ok())),
            async {
                sleep(SECOND).await;
                timeout(hour, again.next())
                    .map(|item| elapsed(item.unwrap().unwrap().is_ok()))
                    .await
            },
        );
        let expected = [approve_is_throttled, !approve_is_throttled, approve_is_throttled];
        assert_eq!([update, row, other], expected.map(|held| (true, held)));
    }
}

#[tokio::test(start_paused = true)]
async fn update_response_is_read_in_every_documented_type() {
    for (body, handled) in [
        (r#"{"errcode":0,"errmsg":"ok","handled_count":2}"#, Some(2)),
        (r#"{"errcode":"0","errmsg":"ok","handled_count":"2"}"#, Some(2)),
        ("\u{feff}{\"handled_count\":1}", Some(1)),
        (r#"{"errcode":0,"handled_count":null}"#, Some(0)),
        (r#"{"errcode":0}"#, Some(0)),
        (r#"{"errcode":0,"handled_count":-1}"#, Some(0)),
        (r#"{"errcode":0,"handled_count":[]}"#, None),
        (r#"{"errcode":[],"handled_count":1}"#, None),
        ("{}", None),
        ("[0]", None),
        ("<html>login</html>", None),
    ] {
        let script = Script::new(move |_| Act::Respond(response(200, body)));
        let mut updates = approve(&script.client(), &names(2));
        let update = updates.next().await.unwrap();
        match handled {
            Some(handled) => assert_eq!(update.unwrap().handled, handled, "{body}"),
            None => {
                let error = update.unwrap_err();
                assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Decode, false));
                assert_eq!(updates.unconfirmed(), ["id0", "id1"], "{body}");
            }
        }
        assert_eq!(script.calls().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn updates_print_no_secret() {
    const TOKEN: &str = "Sup3r-S3cret-T0ken";
    let script =
        Script::new(|_| json!({"errcode": 730_006, "errmsg": format!("{TOKEN} id0")}).into());
    let client = script.builder().access_token(TOKEN).build().unwrap();
    let mut updates = approve(&client, &names(1));
    let printed = format!("{updates:?} {updates:#?}");
    assert!(printed.contains("StatusUpdates") && printed.contains("M1"), "{printed}");
    let error = updates.next().await.unwrap().unwrap_err();
    let printed = format!("{printed} {} {updates:?}", full_text(&error));
    assert!(printed.contains("enrollment id0: ") && !printed.contains(TOKEN), "{printed}");
}
