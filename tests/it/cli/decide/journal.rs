//! `--journal`: what was sent is never sent again, even after SIGKILL.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::cli::{finish, text};

/// A path for a journal in a temporary directory.
fn new_journal() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal.jsonl");
    (directory, path)
}

/// Returns the ids of the journal's entries of one kind, in order. A torn last line is ignored.
fn entries(path: &Path, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let ids = |line| -> Option<Vec<String>> {
        let entry: Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(entry.get(kind)?.clone()).ok()
    };
    complete.lines().filter_map(ids).flatten().collect()
}

#[tokio::test]
async fn killed_decision_sends_at_most_one_batch_per_kill_twice() {
    // 50 kills take half a minute, so usually there are fewer.
    let wanted = env::var("WECOM_ENROLL_KILLS").map_or(15, |kills| kills.parse().unwrap());
    let (mut kills, mut rounds) = (0, 0);
    while kills < wanted {
        let (_directory, path) = new_journal();
        let sim = Simulator::builder().enrollees(400).latency(2 * MS).seed(rounds);
        let sim = with_faults(sim, &["approve:lost@5%", "approve:status=502@5%"]).await;
        let (ids, url) = ((0..400).map(id).collect::<Vec<_>>(), sim.base_url());
        let more = ["--yes", "-q", "--any", "--batch", "8", "--max-attempts", "50"];
        let args = args("reject", &url, &ids, &[&more[..], &["--journal", text(&path)]].concat());
        let mut overruled = BTreeSet::new();
        let mut killed = 0;
        loop {
            let mut child = command(EXE, &args).spawn().unwrap();
            // From before the first request to the middle of the twelfth batch.
            let last = sim.calls().approve + fastrand::u64(0..12);
            let moment = async {
                while sim.calls().approve < last {
                    sleep(MS).await;
                }
                sleep(MS * fastrand::u32(0..20)).await;
            };
            let ended = tokio::select! {
                status = child.wait() => Some(status.unwrap()),
                () = moment => None,
            };
            match ended {
                Some(status) => break assert!(status.success()),
                None => {
                    child.kill().await.unwrap();
                    killed += 1;
                    // Somebody overrules what is recorded as done, which must stand.
                    if let Some(id) = entries(&path, "done").pop() {
                        sim.set_status("M", &id, APPROVED);
                        overruled.insert(id);
                    }
                }
            }
        }
        for (id, status) in sim.roster("M") {
            let wanted = if overruled.contains(&id) { APPROVED } else { REJECTED };
            assert_eq!(status, wanted, "{id} after {killed} kills");
        }
        // All but those that were rejected already, and a tenth of all calls because of faults.
        let (batches, faults) = (360_u64.div_ceil(8), sim.calls().faults);
        let calls = sim.calls().approve;
        assert!(
            calls <= batches + killed + faults,
            "{calls} calls, {faults} faults, {killed} kills"
        );
        let done = entries(&path, "done");
        assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), done.len(), "each id once");
        kills += killed;
        rounds += 1;
    }
    println!("{kills} kills in {rounds} runs");
}

#[tokio::test]
async fn entry_is_written_before_and_after_each_batch() {
    let (_directory, path) = new_journal();
    let sim = with_faults(Simulator::builder().enrollees(100), &["approve:hang@3"]).await;
    let (ids, url) = (pending(8), sim.base_url());
    let more = ["--yes", "--batch", "2", "--journal", text(&path)];
    let args = args("approve", &url, &ids, &more);
    let mut child = command(EXE, &args).spawn().unwrap();
    while sim.calls().approve < 3 {
        sleep(MS).await;
    }
    child.kill().await.unwrap();
    assert_eq!(entries(&path, "sending"), ids[..6]);
    assert_eq!(entries(&path, "done"), ids[..4]);
    // The batch without a response is sent again, and those that are done are not.
    let done = run(&args).await;
    assert_eq!((code(&done), sim.calls().approve), (0, 5), "{}", stderr(&done));
    assert_eq!(changed(&sim), all(&ids, APPROVED));
    assert_eq!((entries(&path, "sending").len(), entries(&path, "done").len()), (10, 8));
}

#[tokio::test]
async fn batch_recorded_as_done_is_never_sent_again() {
    let (_directory, path) = new_journal();
    let sim = simulator(100).await;
    let ids = pending(4);
    let with = ["--yes", "--any", "--journal", text(&path)];
    assert_eq!(code(&decide(&sim, "approve", &ids, &with).await), 0);
    sim.set_status("M", &ids[1], REJECTED);
    let again = decide(&sim, "approve", &ids, &with).await;
    assert_eq!((code(&again), sim.calls().approve), (0, 1), "{}", stderr(&again));
    let wanted = "  1 is rejected: skipped: the journal records them as done\nnothing to do\n";
    assert!(stdout(&again).ends_with(wanted), "{}", stdout(&again));
    // Without the journal, the decision is undone.
    assert_eq!(code(&decide(&sim, "approve", &ids, &with[..2]).await), 0);
    assert_eq!((sim.calls().approve, changed(&sim)), (2, all(&ids, APPROVED)));
}

