//! Batches that WeCom refuses because of an unknown id or their size.

use futures::StreamExt;
use wecom_enroll::ErrorKind;

use super::{APPROVED, Meeting, approve, finish, names, sent, sizes};
use crate::support::{Script, errcode};

#[tokio::test(start_paused = true)]
async fn unknown_id_is_isolated_and_the_rest_is_delivered() {
    for unknown in [vec![0], vec![63], vec![64], vec![37], vec![127], vec![5, 6, 90], vec![0, 127]]
    {
        let meeting = Meeting::of(128);
        for index in &unknown {
            meeting.0.lock().unwrap().remove(&format!("id{index}"));
        }
        let script = meeting.clone().script();
        let mut updates = approve(&script.client(), &names(128)).batch_size(64).unwrap();
        let (confirmed, errors) = finish(&mut updates).await;
        let named: Vec<_> = errors.iter().map(|error| error.enroll_id().unwrap()).collect();
        let unknown: Vec<_> = unknown.iter().map(|index| format!("id{index}")).collect();
        assert_eq!(named, unknown);
        for (error, id) in errors.iter().zip(&unknown) {
            assert_eq!((error.kind(), error.errcode()), (ErrorKind::Api, Some(730_006)));
            assert!(error.to_string().starts_with(&format!("enrollment {id}: ")), "{error}");
            assert!(error.hint().unwrap().contains("list"), "{error:?}");
        }
        let known: Vec<_> = names(128).into_iter().filter(|id| !unknown.contains(id)).collect();
        assert_eq!(confirmed, known, "in the order in which they were passed");
        assert_eq!(meeting.with(APPROVED), known.into_iter().collect());
        assert_eq!(updates.unconfirmed(), unknown);
        // Two batches, and at most two calls for each of the six times that a batch is halved.
        let calls = script.calls().len();
        assert!(calls <= 2 + 2 * 6 * unknown.len(), "{calls} calls for {unknown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn batch_that_is_too_big_is_halved_and_stays_small() {
    let meeting = Meeting::of(100);
    let served = meeting.clone();
    let script = Script::new(move |call| match sent(call).len() {
        0..13 => served.respond(call),
        _ => errcode(40058),
    });
    let mut updates = approve(&script.client(), &names(100));
    assert_eq!(finish(&mut updates).await.0, names(100));
    assert_eq!(meeting.with(APPROVED).len(), 100);
    let mut expected = vec![50, 25, 13];
    expected.extend([7; 14]);
    expected.push(2);
    assert_eq!(sizes(&script), expected);
}

#[tokio::test(start_paused = true)]
async fn batch_too_big_while_an_unknown_id_is_isolated() {
    let meeting = Meeting::of(40);
    meeting.0.lock().unwrap().remove("id30");
    let served = meeting.clone();
    let script = Script::new(move |call| match sent(call).len() {
        // The maximum becomes smaller after the first call.
        9.. if call.number > 1 => errcode(40058),
        _ => served.respond(call),
    });
    let mut updates = approve(&script.client(), &names(40));
    let (confirmed, errors) = finish(&mut updates).await;
    assert_eq!((confirmed.len(), errors.len()), (39, 1));
    assert_eq!((meeting.with(APPROVED).len(), updates.unconfirmed()), (39, vec!["id30"]));
    let sizes = sizes(&script);
    assert!(sizes[..3] == [40, 20, 10] && sizes[3..].iter().all(|&size| size <= 5), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn parameter_error_of_a_single_id_ends_the_stream() {
    let script = Script::new(|_| errcode(40058));
    let mut updates = approve(&script.client(), &names(20));
    let (confirmed, errors) = finish(&mut updates).await;
    assert_eq!((confirmed.len(), errors.len()), (0, 1));
    assert_eq!((errors[0].errcode(), errors[0].enroll_id()), (Some(40058), None));
    assert_eq!(
        (updates.unconfirmed(), sizes(&script)),
        (names(20).iter().map(|id| &**id).collect(), vec![20, 10, 5, 3, 2, 1])
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_mark_covers_the_halves_of_a_batch() {
    let meeting = Meeting::of(9);
    meeting.0.lock().unwrap().remove("id3");
    let served = meeting.clone();
    let script = Script::new(move |call| match call.number {
        1 => errcode(-1),
        _ => served.respond(call),
    });
    let mut updates = approve(&script.client(), &names(9)).batch_size(8).unwrap();
    let mut marks = Vec::new();
    while let Some(update) = updates.next().await {
        marks.extend(update.map(|update| (update.ids.len(), update.repeated)));
    }
    assert_eq!(marks, [(2, true), (1, true), (4, true), (1, false)]);
}
