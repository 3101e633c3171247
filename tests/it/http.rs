//! The library over real sockets and in real time, with the simulator as the server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, future::join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};
use wecom_enroll::{
    Client, ClientBuilder, EnrollStatus, ErrorKind, HttpTransport, Query, Quota, RetryPolicy,
    StatusFilter,
    simulator::{Fault, Simulator, SimulatorBuilder},
};

use crate::support::{List, ids, ids_until_error, persistent, query, read, resume, serve};

const MS: Duration = Duration::from_millis(1);

pub(crate) async fn start(builder: SimulatorBuilder) -> Simulator {
    builder.start().await.unwrap()
}

pub(crate) fn builder(sim: &Simulator) -> ClientBuilder {
    Client::builder()
        .corp_secret(Simulator::CORP_ID, Simulator::SECRET)
        .base_url(sim.base_url())
        .quotas([Quota::new(1_000_000, Duration::from_secs(1)).unwrap()])
}

pub(crate) fn expected(rows: u64) -> Vec<String> {
    (0..rows).map(Simulator::enroll_id).collect()
}

pub(crate) fn fault(spec: &str) -> Fault {
    spec.parse().unwrap()
}

#[tokio::test]
async fn lists_of_webinars_and_meetings_arrive_completely() {
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
    assert_eq!(sim.calls().connections, 1, "the connection is kept alive");
}

#[tokio::test]
async fn status_filter_is_applied_by_the_server() {
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
async fn faults_in_a_third_of_responses_lose_and_repeat_no_row() {
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
        let builder = builder(&sim).retry(persistent()).retry_after(MS);
        let client = builder.attempt_timeout(200 * MS).build().unwrap();
        let ahead = [0, 1, 3][seed as usize % 3];
        let got = timeout(60_000 * MS, ids(client.enrolls(query()).read_ahead(ahead))).await;
        assert!(got.unwrap().unwrap() == expected(6000), "seed {seed}, {ahead} ahead");
        faults += sim.calls().faults;
        sim.shutdown().await;
    }
    assert!(faults > 9 * 35, "{faults} faults");
}

#[tokio::test]
async fn server_that_stays_down_is_an_error_that_can_be_resumed() {
    let sim = start(Simulator::builder().enrollees(500).fault(fault("status=503@4..7"))).await;
    let client = builder(&sim).retry(RetryPolicy::new().base(MS)).build().unwrap();
    let (mut seen, error) = ids_until_error(&mut client.enrolls(query())).await;
    assert_eq!((seen.len(), error.attempts(), error.status()), (150, 4, Some(503)));
    seen.extend(ids(resume(&client, error.checkpoint().unwrap().clone())).await.unwrap());
    assert_eq!(seen, expected(500));
}

#[tokio::test]
async fn checkpoint_can_be_resumed_with_another_server() {
    let first = start(Simulator::builder().enrollees(500)).await;
    let mut rows = builder(&first).build().unwrap().enrolls(query());
    let mut seen = read(&mut rows, 123).await;
    let json = serde_json::to_string(&rows.checkpoint()).unwrap();
    first.shutdown().await;
    let second = start(Simulator::builder().enrollees(500)).await;
    let rows = resume(&builder(&second).build().unwrap(), serde_json::from_str(&json).unwrap());
    seen.extend(ids(rows).await.unwrap());
    assert_eq!(seen, expected(500));
}

#[tokio::test]
async fn quota_holds_and_is_used_over_real_sockets() {
    // The server's window is 5 % shorter, to allow for the latency of the sockets.
    let sim = start(Simulator::builder().enrollees(200).quota(50, 950 * MS)).await;
    let client = Client::builder()
        .access_token(sim.access_token())
        .base_url(sim.base_url())
        .quotas([Quota::new(50, 1000 * MS).unwrap()])
        .build()
        .unwrap();
    let started = Instant::now();
    let lists = (0..4).map(|_| ids(client.enrolls(query().page_size(4).unwrap())));
    for got in join_all(lists).await {
        assert_eq!(got.unwrap(), expected(200));
    }
    let calls = sim.calls();
    assert_eq!((calls.list, calls.refused), (200, 0));
    // A burst of 5, then 45 to 50 calls per second.
    let rate = 195.0 / started.elapsed().as_secs_f64();
    assert!((40.0..51.0).contains(&rate), "{rate} calls per second");
}

