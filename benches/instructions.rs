//! Instructions a row, counted by callgrind: the same on a busy machine as on an idle one.
//!
//! `cargo bench --bench instructions` compares them with those recorded in `instructions.txt`, and
//! with `-- --record` records them anew. Compiler and dependencies move them: look at the ratios to the
//! loop, and at what a change of ours does. Without valgrind it says so and ends.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(dead_code, reason = "shared with the other benches")]

mod owned;
mod recorded;

use std::{collections::HashMap, env, fs, hint::black_box, process::Command};

use futures::StreamExt;
use tokio::runtime::Builder;
use wecom_enroll::{Query, simulator::Simulator};

/// Four pages, of five answers a row.
const ROWS: u64 = 200;

/// The hand-written loop, the pages, the rows, and the rows with one page ahead.
const WAYS: [&str; 4] = ["loop", "decode", "walk", "ahead"];

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() {
    let args: Vec<String> = env::args().collect();
    if let [_, run, way, times] = &args[..] {
        if run == "--run" {
            return walk(way, times.parse().unwrap());
        }
    }
    if args[1..].iter().any(|arg| !arg.starts_with("--")) {
        // A filter for the other benches.
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        return println!("SKIPPED: valgrind is not installed, so no instruction was counted");
    }
    let text = fs::read_to_string(RECORD).unwrap_or_default();
    let recorded: HashMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(way, count)| Some((way, count.parse().ok()?)))
        .collect();
    // What a process and a walk cost once falls out of the difference.
    let counted = WAYS.map(|way| (way, (count(way, 15) - count(way, 5)) / (10 * ROWS)));
    println!("{:8}{:>18}{:>10}{:>10}", "", "instructions/row", "of loop", "recorded");
    for (way, count) in counted {
        let of_loop = permille(count, counted[0].1);
        let before = recorded.get(way).map_or_else(|| "-".into(), |was| permille(count, *was));
        println!("{way:8}{count:>18}{of_loop:>10}{before:>10}");
    }
    if args.iter().any(|arg| arg == "--record") {
        let lines = counted.map(|(way, count)| format!("{way} {count}\n"));
        fs::write(RECORD, lines.concat()).unwrap();
    }
}

fn permille(part: u64, whole: u64) -> String {
    let permille = part * 1000 / whole;
    format!("{}.{:03}", permille / 1000, permille % 1000)
}

/// The instructions of a process that walks so many times.
fn count(way: &str, times: u32) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let run = valgrind.arg(env::current_exe().unwrap()).args(["--run", way, &times.to_string()]);
    let output = run.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let line = log.lines().find(|line| line.contains("Collected")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn walk(way: &str, times: u32) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sim = Simulator::builder().enrollees(ROWS).start().await.unwrap();
        let recorded = recorded::list(&sim).await;
        let client = recorded::client(recorded.clone());
        let rows = |ahead| client.enrolls(Query::webinar("M")).read_ahead(ahead).map(black_box);
        for _ in 0..times {
            match way {
                "loop" => {
                    for body in recorded.values() {
                        let page: owned::Page = serde_json::from_slice(body).unwrap();
                        page.enroll_list.into_iter().for_each(|row| drop(black_box(row)));
                    }
                }
                "decode" => drop(client.pages(Query::webinar("M")).map(black_box).count().await),
                "walk" => drop(rows(0).count().await),
                _ => drop(rows(1).count().await),
            }
        }
    });
}
