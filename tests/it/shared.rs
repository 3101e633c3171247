//! One quota and one token for many processes, over a real Redis and in real time.

use std::{env, process::Stdio, time::Duration};

use futures::{StreamExt, TryStreamExt, future::join_all};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use wecom_enroll::{
    CheckpointStore, Client, ClientBuilder, Error, ErrorKind, Query, Quota, Redis, RetryPolicy,
    simulator::Simulator,
};

use crate::{
    http::{expected, fault, start},
    redis_server::RedisServer,
    secrets::told,
    support::{ids, stubborn},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);

/// What one process of a fleet is to do.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    base_url: String,
    redis: String,
    quota: (u32, Duration),
    pushback: Duration,
    streams: usize,
    /// Ends there, wherever its walks are.
    lasts: Duration,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    attempts: u64,
    /// Of each walk that came to its end, the number of its rows, which were in order.
    rows: Vec<usize>,
    errors: Vec<String>,
}

impl Job {
    fn new(sim: &Simulator, server: &RedisServer) -> Self {
        Self {
            base_url: sim.base_url(),
            redis: server.url(),
            quota: (1000, SECOND),
            pushback: 60 * SECOND,
            streams: 1,
            lasts: LIMIT,
        }
    }

    fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .corp_secret(Simulator::CORP_ID, Simulator::SECRET)
            .base_url(&self.base_url)
            .redis(Redis::open(&self.redis).unwrap())
            .quota(Quota::new(self.quota.0, self.quota.1).unwrap())
            .pushback(self.pushback)
            .retry(stubborn().base(50 * MS).cap(SECOND))
    }

    /// In a process of its own.
    fn spawn(&self) -> Child {
        self.command().spawn().unwrap()
    }

    /// This test program, which runs [`process`] only.
    fn command(&self) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "shared::process", "--ignored", "--nocapture"])
            .env("WECOM_ENROLL_JOB", serde_json::to_string(self).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self) -> Done {
        let client = self.client();
        let walk = async |i| {
            let mut rows = client.enrolls(Query::webinar(format!("M{i}")));
            let mut seen = 0;
            while let Some(row) = rows.next().await {
                assert_eq!(row?.enroll_id(), Simulator::enroll_id(seen));
                seen += 1;
            }
            Ok::<_, Error>(seen as usize)
        };
        let walks = join_all((0..self.streams).map(walk));
        let ended = timeout(self.lasts, walks).await.unwrap_or_default();
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for walk in ended {
            match walk {
                Ok(walk) => rows.push(walk),
                Err(error) => errors.push(told(&error)),
            }
        }
        Done { attempts: client.stats().attempts, rows, errors }
    }
}

async fn done(process: Child) -> Done {
    let output = timeout(LIMIT, process.wait_with_output()).await.expect("in time").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| Some(line.split_once("DONE ")?.1));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// Until `seen`, looking often.
async fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        sleep(5 * MS).await;
    }
}

#[tokio::test]
#[ignore = "a process of a fleet, which the tests begin themselves"]
async fn process() {
    if let Ok(job) = env::var("WECOM_ENROLL_JOB") {
        let done = serde_json::from_str::<Job>(&job).unwrap().run().await;
        println!("DONE {}", serde_json::to_string(&done).unwrap());
    }
}

#[tokio::test]
async fn four_processes_keep_one_quota_and_use_nine_tenths_of_it_in_fair_shares() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000_000).quota(40, SECOND)).await;
    let job = Job {
        quota: (40, SECOND),
        streams: 3,
        lasts: 10 * SECOND,
        // Should it happen, there would be no end of it.
        pushback: 10 * MS,
        ..Job::new(&sim, &server)
    };
    let processes: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    sleep(2 * SECOND).await;
    let (before, begun) = (sim.calls().list, Instant::now());
    sleep(6 * SECOND).await;
    let used = (sim.calls().list - before) as f64 / begun.elapsed().as_secs_f64() / 40.0;
    let all = join_all(processes.into_iter().map(done)).await;
    assert_eq!(sim.calls().refused, 0, "no sliding second held more than 40");
    assert!(used >= 0.9, "{used} of the quota was used");
    let sum: u64 = all.iter().map(|done| done.attempts).sum();
    let shares: Vec<_> = all.iter().map(|done| done.attempts as f64 / sum as f64).collect();
    assert!(shares.iter().all(|&share| share >= 0.15), "{shares:?}");
    println!("used {used:.3}, shares {shares:.3?}");
}

