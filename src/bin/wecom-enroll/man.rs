//! `man`: a manual page, made from the definitions of the arguments, and what no argument tells.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{Cli, EXIT_CODES, Stop, print};

/// Print the man page of the whole command, or of one subcommand
#[derive(clap::Args)]
#[command(after_help = "To read it:
  wecom-enroll man export | man -l -")]
pub(crate) struct Args {
    /// The subcommand, for its own page
    #[arg(value_name = "COMMAND", value_parser = SUBCOMMANDS)]
    subcommand: Option<String>,
}

/// For who completes them; a test compares them with what there is.
const SUBCOMMANDS: [&str; 6] = ["export", "summary", "doctor", "simulate", "completions", "man"];

const ENVIRONMENT: [(&str, &str); 7] = [
    (
        "WECOM_CORP_ID, WECOM_CORP_SECRET",
        "The corp's id and the app's secret. Credentials are never arguments, which show in ps.",
    ),
    (
        "WECOM_ACCESS_TOKEN",
        "An access token, where there is no secret. It lasts two hours at most.",
    ),
    (
        "WECOM_REDIS_URL",
        "The Redis on which the processes of a fleet share quota, token and work: redis:// or rediss://, with user and \
         password. Only where the program was built with it.",
    ),
    ("LC_ALL, LC_MESSAGES, LANG", "The language of hints, the first one that is set: zh or en."),
    ("RUST_LOG", "What is told on standard error, instead of -q and -v."),
    ("NO_COLOR", "If set, no colours."),
    ("HTTPS_PROXY, NO_PROXY", "The way out of this network."),
];

pub(crate) fn run(args: &Args) -> Result<u8, Stop> {
    let mut whole = Cli::command();
    // Only then a subcommand knows the options that are everyone's.
    whole.build();
    let command = match &args.subcommand {
        None => &whole,
        Some(name) => whole
            .find_subcommand(name)
            .ok_or_else(|| Stop::usage(format!("{name} is no subcommand; see --help")))?,
    };
    let page = page(command).map_err(|e| Stop::failed(e.to_string()))?;
    print(&page)?;
    Ok(0)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone()).source(concat!("wecom-enroll ", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    if let Some(notes) = command.get_after_help().filter(|_| !command.has_subcommands()) {
        rest.control("SH", ["NOTES"]);
        for paragraph in notes.to_string().split("\n\n") {
            rest.control("PP", []).text([roman(paragraph)]);
        }
    }
    for (title, terms) in [("ENVIRONMENT", &ENVIRONMENT[..]), ("EXIT STATUS", &EXIT_CODES)] {
        rest.control("SH", [title]);
        for (term, meaning) in terms {
            rest.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    rest.to_writer(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subcommand_has_a_page() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, SUBCOMMANDS);
    }
}