#[tokio::test]
async fn torn_last_line_is_ignored_and_replaced() {
    for torn in ["{", "{\"done\":[\"1386442\"", "{\"done\":[\"1386442\"]}", "\0\0\0"] {
        let (_directory, path) = new_journal();
        let sim = simulator(100).await;
        let (ids, more) = (pending(4), ["--yes", "--journal", text(&path)]);
        assert_eq!(code(&decide(&sim, "approve", &ids[..2], &more).await), 0);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{before}{torn}")).unwrap();
        let done = decide(&sim, "approve", &ids, &more).await;
        assert_eq!(code(&done), 0, "{torn}: {}", stderr(&done));
        assert_eq!(changed(&sim), all(&ids, APPROVED), "{torn}");
        let after = fs::read_to_string(&path).unwrap();
        assert!(after.starts_with(&before) && after.lines().count() == 5, "{after}");
    }
    // The first line can be torn as well.
    let (_directory, path) = new_journal();
    let sim = simulator(100).await;
    for torn in ["", "{\"journal\":1,\"ki"] {
        fs::write(&path, torn).unwrap();
        let done = decide(&sim, "approve", &[id(0)], &["--yes", "--journal", text(&path)]).await;
        assert_eq!(code(&done), 0, "{torn}: {}", stderr(&done));
        assert!(fs::read_to_string(&path).unwrap().starts_with("{\"journal\":1,\"kind\":"));
    }
}

#[tokio::test]
async fn journal_of_another_command_is_refused_and_kept() {
    let (_directory, path) = new_journal();
    let sim = simulator(100).await;
    let (ids, url) = (pending(2), sim.base_url());
    let own = ["approve", "--base-url", &url, "--journal", text(&path), "--yes", "M"];
    assert_eq!(code(&run(&[&own[..], &[&*ids[0]]].concat()).await), 0);
    let calls = sim.calls();
    let before = fs::read(&path).unwrap();
    for case in [
        &["reject", "--base-url", &url, "M"][..],
        &["approve", "--base-url", &url, "N"],
        &["approve", "--base-url", &url, "M", "--kind", "meeting"],
        &["approve", "--demo", "100", "M"],
    ] {
        for more in [&["--yes"][..], &[]] {
            let args = [case, &[&*ids[1], "--journal", text(&path)], more].concat();
            let done = run(&args).await;
            assert_eq!(code(&done), 2, "{case:?}: {}", stderr(&done));
            assert!(stderr(&done).contains("belongs to another command"), "{}", stderr(&done));
        }
    }
    assert_eq!(fs::read(&path).unwrap(), before);

    let other = ["my notes", "my notes\n", "1386442", "{\"enroll_id\":1}\n", "\n", "{}\n"];
    for other in other {
        fs::write(&path, other).unwrap();
        let done = run(&[&own[..], &[&*ids[1]]].concat()).await;
        assert_eq!(code(&done), 2, "{other}: {}", stderr(&done));
        assert!(stderr(&done).contains("is not a journal"), "{}", stderr(&done));
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
    }
    // A line in the middle that is damaged cannot be ignored: it could be a batch that was sent.
    let damaged = [&before[..], b"{\"done\":\n{\"done\":[]}\n"].concat();
    fs::write(&path, &damaged).unwrap();
    let done = run(&[&own[..], &[&*ids[1]]].concat()).await;
    assert_eq!((code(&done), fs::read(&path).unwrap()), (1, damaged), "{}", stderr(&done));
    assert!(stderr(&done).contains("line 4 of the journal"), "{}", stderr(&done));
    assert_eq!((sim.calls().list, sim.calls().approve), (calls.list, calls.approve));
}

#[tokio::test]
async fn dry_run_does_not_touch_the_journal() {
    let (_directory, path) = new_journal();
    let sim = simulator(100).await;
    let done = decide(&sim, "approve", &[id(0)], &["--journal", text(&path)]).await;
    assert_eq!((code(&done), path.exists()), (0, false), "{}", stderr(&done));
}

#[tokio::test]
async fn journal_in_use_or_not_writable_sends_nothing() {
    let (_directory, path) = new_journal();
    let sim = with_faults(Simulator::builder().enrollees(50), &["approve:hang@1"]).await;
    let (ids, url) = (pending(1), sim.base_url());
    let args = args("approve", &url, &ids, &["--yes", "--journal", text(&path)]);
    let mut first = command(EXE, &args).spawn().unwrap();
    while sim.calls().approve == 0 {
        sleep(MS).await;
    }
    let second = run(&args).await;
    assert_eq!(code(&second), 1);
    assert!(
        stderr(&second).contains("another process is using the journal"),
        "{}",
        stderr(&second)
    );
    first.kill().await.unwrap();
    let done = decide(&sim, "approve", &ids, &["--yes", "--journal", "/proc/journal"]).await;
    assert_eq!((code(&done), sim.calls().approve), (1, 1), "{}", stderr(&done));
    // The file may grow to 512 or 1,024 bytes only, and the entry of the batch is longer.
    let sim = simulator(2000).await;
    let (ids, url) = (pending(150), sim.base_url());
    let more = ["--yes", "--batch", "150", "--journal", text(&path)];
    fs::remove_file(&path).unwrap();
    let limited = ["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh", EXE];
    let approve = super::args("approve", &url, &ids, &more);
    let done = finish(command("sh", &[&limited[..], &approve].concat())).await;
    assert_eq!((code(&done), sim.calls().approve), (1, 0), "{}", stderr(&done));
    assert!(stderr(&done).contains("cannot write the journal"), "{}", stderr(&done));
}
