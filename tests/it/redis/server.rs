//! A real `redis-server` on a free loopback port with a temporary directory. Killed when dropped.

use std::{
    env,
    io::{self, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct RedisServer {
    child: Child,
    directory: TempDir,
    pub(crate) port: u16,
}

impl RedisServer {
    /// Returns `None`, and prints a notice, if there is no `redis-server`. Panics if
    /// `WECOM_ENROLL_REDIS_REQUIRED` is set, as in continuous integration.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// Starts a server with these additional lines of configuration.
    pub(crate) async fn with(lines: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(env::var_os("WECOM_ENROLL_REDIS_REQUIRED").is_none(), "no redis-server");
            // Not `eprintln!`, whose output is not shown if the test passes.
            let _ = writeln!(io::stderr(), "\nSKIPPED: no redis-server on this machine\n");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = TempDir::new().unwrap();
        let tls = lines.iter().any(|line| line.starts_with("tls"));
        let listen = if tls { format!("port 0\ntls-port {port}") } else { format!("port {port}") };
        let path = directory.path().display();
        let conf = format!(
            "bind 127.0.0.1\n{listen}\ndir {path}\nlogfile {path}/log\nsave \"\"\nappendonly no\n{}\n",
            lines.join("\n")
        );
        std::fs::write(directory.path().join("redis.conf"), conf).unwrap();
        let child = spawn(&directory);
        let mut server = Self { child, directory, port };
        server.wait_until_up().await;
        Some(server)
    }

    async fn wait_until_up(&mut self) {
        let started = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let log = || std::fs::read_to_string(self.directory.path().join("log"));
            assert!(started.elapsed() < LIMIT, "redis-server did not start: {:?}", log());
            assert!(self.child.try_wait().unwrap().is_none(), "redis-server exited: {:?}", log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server, which stores nothing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the server again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.directory);
        self.wait_until_up().await;
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let mut run = redis::cmd(command[0]);
        run.arg(&command[1..]).query_async(&mut self.connection().await).await.unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        self.run(&["KEYS", "*"]).await
    }

    /// Returns how many scripts were run. Each one is a round trip.
    pub(crate) async fn scripts(&self) -> u64 {
        let stats: String = self.run(&["INFO", "commandstats"]).await;
        let calls = |line: &str| -> Option<u64> {
            line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse().ok()
        };
        stats.lines().find_map(calls).unwrap_or(0)
    }
}

fn spawn(directory: &TempDir) -> Child {
    Command::new("redis-server")
        .arg(directory.path().join("redis.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
