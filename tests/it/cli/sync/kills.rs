//! `sync` killed at random moments, with faults underneath and a list that changes.

use std::{collections::BTreeSet, env};

use tokio::time::{sleep, timeout};
use wecom_enroll::simulator::Simulator;

use super::{Mirror, code, id, lines, roster, seqs, stderr};
use crate::{
    cli::{LIMIT, MS},
    http::{fault, start},
};

/// The number of kills: 20, or `WECOM_ENROLL_KILLS`.
fn kills() -> u32 {
    env::var("WECOM_ENROLL_KILLS").map_or(20, |kills| kills.parse().unwrap())
}

/// Kills `sync` again and again while the list changes. In the end, the table must equal the roster.
pub(super) async fn kill_and_compare(mirror: &Mirror) {
    let sim = Simulator::builder().enrollees(400).latency(2 * MS);
    let sim = sim.fault(fault("reset-body@3%")).fault(fault("status=502@3%"));
    let sim = start(sim.fault(fault("errcode=50100@2%")).fault(fault("malformed-row@1%"))).await;
    let more = ["--max-attempts", "50", "-q", "--every", "20ms"];
    let mut printed = Vec::new();
    for _ in 0..kills() {
        let mut child = mirror.command(&sim.base_url(), &more).spawn().unwrap();
        let changes = async {
            loop {
                change(&sim);
                sleep(10 * MS).await;
            }
        };
        // A listing takes 50 ms or more.
        let _ = timeout(MS * fastrand::u32(0..1000), changes).await;
        child.start_kill().unwrap();
        let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(code(&done), -1, "it was killed: {}", stderr(&done));
        printed.push(lines(&done.stdout));
    }
    // The list has stopped changing. Two listings may fail, and two complete ones remove rows.
    loop {
        let done = mirror.run(&sim, &["--max-attempts", "50", "-q"]).await;
        printed.push(lines(&done.stdout));
        if mirror.roster().await == roster(&sim) {
            break;
        }
        assert!(printed.len() < kills() as usize + 20, "the table never equals the roster");
    }
    assert_eq!(mirror.replay().await, mirror.table().await);
    let stored = mirror.query("SELECT seq FROM changes ORDER BY seq").await;
    let stored = stored.into_iter().map(|row| row[0].as_ref().unwrap().parse().unwrap());
    let seen: BTreeSet<u64> = printed.iter().flat_map(|lines| seqs(lines)).collect();
    assert_eq!(seen, stored.collect(), "every change was printed");
    assert!(printed.iter().all(|lines| seqs(lines).is_sorted_by(|a, b| a < b)));
    assert!(seen.len() > 400, "the list has changed");
}

/// Changes the list in one random way.
fn change(sim: &Simulator) {
    let who = id(fastrand::u64(0..450));
    match fastrand::u32(0..4) {
        0 => drop(sim.enroll("M", 1)),
        1 => drop(sim.remove("M", &who)),
        2 => drop(sim.restore("M", &who)),
        _ => drop(sim.set_status("M", &who, fastrand::u32(1..4))),
    }
}

#[tokio::test]
async fn sync_killed_at_random_moments_loses_no_change() {
    kill_and_compare(&Mirror::sqlite()).await;
}
