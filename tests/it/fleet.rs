//! Meetings divided among processes on a real Redis: whoever dies, sleeps or forgets, each meeting ends in one
//! complete file.

use std::{fs, path::Path, pin::pin, process::Output, time::Duration};

use futures::{FutureExt, future::join_all};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use wecom_enroll::{
    Checkpoint, CheckpointStore, ErrorKind, Fleet, Lease, Redis,
    simulator::{Simulator, SimulatorBuilder},
};

use crate::{
    cli::{EXE, MS, code, command, finish, ids, run, signal, stderr, text},
    http::{expected, fault, start},
    redis_server::RedisServer,
    store::keeps_what_was_saved_last,
};

const SEC: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(120);
const LEASES: &str = "wecom-enroll:{CORP}:fleet:night:leases";

fn night(server: &RedisServer) -> Fleet {
    Redis::open(&server.url()).unwrap().fleet("CORP", "night").unwrap()
}

async fn claim(fleet: &Fleet, meetings: &[&str]) -> Lease {
    timeout(LIMIT, fleet.claim(meetings)).await.unwrap().unwrap().unwrap()
}

/// Lets the lease end as if its holder had been silent.
async fn expire(server: &RedisServer, lease: &Lease) {
    let silent = format!("1 {}", lease.id());
    server.ask::<u32>(&["HSET", LEASES, lease.meeting(), &silent]).await;
}

#[tokio::test]
async fn a_lease_keeps_what_was_saved_last() {
    let Some(server) = RedisServer::start().await else { return };
    let lease = claim(&night(&server), &["M"]).await;
    keeps_what_was_saved_last(&lease).await;
}

#[tokio::test]
async fn a_meeting_is_one_holders_until_it_is_given_back_or_finished() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = night(&server);
    let a = claim(&fleet, &["A", "B"]).await;
    let b = claim(&fleet, &["A", "B"]).await;
    assert_eq!((a.meeting(), b.meeting()), ("A", "B"));
    assert_ne!(a.id(), b.id());
    assert!(timeout(SEC / 2, fleet.claim(&["A", "B"])).await.is_err(), "both are held");
    a.save(&1).await.unwrap();
    a.release().await.unwrap();
    // The next holder goes on where that one was.
    let begun = Instant::now();
    let a = claim(&fleet, &["A", "B"]).await;
    assert_eq!((a.meeting(), a.load().await.unwrap()), ("A", Some(1)));
    b.finish().await.unwrap();
    drop(a);
    let a = claim(&fleet, &["B", "A"]).await;
    assert_eq!(a.meeting(), "A");
    assert!(begun.elapsed() < 10 * SEC, "not only when its lease had ended");
    a.finish().await.unwrap();
    assert!(fleet.claim(&["A", "B"]).await.unwrap().is_none());
    assert!(fleet.claim::<&str>(&[]).await.unwrap().is_none());
    // Neither a cursor nor anything else of it is left.
    let keys = server.keys().await;
    assert_eq!(keys, [LEASES]);
    let left: u64 = server.ask(&["TTL", LEASES]).await;
    assert!((7 * 86_400 - 60..=7 * 86_400).contains(&left), "{left}");
}

#[tokio::test]
async fn a_claim_that_nobody_waits_for_leaves_no_lease_behind() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = night(&server).lease(24 * 3600 * SEC).unwrap();
    let meetings: Vec<_> = (0..20).map(|meeting| meeting.to_string()).collect();
    // Connected, and the script known.
    claim(&fleet, &["0"]).await.release().await.unwrap();
    for polls in 0..60 {
        let mut claim = pin!(fleet.claim(&meetings));
        for _ in 0..polls % 4 {
            let _ = futures::poll!(&mut claim);
            yield_now().await;
        }
    }
    let mut leases = Vec::new();
    for _ in &meetings {
        leases.push(timeout(LIMIT, fleet.claim(&meetings)).await.unwrap().unwrap().unwrap());
    }
    assert_eq!(leases.len(), meetings.len());
}

