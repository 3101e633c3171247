//! `man`: man pages, generated from the definitions of the arguments.

use std::io;

use clap::{Command, builder::PossibleValuesParser};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{
    connect::CREDENTIALS,
    exit::{EXIT_CODES, Stop, exit_codes},
    ui::stdout::print,
};

/// Print the man page of the program or of one subcommand
#[derive(clap::Args)]
#[command(after_help = "To read a man page:
  wecom-enroll man export | man -l -")]
pub(crate) struct Args {
    /// Command whose man page to print; without it, that of the program
    #[arg(value_name = "COMMAND", value_parser = PossibleValuesParser::new(SUBCOMMANDS))]
    subcommand: Option<String>,
}

/// The subcommands as possible values, so that shells complete them.
pub(crate) const SUBCOMMANDS: &[&str] = &[
    "export",
    "approve",
    "reject",
    "unapprove",
    "summary",
    #[cfg(feature = "sync")]
    "sync",
    "doctor",
    "simulate",
    "completions",
    "man",
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "WECOM_CORP_ID, WECOM_CORP_SECRET",
        "Corp id of the organization and secret of the app. Credentials are never arguments, because arguments are \
         visible in ps.",
    ),
    (
        "WECOM_ACCESS_TOKEN",
        "Access token, if there is no secret. It expires after at most two hours.",
    ),
    (
        "WECOM_REDIS_URL",
        "Redis through which processes share quota and access token: redis:// or rediss://, with user name and \
         password. Requires WECOM_CORP_ID, and a program that was built with the feature redis.",
    ),
    #[cfg(feature = "sync")]
    ("DATABASE_URL", "Database of sync, if there is no --database. It can contain a password."),
    (
        "LC_ALL, LC_MESSAGES, LANG",
        "Locale, from the first of them that is set. It determines the language of hints: zh or en.",
    ),
    ("RUST_LOG", "Filter for log events. If set, it determines the level instead of -q and -v."),
    ("NO_COLOR", "If set, log events are not colored."),
    ("HTTPS_PROXY, ALL_PROXY", "URL of the proxy, from the first of them that is set."),
    ("NO_PROXY", "Hosts that are contacted directly."),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "File and directory with root certificates, instead of the system's. Not on macOS and Windows.",
    ),
];

pub(crate) fn run(args: &Args, mut program: Command) -> Result<u8, Stop> {
    // Subcommands have the global options only after this.
    program.build();
    let subcommand = args.subcommand.as_ref().and_then(|name| program.find_subcommand(name));
    let page = page(subcommand.unwrap_or(&program)).map_err(|e| Stop::Failed(e.to_string()))?;
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
        // The sections below contain the rest.
        let notes = notes.to_string().replace(CREDENTIALS, "").replace(&exit_codes(), "");
        for paragraph in notes.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            rest.control("PP", []);
            // Keeps the line breaks of lists and tables.
            for line in paragraph.lines() {
                rest.text([roman(line)]).control("br", []);
            }
        }
    }
    for (title, terms) in [("ENVIRONMENT", ENVIRONMENT), ("EXIT STATUS", &EXIT_CODES)] {
        rest.control("SH", [title]);
        for (term, meaning) in terms {
            rest.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    rest.to_writer(&mut page)?;
    Ok(page)
}
