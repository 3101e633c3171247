//! Access tokens that several processes share.

use futures::future::join_all;
use tokio::time::sleep;
use wecom_enroll::{ErrorKind, Query, simulator::Simulator};

use super::{Job, SECOND, outcome, server::RedisServer, until};
use crate::{
    http::{expected, fault, start},
    support::ids,
};

#[tokio::test]
async fn token_of_eight_processes_is_fetched_once_per_refusal() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(100).fault(fault("gettoken:latency=500ms"));
    let sim = start(sim).await;
    let job = Job::new(&sim, &server);
    for gettokens in [1, 2] {
        let processes: Vec<_> = (0..8).map(|_| job.spawn()).collect();
        for process in processes {
            assert_eq!(outcome(process).await.rows, [100]);
        }
        assert_eq!(sim.calls().gettoken, gettokens);
        // From now on, the token in Redis is refused, and eight processes receive the refusal.
        sim.revoke_tokens();
    }
}

#[tokio::test]
async fn token_fetch_of_a_killed_process_is_taken_over() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = Simulator::builder().enrollees(100).fault(fault("gettoken:latency=4s@1"));
    let sim = start(sim).await;
    let job = Job::new(&sim, &server);
    let mut first = job.spawn();
    until("the first fetch", || sim.calls().gettoken == 1).await;
    let others: Vec<_> = (0..7).map(|_| job.spawn()).collect();
    sleep(SECOND).await;
    first.kill().await.unwrap();
    for process in others {
        assert_eq!(outcome(process).await.rows, [100]);
    }
    assert_eq!(sim.calls().gettoken, 2);
}

#[tokio::test]
async fn token_fetch_that_is_slow_keeps_its_lease() {
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
async fn secret_that_is_wrong_is_sent_once_by_all_processes() {
    let Some(server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().credentials(Simulator::CORP_ID, "another-secret")).await;
    let job = Job::new(&sim, &server);
    for _ in 0..3 {
        let error = ids(job.client().enrolls(Query::webinar("M"))).await.unwrap_err();
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Token, Some(40001)));
        assert!(error.is_auth() && !error.is_transient(), "{error}");
    }
    assert_eq!(sim.calls().gettoken, 1);
    // The right secret is not affected.
    let client = job.builder().corp_secret(Simulator::CORP_ID, "another-secret").build().unwrap();
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(100));
}
