//! Compares the cost of wecom-enroll with a hand-written loop and other paginators.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` prints the comparison; `-- --help`
//! lists the other commands. Requires Linux, because peak memory is read from `/proc`.

mod allocations;
mod chart;
mod children;
mod clients;
mod compare;
mod export;
mod growth;
mod measure;
mod rows;
mod server;
mod spread;
mod sums;
mod table;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::runtime;

use sums::{Quick, Thorough};

/// Compares the cost of wecom-enroll with a hand-written loop and other paginators
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: compare::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Compare all clients (the default)
    Compare(compare::Args),
    /// Compare an export by the command line with the library
    Export(export::Args),
    /// Show how the cost grows with the list, the number of streams, the page and the row
    Growth(growth::Args),
    /// Serve lists until standard input is closed
    #[command(hide = true)]
    Serve(server::ServerArgs),
    /// Run one client and print what it cost
    #[command(hide = true)]
    Run(clients::Run),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // One thread, so that the cost does not depend on how work is divided among threads.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command.unwrap_or(Command::Compare(cli.compare)) {
        Command::Compare(args) => compare::compare(&args),
        Command::Export(args) => export::export(&args),
        Command::Growth(args) => growth::growth(&args),
        Command::Serve(args) => runtime.block_on(server::serve(args)),
        Command::Run(run) => {
            measure::raise_descriptors()?;
            let sample = runtime.block_on(async {
                if run.count {
                    clients::run::<Thorough>(&run).await
                } else {
                    clients::run::<Quick>(&run).await
                }
            })?;
            println!("{}", serde_json::to_string(&sample)?);
            Ok(())
        }
    }
}