#[tokio::test]
async fn a_finish_that_was_not_answered_may_be_repeated_by_its_holder_and_nothing_undoes_it() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = night(&server);
    for (meeting, own) in [("A", true), ("B", false)] {
        let lease = claim(&fleet, &[meeting]).await;
        let finished = format!("finished {}", if own { lease.id() } else { "another" });
        server.ask::<u32>(&["HSET", LEASES, meeting, &finished]).await;
        assert_eq!(lease.finish().await.is_ok(), own);
        assert!(fleet.claim(&[meeting]).await.unwrap().is_none());
    }
    let lease = claim(&fleet, &["C"]).await;
    server.ask::<u32>(&["HSET", LEASES, "C", &format!("finished {}", lease.id())]).await;
    assert!(lease.save(&1).await.is_err());
    assert!(fleet.claim(&["C"]).await.unwrap().is_none());
}

#[tokio::test]
async fn a_holder_that_was_taken_over_cannot_save_and_is_told() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = night(&server);
    let slept = claim(&fleet, &["M"]).await;
    slept.save(&"old").await.unwrap();
    expire(&server, &slept).await;
    let next = claim(&fleet, &["M"]).await;
    next.save(&"new").await.unwrap();
    assert!(!slept.is_lost(), "it cannot know yet");
    let error = slept.save(&"late").await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Checkpoint, false));
    assert!(error.to_string().contains("another process has taken the meeting M over"), "{error}");
    assert!(slept.is_lost() && slept.lost().now_or_never().is_some());
    assert_eq!(next.load::<String>().await.unwrap().unwrap(), "new");
    // Nor when its successor has given the meeting back.
    next.release().await.unwrap();
    assert!(slept.finish().await.is_err());
    let next = claim(&fleet, &["M"]).await;
    assert_eq!(next.load::<String>().await.unwrap().unwrap(), "new");
    // Without a step of its own it finds out when it renews.
    expire(&server, &next).await;
    let fleet = night(&server).lease(SEC).unwrap();
    let slept = claim(&fleet, &["M"]).await;
    expire(&server, &slept).await;
    let _last = claim(&fleet, &["M"]).await;
    timeout(SEC, slept.lost()).await.unwrap();
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_holder_waits_and_ends_when_nobody_renews_it() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = night(&server).lease(SEC / 2).unwrap();
    let lease = claim(&fleet, &["M"]).await;
    assert!(timeout(2 * SEC, fleet.claim(&["M"])).await.is_err());
    assert!(!lease.is_lost());
    // Its runtime is gone, and nobody gives it back.
    let url = server.url();
    let dead = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fleet = Redis::open(&url).unwrap().fleet("CORP", "night").unwrap();
            claim(&fleet.lease(SEC).unwrap(), &["N"]).await
        })
    });
    let _dead = dead.join().unwrap();
    let before = (Instant::now(), server.scripts().await);
    claim(&fleet, &["N"]).await;
    let (waited, asked) = (before.0.elapsed(), server.scripts().await - before.1);
    assert!(waited > SEC / 2 && waited < 2 * SEC, "{waited:?}");
    // Six a second for the claim, and six for the other lease.
    assert!(asked < 20, "{asked} scripts");
}

#[tokio::test]
async fn a_redis_that_forgot_gives_a_lease_back_to_its_holder_or_to_who_is_faster() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = night(&server);
    let lease = claim(&fleet, &["M"]).await;
    lease.save(&1).await.unwrap();
    server.ask::<String>(&["FLUSHALL"]).await;
    lease.save(&2).await.unwrap();
    assert!(timeout(SEC / 2, fleet.claim(&["M"])).await.is_err(), "it holds it again");
    assert_eq!(lease.load().await.unwrap(), Some(2));
    server.ask::<String>(&["FLUSHALL"]).await;
    let faster = claim(&fleet, &["M"]).await;
    assert_eq!(faster.load::<Checkpoint>().await.unwrap(), None);
    assert!(lease.save(&3).await.is_err() && lease.is_lost());
}