#[tokio::test]
async fn token_that_expires_or_is_revoked_loses_no_row() {
    let sim = Simulator::builder().enrollees(2000).token_ttl(1000 * MS).latency(40 * MS);
    let sim = start(sim).await;
    let client = builder(&sim).build().unwrap();
    let list = ids(client.enrolls(query()));
    let revoke = async {
        for _ in 0..3 {
            sleep(330 * MS).await;
            sim.revoke_tokens();
        }
    };
    let (got, ()) = tokio::join!(list, revoke);
    assert_eq!(got.unwrap(), expected(2000));
    assert_eq!(client.stats().retries, 0);
    let calls = sim.calls();
    assert!((4..=8).contains(&calls.gettoken), "{} refreshes", calls.gettoken);
}

#[tokio::test]
async fn stream_dropped_closes_the_connection_of_its_request() {
    for ahead in [0, 1] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault("hang@3"))).await;
        let client = builder(&sim).build().unwrap();
        let mut rows = client.enrolls(query()).read_ahead(ahead);
        assert!(timeout(200 * MS, async { while rows.next().await.is_some() {} }).await.is_err());
        assert_eq!(sim.calls().connections_open, 1);
        // The connection is closed although the client still exists.
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
async fn next_dropped_over_a_real_socket_loses_no_row() {
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
async fn credentials_that_are_wrong_are_sent_once() {
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
async fn retry_after_header_may_be_seconds_or_a_date() {
    for header in [
        "Retry-After: 2",
        "Date: Sun, 22 Nov 2026 18:00:00 GMT\r\nRetry-After: Sun, 22 Nov 2026 18:00:02 GMT",
    ] {
        let response = format!("HTTP/1.1 503 Busy\r\n{header}\r\nContent-Length: 0\r\n\r\n");
        let addr = serve(response.into_bytes()).await;
        let client = Client::builder()
            .access_token("T")
            .base_url(format!("http://{addr}"))
            .retry(RetryPolicy::never())
            .build()
            .unwrap();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.status(), error.retry_after()), (Some(503), Some(2000 * MS)), "{header}");
    }
}

#[tokio::test]
async fn http_client_and_path_of_the_base_url_are_used() {
    let sim = start(Simulator::builder().enrollees(60)).await;
    let custom = HttpTransport::client_builder().unwrap().no_proxy().build().unwrap();
    let client = builder(&sim).http_client(custom).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), expected(60));
    let proxied = builder(&sim).base_url(format!("{}/proxy/", sim.base_url())).build().unwrap();
    assert_eq!(ids(proxied.enrolls(query())).await.unwrap_err().status(), Some(404));
}

/// Serves a list of `pages` pages of one row, and closes connections that are idle for 50 ms.
async fn closing_idle_connections(pages: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let next = Arc::new(AtomicUsize::new(0));
        while let Ok((mut socket, _)) = listener.accept().await {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while let Ok(Ok(1..)) = timeout(50 * MS, socket.read(&mut request)).await {
                    let page = List(vec![1; pages]).page(next.fetch_add(1, SeqCst)).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
                    let _ = socket.write_all((head + &page).as_bytes()).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn connection_closed_while_the_reader_computes_is_not_used() {
    let server = Runtime::new().unwrap();
    let address = server.spawn(closing_idle_connections(5)).await.unwrap();
    let builder = Client::builder().access_token("T").base_url(format!("http://{address}"));
    let client = builder.retry(RetryPolicy::never()).build().unwrap();
    let mut rows = client.enrolls(query());
    for _ in 0..5 {
        read(&mut rows, 1).await;
        compute(200 * MS);
    }
    assert!(rows.next().await.is_none());
    server.shutdown_background();
}

/// The reader computes on the only thread of the runtime, so that the connection and the read-ahead task run
/// only when the stream yields to them.
#[tokio::test]
async fn read_ahead_overlaps_a_real_server_with_a_busy_reader() {
    let server = Runtime::new().unwrap();
    let sim = server.spawn(start(Simulator::builder().enrollees(1000).latency(20 * MS)));
    let sim = sim.await.unwrap();
    let time = async |ahead: usize| {
        let mut rows = builder(&sim).build().unwrap().enrolls(query()).read_ahead(ahead);
        read(&mut rows, 1).await;
        let started = Instant::now();
        for _ in 1..20 {
            compute(20 * MS);
            read(&mut rows, 50).await;
        }
        started.elapsed()
    };
    let (without, with) = (time(0).await, time(1).await);
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("{with:?} with read-ahead, {without:?} without: {ratio:.3}");
    assert!(ratio <= 0.8, "{with:?} with read-ahead, {without:?} without");
    server.shutdown_background();
}

#[expect(clippy::disallowed_methods, reason = "blocks the thread, as a computation does")]
fn compute(time: Duration) {
    std::thread::sleep(time);
}
