//! Quotas and holds that several processes share.

use futures::{StreamExt, TryStreamExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{EnrollStatus, Query, simulator::Simulator};

use super::{Job, LIMIT, MS, SECOND, outcome, server::RedisServer, until};
use crate::{
    http::{expected, fault, start},
    support::ids,
};

#[tokio::test]
async fn quota_of_four_processes_holds_and_is_shared_fairly() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000_000).quota(40, SECOND)).await;
    let job = Job {
        quota: (40, SECOND),
        streams: 3,
        duration: 10 * SECOND,
        // The hold is short, so that the test reports the refused calls instead of waiting after each of them.
        retry_after: 10 * MS,
        ..Job::new(&sim, &server)
    };
    let processes: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    sleep(2 * SECOND).await;
    let (before, started) = (sim.calls().list, Instant::now());
    sleep(6 * SECOND).await;
    let used = (sim.calls().list - before) as f64 / started.elapsed().as_secs_f64() / 40.0;
    let all = join_all(processes.into_iter().map(outcome)).await;
    assert_eq!(sim.calls().refused, 0, "no sliding second had more than 40");
    assert!(used >= 0.9, "{used} of the quota was used");
    let sum: u64 = all.iter().map(|outcome| outcome.attempts).sum();
    let shares: Vec<_> = all.iter().map(|outcome| outcome.attempts as f64 / sum as f64).collect();
    assert!(shares.iter().all(|&share| share >= 0.15), "{shares:?}");
    println!("used {used:.3}, shares {shares:.3?}");
}

#[tokio::test]
async fn quota_that_is_small_is_used_and_shared_fairly() {
    let Some(server) = RedisServer::start().await else { return };
    for (calls, least_used, least_share) in [(20, 0.85, 0.15), (2, 0.8, 0.1)] {
        let sim = start(Simulator::builder().enrollees(10_000_000).quota(calls, SECOND)).await;
        let quota = (u32::try_from(calls).unwrap(), SECOND);
        // There are more waiting streams than calls in a window.
        let (streams, duration, retry_after) = (3, 14 * SECOND, 10 * MS);
        let job = Job { quota, retry_after, streams, duration, ..Job::new(&sim, &server) };
        let processes: Vec<_> = (0..4).map(|_| job.spawn()).collect();
        until("calls", || sim.calls().list > 1).await;
        let (before, started) = (sim.calls().list, Instant::now());
        sleep(10 * SECOND).await;
        let used = (sim.calls().list - before) as f64 / started.elapsed().as_secs_f64();
        let used = used / f64::from(quota.0);
        let all = join_all(processes.into_iter().map(outcome)).await;
        assert_eq!(sim.calls().refused, 0, "no sliding second had more than {calls}");
        let sum: u64 = all.iter().map(|outcome| outcome.attempts).sum();
        let shares: Vec<_> =
            all.iter().map(|outcome| outcome.attempts as f64 / sum as f64).collect();
        println!("{calls} per second: used {used:.3}, shares {shares:.3?}");
        assert!(used >= least_used, "{used} of {calls} was used");
        assert!(shares.iter().all(|&share| share >= least_share), "{calls}: {shares:?}");
    }
}

#[tokio::test]
async fn permit_of_a_single_stream_takes_one_round_trip() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(5000)).await;
    let client = Job::new(&sim, &server).client();
    // The first call fetches the token and loads the scripts.
    client.enrolls(Query::webinar("M0")).next().await.unwrap().unwrap();
    let before = server.scripts().await;
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(5000));
    assert_eq!(server.scripts().await - before, 100);
}

#[tokio::test]
async fn permit_that_is_waited_for_takes_two_round_trips() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let job = Job { quota: (40, SECOND), ..Job::new(&sim, &server) };
    let client = job.client();
    let lists = (0..4).map(|i| ids(client.enrolls(Query::webinar(format!("M{i}")))));
    let started = Instant::now();
    assert!(join_all(lists).await.into_iter().all(|ids| ids.unwrap() == expected(1000)));
    // Nearly all of the 80 calls wait. A caller that is late takes the permit of the next caller, which must then
    // ask again, and many callers are late on a busy machine. If all callers woke at the same time, each call would
    // take four round trips.
    let scripts = server.scripts().await;
    assert!((160..=300).contains(&scripts), "{scripts}");
    // After a burst of two, the calls are evenly spaced in windows that are padded by 25 ms.
    assert!(started.elapsed() >= 2050 * MS, "{:?}", started.elapsed());
}

#[tokio::test]
async fn throttled_process_holds_all_until_they_resume_within_quota() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(10_000_000).quota(40, SECOND);
    let sim = start(sim.fault(fault("errcode=45009@100"))).await;
    let (quota, retry_after, duration) = ((40, SECOND), 3 * SECOND, 9 * SECOND);
    let job = Job { quota, retry_after, duration, ..Job::new(&sim, &server) };
    let processes: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    until("the fault", || sim.calls().faults == 1).await;
    let started = Instant::now();
    // Waits until calls in flight have arrived and all processes hold their calls.
    sleep(100 * MS).await;
    let (held, in_flight) = (sim.calls().list, sim.calls().list - 100);
    assert!(in_flight <= 5, "{in_flight}");
    sleep((started + 2900 * MS) - Instant::now()).await;
    assert_eq!(sim.calls().list, held, "no call while they are held");
    until("calls again", || sim.calls().list > held).await;
    assert!(started.elapsed() < 4 * SECOND);
    for process in processes {
        assert_eq!(outcome(process).await.errors, [""; 0]);
    }
    assert_eq!(sim.calls().refused, 1, "they resume within the quota");
    assert!(sim.calls().list > held + 60);
}

