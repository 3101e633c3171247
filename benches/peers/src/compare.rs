//! `compare`: every client walks the same list, round by round.
//!
//! A machine is now faster and now slower, so a ratio is one of neighbours: to the hand-written loop
//! of the same round. Each round begins with another client, so that none always follows the same one.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    children::Server,
    clients::Client,
    measure::{Sample, stay_on_one_core},
    rows::{PAGE, Roster},
    server,
    spread::Spread,
    sums::{Quick, Thorough},
    table,
};

/// Rows of the two walks whose allocations are counted: their difference is 64 pages, and without
/// what a walk costs once.
const COUNTED: [u32; 2] = [128 * PAGE, 64 * PAGE];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rows of the list
    #[arg(long, default_value_t = 100_000, value_parser = full_pages)]
    rows: u32,
    /// How often each client walks it
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these clients, and the loop
    #[arg(long, value_delimiter = ',', value_name = "CLIENTS")]
    only: Vec<Client>,
    /// Server and client on one core: neither wakes the other across cores, which in a virtual machine can
    /// cost more than the walk, and read-ahead gains nothing
    #[arg(long)]
    one_core: bool,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: server::Args,
}

/// A number of rows that fills its pages.
pub(crate) fn full_pages(text: &str) -> Result<u32> {
    let rows = text.parse()?;
    ensure!(rows > 0 && rows % PAGE == 0, "pages have {PAGE} rows: give a multiple of that");
    Ok(rows)
}

/// What the walks were of.
#[derive(Serialize)]
struct Facts {
    rows: u32,
    rounds: u32,
    answers: u32,
    page_bytes: u32,
    latency_ms: u64,
    one_core: bool,
    /// What wecom-enroll decodes with; the others have `serde_json`.
    parser: &'static str,
}

/// What one client cost, a row.
#[derive(Serialize)]
struct Cost {
    client: String,
    cpu_ns: Spread,
    cpu_ratio: Spread,
    wall_ns: Spread,
    wall_ratio: Spread,
    peak_mb: Spread,
    allocations: f64,
}

pub(crate) fn compare(args: &Args) -> Result<()> {
    let wanted = |client: &Client| {
        *client == Client::Loop || args.only.is_empty() || args.only.contains(client)
    };
    let clients: Vec<_> = Client::value_variants().iter().copied().filter(wanted).collect();
    let roster = Roster::new(args.server.shape);
    if args.one_core {
        stay_on_one_core()?;
    }
    let server = Server::start(args.server)?;

    // First, because it is not timed: whatever is slow only once is over then.
    let count = |&client: &Client| allocations(&server, &roster, client);
    let allocations = clients.iter().map(count).collect::<Result<Vec<_>>>()?;
    let samples = rounds(args, &server, &clients, roster.expected::<Quick>(args.rows))?;

    let by_hand = clients.iter().position(|&client| client == Client::Loop).unwrap_or_default();
    let cost = |at: usize| {
        let name = clients[at].to_string();
        Cost::of(name, &samples[at], &samples[by_hand], args.rows, allocations[at])
    };
    let costs: Vec<_> = (0..clients.len()).map(cost).collect();
    let facts = Facts {
        rows: args.rows,
        rounds: args.rounds,
        answers: args.server.shape.answers,
        page_bytes: roster.page_bytes()?,
        latency_ms: args.server.latency_ms,
        one_core: args.one_core,
        parser: if cfg!(feature = "sonic") { "sonic-rs" } else { "serde_json" },
    };
    if args.json {
        return print_json(&facts, &costs);
    }
    print_table(&facts, &costs);
    Ok(())
}

/// Of each client a walk each round.
fn rounds(
    args: &Args,
    server: &Server,
    clients: &[Client],
    expected: u64,
) -> Result<Vec<Vec<Sample>>> {
    let mut samples: Vec<_> = clients.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds as usize {
        for turn in 0..clients.len() {
            let at = (round + turn) % clients.len();
            let sample = server.walk(clients[at], args.rows, &[])?;
            check(clients[at], &sample, args.rows, expected)?;
            samples[at].push(sample);
        }
        eprintln!("round {} of {} is over", round + 1, args.rounds);
    }
    Ok(samples)
}