#[tokio::test]
async fn small_quotas_are_used_and_leave_nobody_out() {
    let Some(server) = RedisServer::start().await else { return };
    for (calls, least_used, least_share) in [(20, 0.85, 0.15), (2, 0.8, 0.1)] {
        let sim = start(Simulator::builder().enrollees(10_000_000).quota(calls, SECOND)).await;
        let quota = (u32::try_from(calls).unwrap(), SECOND);
        // More in line than there are calls in a window.
        let (streams, lasts, pushback) = (3, 14 * SECOND, 10 * MS);
        let job = Job { quota, pushback, streams, lasts, ..Job::new(&sim, &server) };
        let processes: Vec<_> = (0..4).map(|_| job.spawn()).collect();
        until("calls", || sim.calls().list > 1).await;
        let (before, begun) = (sim.calls().list, Instant::now());
        sleep(10 * SECOND).await;
        let used = (sim.calls().list - before) as f64 / begun.elapsed().as_secs_f64();
        let used = used / f64::from(quota.0);
        let all = join_all(processes.into_iter().map(done)).await;
        assert_eq!(sim.calls().refused, 0, "no sliding second held more than {calls}");
        let sum: u64 = all.iter().map(|done| done.attempts).sum();
        let shares: Vec<_> = all.iter().map(|done| done.attempts as f64 / sum as f64).collect();
        println!("{calls} a second: used {used:.3}, shares {shares:.3?}");
        assert!(used >= least_used, "{used} of {calls} was used");
        assert!(shares.iter().all(|&share| share >= least_share), "{calls}: {shares:?}");
    }
}

#[tokio::test]
async fn the_calls_of_one_stream_take_one_round_trip_each() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(5000)).await;
    let client = Job::new(&sim, &server).client();
    // Token, and scripts that Redis has to be taught.
    client.enrolls(Query::webinar("M0")).next().await.unwrap().unwrap();
    let before = server.scripts().await;
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(5000));
    assert_eq!(server.scripts().await - before, 100);
}

#[tokio::test]
async fn who_waits_asks_twice() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let job = Job { quota: (40, SECOND), ..Job::new(&sim, &server) };
    let client = job.client();
    let walks = (0..4).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
    let begun = Instant::now();
    assert!(join_all(walks).await.into_iter().all(|ids| ids.unwrap() == expected(1000)));
    // Eighty calls, of which nearly all wait. Who comes late takes the room of the one behind, which then
    // asks once more: on a busy machine many are. Were all to wake at once, it would be four times.
    let scripts = server.scripts().await;
    assert!((160..=300).contains(&scripts), "{scripts}");
    // Two at once, and the others evenly in windows that are 25 ms longer than they are.
    assert!(begun.elapsed() >= 2050 * MS, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn pushback_seen_by_one_process_holds_all_and_then_they_do_not_rush() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(10_000_000).quota(40, SECOND);
    let sim = start(sim.fault(fault("errcode=45009@100"))).await;
    let (quota, pushback) = ((40, SECOND), 3 * SECOND);
    let job = Job { quota, pushback, streams: 1, lasts: 9 * SECOND, ..Job::new(&sim, &server) };
    let processes: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    until("the fault", || sim.calls().faults == 1).await;
    let begun = Instant::now();
    // What was on its way, and time for the news to travel.
    sleep(100 * MS).await;
    let (held, on_its_way) = (sim.calls().list, sim.calls().list - 100);
    assert!(on_its_way <= 5, "{on_its_way}");
    sleep((begun + 2900 * MS) - Instant::now()).await;
    assert_eq!(sim.calls().list, held, "nobody called");
    until("calls again", || sim.calls().list > held).await;
    assert!(begun.elapsed() < 4 * SECOND);
    for process in processes {
        assert_eq!(done(process).await.errors, [""; 0]);
    }
    assert_eq!(sim.calls().refused, 1, "they came back within the quota");
    assert!(sim.calls().list > held + 60);
}