#[tokio::test]
async fn permit_that_arrives_too_late_is_discarded() {
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
async fn permit_requested_before_a_hold_is_discarded() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(50).latency(300 * MS);
    let sim = start(sim.fault(fault("errcode=45009@2"))).await;
    let (quota, retry_after) = ((1200, 60 * SECOND), 2 * SECOND);
    let client = Job { quota, retry_after, ..Job::new(&sim, &server) }.client();
    let list = |meeting| timeout(LIMIT, ids(client.enrolls(Query::webinar(meeting))));
    list("M0").await.expect("in time").unwrap();
    let (refused, asked) = futures::join!(list("M1"), async {
        until("the refused call", || sim.calls().list == 2).await;
        server.signal("-STOP");
        let (asked, ()) = futures::join!(list("M2"), async {
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
async fn clock_set_back_does_not_lock_out_a_client() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(300)).await;
    let client = Job { quota: (20, SECOND), ..Job::new(&sim, &server) }.client();
    ids(client.enrolls(Query::webinar("M"))).await.unwrap();
    let tomorrow = "9007199254740000";
    let key = "wecom-enroll:{DEMO-CORP}:enroll/list:quota";
    for field in ["20/1000000", "next_new", "next_due", "held"] {
        server.run::<()>(&["HSET", key, field, tomorrow]).await;
    }
    server.run::<()>(&["HSET", key, "hold", "1000000"]).await;
    let started = Instant::now();
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(300));
    // The hold and the window take one second each, and the six calls follow.
    assert!(started.elapsed() < 4 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test]
async fn clock_set_back_does_not_stop_busy_processes() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000_000)).await;
    let (quota, duration) = ((40, SECOND), 9 * SECOND);
    let job = Job { quota, streams: 3, duration, ..Job::new(&sim, &server) };
    let processes: Vec<_> = (0..3).map(|_| job.spawn()).collect();
    until("60 calls", || sim.calls().list > 60).await;
    // The stored times are now one hour in the future, as after setting the clock back. Because callers always wait,
    // the key does not expire.
    let key = "wecom-enroll:{DEMO-CORP}:enroll/list:quota";
    let times: Vec<(String, f64)> = server.run(&["HGETALL", key]).await;
    let later = times.into_iter().filter(|(field, _)| field != "hold");
    let later = later.flat_map(|(field, time)| [field, format!("{:.0}", time + 3.6e9)]);
    let set: Vec<_> = ["HSET".into(), key.to_owned()].into_iter().chain(later).collect();
    server.run::<()>(&set.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = sim.calls().list;
    sleep(4 * SECOND).await;
    let called = sim.calls().list - before;
    assert!(called >= 80, "{called} calls in four seconds");
    for process in processes {
        assert_eq!(outcome(process).await.errors, [""; 0]);
    }
}

#[tokio::test]
async fn reservations_of_a_killed_process_do_not_block_others() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000_000)).await;
    let job = Job { quota: (1200, 60 * SECOND), streams: 200, ..Job::new(&sim, &server) };
    let killed = job.spawn();
    // After 65 calls, the burst is used up, and 200 streams wait.
    until("65 calls", || sim.calls().list > 65).await;
    drop(killed);
    // The reservations of the killed process cover the next ten seconds.
    let client = job.client();
    sleep(300 * MS).await;
    let before = sim.calls().list;
    let pages = client.pages(Query::webinar("M")).take(36);
    timeout(4 * SECOND, pages.try_collect::<Vec<_>>()).await.expect("in time").unwrap();
    assert_eq!(sim.calls().list - before, 36);
}

#[tokio::test]
async fn quota_of_updates_is_shared_beside_that_of_lists() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(100).quota(20, SECOND)).await;
    let quota = (20, SECOND);
    let clients = [(); 2].map(|()| Job { quota, ..Job::new(&sim, &server) }.client());
    let approve = clients.each_ref().map(async |client| {
        let updates = client.set_status(Query::webinar("M"), EnrollStatus::Approved, expected(25));
        updates.batch_size(1).unwrap().try_collect::<Vec<_>>().await.unwrap().len()
    });
    let list = async {
        let query = Query::webinar("M").page_size(2).unwrap();
        ids(clients[0].enrolls(query)).await.unwrap().len()
    };
    let (approved, listed) =
        timeout(LIMIT, futures::future::join(join_all(approve), list)).await.unwrap();
    assert_eq!((approved, listed), (vec![25, 25], 100));
    assert_eq!(sim.calls().refused, 0, "no sliding second had more than 20 of either");
    // WeCom counts each API separately, and so does each key.
    let mut keys: Vec<String> = server.run(&["KEYS", "*:quota"]).await;
    keys.sort();
    let [approve, list] =
        ["approve", "list"].map(|api| format!("wecom-enroll:{{DEMO-CORP}}:enroll/{api}:quota"));
    assert_eq!(keys, [approve, list]);
}
