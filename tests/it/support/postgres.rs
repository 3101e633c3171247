//! A real PostgreSQL server on a free loopback port, with a temporary directory. Killed when dropped.

use std::{
    env, fs,
    io::{self, Write},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::{NoTls, SimpleQueryMessage};

const LIMIT: Duration = Duration::from_secs(60);

/// The password of the only user, `enroll`.
pub(crate) const PASSWORD: &str = "a-password-for-tests";

/// PostgreSQL refuses to run as root. This user is on every Linux.
const NOBODY: u32 = 65534;

pub(crate) struct PostgresServer {
    child: Child,
    programs: PathBuf,
    directory: TempDir,
    port: u16,
}

impl PostgresServer {
    /// Returns `None`, and prints a notice, if PostgreSQL is not installed. Panics if
    /// `WECOM_ENROLL_POSTGRES_REQUIRED` is set, as in continuous integration.
    pub(crate) async fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(env::var_os("WECOM_ENROLL_POSTGRES_REQUIRED").is_none(), "no PostgreSQL");
            // Not `eprintln!`, whose output is not shown if the test passes.
            let _ = writeln!(io::stderr(), "\nSKIPPED: no PostgreSQL on this machine\n");
            return None;
        };
        let directory = TempDir::new().unwrap();
        let password = directory.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            chown(&password, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let created = command(&programs, "initdb", &directory)
            .args(["-D", "data", "-U", "enroll", "-A", "scram-sha-256", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync", "--pwfile=password"])
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(&programs, &directory, port);
        let mut server = Self { child, programs, directory, port };
        server.wait_until_up().await;
        Some(server)
    }

    async fn wait_until_up(&mut self) {
        let started = Instant::now();
        while tokio_postgres::connect(&self.url(), NoTls).await.is_err() {
            assert!(started.elapsed() < LIMIT, "PostgreSQL did not start");
            assert!(self.child.try_wait().unwrap().is_none(), "PostgreSQL exited");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    pub(crate) fn url_with(&self, password: &str) -> String {
        format!("postgres://enroll:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops the server as an administrator does, without waiting for its clients.
    pub(crate) async fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < LIMIT, "PostgreSQL did not stop");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the server again, with its data.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.programs, &self.directory, self.port);
        self.wait_until_up().await;
    }

    /// Runs statements. Returns the rows of the queries, as text.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        query(&self.url(), sql).await
    }
}

/// Runs statements on the server of this URL. Returns the rows of the queries, as text.
pub(crate) async fn query(url: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        }
        _ => None,
    });
    rows.collect()
}

/// Returns the directory of the programs. Debian's is not in `PATH`.
fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<_> = debian.chain(env::split_paths(&path)).collect();
    all.retain(|directory| directory.join("initdb").is_file());
    all.into_iter().next()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn command(programs: &Path, name: &str, directory: &TempDir) -> Command {
    let mut command = Command::new(programs.join(name));
    command.current_dir(directory.path()).env_clear().stdin(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn spawn(programs: &Path, directory: &TempDir, port: u16) -> Child {
    command(programs, "postgres", directory)
        .args(["-D", "data", "-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // The processes of its connections end by themselves.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
