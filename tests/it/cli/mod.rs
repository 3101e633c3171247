//! The command line, which is a contract with scripts. This file contains the shared helpers.

mod checkpoint;
mod decide;
mod doctor;
mod export;
mod files;
mod messages;
mod spreadsheets;
mod stdout;
mod summary;
#[cfg(feature = "sync")]
mod sync;
#[cfg(target_os = "linux")]
mod terminal;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use wecom_enroll::simulator::{Simulator, SimulatorBuilder};

use crate::{
    http::{fault, start},
    support::serve,
};

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_wecom-enroll");
pub(crate) const MS: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        // Without it, Windows finds no network.
        .envs(std::env::var("SystemRoot").map(|root| ("SystemRoot", root)))
        .env("WECOM_CORP_ID", Simulator::CORP_ID)
        .env("WECOM_CORP_SECRET", Simulator::SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn finish(mut command: Command) -> Output {
    timeout(LIMIT, command.output()).await.expect("in time").unwrap()
}

pub(crate) async fn run(args: &[&str]) -> Output {
    finish(command(EXE, args)).await
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn ids(jsonl: &[u8]) -> Vec<String> {
    let row = |line| serde_json::from_str::<Value>(line).unwrap();
    let text = std::str::from_utf8(jsonl).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| row(line)["enroll_id"].as_str().unwrap().to_owned()).collect()
}

/// The paths of an output and a checkpoint in a temporary directory.
struct Files {
    _directory: TempDir,
    output: PathBuf,
    checkpoint: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let (output, checkpoint) =
            (directory.path().join("rows.jsonl"), directory.path().join("at.json"));
        Self { _directory: directory, output, checkpoint }
    }

    fn export<'a>(&'a self, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["export", "--base-url", url, "--retry-base", "1ms", "-o"];
        args.extend([text(&self.output), "--checkpoint", text(&self.checkpoint)]);
        args.extend(more);
        args
    }

    fn ids(&self) -> Vec<String> {
        ids(&fs::read(&self.output).unwrap())
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) async fn signal(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// Runs an export that fails after 500 of 1,000 rows.
async fn half_done(sim: SimulatorBuilder) -> (Files, Simulator) {
    let files = Files::new();
    let sim = start(sim.enrollees(1000).fault(fault("status=404@11"))).await;
    let url = sim.base_url();
    let done = run(&files.export(&url, &["M", "--read-ahead", "0"])).await;
    assert_eq!((code(&done), files.ids().len()), (1, 500), "{}", stderr(&done));
    (files, sim)
}

/// Starts a server that has these rows, and returns its URL.
async fn serve_rows(rows: &Value) -> String {
    let page =
        json!({"errcode": 0, "errmsg": "ok", "has_more": false, "enroll_list": rows}).to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", page.len());
    format!("http://{}", serve((head + &page).into()).await)
}

/// Returns the command, which does not request an access token.
fn with_token(args: &[&str]) -> Command {
    let mut command = command(EXE, args);
    command.env_remove("WECOM_CORP_ID").env("WECOM_ACCESS_TOKEN", "T");
    command
}
