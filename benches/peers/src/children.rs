//! The processes that the bench starts: its server, and one process for each walk, so that no walk
//! finds the heap or the caches of another one.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{clients::Client, measure::Sample, server::Args};

/// A server, which ends with this value.
pub(crate) struct Server {
    process: Child,
    /// Open as long as the server is to live, and closed by the kernel if we are killed.
    stdin: Option<ChildStdin>,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(args: Args) -> Result<Self> {
        let mut process = myself()?
            .args(["serve", "--answers", &args.shape.answers.to_string()])
            .args(["--answer-bytes", &args.shape.answer_bytes.to_string()])
            .args(["--latency-ms", &args.latency_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server did not start")?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("the server has no output")?;
        let mut server = Self { process, stdin, url: String::new() };
        BufReader::new(stdout).read_line(&mut server.url)?;
        server.url.truncate(server.url.trim_end().len());
        ensure!(!server.url.is_empty(), "the server did not say where it listens");
        Ok(server)
    }

    /// Walks once, in a process of its own.
    pub(crate) fn walk(&self, client: Client, rows: u32, options: &[&str]) -> Result<Sample> {
        let output = myself()?
            .args(["run", &client.to_string(), "--url", &self.url, "--rows", &rows.to_string()])
            .args(options)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "{client}: its process ended with {}", output.status);
        serde_json::from_slice(&output.stdout).with_context(|| format!("{client}: no sample"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It is gone either way.
        let _ = self.process.wait();
    }
}

fn myself() -> Result<Command> {
    Ok(Command::new(env::current_exe().context("the bench does not know where it lies")?))
}
