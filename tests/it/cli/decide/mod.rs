//! `approve`, `reject` and `unapprove`: what is selected, what is sent, and exit codes.

mod faults;
mod input;
mod journal;

use std::process::Output;

use tokio::time::{sleep, timeout};
use wecom_enroll::simulator::{Simulator, SimulatorBuilder};

use super::{EXE, LIMIT, MS, code, command, run, signal, stderr};
use crate::http::{fault, start};

const PENDING: u32 = 1;
const REJECTED: u32 = 2;
const APPROVED: u32 = 3;

/// Returns the id of the enrollee at `index`. In a new meeting, those at 0, 10, 20, … are pending, those at 5, 15,
/// 25, … are rejected, and all others are approved.
fn id(index: u64) -> String {
    Simulator::enroll_id(index)
}

/// Returns the ids of the first pending enrollees.
fn pending(count: u64) -> Vec<String> {
    (0..count).map(|n| id(10 * n)).collect()
}

async fn simulator(enrollees: u64) -> Simulator {
    start(Simulator::builder().enrollees(enrollees)).await
}

async fn with_faults(builder: SimulatorBuilder, specs: &[&str]) -> Simulator {
    start(specs.iter().fold(builder, |builder, spec| builder.fault(fault(spec)))).await
}

/// The arguments of a command for the meeting M.
fn args<'a>(name: &'a str, url: &'a str, ids: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![name, "--base-url", url, "--retry-base", "1ms", "M"];
    args.extend(ids.iter().map(String::as_str));
    args.extend(more);
    args
}