#[tokio::test]
async fn a_leave_that_comes_too_late_is_not_used() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(150)).await;
    let client = Job { quota: (40, SECOND), ..Job::new(&sim, &server) }.client();
    let mut pages = client.pages(Query::webinar("M"));
    timeout(LIMIT, pages.next()).await.expect("in time").unwrap().unwrap();
    let before = server.scripts().await;
    server.signal("-STOP");
    let (page, ()) = futures::join!(pages.next(), async {
        sleep(200 * MS).await;
        assert_eq!(sim.calls().list, 1);
        server.signal("-CONT");
    });
    page.unwrap().unwrap();
    assert_eq!((sim.calls().list, server.scripts().await - before), (2, 2));
}

#[tokio::test]
async fn a_leave_that_was_asked_for_before_a_pushback_is_not_used() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(50).latency(300 * MS);
    let sim = start(sim.fault(fault("errcode=45009@2"))).await;
    let (quota, pushback) = ((1200, 60 * SECOND), 2 * SECOND);
    let client = Job { quota, pushback, ..Job::new(&sim, &server) }.client();
    let walk = |meeting| timeout(LIMIT, ids(client.enrolls(Query::webinar(meeting))));
    walk("M0").await.expect("in time").unwrap();
    let (refused, asked) = futures::join!(walk("M1"), async {
        until("the call to refuse", || sim.calls().list == 2).await;
        server.signal("-STOP");
        let (asked, ()) = futures::join!(walk("M2"), async {
            sleep(600 * MS).await;
            server.signal("-CONT");
            sleep(600 * MS).await;
            assert_eq!(sim.calls().list, 2);
        });
        asked
    });
    for ids in [refused, asked] {
        assert_eq!(ids.expect("in time").unwrap(), expected(50));
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_locks_nobody_out() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(300)).await;
    let client = Job { quota: (20, SECOND), ..Job::new(&sim, &server) }.client();
    ids(client.enrolls(Query::webinar("M"))).await.unwrap();
    let tomorrow = "9007199254740000";
    let key = "wecom-enroll:{DEMO-CORP}:enroll/list:quota";
    for field in ["20/1000000", "line", "again", "held"] {
        server.ask::<()>(&["HSET", key, field, tomorrow]).await;
    }
    server.ask::<()>(&["HSET", key, "hold", "1000000"]).await;
    let begun = Instant::now();
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(300));
    // The hold's second, the window's, and the six calls.
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_a_busy_fleet() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000_000)).await;
    let job = Job { quota: (40, SECOND), streams: 3, lasts: 9 * SECOND, ..Job::new(&sim, &server) };
    let processes: Vec<_> = (0..3).map(|_| job.spawn()).collect();
    until("a fleet at work", || sim.calls().list > 60).await;
    // What an hour ago would be now; somebody always waits, so the key does not end by itself.
    let key = "wecom-enroll:{DEMO-CORP}:enroll/list:quota";
    let times: Vec<(String, f64)> = server.ask(&["HGETALL", key]).await;
    let later = times.into_iter().filter(|(field, _)| field != "hold");
    let later = later.flat_map(|(field, time)| [field, format!("{:.0}", time + 3.6e9)]);
    let set: Vec<_> = ["HSET".into(), key.to_owned()].into_iter().chain(later).collect();
    server.ask::<()>(&set.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = sim.calls().list;
    sleep(4 * SECOND).await;
    let called = sim.calls().list - before;
    assert!(called >= 80, "{called} calls in four seconds");
    for process in processes {
        assert_eq!(done(process).await.errors, [""; 0]);
    }
}

