//! Counts the instructions per row with callgrind. The count does not depend on the load of the machine.
//!
//! `cargo bench --features simulator --bench instructions` compares the counts with those in
//! `instructions.txt`; `-- --record` replaces that file. The compiler and the dependencies change the
//! counts, so compare the ratios to the hand-written loop. Without valgrind, nothing is counted.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(dead_code, reason = "shared with the other benches")]

mod owned;
mod recorded;

use std::{collections::HashMap, env, fs, hint::black_box, process::Command};

use futures::StreamExt;
use tokio::runtime::Builder;
use wecom_enroll::Query;

/// Four pages.
const ROWS: u64 = 200;

/// What is counted: a hand-written loop, a stream of pages, a stream of rows, and rows with one page read ahead.
const VARIANTS: [&str; 4] = ["loop", "decode", "rows", "ahead"];

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() {
    let args: Vec<String> = env::args().collect();
    if let [_, run, variant, times] = &args[..] {
        if run == "--run" {
            return list(variant, times.parse().unwrap());
        }
    }
    if args[1..].iter().any(|arg| !arg.starts_with("--")) {
        // A filter for the other benches.
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        return println!(
            "SKIPPED: no instructions were counted, because valgrind is not installed"
        );
    }
    let text = fs::read_to_string(RECORD).unwrap_or_default();
    let recorded: HashMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(variant, count)| Some((variant, count.parse().ok()?)))
        .collect();
    // The difference removes the one-time cost of a process and a client.
    let counted = VARIANTS.map(|variant| {
        let lists = |times| count(variant, times);
        (variant, (lists(15) - lists(5)) / (10 * ROWS))
    });
    println!("{:8}{:>18}{:>10}{:>13}", "", "instructions/row", "of loop", "of recorded");
    for (variant, count) in counted {
        let of_loop = ratio(count, counted[0].1);
        let before = recorded.get(variant).map_or_else(|| "-".into(), |was| ratio(count, *was));
        println!("{variant:8}{count:>18}{of_loop:>10}{before:>13}");
    }
    if args.iter().any(|arg| arg == "--record") {
        let lines = counted.map(|(variant, count)| format!("{variant} {count}\n"));
        fs::write(RECORD, lines.concat()).unwrap();
    }
}

/// Formats a ratio with three decimals.
fn ratio(part: u64, whole: u64) -> String {
    let permille = part * 1000 / whole;
    format!("{}.{:03}", permille / 1000, permille % 1000)
}

/// Counts the instructions of a process that lists this many times.
fn count(variant: &str, times: u32) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let run =
        valgrind.arg(env::current_exe().unwrap()).args(["--run", variant, &times.to_string()]);
    let output = run.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let line = log.lines().find(|line| line.contains("Collected")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn list(variant: &str, times: u32) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let recorded = recorded::list(ROWS).await;
        let client = recorded::client(recorded.clone());
        let rows = |ahead| client.enrolls(Query::webinar("M")).read_ahead(ahead).map(black_box);
        for _ in 0..times {
            match variant {
                "loop" => {
                    for body in recorded.values() {
                        let page: owned::Page = serde_json::from_slice(body).unwrap();
                        page.enroll_list.into_iter().for_each(|row| drop(black_box(row)));
                    }
                }
                "decode" => drop(client.pages(Query::webinar("M")).map(black_box).count().await),
                "rows" => drop(rows(0).count().await),
                _ => drop(rows(1).count().await),
            }
        }
    });
}
