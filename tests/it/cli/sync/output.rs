//! What `sync` prints, how it repeats, and how it ends.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rusqlite::Connection;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::{Instant, sleep, timeout},
};
use wecom_enroll::simulator::Simulator;

use super::{EXE, Mirror, code, command, finish, id, lines, seqs, stderr};
use crate::{
    cli::{LIMIT, MS, run, signal},
    http::{fault, start},
};

/// A running `sync --every`, and the lines that it prints.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mirror: &Mirror, url: &str, more: &[&str]) -> Self {
        let mut child = mirror.command(url, more).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> Value {
        let line = timeout(LIMIT, self.lines.next_line()).await.expect("in time").unwrap();
        serde_json::from_str(&line.expect("another line")).unwrap()
    }

    /// Interrupts it. Returns its exit code and its standard error.
    async fn interrupt(self, name: &str) -> (i32, String) {
        signal(&self.child, name).await;
        let done = timeout(LIMIT, self.child.wait_with_output()).await.unwrap().unwrap();
        (code(&done), stderr(&done))
    }
}

#[tokio::test]
async fn change_that_was_not_printed_is_printed_by_the_next_run() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(120)).await;
    // The reader closes the pipe at once.
    let shell =
        format!("{EXE} sync M -q --base-url {} | true; echo ${{PIPESTATUS[0]}}", sim.base_url());
    let mut shell = command("bash", &["-c", &shell]);
    shell.env("DATABASE_URL", &mirror.url);
    let done = finish(shell).await;
    assert_eq!(String::from_utf8_lossy(&done.stdout), "0\n", "{}", stderr(&done));
    assert_eq!(stderr(&done), "");
    let printed = mirror.sync(&sim, &[]).await;
    assert_eq!(seqs(&printed), (1..=120).collect::<Vec<_>>());
    assert!(mirror.sync(&sim, &[]).await.is_empty());
    assert_eq!(
        mirror.count("SELECT COUNT(*) FROM changes, printed WHERE changes.seq > printed.seq").await,
        0
    );
}

#[tokio::test]
async fn changes_of_a_listing_that_fails_are_printed() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(160).fault(fault("errcode=301002@3"))).await;
    let done = mirror.run(&sim, &[]).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert_eq!(seqs(&lines(&done.stdout)), (1..=100).collect::<Vec<_>>());
    assert_eq!(mirror.count("SELECT seq FROM printed").await, 100);
}

#[tokio::test]
async fn number_of_a_deleted_change_is_not_used_again() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60)).await;
    mirror.sync(&sim, &[]).await;
    // As if it had been killed before it marked the changes as printed.
    let sql = "DELETE FROM changes; UPDATE printed SET seq = 0";
    Connection::open(mirror.path()).unwrap().execute_batch(sql).unwrap();
    sim.enroll("M", 1);
    assert_eq!(seqs(&mirror.sync(&sim, &[]).await), [61]);
}

#[tokio::test]
async fn since_prints_later_changes_before_synchronizing() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(120)).await;
    let all = mirror.sync(&sim, &[]).await;
    assert_eq!(mirror.sync(&sim, &["--since", "0"]).await, all);
    sim.enroll("M", 1);
    let printed = mirror.sync(&sim, &["--since", "118"]).await;
    assert_eq!(printed[..2], all[118..]);
    assert_eq!(seqs(&printed), [119, 120, 121]);
    for beyond in ["121", "9223372036854775807"] {
        assert!(mirror.sync(&sim, &["--since", beyond]).await.is_empty());
    }
    for usage in ["-1", "x", "9223372036854775808"] {
        let done = mirror.run(&sim, &["--since", usage]).await;
        assert_eq!(code(&done), 2, "{}", stderr(&done));
    }
}

#[tokio::test]
async fn row_of_a_change_is_what_export_writes() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60)).await;
    let url = sim.base_url();
    let exported = run(&["export", "M", "--base-url", &url]).await.stdout;
    let done = mirror.run(&sim, &[]).await;
    let printed = String::from_utf8(done.stdout).unwrap();
    let rows = printed.lines().map(|line| {
        let (_, row) = line.split_once(",\"row\":").unwrap();
        format!("{}\n", row.strip_suffix('}').unwrap())
    });
    assert_eq!(rows.collect::<String>(), String::from_utf8(exported).unwrap());
}