#[tokio::test]
async fn the_places_of_the_dead_hold_up_nobody_for_long() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000_000)).await;
    let job = Job { quota: (1200, 60 * SECOND), streams: 200, ..Job::new(&sim, &server) };
    let crowd = job.spawn();
    // The burst is used up, and two hundred stand in line.
    until("a crowd at work", || sim.calls().list > 65).await;
    drop(crowd);
    // Their places, ten seconds of them, are nobody's now.
    let client = job.client();
    sleep(300 * MS).await;
    let before = sim.calls().list;
    let pages = client.pages(Query::webinar("M")).take(36);
    timeout(4 * SECOND, pages.try_collect::<Vec<_>>()).await.expect("in time").unwrap();
    assert_eq!(sim.calls().list - before, 36);
}

#[tokio::test]
async fn eight_processes_fetch_one_token_and_one_more_when_that_is_refused() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(100).fault(fault("gettoken:latency=500ms"));
    let sim = start(sim).await;
    let job = Job::new(&sim, &server);
    for gettokens in [1, 2] {
        let processes: Vec<_> = (0..8).map(|_| job.spawn()).collect();
        for process in processes {
            assert_eq!(done(process).await.rows, [100]);
        }
        assert_eq!(sim.calls().gettoken, gettokens);
        // The one in Redis is refused from now on, and eight processes find out.
        sim.revoke_tokens();
    }
}

#[tokio::test]
async fn a_process_killed_while_it_fetches_a_token_is_replaced_by_another_one() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(100).fault(fault("gettoken:latency=4s@1"));
    let sim = start(sim).await;
    let job = Job::new(&sim, &server);
    let mut first = job.spawn();
    until("the first to fetch", || sim.calls().gettoken == 1).await;
    let others: Vec<_> = (0..7).map(|_| job.spawn()).collect();
    sleep(SECOND).await;
    first.kill().await.unwrap();
    for process in others {
        assert_eq!(done(process).await.rows, [100]);
    }
    assert_eq!(sim.calls().gettoken, 2);
}

#[tokio::test]
async fn a_slow_fetch_keeps_its_lease() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(100).fault(fault("gettoken:latency=13s"));
    let sim = start(sim).await;
    let job = Job::new(&sim, &server);
    let clients = [job.client(), job.client(), job.client()];
    for ids in join_all(clients.iter().map(|c| ids(c.enrolls(Query::webinar("M"))))).await {
        assert_eq!(ids.unwrap(), expected(100));
    }
    assert_eq!(sim.calls().gettoken, 1);
}

#[tokio::test]
async fn a_wrong_secret_is_sent_once_by_the_fleet() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().credentials(Simulator::CORP_ID, "another-secret")).await;
    let job = Job::new(&sim, &server);
    for _ in 0..3 {
        let error = ids(job.client().enrolls(Query::webinar("M"))).await.unwrap_err();
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Token, Some(40001)));
        assert!(error.is_auth() && !error.is_transient(), "{error}");
    }
    assert_eq!(sim.calls().gettoken, 1);
    // The right one is not held back by it.
    let client = job.builder().corp_secret(Simulator::CORP_ID, "another-secret").build().unwrap();
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(100));
}

#[tokio::test]
async fn redis_gone_for_five_seconds_and_back_empty_costs_no_row_and_doubles_none() {
    let Some(mut server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000)).await;
    let job = Job { quota: (40, SECOND), streams: 2, ..Job::new(&sim, &server) };
    let processes: Vec<_> = (0..3).map(|_| job.spawn()).collect();
    until("all at work", || sim.calls().list > 40).await;
    server.kill();
    sleep(200 * MS).await;
    let gone = sim.calls().list;
    sleep(4800 * MS).await;
    assert_eq!(sim.calls().list, gone, "nothing is sent without quota");
    server.restart().await;
    for process in processes {
        let done = done(process).await;
        assert_eq!((done.rows, done.errors), (vec![10_000; 2], vec![]));
    }
    // One page a call: what was sent before Redis left was not sent again.
    assert_eq!(sim.calls().list, 3 * 2 * 200);
    assert!(sim.calls().gettoken <= 2);
}

