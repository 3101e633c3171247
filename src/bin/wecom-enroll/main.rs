//! The command line: parses the arguments, runs one command, and returns its exit code.
//!
//! Everything here is done with the library's public API. Names, exit codes and the semantics of files are
//! a contract with scripts.

mod connect;
mod decide;
mod doctor;
mod exit;
mod export;
mod files;
mod listing;
mod man;
mod meetings;
mod signals;
mod simulate;
mod summary;
#[cfg(feature = "sync")]
mod sync;
mod ui;

use std::{io::Write, process::ExitCode};

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::{Shell, generate};
use tokio::runtime::Builder;

use crate::{
    decide::Action,
    exit::{Stop, exit_codes},
    ui::{lang::Lang, logging::start_logging, screen::Screen, stdout::print, text::escaped},
};

/// Streams the enrollment lists of WeCom (企业微信) webinars and meetings, one row at a time
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print only errors, malformed rows and interruptions: no progress, warnings or summary line
    #[arg(short, long, global = true)]
    quiet: bool,
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        help = "Log more to standard error: -v info, -vv debug, -vvv trace. RUST_LOG, if set, determines the log \
                level instead"
    )]
    verbose: u8,
    /// Language of hints, and of doctor's message about the public IP; all other text is English
    /// [default: from the locale]
    #[arg(long, global = true, value_enum)]
    lang: Option<Lang>,
}

#[derive(Subcommand)]
enum Command {
    Export(Box<export::Args>),
    /// Approve enrollments
    Approve(Box<decide::Decision>),
    /// Reject enrollments
    Reject(Box<decide::Decision>),
    /// Make approved and rejected enrollments pending again
    Unapprove(Box<decide::Args>),
    Summary(Box<summary::Args>),
    #[cfg(feature = "sync")]
    Sync(Box<sync::Args>),
    Doctor(Box<doctor::Args>),
    Simulate(simulate::Args),
    /// Print a script that completes the arguments in a shell
    #[command(after_help = "Example for bash:
  wecom-enroll completions bash > ~/.local/share/bash-completion/completions/wecom-enroll")]
    Completions {
        /// Shell to generate the script for
        shell: Shell,
    },
    Man(man::Args),
}

fn main() -> ExitCode {
    let parsed = Cli::try_parse();
    let screen = Screen::new(parsed.as_ref().is_ok_and(|cli| cli.quiet));
    let (lang, outcome) = match parsed {
        Ok(cli) => {
            let lang = cli.lang.unwrap_or_else(Lang::from_environment);
            (lang, run(cli, lang, &screen))
        }
        Err(error) => (Lang::En, explain(&error, screen.clone())),
    };
    let code = outcome.unwrap_or_else(|stop| {
        screen.clear();
        if let Some(message) = stop.message(lang) {
            screen.print_line(&format!("error: {message}"));
        }
        stop.code()
    });
    ExitCode::from(code)
}

/// Prints a help text or a usage error. Returns its exit code. `clap` itself would stop in the middle of the text if
/// the output is non-blocking.
fn explain(error: &clap::Error, mut screen: Screen) -> Result<u8, Stop> {
    let text = error.render().to_string();
    if error.use_stderr() {
        // A failure is ignored, as everywhere on standard error. The text repeats arguments.
        let _ = screen.write_all(escaped(&text).as_bytes());
    } else {
        print(text.as_bytes())?;
    }
    Ok(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: Cli, lang: Lang, screen: &Screen) -> Result<u8, Stop> {
    start_logging(cli.verbose, cli.quiet, screen)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Stop::Failed(format!("cannot start the async runtime: {e}")))?;
    let decide = |action, args| decide::run(action, args, cli.verbose > 0, lang, screen);
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Export(args) => export::run(*args, lang, screen).await,
            Command::Approve(args) => decide(Action::Approve, args.into_args()).await,
            Command::Reject(args) => decide(Action::Reject, args.into_args()).await,
            Command::Unapprove(args) => decide(Action::Unapprove, (*args, false)).await,
            Command::Summary(args) => summary::run(*args, lang, screen).await,
            #[cfg(feature = "sync")]
            Command::Sync(args) => sync::run(*args, lang, screen).await,
            Command::Doctor(args) => doctor::run(*args, lang).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                generate(shell, &mut Cli::command(), "wecom-enroll", &mut script);
                print(&script).map(|()| 0)
            }
            Command::Man(args) => man::run(&args, Cli::command()),
        }
    });
    // A DNS lookup that hangs in a thread of the runtime must not delay the exit.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cli_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn man_pages_exist_for_every_subcommand() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, man::SUBCOMMANDS);
    }
}