#[tokio::test]
async fn every_repeats_until_it_is_interrupted() {
    for (name, wanted) in [("-INT", 130), ("-TERM", 143)] {
        let mirror = Mirror::sqlite();
        let sim = start(Simulator::builder().enrollees(60)).await;
        let mut running = Running::start(&mirror, &sim.base_url(), &["--every", "50ms"]);
        for _ in 0..60 {
            assert_eq!(running.line().await["change"], "added");
        }
        sim.set_status("M", &id(3), 2_u32);
        assert_eq!(running.line().await["row"]["status"], 2);
        sim.remove("M", &id(3));
        assert_eq!(running.line().await["change"], "removed");
        let (code, stderr) = running.interrupt(name).await;
        assert_eq!(code, wanted, "{stderr}");
        assert!(stderr.contains("0 added, 0 changed, 1 removed, 59 unchanged"), "{stderr}");
        assert!(mirror.sync(&sim, &["--since", "61"]).await.len() == 1);
    }
}

#[tokio::test]
async fn interrupted_sync_continues_where_it_stopped() {
    // While pages are fetched, during a backoff, and during a wait that the server asked for.
    for spec in ["latency=1ms", "status=503;retry-after=60@3", "errcode=45009@3"] {
        let mirror = Mirror::sqlite();
        let sim = Simulator::builder().enrollees(3000).latency(20 * MS).fault(fault(spec));
        let sim = start(sim).await;
        let mut command = mirror.command(&sim.base_url(), &[]);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        while sim.calls().list < 3 {
            sleep(MS).await;
        }
        let started = Instant::now();
        signal(&child, "-TERM").await;
        let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(code(&done), 143, "{spec}: {}", stderr(&done));
        assert!(started.elapsed() < Duration::from_secs(5), "{spec}");
        assert!(stderr(&done).contains("interrupted; run the same command"), "{}", stderr(&done));
        let calls = sim.calls().list;
        mirror.sync(&sim, &["-q"]).await;
        assert!(sim.calls().list - calls < 60, "{spec}");
        assert_eq!(mirror.roster().await, super::roster(&sim));
    }
}

#[tokio::test]
async fn every_survives_a_server_that_is_away() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60)).await;
    let (addr, url): (SocketAddr, _) = (sim.addr(), sim.base_url());
    let more = ["--every", "20ms", "--max-attempts", "2"];
    let mut running = Running::start(&mirror, &url, &more);
    for _ in 0..60 {
        running.line().await;
    }
    sim.shutdown().await;
    sleep(300 * MS).await;
    let _sim = start(Simulator::builder().enrollees(61).listen(addr)).await;
    assert_eq!(running.line().await["enroll_id"], id(60));
    let (code, stderr) = running.interrupt("-INT").await;
    assert_eq!(code, 130);
    assert!(
        stderr.contains("stopped after 0 rows; the last call failed after 2 attempts"),
        "{stderr}"
    );
}

#[tokio::test]
async fn every_ends_when_the_secret_is_wrong() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder()).await;
    let mut command = mirror.command(&sim.base_url(), &["N", "--every", "1ms"]);
    command.env("WECOM_CORP_SECRET", "another-secret");
    let done = finish(command).await;
    assert_eq!((code(&done), sim.calls().gettoken), (1, 1), "{}", stderr(&done));
    assert!(!stderr(&done).contains("another-secret"), "{}", stderr(&done));
}

#[tokio::test]
async fn cursor_and_credentials_are_never_printed() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(200).fault(fault("status=404@3"))).await;
    let mut all = String::new();
    for _ in 0..2 {
        let done = mirror.run(&sim, &["-vvv"]).await;
        all += &stderr(&done);
        all += &String::from_utf8_lossy(&done.stdout);
        if code(&done) == 1 {
            let stored = mirror.query("SELECT position FROM positions WHERE page = 2").await;
            assert!(stored[0][0].as_ref().unwrap().contains("cursor"), "{stored:?}");
        }
    }
    // What every cursor of the simulator starts with, as it is and as JSON.
    for secret in ["c+/=&%", Simulator::SECRET, &sim.access_token()] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn sync_without_a_terminal_prints_no_progress() {
    let mirror = Mirror::sqlite();
    let args = ["sync", "--demo", "60", "--database", &mirror.url];
    let mut command = command(EXE, &args);
    command.stdin(Stdio::null());
    let done = finish(command).await;
    assert_eq!(lines(&done.stdout).len(), 60);
    let text = stderr(&done);
    assert!(text.starts_with("60 added, 0 changed, 0 removed, 0 unchanged; 60 rows"), "{text}");
    assert_eq!(text.lines().count(), 1);
}
