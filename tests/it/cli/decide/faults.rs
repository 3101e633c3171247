//! Batches that fail, are refused or are only carried out in part.

use super::*;

/// Returns the lines of standard error that name an enrollment, without "error: enrollment ".
fn named(output: &Output) -> Vec<String> {
    let text = stderr(output);
    let lines = text.lines().filter_map(|line| line.strip_prefix("error: enrollment "));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn failed_batch_ends_sending_and_names_the_undecided() {
    for (spec, wanted, calls) in [
        ("approve:status=503@3..99", 75, 4),
        ("approve:reset@3..99", 75, 4),
        ("approve:errcode=48002@3", 1, 3),
        ("approve:errcode=40058@3..99", 1, 5),
        ("approve:status=404@3", 1, 3),
    ] {
        let sim = with_faults(Simulator::builder().enrollees(200), &[spec]).await;
        let ids = pending(20);
        let more = ["--yes", "--batch", "4", "--max-attempts", "2"];
        let done = decide(&sim, "approve", &ids, &more).await;
        assert_eq!(code(&done), wanted, "{spec}: {}", stderr(&done));
        assert_eq!(sim.calls().approve, calls, "{spec}");
        assert_eq!(changed(&sim), all(&ids[..8], APPROVED), "{spec}");
        let undecided: Vec<_> = ids[8..].iter().map(|id| format!("{id} is pending")).collect();
        assert_eq!(named(&done), undecided, "{spec}");
        assert!(stderr(&done).contains("error: not all enrollments were sent: "), "{spec}");
        assert!(stderr(&done).contains("\n8 of 20 enrollments set to approved, 2 batches, "));
    }
}

#[tokio::test]
async fn failed_batch_that_was_carried_out_is_not_named() {
    let sim = with_faults(Simulator::builder().enrollees(200), &["approve:lost@2..99"]).await;
    let ids = pending(12);
    let more = ["--yes", "--batch", "4", "--max-attempts", "2"];
    let done = decide(&sim, "approve", &ids, &more).await;
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    assert_eq!(changed(&sim), all(&ids[..8], APPROVED));
    let undecided: Vec<_> = ids[8..].iter().map(|id| format!("{id} is pending")).collect();
    assert_eq!(named(&done), undecided);
}

#[tokio::test]
async fn lost_response_is_repeated_and_the_result_verified() {
    for spec in ["approve:lost@1", "approve:reset@2", "approve:cut@1", "approve:errcode=-1@2"] {
        let sim = with_faults(Simulator::builder().enrollees(200), &[spec]).await;
        let done = decide(&sim, "approve", &pending(20), &["--yes", "--batch", "10"]).await;
        assert_eq!((code(&done), sim.calls().approve), (0, 3), "{spec}: {}", stderr(&done));
        assert_eq!(changed(&sim), all(&pending(20), APPROVED), "{spec}");
        assert!(stderr(&done).contains("1 retry"), "{}", stderr(&done));
    }
}

#[tokio::test]
async fn id_that_became_unknown_is_named_and_the_rest_sent() {
    // The first id of the second batch is removed.
    let sim = with_faults(Simulator::builder().enrollees(300), &["approve:drop=1@2"]).await;
    let ids = pending(30);
    let done = decide(&sim, "approve", &ids, &["--yes", "--batch", "10"]).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    let missing = format!("error: WeCom does not know enrollment {}\n", ids[10]);
    assert!(stderr(&done).contains(&missing), "{}", stderr(&done));
    assert_eq!(named(&done), [format!("{} is not in the list any more", ids[10])]);
    let rest: Vec<_> = [&ids[..10], &ids[11..]].concat();
    assert_eq!(changed(&sim), all(&rest, APPROVED));
    // Halving continues with batches of the former size: 1, then 10 and its halves, then 1.
    let calls = sim.calls().approve;
    assert!((8..=12).contains(&calls), "{calls}");
}

#[tokio::test]
async fn batch_that_is_too_big_is_halved_for_the_rest() {
    let sim = with_faults(Simulator::builder().enrollees(2000), &["approve:too-big=13"]).await;
    let ids = pending(200);
    let done = decide(&sim, "approve", &ids, &["--yes"]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(changed(&sim), all(&ids, APPROVED));
    // 50 and 25 are refused once; then come three batches of 13, one of 11, and the other 150 in batches of 13.
    assert_eq!((sim.calls().refused, sim.calls().approve), (2, 2 + 4 + 12));
}

#[tokio::test]
async fn batch_carried_out_in_part_is_named() {
    let sim = with_faults(Simulator::builder().enrollees(200), &["approve:partial=7@1"]).await;
    let ids = pending(20);
    let done = decide(&sim, "reject", &ids, &["--yes", "--batch", "10"]).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    let undecided: Vec<_> = ids[7..10].iter().map(|id| format!("{id} is pending")).collect();
    assert_eq!(named(&done), undecided);
    assert_eq!(changed(&sim).len(), 17);
}

#[tokio::test]
async fn list_that_fails_after_sending_leaves_ids_unconfirmed() {
    // The plan takes the first request, the fresh status of each batch the next two.
    let specs = ["approve:errcode=48002@2", "status=503@4..99"];
    let sim = with_faults(Simulator::builder().enrollees(50), &specs).await;
    let ids = pending(4);
    let done =
        decide(&sim, "approve", &ids, &["--yes", "--batch", "2", "--max-attempts", "2"]).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert!(stderr(&done).contains("error: cannot list the meeting again: "), "{}", stderr(&done));
    let unconfirmed: Vec<_> = ids[2..].iter().map(|id| format!("{id} is not confirmed")).collect();
    assert_eq!(named(&done), unconfirmed);

    let sim = with_faults(Simulator::builder().enrollees(50), &["status=503@3..99"]).await;
    let done = decide(&sim, "approve", &ids, &["--yes", "--max-attempts", "2"]).await;
    assert_eq!((code(&done), named(&done).len()), (75, 0), "{}", stderr(&done));
    assert_eq!(changed(&sim), all(&ids, APPROVED));
}

#[tokio::test]
async fn list_that_fails_before_sending_sends_nothing() {
    for (spec, wanted) in [("status=503", 75), ("errcode=48002", 1), ("gettoken:errcode=40001", 1)]
    {
        let sim = with_faults(Simulator::builder(), &[spec]).await;
        let done = decide(&sim, "approve", &pending(4), &["--yes", "--max-attempts", "2"]).await;
        assert_eq!((code(&done), sim.calls().approve), (wanted, 0), "{spec}: {}", stderr(&done));
        assert!(stderr(&done).contains("error: "), "{}", stderr(&done));
        assert!(stderr(&done).contains("; hint: "), "{}", stderr(&done));
    }
}

#[tokio::test]
async fn malformed_row_of_a_requested_id_is_never_decided() {
    // The malformed row is at index 25.
    let sim = with_faults(Simulator::builder().enrollees(50), &["malformed-row"]).await;
    let ids = [id(0), id(25)];
    let done = decide(&sim, "approve", &ids, &["--yes"]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(
        stdout(&done).contains("  1 is with status 0: skipped: not pending"),
        "{}",
        stdout(&done)
    );
    assert!(
        stderr(&done).contains("malformed row: meeting M, page 1, row 26"),
        "{}",
        stderr(&done)
    );
    assert_eq!(changed(&sim), all(&ids[..1], APPROVED));
    let quiet = decide(&sim, "approve", &[id(10)], &["--yes", "-q"]).await;
    assert_eq!(
        (code(&quiet), &*stderr(&quiet)),
        (0, ""),
        "the row of somebody else does not matter"
    );
}
