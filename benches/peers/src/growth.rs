//! `growth`: how the cost grows with the list, the number of streams, the page and the row.
//!
//! The hand-written loop is measured as well. The difference is the cost of the library, without the costs of reqwest
//! and the machine.

use anyhow::Result;

use crate::{
    children::Server,
    clients::Client,
    measure::Sample,
    rows::{PAGE, Shape},
    server,
    spread::Spread,
    table,
};

/// The clients that are measured.
const CLIENTS: [Client; 2] = [Client::Ours, Client::Loop];

/// How many bytes are fetched to measure a page size, but at least 16 pages.
const PAGE_SIZE_BYTES: u32 = 64_000_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Include a list of ten million rows
    #[arg(long)]
    long: bool,
}

/// One measured point of a table.
struct Point {
    /// The size that grows, and its name.
    x: f64,
    label: String,
    costs: [Cost; 2],
}

/// The medians of one client. Times are per unit.
struct Cost {
    cpu_ns: f64,
    wall_ns: f64,
    peak_mb: f64,
}

pub(crate) fn growth(args: &Args) -> Result<()> {
    print("rows of the list", "row", "row", &list(args)?);
    print("streams of 500 rows each", "stream", "row", &streams(args)?);
    print("page of 50 rows", "kB of a page", "kB", &page(args)?);
    print("answers per row", "answer per row", "row", &row(args)?);
    Ok(())
}

fn list(args: &Args) -> Result<Vec<Point>> {
    let server = serve(Shape::FULL)?;
    let lengths = [10_000, 100_000, 1_000_000, 10_000_000];
    let lengths = &lengths[..if args.long { 4 } else { 3 }];
    let point = |&rows: &u32| {
        let costs = measure(args, &server, rows, 1, rows.into())?;
        Ok(Point { x: rows.into(), label: rows.to_string(), costs })
    };
    lengths.iter().map(point).collect()
}

fn streams(args: &Args) -> Result<Vec<Point>> {
    const ROWS: u32 = 10 * PAGE;
    let server = serve(Shape::FULL)?;
    let point = |streams: u32| {
        let costs = measure(args, &server, ROWS, streams, (ROWS * streams).into())?;
        Ok(Point { x: streams.into(), label: streams.to_string(), costs })
    };
    [1, 10, 100, 1000].map(point).into_iter().collect()
}

fn page(args: &Args) -> Result<Vec<Point>> {
    // The smallest page has no answers.
    let shapes = [(0, 0), (1, 0), (1, 850), (1, 4_600), (1, 19_600), (1, 79_600)];
    let point = |(answers, answer_bytes)| {
        let server = serve(Shape { answers, answer_bytes })?;
        let bytes = server.pages.page_bytes()?;
        let pages = (PAGE_SIZE_BYTES / bytes).max(16);
        let kb = f64::from(bytes) / 1e3;
        let costs = measure(args, &server, pages * PAGE, 1, f64::from(pages) * kb)?;
        Ok(Point { x: kb, label: format!("{kb:.0} kB"), costs })
    };
    shapes.map(point).into_iter().collect()
}

fn row(args: &Args) -> Result<Vec<Point>> {
    const ROWS: u32 = 400 * PAGE;
    let point = |answers: u32| {
        let server = serve(Shape { answers, ..Shape::FULL })?;
        let costs = measure(args, &server, ROWS, 1, ROWS.into())?;
        Ok(Point { x: answers.into(), label: answers.to_string(), costs })
    };
    [0, 1, 5, 10, 20, 50].map(point).into_iter().collect()
}

fn serve(shape: Shape) -> Result<Server> {
    Server::start(server::ServerArgs { shape, latency_ms: 0 })
}

/// Measures both clients. Times are divided by `units`.
fn measure(args: &Args, server: &Server, rows: u32, streams: u32, units: f64) -> Result<[Cost; 2]> {
    let mut samples = [const { Vec::new() }; 2];
    for _ in 0..args.rounds {
        for (client, samples) in CLIENTS.into_iter().zip(&mut samples) {
            samples.push(server.run(client, rows, streams, false)?);
        }
    }
    Ok(samples.map(|samples| {
        let median = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of)).median;
        Cost {
            cpu_ns: median(|sample| sample.cpu_ns) / units,
            wall_ns: median(|sample| sample.wall_ns) / units,
            peak_mb: median(|sample| sample.peak_mb),
        }
    }))
}

/// Prints each number of wecom-enroll next to that of the loop.
fn print(title: &str, one: &str, unit: &str, points: &[Point]) {
    let (cpu, wall) = (format!("CPU ns/{unit}"), format!("wall ns/{unit}"));
    let more = format!("kB per additional {one}");
    let header = [title, &cpu, "loop", &wall, "loop", "peak MB", "loop", &more, "loop"];
    let line = |point: &Point| {
        let both = |of: &dyn Fn(usize) -> String| [of(0), of(1)];
        let mut line = vec![point.label.clone()];
        line.extend(both(&|at| format!("{:.0}", point.costs[at].cpu_ns)));
        line.extend(both(&|at| format!("{:.0}", point.costs[at].wall_ns)));
        line.extend(both(&|at| format!("{:.1}", point.costs[at].peak_mb)));
        line.extend(both(&|at| {
            let mb = point.costs[at].peak_mb - points[0].costs[at].peak_mb;
            let added = point.x - points[0].x;
            if added > 0.0 { format!("{:.2}", mb * 1024.0 / added) } else { String::new() }
        }));
        line
    };
    table::print(&header, &points.iter().map(line).collect::<Vec<_>>());
    println!();
}
