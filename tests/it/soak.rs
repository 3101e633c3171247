//! Ten minutes of streams with faults: no lost row, no growth of memory or file descriptors.
//!
//! `cargo test --release --features simulator --test it -- --ignored --nocapture soak`;
//! `WECOM_ENROLL_SOAK` sets the duration in seconds.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use wecom_enroll::{RetryPolicy, simulator::Simulator};

use crate::{
    http::{builder, expected, fault, start},
    support::{query, resume},
};

const STREAMS: usize = 50;
const ROWS: u64 = 1_500;

/// Returns the resident memory in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn soak_loses_no_row_and_leaks_nothing() {
    let seconds = std::env::var("WECOM_ENROLL_SOAK").map_or(600, |value| value.parse().unwrap());
    let kinds = [
        "reset",
        "reset-body",
        "cut",
        "status=500",
        "status=503",
        "errcode=-1",
        "errcode=45033",
        "errcode=45009",
        "slow=50ms",
        "slow=2s",
        "hang",
    ];
    let sim = kinds.iter().fold(Simulator::builder().enrollees(ROWS), |sim, kind| {
        sim.fault(fault(&format!("{kind}@1%")))
    });
    // This fault is rare, because a refresh every second would exceed the quota of `gettoken`.
    let sim = sim.fault(fault("token-expired@0.01%")).token_ttl(Duration::from_secs(60));
    let sim = start(sim.latency(Duration::from_millis(5))).await;
    let client = builder(&sim)
        .retry(RetryPolicy::new().max_attempts(50).base(Duration::from_millis(5)))
        .retry_after(Duration::from_millis(50))
        .attempt_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let expected = expected(ROWS);
    let started = Instant::now();
    let (mut streams, mut resumed, mut peak) = (0_u64, 0_u64, (0, 0));
    let mut running = stream::iter(0..)
        .take_while(|_| std::future::ready(started.elapsed().as_secs() < seconds))
        .map(|number| {
            let client = client.clone();
            async move {
                let mut rows = client.enrolls(query()).read_ahead(number % 4);
                let (mut seen, mut resumed) = (Vec::new(), 0);
                // A token that is refused twice in one call ends the stream, which is then resumed.
                loop {
                    let checkpoint = loop {
                        match rows.next().await {
                            None => return (seen, resumed),
                            Some(Ok(row)) => seen.push(row.enroll_id().to_owned()),
                            Some(Err(error)) => break error.checkpoint().unwrap().clone(),
                        }
                    };
                    rows = resume(&client, checkpoint).read_ahead(number % 4);
                    resumed += 1;
                }
            }
        })
        .buffer_unordered(STREAMS);
    let warm = Duration::from_secs(seconds / 5);
    let mut report = Instant::now();
    while let Some((seen, again)) = running.next().await {
        assert!(seen == expected, "stream {streams} lost or repeated a row");
        streams += 1;
        resumed += again;
        let now = (memory(), descriptors());
        if started.elapsed() < warm {
            peak = (now.0.max(peak.0), now.1.max(peak.1));
        }
        if report.elapsed().as_secs() * 10 >= seconds {
            report = Instant::now();
            let (calls, stats) = (sim.calls(), client.stats());
            println!(
                "{:>4} s: {streams} streams, {} calls, {} faults, {} retries, {resumed} resumed, \
                 {} tokens, {} KiB, {} descriptors",
                started.elapsed().as_secs(),
                calls.list,
                calls.faults,
                stats.retries,
                calls.gettoken,
                now.0,
                now.1,
            );
        }
    }
    let now = (memory(), descriptors());
    println!("warm: {peak:?}, end: {now:?}; {streams} streams of {ROWS} rows, none lost");
    assert!(streams >= 1000 * seconds / 600);
    assert!(now.0 <= peak.0 + peak.0 / 10 && now.1 <= peak.1, "growth: {peak:?} to {now:?}");
}
