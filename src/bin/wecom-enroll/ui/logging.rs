//! Log events on standard error.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    filter::{ParseError, Targets, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    exit::Stop,
    ui::{screen::Screen, warnings::Warnings},
};

/// Starts logging. `RUST_LOG`, if it is set, replaces the level of `-q` and `-v`.
pub(crate) fn start_logging(verbose: u8, quiet: bool, screen: &Screen) -> Result<(), Stop> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let level = match verbose {
        0 if quiet => "error",
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let directives = variable("RUST_LOG");
    let warnings = (verbose == 0 && directives.is_none()).then(|| Warnings(screen.clone()));
    let directives = directives.unwrap_or_else(|| format!("warn,wecom_enroll={level}"));
    let filter =
        parse_filter(&directives).map_err(|why| Stop::Usage(format!("invalid RUST_LOG: {why}")))?;
    let writer = screen.clone();
    let events = fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(io::stderr().is_terminal() && variable("NO_COLOR").is_none())
        .log_internal_errors(false);
    let events = warnings.is_none().then_some(events);
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_safe))
        .with(warnings)
        .with(events)
        .try_init()
        .map_err(|e| Stop::Failed(format!("cannot start logging: {e}")))
}

/// Parses a filter such as `warn,wecom_enroll=debug`. `EnvFilter` would accept filters for single spans, too, for
/// which it needs a regular expression engine.
fn parse_filter(directives: &str) -> Result<Targets, String> {
    if directives.contains('[') {
        return Err("filters for spans are not supported; use TARGET=LEVEL".to_owned());
    }
    let directives = directives.split(',').map(str::trim).filter(|text| !text.is_empty());
    directives.collect::<Vec<_>>().join(",").parse().map_err(|e: ParseError| e.to_string())
}

/// Returns whether the event may be printed, whatever `RUST_LOG` is. Debug events of the HTTP libraries can contain
/// the URL of a request, which contains the access token.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    let is_http = ["hyper", "hyper_util", "reqwest", "h2", "rustls"].contains(&library);
    !is_http || *metadata.level() <= Level::INFO
}
