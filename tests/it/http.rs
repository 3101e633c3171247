//! The same promises over real sockets and in real time, against the simulator.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::{
    Client, ClientBuilder, EnrollStatus, ErrorKind, Query, Quota, RetryPolicy, StatusFilter,
    simulator::{Fault, Simulator, SimulatorBuilder},
};

use crate::support::{ids, query};

const MS: Duration = Duration::from_millis(1);

pub(crate) async fn start(builder: SimulatorBuilder) -> Simulator {
    builder.start().await.unwrap()
}

pub(crate) fn builder(sim: &Simulator) -> ClientBuilder {
    Client::builder()
        .corp_secret(Simulator::CORP_ID, Simulator::SECRET)
        .base_url(sim.base_url())
        .quota(Quota::new(1_000_000, Duration::from_secs(1)).unwrap())
}

pub(crate) fn expected(rows: u64) -> Vec<String> {
    (0..rows).map(Simulator::enroll_id).collect()
}

pub(crate) fn fault(spec: &str) -> Fault {
    spec.parse().unwrap()
}

#[tokio::test]
async fn both_lists_arrive_whole_with_realistic_rows() {
    let sim = start(Simulator::builder().enrollees(523)).await;
    let client = builder(&sim).build().unwrap();
    for query in [Query::webinar("W"), Query::meeting("M")] {
        let rows: Vec<_> = client.enrolls(query).try_collect().await.unwrap();
        assert_eq!(rows.len(), 523);
        for row in &rows {
            assert!(row.enrolled_at().is_some(), "{}", row.enroll_time());
            assert!(!row.nick_name().is_empty() && row.answers().len() == 5);
            assert!(row.answers().all(|answer| answer.content().len() > 0));
        }
    }
    assert_eq!(ids(client.enrolls(Query::webinar("W"))).await.unwrap(), expected(523));
    assert_eq!(sim.calls().gettoken, 1);
    assert_eq!(sim.calls().connections, 1, "one connection is kept alive");
}

#[tokio::test]
async fn the_status_filter_is_the_servers() {
    let sim = start(Simulator::builder().enrollees(300)).await;
    let client = builder(&sim).build().unwrap();
    for (filter, status, share) in [
        (StatusFilter::Pending, EnrollStatus::Pending, 30),
        (StatusFilter::Rejected, EnrollStatus::Rejected, 30),
        (StatusFilter::Approved, EnrollStatus::Approved, 240),
    ] {
        let query = query().status(filter).page_size(7).unwrap();
        let rows: Vec<_> = client.enrolls(query).try_collect().await.unwrap();
        assert_eq!(rows.len(), share);
        assert!(rows.iter().all(|row| row.status() == status));
    }
}

#[tokio::test]
async fn a_third_of_all_replies_broken_on_the_wire_loses_and_doubles_nothing() {
    let kinds = [
        "reset",
        "reset-body",
        "cut",
        "status=500",
        "status=502",
        "status=503",
        "status=429",
        "errcode=-1",
        "errcode=45033",
        "slow=5ms",
        "slow=400ms",
        "hang",
    ];
    let mut faults = 0;
    for seed in 0..9 {
        let sim =
            kinds.iter().fold(Simulator::builder().enrollees(6000).seed(seed), |sim, kind| {
                sim.fault(fault(&format!("{kind}@3.3%")))
            });
        let sim = start(sim).await;
        let retry = RetryPolicy::new().max_attempts(1000).unwrap().base(MS);
        let client =
            builder(&sim).retry(retry).pushback(MS).attempt_timeout(200 * MS).build().unwrap();
        let ahead = [0, 1, 3][seed as usize % 3];
        let got = timeout(60_000 * MS, ids(client.enrolls(query()).read_ahead(ahead))).await;
        assert!(got.unwrap().unwrap() == expected(6000), "seed {seed}, {ahead} ahead");
        faults += sim.calls().faults;
        sim.shutdown().await;
    }
    assert!(faults > 9 * 35, "{faults} faults");
}

#[tokio::test]
async fn a_server_that_stays_down_ends_the_walk_with_the_last_error_and_a_way_on() {
    let sim = start(Simulator::builder().enrollees(500).fault(fault("status=503@4..7"))).await;
    let client = builder(&sim).retry(RetryPolicy::new().base(MS)).build().unwrap();
    let mut rows = client.enrolls(query());
    let mut seen = Vec::new();
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(row) => seen.push(row.enroll_id().to_owned()),
            Err(error) => break error,
        }
    };
    assert_eq!((seen.len(), error.attempts(), error.status()), (150, 4, Some(503)));
    seen.extend(ids(client.resume(error.checkpoint().unwrap().clone())).await.unwrap());
    assert_eq!(seen, expected(500));
}

#[tokio::test]
async fn a_checkpoint_is_good_in_another_process() {
    let first = start(Simulator::builder().enrollees(500)).await;
    let mut rows = builder(&first).build().unwrap().enrolls(query());
    let mut seen = Vec::new();
    for _ in 0..123 {
        seen.push(rows.next().await.unwrap().unwrap().enroll_id().to_owned());
    }
    let json = serde_json::to_string(&rows.checkpoint()).unwrap();
    first.shutdown().await;
    let second = start(Simulator::builder().enrollees(500)).await;
    let rows = builder(&second).build().unwrap().resume(serde_json::from_str(&json).unwrap());
    seen.extend(ids(rows).await.unwrap());
    assert_eq!(seen, expected(500));
}

