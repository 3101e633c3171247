//! `export`: what the command line costs compared with the library.

use std::{
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
    /// The command line to measure: a release build of wecom-enroll with the feature cli
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
    let all: [(_, &dyn Fn() -> Result<()>); 3] = [
        ("wecom-enroll, the library", &library),
        ("export -o - >/dev/null", &stdout),
        ("export -o /dev/null", &device),
    ];

    // The cost of each variant, by round.
    let mut costs: Vec<[f64; 3]> = Vec::new();
    for round in 0..rounds as usize {
        let mut cost = [0.0; 3];
        for turn in 0..all.len() {
            let at = (round + turn) % all.len();
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
    let status = Command::new(bin)
        .args(["export", &meeting(rows), "--base-url", url, "-o", output])
        .args(["--read-ahead", "0", "--quota", "4000000000/1s", "-q"])
        .env("WECOM_ACCESS_TOKEN", "T")
        // The user's own credentials would take precedence, and the server does not issue tokens.
        .env_remove("WECOM_CORP_ID")
        .env_remove("WECOM_CORP_SECRET")
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", bin.display()))?;
    ensure!(status.success(), "{} failed: {status}", bin.display());
    Ok(())
}
