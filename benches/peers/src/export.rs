//! `export`: what the command line costs compared with the library, and `sync` compared with `export`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::UsageWho;

use crate::{
    children::Server,
    clients::Client,
    measure::cpu,
    server::{ListArgs, meeting},
    spread::Spread,
    table,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command line to measure: a release build of wecom-enroll with the feature sync
    #[arg(long, value_name = "PATH")]
    bin: PathBuf,
    #[command(flatten)]
    list: ListArgs,
}

pub(crate) fn export(args: &Args) -> Result<()> {
    let ListArgs { rows, rounds, server: options } = args.list;
    let server = Server::start(options)?;
    let library = || server.run(Client::Ours, rows, 1, false).map(drop);
    let stdout = || run(&args.bin, &server.url, rows, "-");
    let device = || run(&args.bin, &server.url, rows, "/dev/null");
    let directory = tempfile::tempdir()?;
    let database = directory.path().join("enrolls.db");
    let first = || {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = database.clone().into_os_string();
            path.push(suffix);
            // Missing in the first round, or if the last connection was closed.
            let _ = fs::remove_file(path);
        }
        sync(&args.bin, &server.url, rows, &database)
    };
    let again = || sync(&args.bin, &server.url, rows, &database);
    let all: [(_, &dyn Fn() -> Result<()>); 5] = [
        ("wecom-enroll, the library", &library),
        ("export -o - >/dev/null", &stdout),
        ("export -o /dev/null", &device),
        ("sync >/dev/null, first listing", &first),
        ("sync >/dev/null, no changes", &again),
    ];

    // The cost of each variant, by round.
    let mut costs: Vec<[f64; 5]> = Vec::new();
    for round in 0..rounds as usize {
        let mut cost = [0.0; 5];
        for turn in 0..all.len() {
            // The last two stay in their order, because the second listing needs the first one.
            let at = if turn < 3 { (round + turn) % 3 } else { turn };
            let before = cpu(UsageWho::RUSAGE_CHILDREN)?;
            all[at].1()?;
            let used = cpu(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before);
            cost[at] = used.as_secs_f64() * 1e9 / f64::from(rows);
        }
        costs.push(cost);
    }

    let line = |(at, (name, _)): (usize, &(&str, _))| {
        let cost = Spread::of(costs.iter().map(|cost| cost[at]));
        let ratio = Spread::of(costs.iter().map(|cost| cost[at] / cost[0]));
        vec![
            (*name).to_owned(),
            format!("{:.0}", cost.median),
            format!("{:.2}", ratio.median),
            ratio.interval(),
        ]
    };
    let lines: Vec<_> = all.iter().enumerate().map(line).collect();
    table::print(&["", "CPU ns/row", "vs. library", "95 % interval"], &lines);
    println!(
        "\nMedians of {rounds} rounds of {rows} rows, {} answers per row. CPU time of the whole process, including its start.",
        options.shape.answers
    );
    Ok(())
}

/// Exports once. Exit status 0 guarantees that every row was exported.
fn run(bin: &Path, url: &str, rows: u32, output: &str) -> Result<()> {
    let mut command = command(bin, "export", url, rows);
    succeed(command.args(["-o", output, "--read-ahead", "0"]))
}

/// Synchronizes a SQLite database once.
fn sync(bin: &Path, url: &str, rows: u32, database: &Path) -> Result<()> {
    let mut command = command(bin, "sync", url, rows);
    succeed(command.arg("--database").arg(format!("sqlite:{}", database.display())))
}

fn command(bin: &Path, name: &str, url: &str, rows: u32) -> Command {
    let mut command = Command::new(bin);
    command
        .args([name, &meeting(rows), "--base-url", url, "--quota", "4000000000/1s", "-q"])
        .env("WECOM_ACCESS_TOKEN", "T")
        // The user's own credentials would take precedence, and the server does not issue tokens.
        .env_remove("WECOM_CORP_ID")
        .env_remove("WECOM_CORP_SECRET")
        .stdout(Stdio::null());
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run the command line")?;
    ensure!(status.success(), "it failed: {status}");
    Ok(())
}