#[tokio::test]
async fn the_quota_is_kept_and_used_over_real_sockets() {
    // The server is strict; the tolerance for its clock and the sockets' is a twentieth.
    let sim = Simulator::builder().enrollees(200).quota(50, 950 * MS);
    let sim = start(sim).await;
    let client = Client::builder()
        .access_token(sim.access_token())
        .base_url(sim.base_url())
        .quota(Quota::new(50, 1000 * MS).unwrap())
        .build()
        .unwrap();
    let begun = Instant::now();
    let walks = (0..4).map(|_| ids(client.enrolls(query().page_size(4).unwrap())));
    for got in join_all(walks).await {
        assert_eq!(got.unwrap(), expected(200));
    }
    let calls = sim.calls();
    assert_eq!((calls.list, calls.refused), (200, 0));
    // 200 calls at 45 to 50 a second, a burst of 5 first.
    let rate = 195.0 / begun.elapsed().as_secs_f64();
    assert!((40.0..51.0).contains(&rate), "{rate} calls a second");
}

#[tokio::test]
async fn tokens_expire_and_are_revoked_in_the_middle_of_a_walk() {
    let sim = Simulator::builder().enrollees(2000).token_ttl(1000 * MS).latency(40 * MS);
    let sim = start(sim).await;
    let client = builder(&sim).build().unwrap();
    let walk = ids(client.enrolls(query()));
    let revoke = async {
        for _ in 0..3 {
            sleep(330 * MS).await;
            sim.revoke_tokens();
        }
    };
    let (got, ()) = tokio::join!(walk, revoke);
    assert_eq!(got.unwrap(), expected(2000));
    assert_eq!(client.stats().retries, 0);
    let calls = sim.calls();
    assert!((4..=8).contains(&calls.gettoken), "{} refreshes", calls.gettoken);
}

#[tokio::test]
async fn dropping_a_stream_lets_the_server_see_its_client_go() {
    for ahead in [0, 1] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault("hang@3"))).await;
        let client = builder(&sim).build().unwrap();
        let mut rows = client.enrolls(query()).read_ahead(ahead);
        assert!(timeout(200 * MS, async { while rows.next().await.is_some() {} }).await.is_err());
        assert_eq!(sim.calls().connections_open, 1);
        // The connection with the unanswered request goes with the stream, while the client stays.
        drop(rows);
        let gone = async {
            while sim.calls().connections_open > 0 {
                sleep(MS).await;
            }
        };
        assert!(timeout(1000 * MS, gone).await.is_ok(), "{ahead} ahead");
    }
}

#[tokio::test]
async fn a_next_that_is_timed_out_over_a_real_socket_loses_no_row() {
    let sim = start(Simulator::builder().enrollees(300).latency(15 * MS)).await;
    for ahead in [0, 1, 3] {
        let mut rows = builder(&sim).build().unwrap().enrolls(query()).read_ahead(ahead);
        let mut seen = Vec::new();
        loop {
            match timeout(2 * MS, rows.next()).await {
                Err(_) => {}
                Ok(Some(row)) => seen.push(row.unwrap().enroll_id().to_owned()),
                Ok(None) => break,
            }
        }
        assert_eq!(seen, expected(300));
    }
}

#[tokio::test]
async fn wrong_credentials_are_a_clear_error_after_one_call() {
    let sim = start(Simulator::builder()).await;
    for (corp, secret, errcode) in
        [("x", Simulator::SECRET, 40013), (Simulator::CORP_ID, "x", 40001)]
    {
        let before = sim.calls().gettoken;
        let client =
            Client::builder().corp_secret(corp, secret).base_url(sim.base_url()).build().unwrap();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Token, Some(errcode)));
        assert!(error.hint().is_some());
        assert_eq!(sim.calls().gettoken - before, 1);
    }
    assert_eq!(sim.calls().list, 0);
}

#[tokio::test]
async fn retry_after_is_understood_in_seconds_and_as_a_date() {
    for header in [
        "Retry-After: 2",
        "Date: Sun, 22 Nov 2026 18:00:00 GMT\r\nRetry-After: Sun, 22 Nov 2026 18:00:02 GMT",
    ] {
        let reply = format!("HTTP/1.1 503 Busy\r\n{header}\r\nContent-Length: 0\r\n\r\n");
        let addr = crate::hostile::serve(reply.into_bytes()).await;
        let client = Client::builder()
            .access_token("T")
            .base_url(format!("http://{addr}"))
            .retry(RetryPolicy::never())
            .build()
            .unwrap();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.status(), error.pushback()), (Some(503), Some(2000 * MS)), "{header}");
    }
}

#[tokio::test]
async fn a_client_of_ones_own_and_a_base_path_are_used() {
    let sim = start(Simulator::builder().enrollees(60)).await;
    let own = reqwest::Client::builder().no_proxy().build().unwrap();
    let client = builder(&sim).http_client(own).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), expected(60));
    let below = builder(&sim).base_url(format!("{}/proxy/", sim.base_url())).build().unwrap();
    assert_eq!(ids(below.enrolls(query())).await.unwrap_err().status(), Some(404));
}