impl Cost {
    /// From a client's samples, and those of the loop in the same rounds.
    fn of(client: String, own: &[Sample], loops: &[Sample], rows: u32, allocations: f64) -> Self {
        let each = |of: fn(&Sample) -> f64| Spread::of(own.iter().map(of));
        let ratio = |of: fn(&Sample) -> f64| {
            Spread::of(own.iter().zip(loops).map(|(own, by_hand)| of(own) / of(by_hand)))
        };
        let rows = f64::from(rows);
        Self {
            client,
            cpu_ns: each(|sample| sample.cpu_ns).divided_by(rows),
            cpu_ratio: ratio(|sample| sample.cpu_ns),
            wall_ns: each(|sample| sample.wall_ns).divided_by(rows),
            wall_ratio: ratio(|sample| sample.wall_ns),
            peak_mb: each(|sample| sample.peak_mb),
            allocations,
        }
    }
}

/// Allocations a row. The walks are checked over every byte.
fn allocations(server: &Server, roster: &Roster, client: Client) -> Result<f64> {
    let mut counts = [0; 2];
    for (count, rows) in counts.iter_mut().zip(COUNTED) {
        let sample = server.walk(client, rows, &["--count"])?;
        check(client, &sample, rows, roster.expected::<Thorough>(rows))?;
        *count = sample.allocations;
    }
    let [whole, half] = counts.map(f64::from);
    Ok((whole - half) / f64::from(COUNTED[0] - COUNTED[1]))
}

/// That a client has found every row, and nothing else.
pub(crate) fn check(client: Client, sample: &Sample, rows: u32, expected: u64) -> Result<()> {
    let found = &sample.found;
    ensure!(found.rows == rows, "{client} found {} rows of {rows}", found.rows);
    let same = found.checksum.is_none_or(|checksum| checksum == expected);
    ensure!(same, "{client} found other rows than were served");
    Ok(())
}

fn print_json(facts: &Facts, costs: &[Cost]) -> Result<()> {
    println!("{}", serde_json::to_string(facts)?);
    for cost in costs {
        println!("{}", serde_json::to_string(cost)?);
    }
    Ok(())
}

fn print_table(facts: &Facts, costs: &[Cost]) {
    let header = [
        "client",
        "CPU ns/row",
        "of loop",
        "95 %",
        "wall ns/row",
        "of loop",
        "peak MB",
        "allocations/row",
    ];
    let line = |cost: &Cost| {
        vec![
            cost.client.clone(),
            format!("{:.0}", cost.cpu_ns.median),
            format!("{:.2}", cost.cpu_ratio.median),
            format!("{:.2}..{:.2}", cost.cpu_ratio.low, cost.cpu_ratio.high),
            format!("{:.0}", cost.wall_ns.median),
            format!("{:.2}", cost.wall_ratio.median),
            format!("{:.1}", cost.peak_mb.median),
            format!("{:.2}", cost.allocations),
        ]
    };
    table::print(&header, &costs.iter().map(line).collect::<Vec<_>>());
    let Facts { rows, rounds, answers, page_bytes, latency_ms, one_core, parser } = facts;
    let cores = if *one_core { "one core" } else { "the cores that there are" };
    println!(
        "\nMedians. Rows: {rows}; rounds: {rounds}; a page: {PAGE} rows of {answers} answers, {page_bytes} bytes; \
         latency: {latency_ms} ms; on {cores}. wecom-enroll decodes with {parser}.\n\
         \"of loop\": the ratio to the hand-written loop of the same round. 95 %: where its median lies; below 6 \
         rounds, the least and the greatest.\nraw and reqwest do not parse: they are floors."
    );
}