#[tokio::test]
async fn redis_gone_for_longer_than_the_policy_ends_the_walk_with_its_checkpoint() {
    let Some(mut server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let job = Job::new(&sim, &server);
    let builder = || job.builder().retry(RetryPolicy::new().base(10 * MS));
    let client = builder().build().unwrap();
    let mut rows = client.enrolls(Query::webinar("M"));
    let mut seen = Vec::new();
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(row) => seen.push(row.enroll_id().to_owned()),
            Err(error) => break error,
        }
        if seen.len() == 120 {
            server.kill();
        }
    };
    assert_eq!((error.kind(), error.attempts(), seen.len()), (ErrorKind::Shared, 4, 150));
    assert!(error.is_transient() && error.hint().unwrap().contains("Redis"), "{error}");
    assert_eq!((sim.calls().list, sim.calls().gettoken), (3, 1));
    // Neither is a token fetched.
    let another = ids(builder().build().unwrap().enrolls(Query::webinar("M"))).await.unwrap_err();
    assert!(another.kind() == ErrorKind::Shared && another.is_transient());
    assert_eq!((sim.calls().list, sim.calls().gettoken), (3, 1));
    server.restart().await;
    let rest = ids(client.resume(error.checkpoint().unwrap().clone())).await.unwrap();
    assert_eq!([seen, rest].concat(), expected(1000));
}

#[tokio::test]
async fn the_smallest_of_rights_is_enough_and_a_wrong_password_is_told_without_it() {
    // As the documentation has it.
    let text = include_str!("../../src/fleet.rs");
    let (_, rights) = text.split_once("ACL SETUSER fleet on >PASSWORD ").unwrap();
    let rights = rights.split_once("```").unwrap().0.replace("//!", "").replace('\n', " ");
    let user = format!("user fleet on >p%ss {rights}");
    let Some(server) = RedisServer::with(&["user default off", &user]).await else { return };
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let job = |login: &str| {
        let redis = format!("redis://{login}127.0.0.1:{}", server.port);
        Job { redis, quota: (40, SECOND), ..Job::new(&sim, &server) }
    };
    let right = job("fleet:p%25ss@").client();
    assert_eq!(ids(right.enrolls(Query::webinar("M"))).await.unwrap(), expected(1000));
    let redis = Redis::open(&job("fleet:p%25ss@").redis).unwrap();
    let fleet = redis.fleet("CORP", "night").unwrap();
    let lease = fleet.claim(&["M"]).await.unwrap().unwrap();
    lease.save(&1).await.unwrap();
    assert_eq!(lease.load().await.unwrap(), Some(1));
    lease.finish().await.unwrap();
    assert!(fleet.claim(&["M"]).await.unwrap().is_none());
    for login in ["fleet:wr0ng-passw0rd@", "nobody:wr0ng-passw0rd@", ""] {
        let error = ids(job(login).client().enrolls(Query::webinar("M"))).await.unwrap_err();
        let told = told(&error);
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Shared, 0), "{told}");
        assert!(!error.is_transient() && error.hint().unwrap().contains("password"), "{told}");
        assert!(!told.contains("wr0ng"), "{told}");
    }
    for text in ["redis://h:wr0ng-port", "http://wr0ng@h", "wr0ng"] {
        let error = Redis::open(text).unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && !told(&error).contains("wr0ng"));
    }
    let redis = Redis::open("redis://fleet:wr0ng-passw0rd@h").unwrap();
    assert!(!format!("{redis:?}").contains("wr0ng"));
}

