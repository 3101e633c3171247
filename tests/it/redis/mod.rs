//! One quota and one token for many processes, with a real Redis and in real time. This file contains the shared
//! helpers.

mod connection;
mod quota;
mod server;
mod token;

use std::{env, process::Stdio, time::Duration};

use futures::{StreamExt, future::join_all};
use serde::{Deserialize, Serialize};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use wecom_enroll::{Client, ClientBuilder, Error, Query, Quota, Redis, simulator::Simulator};

use crate::{
    redis::server::RedisServer,
    support::{full_text, persistent},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);

/// The work of one child process.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    base_url: String,
    redis: String,
    quota: (u32, Duration),
    retry_after: Duration,
    streams: usize,
    /// The process ends after this time, even if its streams have not ended.
    duration: Duration,
}

/// The result of a child process.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    attempts: u64,
    /// The number of rows of each stream that reached its end. The rows were in order.
    rows: Vec<usize>,
    errors: Vec<String>,
}

impl Job {
    fn new(sim: &Simulator, server: &RedisServer) -> Self {
        Self {
            base_url: sim.base_url(),
            redis: server.url(),
            quota: (1000, SECOND),
            retry_after: 60 * SECOND,
            streams: 1,
            duration: LIMIT,
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
            .quotas([Quota::new(self.quota.0, self.quota.1).unwrap()])
            .retry_after(self.retry_after)
            .retry(persistent().base(50 * MS).cap(SECOND))
    }

    /// Runs the job in another process.
    fn spawn(&self) -> Child {
        self.command().spawn().unwrap()
    }

    /// Returns the command that runs only [`child_process_runs_its_job`] of this test program.
    fn command(&self) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "redis::child_process_runs_its_job", "--ignored", "--nocapture"])
            .env("WECOM_ENROLL_JOB", serde_json::to_string(self).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self) -> Outcome {
        let client = self.client();
        let list = async |i| {
            let mut rows = client.enrolls(Query::webinar(format!("M{i}")));
            let mut seen = 0;
            while let Some(row) = rows.next().await {
                assert_eq!(row?.enroll_id(), Simulator::enroll_id(seen));
                seen += 1;
            }
            Ok::<_, Error>(seen as usize)
        };
        let lists = join_all((0..self.streams).map(list));
        let ended = timeout(self.duration, lists).await.unwrap_or_default();
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for list in ended {
            match list {
                Ok(count) => rows.push(count),
                Err(error) => errors.push(full_text(&error)),
            }
        }
        Outcome { attempts: client.stats().attempts, rows, errors }
    }
}

async fn outcome(process: Child) -> Outcome {
    let output = timeout(LIMIT, process.wait_with_output()).await.expect("in time").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| Some(line.split_once("OUTCOME ")?.1));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// Waits until the condition is true.
async fn until(condition: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < LIMIT, "never: {condition}");
        sleep(5 * MS).await;
    }
}

#[tokio::test]
#[ignore = "the child process of other tests"]
async fn child_process_runs_its_job() {
    if let Ok(job) = env::var("WECOM_ENROLL_JOB") {
        let outcome = serde_json::from_str::<Job>(&job).unwrap().run().await;
        println!("OUTCOME {}", serde_json::to_string(&outcome).unwrap());
    }
}
