//! Child processes: the server, and one process per run, so that runs share neither heap nor caches.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    clients::Client,
    measure::{Core, Sample, pin},
    rows::ServedPages,
    server::ServerArgs,
    sums::{Quick, Thorough, expected},
};

/// A running server. Dropping it stops the server.
pub(crate) struct Server {
    process: Child,
    /// The server stops when this pipe is closed. The kernel closes it even if this process is killed.
    stdin: Option<ChildStdin>,
    pub(crate) url: String,
    /// The pages that the server sends.
    pub(crate) pages: ServedPages,
}

impl Server {
    pub(crate) fn start(args: ServerArgs) -> Result<Self> {
        let mut process = this_program()?
            .args(["serve", "--answers", &args.shape.answers.to_string()])
            .args(["--answer-bytes", &args.shape.answer_bytes.to_string()])
            .args(["--latency-ms", &args.latency_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("the server has no standard output")?;
        let pages = ServedPages::new(args.shape);
        let mut server = Self { process, stdin, url: String::new(), pages };
        BufReader::new(stdout).read_line(&mut server.url)?;
        server.url.truncate(server.url.trim_end().len());
        ensure!(!server.url.is_empty(), "the server did not print its address");
        Ok(server)
    }

    /// Restricts the server to one core.
    pub(crate) fn pin(&self, core: Core) -> Result<()> {
        pin(self.process.id(), core)
    }

    /// Runs a client once in its own process, with this many streams of one list at the same time.
    /// Counts allocations if `count` is set.
    ///
    /// Returns an error if the client did not find exactly the rows that were served. A run that counts
    /// is compared byte by byte.
    pub(crate) fn run(
        &self,
        client: Client,
        rows: u32,
        streams: u32,
        count: bool,
    ) -> Result<Sample> {
        let output = this_program()?
            .args(["run", &client.to_string(), "--url", &self.url, "--rows", &rows.to_string()])
            .args(["--streams", &streams.to_string()])
            .args(count.then_some("--count"))
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "{client}: its process failed: {}", output.status);
        let sample: Sample = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{client}: no sample"))?;
        let (found, served) = (&sample.found, rows * streams);
        ensure!(found.rows == served, "{client} found {} rows of {served}", found.rows);
        if let Some(checksum) = found.checksum {
            let pages = &self.pages;
            let expected =
                if count { expected::<Thorough> } else { expected::<Quick> }(pages, rows);
            ensure!(checksum == expected, "{client} found other rows than were served");
        }
        Ok(sample)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // A server that failed has also ended, so its exit status does not matter.
        let _ = self.process.wait();
    }
}

fn this_program() -> Result<Command> {
    Ok(Command::new(env::current_exe().context("cannot find this program's file")?))
}
