//! `completions`: what a shell needs to complete our arguments, made from their definitions.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{Cli, Stop, print};

/// Print what a shell needs to complete the arguments
#[derive(clap::Args)]
#[command(after_help = "For bash:
  wecom-enroll completions bash > ~/.local/share/bash-completion/completions/wecom-enroll")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<u8, Stop> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "wecom-enroll", &mut script);
    print(&script)?;
    Ok(0)
}