#[tokio::test]
async fn other_terms_and_senseless_settings_are_refused() {
    let redis = Redis::open("redis://127.0.0.1:1").unwrap();
    for (company, name) in [("", "night"), ("CORP", ""), (" ", "night")] {
        assert_eq!(redis.fleet(company, name).unwrap_err().kind(), ErrorKind::Argument);
    }
    for lease in [Duration::ZERO, 99 * MS, 86_401 * SEC] {
        assert!(redis.fleet("CORP", "night").unwrap().lease(lease).is_err());
    }
    let Some(server) = RedisServer::start().await else { return };
    drop(claim(&night(&server).terms("jsonl"), &["M"]).await);
    let error = night(&server).terms("csv").claim(&["M"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("night"), "{error}");
}

/// A Redis, a WeCom and a folder for the processes of a fleet.
struct Site {
    server: RedisServer,
    sim: Simulator,
    folder: TempDir,
    meetings: Vec<String>,
}

impl Site {
    async fn new(sim: SimulatorBuilder, meetings: u32) -> Option<Self> {
        let server = RedisServer::start().await?;
        let (sim, folder) = (start(sim).await, TempDir::new().unwrap());
        let meetings = (1..=meetings).map(|number| format!("M{number}")).collect();
        Some(Self { server, sim, folder, meetings })
    }

    fn output(&self) -> std::path::PathBuf {
        self.folder.path().join("out")
    }

    fn process(&self, more: &[&str]) -> Command {
        let (output, url) = (self.output(), self.sim.base_url());
        let mut args =
            vec!["export", "--base-url", &url, "--retry-base", "50ms", "--fleet", "night"];
        args.extend(["-o", text(&output), "--max-attempts", "99"]);
        args.extend(more);
        args.extend(self.meetings.iter().map(String::as_str));
        let mut process = command(EXE, &args);
        process.env("WECOM_REDIS_URL", self.server.url());
        process
    }

    fn spawn(&self, more: &[&str]) -> Child {
        self.process(more).spawn().unwrap()
    }

    async fn calls(&self, list: u64) {
        while self.sim.calls().list < list {
            sleep(MS).await;
        }
    }

    /// One file a meeting and nothing else, and in each one every row once and in order.
    fn assert_complete(&self, rows: u64) {
        let mut names = names(&self.output());
        names.sort_by_key(|name| (name.len(), name.clone()));
        let files: Vec<_> =
            self.meetings.iter().map(|meeting| format!("{meeting}.jsonl")).collect();
        assert_eq!(names, files);
        for file in files {
            let found = ids(&fs::read(self.output().join(&file)).unwrap());
            assert!(found == expected(rows), "{file}: {} rows", found.len());
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn ended(child: Child) -> Output {
    timeout(LIMIT, child.wait_with_output()).await.expect("in time").unwrap()
}

#[tokio::test]
async fn four_processes_killed_every_few_seconds_leave_forty_complete_files() {
    let sim = Simulator::builder().enrollees(2000).latency(150 * MS);
    let Some(site) = Site::new(sim.fault(fault("status=502@2%")), 40).await else { return };
    let begun = Instant::now();
    let mut processes: Vec<_> = (0..4).map(|_| site.spawn(&["--lease", "2s"])).collect();
    let (mut kills, mut told) = (0, Vec::new());
    while !processes.is_empty() {
        sleep(MS * fastrand::u32(1500..3500)).await;
        for mut process in std::mem::take(&mut processes) {
            if process.try_wait().unwrap().is_none() {
                processes.push(process);
            } else {
                let done = ended(process).await;
                assert_eq!(code(&done), 0, "{}", stderr(&done));
                told.push(stderr(&done));
            }
        }
        // Those that are near the end may go in peace, or there would be none.
        if processes.len() == 4 {
            let mut killed = processes.remove(fastrand::usize(0..4));
            killed.kill().await.unwrap();
            kills += 1;
            processes.push(site.spawn(&["--lease", "2s"]));
        }
    }
    site.assert_complete(2000);
    let (calls, time) = (site.sim.calls().list, begun.elapsed().as_secs_f64());
    println!("{kills} kills, {calls} calls for 1600 pages, {time:.1} s; the survivors said:");
    // A killed process has up to four meetings, of each of which the pages since its last checkpoint
    // are walked again: some four, and what was on its way. From their start it would be eighty.
    assert!(calls <= 1700 + 40 * kills, "{calls} calls, {kills} kills");
    for line in told {
        print!("{line}");
    }
    assert!(kills >= 4, "{kills} kills");
}

#[tokio::test]
async fn a_process_that_sleeps_through_its_lease_damages_nothing() {
    // Awoken when its successor is done, and while it is at work.
    for early in [false, true] {
        let sim = Simulator::builder().enrollees(2000).latency(60 * MS);
        let Some(site) = Site::new(sim, 1).await else { return };
        let sleeper = site.spawn(&["--lease", "500ms"]);
        site.calls(20).await;
        sleep(700 * MS).await;
        signal(&sleeper, "-STOP").await;
        let stopped_at = site.sim.calls().list;
        let next = site.spawn(&["--lease", "500ms"]);
        if early {
            site.calls(stopped_at + 10).await;
            signal(&sleeper, "-CONT").await;
        }
        let next = ended(next).await;
        assert_eq!(code(&next), 0, "{}", stderr(&next));
        assert!(stderr(&next).contains("of earlier runs"), "it went on: {}", stderr(&next));
        site.assert_complete(2000);
        if !early {
            signal(&sleeper, "-CONT").await;
        }
        let sleeper = ended(sleeper).await;
        assert_eq!(code(&sleeper), 0, "{}", stderr(&sleeper));
        assert!(stderr(&sleeper).contains("another process has taken it over"));
        assert!(stderr(&sleeper).contains("0 of 1 meetings finished here"), "{}", stderr(&sleeper));
        site.assert_complete(2000);
    }
}

#[tokio::test]
async fn a_process_whose_meeting_is_taken_over_while_it_waits_does_not_wait_on() {
    let sim = Simulator::builder().enrollees(500).fault(fault("hang@1"));
    let Some(site) = Site::new(sim, 1).await else { return };
    let waiting = site.spawn(&["--lease", "500ms"]);
    // Later, it would find out when it saves.
    site.calls(1).await;
    let lease = format!("wecom-enroll:{{{}}}:fleet:night:leases", Simulator::CORP_ID);
    site.server.ask::<u32>(&["HSET", &lease, "M1", "1 another"]).await;
    let begun = Instant::now();
    let done = ended(waiting).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("another process has taken it over"), "{}", stderr(&done));
    assert!(begun.elapsed() < 5 * SEC, "not only when its attempt had timed out");
    // The other one died at once.
    site.assert_complete(500);
}

#[tokio::test]
async fn a_part_that_somebody_removed_costs_its_meeting_a_new_start_and_no_row() {
    let sim = Simulator::builder().enrollees(500).latency(50 * MS);
    let Some(site) = Site::new(sim, 1).await else { return };
    let process = site.spawn(&[]);
    site.calls(5).await;
    for name in names(&site.output()) {
        fs::remove_file(site.output().join(name)).unwrap();
    }
    let done = ended(process).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("meeting M1 starts anew"), "{}", stderr(&done));
    site.assert_complete(500);
}

#[tokio::test]
async fn a_redis_that_is_away_and_comes_back_empty_costs_no_row() {
    let sim = Simulator::builder().enrollees(1000).latency(100 * MS);
    let Some(mut site) = Site::new(sim, 12).await else { return };
    let processes: Vec<_> =
        (0..3).map(|_| site.spawn(&["--lease", "2s", "--concurrency", "2"])).collect();
    // Some are finished, and others in work.
    while !site.output().exists()
        || !names(&site.output()).iter().any(|name| name.ends_with("jsonl"))
    {
        sleep(10 * MS).await;
    }
    site.server.kill();
    sleep(5 * SEC).await;
    site.server.restart().await;
    for done in join_all(processes.into_iter().map(ended)).await {
        assert_eq!(code(&done), 0, "{}", stderr(&done));
    }
    site.assert_complete(1000);
}

#[tokio::test]
async fn an_interrupted_process_gives_its_meetings_back_at_once() {
    for (name, wanted) in [("-INT", 130), ("-TERM", 143)] {
        let sim = Simulator::builder().enrollees(1000).latency(50 * MS);
        let Some(site) = Site::new(sim, 3).await else { return };
        let first = site.spawn(&["--lease", "1h"]);
        site.calls(20).await;
        signal(&first, name).await;
        let first = ended(first).await;
        assert_eq!(code(&first), wanted, "{}", stderr(&first));
        let parts = names(&site.output());
        assert!(parts.iter().all(|name| name.contains(".jsonl.")), "none is complete: {parts:?}");
        let next = ended(site.spawn(&[])).await;
        assert_eq!(code(&next), 0, "{}", stderr(&next));
        assert!(stderr(&next).contains("of earlier runs"), "it went on: {}", stderr(&next));
        site.assert_complete(1000);
    }
}

#[tokio::test]
async fn a_second_run_ends_at_once_and_other_arguments_are_refused() {
    let Some(site) = Site::new(Simulator::builder().enrollees(100), 3).await else { return };
    assert_eq!(code(&ended(site.spawn(&[])).await), 0);
    let calls = site.sim.calls();
    let again = ended(site.spawn(&[])).await;
    assert_eq!((code(&again), site.sim.calls().list), (0, calls.list));
    assert!(stderr(&again).contains("choose another name"), "{}", stderr(&again));
    for other in [["--status", "approved"], ["--page-size", "20"], ["--format", "csv"]] {
        let done = ended(site.spawn(&other)).await;
        assert_eq!(code(&done), 2, "{}", stderr(&done));
        assert!(stderr(&done).contains("other terms"), "{}", stderr(&done));
    }
    site.assert_complete(100);
}

#[tokio::test]
async fn a_process_that_dies_between_the_file_and_its_mark_loses_nothing() {
    let Some(site) = Site::new(Simulator::builder().enrollees(500), 1).await else { return };
    let done = ended(site.spawn(&[])).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    // A checkpoint as it was, had it died then: complete, and of a part that has become the file.
    let length = fs::metadata(site.output().join("M1.jsonl")).unwrap().len();
    let lease = format!("wecom-enroll:{{{}}}:fleet:night:leases", Simulator::CORP_ID);
    let checkpoints = lease.replace("leases", "checkpoints");
    let crc = crc32fast::hash(&fs::read(site.output().join("M1.jsonl")).unwrap());
    let saved = serde_json::json!({
        "version": 1,
        "arguments": {"kind": "webinar", "status": "all", "format": "jsonl", "page_size": 50, "meetings": ["M1"]},
        "length": length, "crc32": crc, "columns": null, "part": "0".repeat(32),
        "meetings": [{
            "position": {
                "version": 1,
                "query": {"list": "webinar", "meetingid": "M1", "status": "all", "limit": 50},
                "position": "end",
            },
            "rows": 500, "bad_rows": 0, "pages": 10,
        }],
    });
    site.server.ask::<u32>(&["HSET", &checkpoints, "M1", &saved.to_string()]).await;
    site.server.ask::<u32>(&["HSET", &lease, "M1", "1 dead"]).await;
    // And the part of one that died earlier still, of which nothing was saved.
    let stray = format!("M1.jsonl.{}.part", "a".repeat(32));
    fs::write(site.output().join(stray), "cut o").unwrap();
    let calls = site.sim.calls().list;
    let done = ended(site.spawn(&[])).await;
    assert_eq!((code(&done), site.sim.calls().list), (0, calls), "{}", stderr(&done));
    site.assert_complete(500);
    // And where the file is another one by now, the meeting starts anew.
    fs::write(site.output().join("M1.jsonl"), "my notes").unwrap();
    site.server.ask::<u32>(&["HSET", &checkpoints, "M1", &saved.to_string()]).await;
    site.server.ask::<u32>(&["HSET", &lease, "M1", "1 dead"]).await;
    let done = ended(site.spawn(&[])).await;
    assert_eq!(code(&done), 0);
    assert!(stderr(&done).contains("meeting M1 starts anew"), "{}", stderr(&done));
    site.assert_complete(500);
}

#[tokio::test]
async fn a_meeting_that_fails_is_tried_once_by_each_process_and_keeps_no_other() {
    let sim = Simulator::builder().enrollees(200).fault(fault("errcode=730008@1"));
    let Some(site) = Site::new(sim, 4).await else { return };
    let done = ended(site.spawn(&["--concurrency", "1", "--read-ahead", "0"])).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert!(stderr(&done).contains("meeting M1 stopped after 0 rows"), "{}", stderr(&done));
    assert!(stderr(&done).contains("3 of 4 meetings finished here"), "{}", stderr(&done));
    let done = ended(site.spawn(&[])).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    site.assert_complete(200);
}

#[tokio::test]
async fn small_meetings_are_all_done_long_before_a_lease_ends() {
    let Some(site) = Site::new(Simulator::builder().enrollees(60), 60).await else { return };
    // A lease that nobody knew of would last longer than this test may.
    let processes: Vec<_> =
        (0..2).map(|_| site.spawn(&["--lease", "1h", "--concurrency", "8"])).collect();
    for process in processes {
        let done = ended(process).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
    }
    site.assert_complete(60);
}

#[tokio::test]
async fn what_is_wrong_with_one_meeting_keeps_no_other() {
    let Some(site) = Site::new(Simulator::builder().enrollees(120), 4).await else { return };
    // Of M1 a checkpoint of another version, and a folder where the file of M2 belongs.
    let corp = Simulator::CORP_ID;
    let checkpoints = format!("wecom-enroll:{{{corp}}}:fleet:night:checkpoints");
    site.server.ask::<u32>(&["HSET", &checkpoints, "M1", r#"{"version":2}"#]).await;
    fs::create_dir_all(site.output().join("M2.jsonl")).unwrap();
    let done = ended(site.spawn(&["--concurrency", "1"])).await;
    let told = stderr(&done);
    assert_eq!(code(&done), 1, "{told}");
    let anew = "warning: meeting M1 starts anew: the checkpoint of meeting M1 cannot be used: it is of version 2";
    assert!(
        told.contains(anew) && told.contains("error: meeting M2 stopped: cannot make "),
        "{told}"
    );
    assert!(told.contains("3 of 4 meetings finished here"), "{told}");
    for meeting in ["M1", "M3", "M4"] {
        let found = ids(&fs::read(site.output().join(format!("{meeting}.jsonl"))).unwrap());
        assert_eq!(found, expected(120), "{meeting}");
    }
    // Once it is put right, M2 goes on, too.
    fs::remove_dir(site.output().join("M2.jsonl")).unwrap();
    let done = ended(site.spawn(&[])).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    site.assert_complete(120);
}

#[tokio::test]
async fn a_process_without_a_token_claims_no_further_meeting() {
    let sim = Simulator::builder().credentials(Simulator::CORP_ID, "another-secret");
    let Some(site) = Site::new(sim, 4).await else { return };
    let done = ended(site.spawn(&["--concurrency", "1"])).await;
    let told = stderr(&done);
    assert!(code(&done) > 0 && told.contains("without an access token"), "{told}");
    assert_eq!(told.matches(" stopped after 0 rows").count(), 1, "{told}");
    assert_eq!(site.sim.calls().list, 0);
}

#[tokio::test]
async fn csv_files_have_their_header_and_odd_meetings_a_file_in_the_folder() {
    let sim = Simulator::builder().enrollees(120).meeting("EMPTY", 0);
    let Some(mut site) = Site::new(sim, 0).await else { return };
    site.meetings = ["../../up", ".hidden", "a b", "EMPTY"].map(str::to_owned).to_vec();
    let done = ended(site.spawn(&["--format", "csv"])).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let mut found = names(&site.output());
    found.sort();
    assert_eq!(found, ["%2E.%2F..%2Fup.csv", "%2Ehidden.csv", "EMPTY.csv", "a%20b.csv"]);
    assert_eq!(names(site.folder.path()), ["out"]);
    for file in found {
        let mut csv = csv::Reader::from_path(site.output().join(&file)).unwrap();
        assert_eq!(&csv.headers().unwrap()[1], "enroll_id");
        let rows: Vec<_> = csv.records().map(|row| row.unwrap()[1].to_owned()).collect();
        assert_eq!(rows, expected(if file == "EMPTY.csv" { 0 } else { 120 }));
    }
}

#[tokio::test]
async fn wrong_usage_of_a_fleet_is_2_and_says_why() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let out = folder.path().join("out");
    let (file, out) = (text(&file), text(&out));
    for (args, words) in [
        (&["--fleet", "n"][..], "needs a folder"),
        (&["--fleet", "n", "-o", file], "needs a folder"),
        (&["--fleet", "n", "-o", out, "--format", "xlsx"], "workbook"),
        (&["--fleet", "n", "-o", out, "--checkpoint", "at"], "--checkpoint"),
        (&["--fleet", "n", "-o", out, "--demo", "5"], "--demo"),
        (&["--fleet", "n", "-o", out], "WECOM_REDIS_URL"),
        (&["--lease", "5s", "-o", out], "--fleet"),
    ] {
        let done = run(&[&["export", "M"], args].concat()).await;
        assert_eq!(code(&done), 2, "{args:?}: {}", stderr(&done));
        assert!(stderr(&done).contains(words), "{args:?}: {}", stderr(&done));
    }
    for (url, more) in
        [("http://h", &[][..]), ("redis://h", &["--lease", "1ms"]), ("redis://h", &["--fleet", ""])]
    {
        let args = [&["export", "M", "-o", out], more].concat();
        let args =
            if more.contains(&"--fleet") { args } else { [&args[..], &["--fleet", "n"]].concat() };
        let mut process = command(EXE, &args);
        process.env("WECOM_REDIS_URL", url);
        let done = finish(process).await;
        assert_eq!(code(&done), 2, "{more:?}: {}", stderr(&done));
    }
    assert!(!Path::new(out).exists());
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}
