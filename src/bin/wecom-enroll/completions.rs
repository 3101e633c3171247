//! `completions`: shell completions, generated from the definitions of the arguments.

use clap::Command;
use clap_complete::{Shell, generate};

use crate::{exit::Stop, ui::stdout::print};

/// Print a script that completes the arguments in a shell
#[derive(clap::Args)]
#[command(after_help = "Example for bash:
  wecom-enroll completions bash > ~/.local/share/bash-completion/completions/wecom-enroll")]
pub(crate) struct Args {
    /// Shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: Command) -> Result<u8, Stop> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "wecom-enroll", &mut script);
    print(&script)?;
    Ok(0)
}
