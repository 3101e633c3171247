//! The command line: reads the arguments, runs one command, and turns what came of it into an exit code.
//!
//! A thin first user of the library. What it does to files and how it ends is a contract with
//! scripts; everything behind that is the library's public API.

mod chart;
mod checkpoint;
mod completions;
mod connect;
mod counts;
mod doctor;
mod excel;
mod export;
#[cfg(feature = "redis")]
mod fleet;
mod lang;
mod lists;
mod man;
mod output;
mod progress;
mod report;
mod simulate;
mod sketch;
mod summary;
mod table;
mod walks;
mod warnings;
mod workbook;

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{ArgAction, Parser, Subcommand};
use futures::{FutureExt, future::Shared};
use tokio::{runtime::Builder, sync::oneshot, time::sleep};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{lang::Lang, progress::Screen, walks::told, warnings::Warnings};

/// Streams the enrolment lists of WeCom (企业微信) webinars and meetings, one row at a time.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No progress, no warnings and no summary line; errors are still told
    #[arg(short, long, global = true)]
    quiet: bool,
    // RUST_LOG, where it is set, says it instead.
    /// Tell more on standard error: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// The language of hints [default: the locale's]
    #[arg(long, global = true, value_enum)]
    lang: Option<Lang>,
}

#[derive(Subcommand)]
enum Command {
    Export(Box<export::Args>),
    Summary(Box<summary::Args>),
    Doctor(Box<doctor::Args>),
    Simulate(simulate::Args),
    Completions(completions::Args),
    Man(man::Args),
}

const EXIT_CODES: [(&str, &str); 5] = [
    ("0", "all rows delivered"),
    ("1", "stopped by an error, or some rows could not be decoded"),
    ("2", "wrong usage, nothing was sent"),
    ("75", "stopped by something that may pass, run it again"),
    ("130 or 143", "interrupted"),
];

fn exit_codes() -> String {
    let codes = EXIT_CODES.map(|(code, meaning)| format!("{code} {meaning}"));
    format!("Exit codes: {}.", codes.join("; "))
}

/// Why a command ends early, and the exit code that says so.
pub(crate) struct Stop {
    code: u8,
    /// Empty: nothing is said.
    text: String,
}

impl Stop {
    /// Stopped by an error.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into() }
    }

    /// Wrong usage; nothing was sent.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { code: 2, text: text.into() }
    }

    /// The reader has closed the pipe: it has all it wants.
    pub(crate) fn quietly() -> Self {
        Self { code: 0, text: String::new() }
    }
}

#[cfg(feature = "redis")]
impl Stop {
    /// Stopped by an error of the library's, which is told with what to do.
    pub(crate) fn of(error: &wecom_enroll::Error, lang: Lang) -> Self {
        Self { text: told(error, lang.hint(error)), ..error.clone().into() }
    }
}

impl From<wecom_enroll::Error> for Stop {
    fn from(error: wecom_enroll::Error) -> Self {
        let code = match error.kind() {
            wecom_enroll::ErrorKind::Argument => 2,
            _ if error.is_transient() => 75,
            _ => 1,
        };
        Self { code, text: told(&error, None) }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new();
    let code = run(cli, &screen).unwrap_or_else(|stop| {
        screen.clear();
        if !stop.text.is_empty() {
            screen.say(&format!("error: {}", stop.text));
        }
        stop.code
    });
    ExitCode::from(code)
}

fn run(cli: Cli, screen: &Screen) -> Result<u8, Stop> {
    start_logging(&cli, screen)?;
    let lang = cli.lang.unwrap_or_else(Lang::of_environment);
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Stop::failed(format!("cannot start: {e}")))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Export(args) => export::run(*args, cli.quiet, lang, screen).await,
            Command::Summary(args) => summary::run(*args, cli.quiet, lang, screen).await,
            Command::Doctor(args) => doctor::run(*args, lang).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    });
    // A name look-up that hangs in its thread must not keep an interrupted process.
    runtime.shutdown_background();
    outcome
}

fn start_logging(cli: &Cli, screen: &Screen) -> Result<(), Stop> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let ours = match cli.verbose {
        0 if cli.quiet => "error",
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let directives = set("RUST_LOG");
    let warnings = (cli.verbose == 0 && directives.is_none()).then(|| Warnings(screen.clone()));
    let directives = directives.unwrap_or_else(|| format!("warn,wecom_enroll={ours}"));
    let filter = EnvFilter::try_new(directives)
        .map_err(|e| Stop::usage(format!("RUST_LOG cannot be read: {e}")))?;
    let lines = fmt::layer()
        .with_writer(screen.clone())
        .with_ansi(io::stderr().is_terminal() && set("NO_COLOR").is_none())
        .log_internal_errors(false);
    let lines = warnings.is_none().then_some(lines);
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_safe))
        .with(warnings)
        .with(lines)
        .try_init()
        .map_err(|e| Stop::failed(format!("cannot start logging: {e}")))
}

/// The lower layers' debug lines can show a request's URL, which holds the access token. Whatever
/// `RUST_LOG` says, they are not printed.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    let lower = ["hyper", "hyper_util", "reqwest", "h2", "rustls"].contains(&root);
    !lower || *metadata.level() <= Level::INFO
}

/// Writes to standard output. A closed pipe is no error: its reader has all it wants.
pub(crate) fn print(text: &[u8]) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Ends with the exit code that says which signal it was.
pub(crate) type Interruption = Shared<oneshot::Receiver<u8>>;

/// The exit code of the first interruption, when it comes. The second one ends the process at once,
/// and so does `patience`, for a process that hangs in a write and has nothing to save.
///
/// Signals are waited for in a thread of their own: the one that walks and writes may hang.
pub(crate) fn interruption(patience: Option<Duration>) -> Result<Interruption, Stop> {
    let no_signals = |e: io::Error| Stop::failed(format!("no signals: {e}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_signals)?;
    let entered = runtime.enter();
    let mut signals = Signals::new().map_err(no_signals)?;
    drop(entered);
    let (sender, first) = oneshot::channel();
    let wait = async move {
        let code = signals.next().await;
        // Nobody waits for it any more: the command is ending.
        let _ = sender.send(code);
        tokio::select! {
            _ = signals.next() => {}
            () = sleep(patience.unwrap_or(Duration::MAX)) => {}
        }
        std::process::exit(code.into());
    };
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(move || runtime.block_on(wait)).map_err(no_signals)?;
    Ok(first.shared())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> u8 {
        self.0.recv().await;
        130
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