#[tokio::test]
async fn keys_name_their_company_hold_no_secret_and_end_by_themselves() {
    let Some(server) = RedisServer::start().await else { return };
    let secret = "the-secret-of-this-app-that-must-not-show";
    let sim = start(Simulator::builder().credentials("ww{1}:x", secret)).await;
    let job = Job::new(&sim, &server);
    let client = job.builder().corp_secret("ww{1}:x", secret).build().unwrap();
    ids(client.enrolls(Query::webinar("M"))).await.unwrap();
    let wrong = job.builder().corp_secret("ww{1}:x", "a-wrong-secret-that-must-not-show");
    ids(wrong.build().unwrap().enrolls(Query::webinar("M"))).await.unwrap_err();
    let mut keys = server.keys().await;
    keys.sort();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in &keys {
        assert!(key.starts_with("wecom-enroll:{ww%7B1%7D%3Ax}:"), "{key}");
        assert!(!key.contains("must-not-show") && !key.contains(&sim.access_token()), "{key}");
        let left: i64 = server.ask(&["PTTL", key]).await;
        assert!((1..7_200_000).contains(&left), "{key} ends in {left} ms");
    }
    assert!(keys[0].contains(":app-") && keys[2].ends_with(":enroll/list:quota"), "{keys:?}");
}

#[tokio::test]
async fn a_client_without_a_corp_id_must_name_its_company() {
    let builder = || Client::builder().access_token("T").redis(Redis::open("redis://h").unwrap());
    let error = builder().build().unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("company"));
    assert!(builder().company(" ").build().is_err());
    assert!(builder().company("ww1").build().is_ok());
}

#[tokio::test]
async fn tls_works_with_the_systems_roots_and_not_without() {
    let folder = TempDir::new().unwrap();
    let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name).display().to_string());
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(' '),
        )
        .args(["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out", &cert, "-keyout", &key])
        .stderr(Stdio::null())
        .status();
    assert!(made.await.unwrap().success());
    let (cert_line, key_line) = (format!("tls-cert-file {cert}"), format!("tls-key-file {key}"));
    let lines = ["tls-auth-clients no", &*cert_line, &*key_line];
    let Some(server) = RedisServer::with(&lines).await else { return };
    let sim = start(Simulator::builder().enrollees(500)).await;
    let redis = format!("rediss://127.0.0.1:{}", server.port);
    let job = Job { redis, ..Job::new(&sim, &server) };
    let trusting = job.command().env("SSL_CERT_FILE", &cert).spawn().unwrap();
    assert_eq!(done(trusting).await.rows, [500]);
    let client = job.builder().retry(RetryPolicy::never()).build().unwrap();
    let error = ids(client.enrolls(Query::webinar("M"))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Shared && told(&error).contains("certificate"), "{error:?}");
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn the_command_line_shares_what_its_environment_names_and_waits_for_it_in_vain_with_75() {
    use crate::cli::{self, EXE, code, finish, stderr};
    let Some(mut server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(1000).latency(20 * MS)).await;
    let (url, redis, files) = (sim.base_url(), server.url(), TempDir::new().unwrap());
    let [rows, at] = ["rows.jsonl", "at.json"].map(|name| files.path().join(name));
    let ask = || {
        let args = ["export", "--base-url", &url, "--retry-base", "1ms", "M", "-o"];
        let mut command = cli::command(EXE, &args);
        command.arg(&rows).arg("--checkpoint").arg(&at).env("WECOM_REDIS_URL", &redis);
        command
    };
    let (done, ()) = futures::join!(finish(ask()), async {
        until("half of it", || sim.calls().list == 10).await;
        server.signal("-KILL");
    });
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    assert!(stderr(&done).contains("Redis") && at.exists(), "{}", stderr(&done));
    let sent = (sim.calls().list, sim.calls().gettoken);
    assert!(sent.0 <= 12);
    let again = finish(ask()).await;
    assert_eq!((code(&again), sim.calls().list, sim.calls().gettoken), (75, sent.0, sent.1));
    server.kill();
    server.restart().await;
    let done = finish(ask()).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(std::fs::read_to_string(&rows).unwrap().lines().count(), 1000);
    assert_eq!(server.keys().await.len(), 2);
    let mut nobodys = ask();
    nobodys.env("WECOM_CORP_ID", "").env("WECOM_CORP_SECRET", "").env("WECOM_ACCESS_TOKEN", "T");
    let refused = stderr(&finish(nobodys).await);
    assert!(refused.contains("whose quota"), "{refused}");
}
