//! `export`: what the command line costs beside the library that it is made of.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::UsageWho;

use crate::{
    children::Server,
    clients::Client,
    compare::{check, full_pages},
    measure::cpu,
    rows::Roster,
    server::{self, meeting},
    spread::Spread,
    sums::Quick,
    table,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command line to measure: a release build of wecom-enroll with the feature cli
    #[arg(long, value_name = "PATH")]
    bin: PathBuf,
    /// Rows of the list
    #[arg(long, default_value_t = 100_000, value_parser = full_pages)]
    rows: u32,
    /// How often it is exported
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    server: server::Args,
}

pub(crate) fn export(args: &Args) -> Result<()> {
    let expected = Roster::new(args.server.shape).expected::<Quick>(args.rows);
    let server = Server::start(args.server)?;
    let library = || {
        let sample = server.walk(Client::Ours, args.rows, &[])?;
        check(Client::Ours, &sample, args.rows, expected)
    };
    let stdout = || run(&args.bin, &server.url, args.rows, "-");
    let device = || run(&args.bin, &server.url, args.rows, "/dev/null");
    let all: [(_, &dyn Fn() -> Result<()>); 3] = [
        ("wecom-enroll, the library", &library),
        ("export -o - >/dev/null", &stdout),
        ("export -o /dev/null", &device),
    ];

    // Of each round, what each of them cost.
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    for round in 0..args.rounds as usize {
        let mut costs = [0.0; 3];
        for turn in 0..all.len() {
            let at = (round + turn) % all.len();
            let before = cpu(UsageWho::RUSAGE_CHILDREN)?;
            all[at].1()?;
            let used = cpu(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before);
            costs[at] = used.as_secs_f64() * 1e9 / f64::from(args.rows);
        }
        rounds.push(costs);
    }

    let line = |(at, (name, _)): (usize, &(&str, _))| {
        let cost = Spread::of(rounds.iter().map(|costs| costs[at]));
        let ratio = Spread::of(rounds.iter().map(|costs| costs[at] / costs[0]));
        vec![
            (*name).to_owned(),
            format!("{:.0}", cost.median),
            format!("{:.2}", ratio.median),
            format!("{:.2}..{:.2}", ratio.low, ratio.high),
        ]
    };
    let lines: Vec<_> = all.iter().enumerate().map(line).collect();
    table::print(&["", "CPU ns/row", "of library", "95 %"], &lines);
    println!(
        "\nMedians. Rows: {}, of {} answers; rounds: {}. CPU of the whole process, its start included.",
        args.rows, args.server.shape.answers, args.rounds
    );
    Ok(())
}

/// Exports once. That it ends well is what says that every row was delivered.
fn run(bin: &Path, url: &str, rows: u32, output: &str) -> Result<()> {
    let status = Command::new(bin)
        .args(["export", &meeting(rows), "--base-url", url, "-o", output])
        .args(["--read-ahead", "0", "--quota", "4000000000/1s", "-q"])
        .env("WECOM_ACCESS_TOKEN", "T")
        // Someone's own would go before, and be refused.
        .env_remove("WECOM_CORP_ID")
        .env_remove("WECOM_CORP_SECRET")
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{} does not run", bin.display()))?;
    ensure!(status.success(), "{} ended with {status}", bin.display());
    Ok(())
}
