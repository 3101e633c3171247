//! What a walk of wecom-enroll costs, against a hand-written loop and against other paginators.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` compares them; `-- --help` tells
//! the rest. Linux only: peak memory comes from `/proc`.

mod allocations;
mod children;
mod clients;
mod compare;
mod export;
mod growth;
mod measure;
mod picture;
mod rows;
mod server;
mod spread;
mod sums;
mod table;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::runtime;

use sums::{Quick, Thorough};

/// What a walk of wecom-enroll costs, against a hand-written loop and against other paginators
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
    /// Compare the clients with one another (the default)
    Compare(compare::Args),
    /// Compare an export by the command line with a walk of the library
    Export(export::Args),
    /// See how the cost grows with the list, the walks, the page and the row
    Growth(growth::Args),
    /// Serve lists until standard input ends
    #[command(hide = true)]
    Serve(server::Args),
    /// Walk once, and print what it cost
    #[command(hide = true)]
    Run(clients::Walk),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // One thread: what a walk costs must not depend on who helps.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command.unwrap_or(Command::Compare(cli.compare)) {
        Command::Compare(args) => compare::compare(&args),
        Command::Export(args) => export::export(&args),
        Command::Growth(args) => growth::growth(&args),
        Command::Serve(args) => runtime.block_on(server::serve(args)),
        Command::Run(walk) => {
            measure::raise_descriptors()?;
            let sample = runtime.block_on(async {
                if walk.count {
                    clients::run::<Thorough>(&walk).await
                } else {
                    clients::run::<Quick>(&walk).await
                }
            })?;
            println!("{}", serde_json::to_string(&sample)?);
            Ok(())
        }
    }
}
