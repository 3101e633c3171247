//! `growth`: how the cost of a walk grows with the list, the walks at once, the page and the row.
//!
//! Beside wecom-enroll stands the hand-written loop, so that what the machine and reqwest do to both
//! is not taken for ours.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    children::Server,
    clients::Client,
    compare::check,
    picture,
    rows::{PAGE, Roster, Shape},
    server,
    spread::Spread,
    sums::Quick,
    table,
};

/// Who is measured.
pub(crate) const CLIENTS: [Client; 2] = [Client::Ours, Client::Loop];

/// Bytes that are fetched to see what a page of some size costs, unless 16 pages are more.
const ENOUGH: u32 = 64_000_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the picture goes
    #[arg(long, value_name = "PATH", default_value = "target/growth.svg")]
    svg: PathBuf,
    /// How often each point is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A list of ten million rows, too
    #[arg(long)]
    long: bool,
}

/// One thing that grows, and what it did to the costs.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// One of what grows.
    one: &'static str,
    /// What CPU and wall time are given for.
    pub(crate) unit: &'static str,
    pub(crate) points: Vec<Point>,
}

pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) label: String,
    /// In the order of `CLIENTS`.
    pub(crate) costs: [Cost; 2],
}

/// What one client cost at one point: the medians of its rounds.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu_ns: f64,
    wall_ns: f64,
    pub(crate) peak_mb: f64,
}

pub(crate) fn growth(args: &Args) -> Result<()> {
    let panels: [fn(&Args) -> Result<Panel>; 4] = [list, walks, page, row];
    let panels = panels.iter().map(|panel| {
        let panel = panel(args)?;
        print(&panel);
        Ok(panel)
    });
    picture::draw(&args.svg, &panels.collect::<Result<Vec<_>>>()?)?;
    println!("The picture of it is {}.", args.svg.display());
    Ok(())
}

fn list(args: &Args) -> Result<Panel> {
    let served = Served::new(Shape::FULL)?;
    let steps = [(10_000, "10 k"), (100_000, "100 k"), (1_000_000, "1 M"), (10_000_000, "10 M")];
    let points = steps.iter().take(if args.long { 4 } else { 3 }).map(|&(rows, label)| {
        let costs = served.walk(args.rounds, rows, 1, f64::from(rows))?;
        Ok(Point { x: rows.into(), label: label.to_owned(), costs })
    });
    let points = points.collect::<Result<_>>()?;
    Ok(Panel { title: "rows of the list", one: "row", unit: "row", points })
}

fn walks(args: &Args) -> Result<Panel> {
    const ROWS: u32 = 10 * PAGE;
    let served = Served::new(Shape::FULL)?;
    let points = [1, 10, 100, 1000].iter().map(|&walks| {
        let costs = served.walk(args.rounds, ROWS, walks, f64::from(ROWS * walks))?;
        Ok(Point { x: walks.into(), label: walks.to_string(), costs })
    });
    let points = points.collect::<Result<_>>()?;
    Ok(Panel { title: "walks at once, of 500 rows each", one: "walk", unit: "row", points })
}

fn page(args: &Args) -> Result<Panel> {
    // The smallest that 50 rows can be, without an answer, and then with one that grows.
    let steps = [(0, 0), (1, 0), (1, 850), (1, 4_600), (1, 19_600), (1, 79_600)];
    let points = steps.iter().map(|&(answers, answer_bytes)| {
        let served = Served::new(Shape { answers, answer_bytes })?;
        let bytes = served.roster.page_bytes()?;
        let pages = (ENOUGH / bytes).max(16);
        let bytes = f64::from(bytes);
        let costs = served.walk(args.rounds, pages * PAGE, 1, f64::from(pages) * bytes / 1e3)?;
        let label = if bytes < 1e6 {
            format!("{:.0} kB", bytes / 1e3)
        } else {
            format!("{:.1} MB", bytes / 1e6)
        };
        Ok(Point { x: bytes / 1e3, label, costs })
    });
    let points = points.collect::<Result<_>>()?;
    Ok(Panel { title: "bytes of a page of 50 rows", one: "kB of a page", unit: "kB", points })
}

fn row(args: &Args) -> Result<Panel> {
    const ROWS: u32 = 400 * PAGE;
    let points = [0, 1, 5, 10, 20, 50].iter().map(|&answers| {
        let served = Served::new(Shape { answers, ..Shape::FULL })?;
        let costs = served.walk(args.rounds, ROWS, 1, ROWS.into())?;
        Ok(Point { x: answers.into(), label: answers.to_string(), costs })
    });
    let points = points.collect::<Result<_>>()?;
    Ok(Panel { title: "answers of a row", one: "answer of a row", unit: "row", points })
}

struct Served {
    server: Server,
    roster: Roster,
}

impl Served {
    fn new(shape: Shape) -> Result<Self> {
        let server = Server::start(server::Args { shape, latency_ms: 0 })?;
        Ok(Self { server, roster: Roster::new(shape) })
    }

    /// What so many walks at once cost; the times for each of `units`.
    fn walk(&self, rounds: u32, rows: u32, at_once: u32, units: f64) -> Result<[Cost; 2]> {
        let expected = self.roster.expected::<Quick>(rows);
        let mut samples = [const { Vec::new() }; 2];
        for _ in 0..rounds {
            for (client, samples) in CLIENTS.iter().zip(&mut samples) {
                let sample =
                    self.server.walk(*client, rows, &["--at-once", &at_once.to_string()])?;
                check(*client, &sample, rows * at_once, expected)?;
                samples.push(sample);
            }
        }
        Ok(samples.map(|samples| Cost {
            cpu_ns: Spread::of(samples.iter().map(|sample| sample.cpu_ns / units)).median,
            wall_ns: Spread::of(samples.iter().map(|sample| sample.wall_ns / units)).median,
            peak_mb: Spread::of(samples.iter().map(|sample| sample.peak_mb)).median,
        }))
    }
}

/// Each figure of wecom-enroll, and the loop's beside it.
fn print(panel: &Panel) {
    let Panel { title, one, unit, points } = panel;
    let (cpu, wall) = (format!("CPU ns/{unit}"), format!("wall ns/{unit}"));
    let further = format!("kB a further {one}");
    let header = [*title, &cpu, "loop's", &wall, "loop's", "peak MB", "loop's", &further, "loop's"];
    let line = |point: &Point| {
        let both = |of: &dyn Fn(usize) -> String| [of(0), of(1)];
        let mut line = vec![point.label.clone()];
        line.extend(both(&|at| format!("{:.0}", point.costs[at].cpu_ns)));
        line.extend(both(&|at| format!("{:.0}", point.costs[at].wall_ns)));
        line.extend(both(&|at| format!("{:.1}", point.costs[at].peak_mb)));
        line.extend(both(&|at| {
            let more = point.costs[at].peak_mb - points[0].costs[at].peak_mb;
            let further = point.x - points[0].x;
            if further > 0.0 { format!("{:.2}", more * 1024.0 / further) } else { String::new() }
        }));
        line
    };
    table::print(&header, &points.iter().map(line).collect::<Vec<_>>());
    println!();
}
