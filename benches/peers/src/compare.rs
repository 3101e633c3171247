//! `compare`: every client reads the same list, round by round.
//!
//! The speed of a machine changes over time, so each client is compared with the hand-written loop of
//! the same round. Each round starts with another client, so that the order does not favor any.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    chart::{self, Bars},
    children::Server,
    clients::Client,
    measure::{Core, Sample, pin},
    rows::PAGE,
    server::ListArgs,
    spread::Spread,
    table,
};

/// The rows of the two runs whose allocations are counted. Their difference is 64 pages, without the
/// one-time cost of a run.
const COUNTED: [u32; 2] = [128 * PAGE, 64 * PAGE];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    list: ListArgs,
    /// Only these clients and the hand-written loop
    #[arg(long, value_delimiter = ',', value_name = "CLIENTS")]
    only: Vec<Client>,
    /// Keep server and clients on the same core instead of two. This avoids wake-ups across cores, which
    /// can cost more than the list itself in a virtual machine, but read-ahead has no effect
    #[arg(long)]
    one_core: bool,
    /// Also write a chart of CPU, wall time and allocations to this SVG file
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
}

pub(crate) fn compare(args: &Args) -> Result<()> {
    let wanted = |client: &Client| {
        *client == Client::Loop || args.only.is_empty() || args.only.contains(client)
    };
    let clients: Vec<_> = Client::value_variants().iter().copied().filter(wanted).collect();
    let server = Server::start(args.list.server)?;
    server.pin(if args.one_core { Core::First } else { Core::Last })?;
    // The clients are children of this process.
    pin(0, Core::First)?;

    // First, because these runs are not timed and also warm up the machine.
    let count = |&client: &Client| allocations(&server, client);
    let allocations = clients.iter().map(count).collect::<Result<Vec<_>>>()?;
    let samples = rounds(&args.list, &server, &clients)?;

    let by_hand = clients.iter().position(|&client| client == Client::Loop).unwrap_or_default();
    let loops = &samples[by_hand];
    let ListArgs { rows, rounds, server: options } = args.list;
    let lines: Vec<_> = (0..clients.len())
        .map(|at| line(clients[at], &samples[at], loops, rows, allocations[at]))
        .collect();
    let header = [
        "client",
        "CPU ns/row",
        "vs. loop",
        "95 % interval",
        "wall ns/row",
        "vs. loop",
        "peak MB",
        "allocations/row",
    ];
    table::print(&header, &lines);
    if let Some(path) = &args.svg {
        let ratios = |of| {
            clients
                .iter()
                .zip(&samples)
                .map(move |(_, samples)| ratio(samples, loops, of).median)
                .collect()
        };
        let bars = [
            Bars {
                title: "CPU time per row, relative to the loop",
                values: ratios(|sample| sample.cpu_ns),
            },
            Bars {
                title: "Wall time per row, relative to the loop",
                values: ratios(|sample| sample.wall_ns),
            },
            Bars { title: "Allocations per row", values: allocations },
        ];
        let names: Vec<_> = clients.iter().map(Client::to_string).collect();
        std::fs::write(path, chart::svg(&names, &bars))?;
    }
    println!(
        "\nMedians of {rounds} rounds of {rows} rows. Pages: {PAGE} rows, {} answers per row, {} bytes. Latency: {} ms. {}.\n\
         \"vs. loop\": ratio to the hand-written loop of the same round. \"95 % interval\": of the median of the CPU ratio \
         (fewer than 6 rounds: minimum and maximum).\nreqwest does not parse rows: it is the lower bound.",
        options.shape.answers,
        server.pages.page_bytes()?,
        options.latency_ms,
        if args.one_core {
            "Clients and server on one core"
        } else {
            "Clients on one core, the server on another"
        }
    );
    Ok(())
}

/// Runs each client once per round, and returns the samples of each client.
fn rounds(args: &ListArgs, server: &Server, clients: &[Client]) -> Result<Vec<Vec<Sample>>> {
    let mut samples: Vec<_> = clients.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds as usize {
        for turn in 0..clients.len() {
            let at = (round + turn) % clients.len();
            samples[at].push(server.run(clients[at], args.rows, 1, false)?);
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    Ok(samples)
}

/// Formats the samples of one client, compared with those of the loop in the same rounds.
fn line(
    client: Client,
    samples: &[Sample],
    loops: &[Sample],
    rows: u32,
    allocations: f64,
) -> Vec<String> {
    let per_row =
        |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of)).median / f64::from(rows);
    let cpu_ratio = ratio(samples, loops, |sample| sample.cpu_ns);
    vec![
        client.to_string(),
        format!("{:.0}", per_row(|sample| sample.cpu_ns)),
        format!("{:.2}", cpu_ratio.median),
        cpu_ratio.interval(),
        format!("{:.0}", per_row(|sample| sample.wall_ns)),
        format!("{:.2}", ratio(samples, loops, |sample| sample.wall_ns).median),
        format!("{:.1}", Spread::of(samples.iter().map(|sample| sample.peak_mb)).median),
        format!("{allocations:.2}"),
    ]
}

/// Compares the samples of a client with those of the loop in the same rounds.
fn ratio(samples: &[Sample], loops: &[Sample], of: fn(&Sample) -> f64) -> Spread {
    Spread::of(samples.iter().zip(loops).map(|(sample, by_hand)| of(sample) / of(by_hand)))
}

/// Returns the allocations per row.
fn allocations(server: &Server, client: Client) -> Result<f64> {
    let count = |rows| anyhow::Ok(f64::from(server.run(client, rows, 1, true)?.allocations));
    let [whole, half] = COUNTED;
    Ok((count(whole)? - count(half)?) / f64::from(whole - half))
}