/// Runs a command for the meeting M.
async fn decide(sim: &Simulator, name: &str, ids: &[String], more: &[&str]) -> Output {
    run(&args(name, &sim.base_url(), ids, more)).await
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Returns the ids whose status was changed in the meeting M, and their new status.
fn changed(sim: &Simulator) -> Vec<(String, u32)> {
    // No other meeting is ever changed.
    let before = sim.roster("another meeting");
    let now = sim.roster("M").into_iter();
    now.filter(|enrollee| !before.contains(enrollee)).collect()
}

/// Returns the ids with this status, as `changed` does.
fn all(ids: &[String], status: u32) -> Vec<(String, u32)> {
    ids.iter().map(|id| (id.clone(), status)).collect()
}

#[tokio::test]
async fn dry_run_prints_the_plan_and_sends_nothing() {
    let sim = simulator(100).await;
    let ids = [id(0), id(10), id(1), id(5), id(10)];
    let done = decide(&sim, "approve", &ids, &[]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(
        stdout(&done),
        "approve 2 of 4 enrollments in M:\n  2 are pending: will be approved\n  1 is approved: skipped: already approved\n  \
         1 is rejected: skipped: not pending; --any includes them\nnothing was sent; add --yes to send\n"
    );
    assert_eq!(stderr(&done), "");
    assert_eq!((sim.calls().approve, sim.calls().list, changed(&sim).len()), (0, 2, 0));

    let rows = run(&["export", "--base-url", &sim.base_url(), "M", "-q"]).await;
    let first: serde_json::Value =
        serde_json::from_str(stdout(&rows).lines().next().unwrap()).unwrap();
    let name = first["nick_name"].as_str().unwrap();
    assert!(!stdout(&done).contains(name));
    let named = decide(&sim, "approve", &ids, &["-v"]).await;
    assert!(stdout(&named).contains(&format!("    {} {name}\n", id(0))), "{}", stdout(&named));
    assert_eq!((sim.calls().approve, changed(&sim).len()), (0, 0));
}

#[tokio::test]
async fn each_command_sets_only_what_was_asked() {
    for (name, from, more, status, calls) in [
        ("approve", 0, &[][..], APPROVED, 1),
        ("reject", 0, &["--only-pending"], REJECTED, 1),
        ("approve", 5, &["--any"], APPROVED, 1),
        ("reject", 1, &["--any"], REJECTED, 1),
        ("unapprove", 5, &[], PENDING, 1),
        ("unapprove", 1, &[], PENDING, 1),
        ("reject", 0, &["--batch", "2"], REJECTED, 2),
        ("approve", 0, &["--kind", "meeting"], APPROVED, 1),
    ] {
        let sim = simulator(60).await;
        let ids = [id(from), id(from + 10), id(from + 50)];
        let done = decide(&sim, name, &ids, &[more, &["--yes"]].concat()).await;
        assert_eq!(code(&done), 0, "{name} {more:?}: {}", stderr(&done));
        assert_eq!(changed(&sim), all(&ids, status), "{name} {more:?}");
        assert_eq!(sim.calls().approve, calls, "{name} {more:?}");
        let summary = stderr(&done);
        assert!(summary.starts_with("3 of 3 enrollments set to "), "{summary}");
        assert_eq!(summary.lines().count(), 1, "{summary}");
    }
}

#[tokio::test]
async fn decided_enrollments_are_skipped_by_default() {
    for (name, ids) in
        [("approve", [id(5), id(1)]), ("reject", [id(5), id(1)]), ("unapprove", [id(0), id(10)])]
    {
        let sim = simulator(60).await;
        let done = decide(&sim, name, &ids, &["--yes"]).await;
        assert_eq!((code(&done), &*stderr(&done)), (0, ""), "{name}");
        assert!(stdout(&done).ends_with("nothing to do\n"), "{}", stdout(&done));
        assert_eq!((sim.calls().approve, changed(&sim).len()), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn id_that_is_not_in_the_list_sends_nothing() {
    let sim = simulator(100).await;
    sim.remove("M", &id(20));
    let ids = [id(0), id(100), id(20), "meXY-_=+/9".to_owned()];
    for more in [&["--yes"][..], &[]] {
        let done = decide(&sim, "approve", &ids, more).await;
        assert_eq!((code(&done), stdout(&done)), (1, ""), "{more:?}");
        let wanted =
            format!("does not contain 3 enrollments: {}, {}, meXY-_=+/9; remove", id(20), id(100));
        assert!(stderr(&done).contains(&wanted), "{}", stderr(&done));
    }
    assert_eq!(sim.calls().approve, 0);
    let many: Vec<_> = (200..300).map(id).collect();
    let done = decide(&sim, "approve", &many, &[]).await;
    assert!(stderr(&done).contains(&format!("{} and 80 more; ", id(219))), "{}", stderr(&done));
}

#[tokio::test]
async fn person_who_withdraws_while_listing_hides_nobody() {
    let sim = with_faults(Simulator::builder().enrollees(120), &["drop=1@2"]).await;
    // The first row of the second page moves to the first page, which was already listed.
    let ids = [id(50), id(70)];
    let done = decide(&sim, "approve", &ids, &["--yes"]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(ids.iter().all(|id| sim.roster("M").contains(&(id.clone(), APPROVED))));
}

#[tokio::test]
async fn decision_of_somebody_else_in_between_stands() {
    for any in [false, true] {
        let sim = with_faults(Simulator::builder().enrollees(600), &["approve:latency=30ms"]).await;
        let (ids, url) = (pending(60), sim.base_url());
        let more =
            if any { &["--any", "--yes", "--batch", "4"][..] } else { &["--yes", "--batch", "4"] };
        let child = command(EXE, &args("approve", &url, &ids, more)).spawn().unwrap();
        while sim.calls().approve < 2 {
            sleep(MS).await;
        }
        // Between the plan and the batch of this enrollment.
        sim.set_status("M", &ids[59], REJECTED);
        let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let rejected = sim.roster("M").contains(&(ids[59].clone(), REJECTED));
        assert_eq!(rejected, !any, "{}", stderr(&done));
        assert_eq!(stderr(&done).contains("1 decided by others meanwhile"), !any);
        assert!(ids[..59].iter().all(|id| sim.roster("M").contains(&(id.clone(), APPROVED))));
    }
}

#[tokio::test]
async fn list_that_changes_while_sending_hides_no_decision() {
    // Rows move to other pages when people before them withdraw, or the cursor of the last page expires.
    let slow = "approve:latency=30ms";
    for (expired, specs) in [(false, &[slow][..]), (true, &["errcode=50100@24", slow])] {
        let sim = with_faults(Simulator::builder().enrollees(600), specs).await;
        let (ids, url) = (pending(60), sim.base_url());
        let child = command(EXE, &args("reject", &url, &ids, &["--yes", "--batch", "5"])).spawn();
        while sim.calls().approve < 2 {
            sleep(MS).await;
        }
        // The first row of the last page.
        sim.set_status("M", &ids[55], APPROVED);
        if !expired {
            assert!((1..10).all(|index| sim.remove("M", &id(index))));
        }
        let done = timeout(LIMIT, child.unwrap().wait_with_output()).await.unwrap().unwrap();
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let mut wanted = all(&ids, REJECTED);
        wanted[55].1 = APPROVED;
        assert_eq!(changed(&sim), wanted, "{expired}");
    }
}

#[tokio::test]
async fn usage_error_of_a_decision_sends_nothing() {
    let sim = simulator(10).await;
    let (url, some) = (sim.base_url(), id(0));
    for case in [
        &["M"][..],
        &["M", ""],
        &["M", " "],
        &["M", &*some, "1,2"],
        &["M", "1386442\n"],
        &["", &*some],
        &[],
        &["M", &*some, "--batch", "0"],
        &["M", &*some, "--batch", "501"],
        &["M", &*some, "--any", "--only-pending"],
        &["M", &*some, "--from", "/dev/null", "--kind", "webcast"],
        &["M", "--from", "/dev/null"],
    ] {
        let done = run(&[&["approve", "--yes", "--base-url", &url][..], case].concat()).await;
        assert_eq!((code(&done), stdout(&done)), (2, ""), "{case:?}: {}", stderr(&done));
        assert!(!stderr(&done).is_empty());
    }
    let done = decide(&sim, "unapprove", &[some], &["--any"]).await;
    assert_eq!(code(&done), 2, "unapprove has no --any");
    assert_eq!(sim.calls().connections, 0);
}

#[tokio::test]
async fn quiet_decision_prints_only_the_plan() {
    let sim = simulator(60).await;
    let done = decide(&sim, "approve", &pending(6), &["--yes", "-q"]).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    assert_eq!(
        stdout(&done),
        "approve 6 of 6 enrollments in M:\n  6 are pending: will be approved\n"
    );
}

#[tokio::test]
async fn interrupted_decision_reports_what_was_confirmed() {
    for (name, wanted) in [("-INT", 130), ("-TERM", 143)] {
        let sim = with_faults(Simulator::builder().enrollees(100), &["approve:hang@3"]).await;
        let (ids, url) = (pending(10), sim.base_url());
        let more = ["--yes", "--batch", "2"];
        let child = command(EXE, &args("approve", &url, &ids, &more)).spawn().unwrap();
        while sim.calls().approve < 3 {
            sleep(MS).await;
        }
        signal(&child, name).await;
        let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(code(&done), wanted, "{}", stderr(&done));
        let wanted = "interrupted after 4 of 10 enrollments were confirmed";
        assert!(stderr(&done).starts_with(wanted), "{}", stderr(&done));
        assert_eq!(changed(&sim), all(&ids[..4], APPROVED));
    }
    let sim = with_faults(Simulator::builder().enrollees(100), &["hang@2"]).await;
    let (ids, url) = (pending(10), sim.base_url());
    let child = command(EXE, &args("approve", &url, &ids, &["--yes"])).spawn().unwrap();
    while sim.calls().list < 2 {
        sleep(MS).await;
    }
    signal(&child, "-INT").await;
    let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((code(&done), &*stderr(&done)), (130, "interrupted; nothing was sent\n"));
}

#[tokio::test]
async fn only_connection_options_are_under_their_heading() {
    for name in ["approve", "reject", "unapprove"] {
        let help = run(&[name, "--help"]).await;
        let (own, connection) = stdout(&help).split_once("Connection:").unwrap();
        assert!(own.contains("--journal") && own.contains("--any") == (name != "unapprove"));
        assert!(!connection.contains("--any") && connection.contains("--demo"), "{connection}");
    }
}
