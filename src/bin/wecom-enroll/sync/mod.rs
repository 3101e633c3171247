//! `sync`: keeps a database in sync with lists.
//!
//! The API has no way to ask for changes, so every list is read as a whole and compared with the tables.
//!
//! ```text
//! meetings ──▶ page ──▶ one transaction: rows, changes, position ──▶ disk ──▶ changes to standard output ──▶ marked
//! ```
//!
//! `round` lists the meetings, `store` reads and writes the tables, `changes` prints, `schema` has the SQL, and
//! `database` runs it on `sqlite` or `postgres`. Everything that must survive a kill is in the tables: a run that is
//! killed at any moment is continued by the next one.

mod changes;
mod database;
mod postgres;
mod round;
mod schema;
mod sqlite;
mod store;
mod value;

use std::time::Duration;

use indicatif::HumanCount;
use tokio::time::sleep;

use crate::{
    connect::{Connection, duration, notes, variable},
    exit::Stop,
    listing::Outcome,
    meetings::queries,
    signals::{Interruption, PIPE_GRACE, interruption},
    sync::{
        database::Target,
        round::{Context, Round},
        store::{Counts, Store},
    },
    ui::{lang::Lang, screen::Screen, tally::Tally},
};

/// With `--every`, the longest wait after the database was not available.
const RECONNECT: Duration = Duration::from_secs(10);

/// Mirror lists into a database, and print what has changed
#[derive(clap::Args)]
#[command(after_help = notes(NOTES))]
pub(crate) struct Args {
    /// The ids of webinars or meetings
    #[arg(value_name = "MEETINGID", required_unless_present = "demo")]
    ids: Vec<String>,
    #[arg(
        long,
        value_name = "URL",
        help = "sqlite:PATH, which is created if it does not exist, or postgres://USER@HOST/DATABASE. If the URL has a \
                password, set the environment variable DATABASE_URL instead, because arguments are visible in ps \
                [default: DATABASE_URL, else sqlite:enrolls.db]"
    )]
    database: Option<String>,
    /// Repeat, and wait this long after each listing, until interrupted or until an error that waiting cannot fix
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// First print the changes whose seq is greater than N, even if they were printed before; 0 is all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    since: Option<i64>,
    /// Accept an empty list even if the database has rows of it; two such listings remove them
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    connection: Connection,
}

const NOTES: &str = "\
    Each change is one line of JSON on standard output:\n\
    \x20 {\"seq\":1,\"time\":\"…\",\"change\":\"added\",\"meetingid\":\"…\",\"enroll_id\":\"…\",\"row\":{…}}\n\
    change is added, changed or removed, and row is what export writes. seq ascends and is never reused. A change is \
    printed after it was committed, at least once, in the order of seq: if sync is killed, the next run first prints \
    what was committed but not printed.\n\n\
    A row is removed only after two consecutive complete listings without it. A listing that failed or had malformed \
    rows does not count.\n\n\
    The database has the tables enrolls, changes and positions; the table printed, with the seq of the last change \
    that was printed; and the view answers, with one row per answer. Times are in UTC; enroll_time is as received, \
    and enrolled_at is the same in UTC. last_seen is when the row was last written. When a complete listing no \
    longer contains the row, it is set to the time of the last complete listing that did, if that is later. \
    removed_at is set when the row is removed. positions contains cursors, which are secret.\n\n\
    Only one sync uses a database at a time; others wait 5 s and then exit with 75 or, with --every, try again. A \
    SQLite database has a lock file in the same directory, with the extension .lock. PostgreSQL on another host \
    needs TLS with a valid certificate, unless the URL has sslmode=disable.";

pub(crate) async fn run(mut args: Args, lang: Lang, screen: &Screen) -> Result<u8, Stop> {
    let queries = queries(&mut args.ids, |id| Ok(args.connection.kind.query(id)))?;
    let url = args.database.map_or_else(|| variable("DATABASE_URL"), |url| Ok(Some(url)))?;
    let target = Target::parse(url.as_deref().unwrap_or("sqlite:enrolls.db"))?;
    let kind = args.connection.kind;
    let total = args.connection.demo.map(|rows| rows.saturating_mul(queries.len() as u64));
    let (client, _simulator) = args.connection.open().await?;
    // A write to a pipe and a statement can take forever. Everything that is not committed is repeated.
    let mut interrupted = interruption(Some(PIPE_GRACE))?;
    // With --every, the total of all rounds is unknown.
    screen.show(0, total.filter(|_| args.every.is_none()));
    let mut sync = Sync {
        context: Context {
            client,
            kind,
            queries,
            allow_empty: args.allow_empty,
            screen,
            tally: Tally::new(),
            reported_nul: false,
        },
        target,
        since: args.since,
        repeats: args.every.is_some(),
        lang,
    };
    loop {
        let mut wait = args.every;
        let code = match sync.round(&mut interrupted).await {
            Ok(End::Code(code)) => code,
            Ok(End::NoToken(code)) => {
                wait = None;
                code
            }
            Ok(End::Interrupted(code)) => return Ok(sync.interrupted(code)),
            Err(Stop::Temporary(message)) if wait.is_some() => {
                screen.print_line(&format!("error: {message}"));
                wait = wait.map(|wait| wait.min(RECONNECT));
                75
            }
            Err(stop) => return Err(stop),
        };
        let Some(wait) = wait else { return Ok(code) };
        tokio::select! {
            () = sleep(wait) => {}
            code = &mut interrupted => return Ok(sync.interrupted(code.unwrap_or(1))),
        }
    }
}

struct Sync<'a> {
    context: Context<'a>,
    target: Target,
    /// The value of `--since`, until it has been used.
    since: Option<i64>,
    /// Whether there are more rounds.
    repeats: bool,
    lang: Lang,
}

/// How a round ended.
enum End {
    Code(u8),
    /// There is no access token, so that another round would fail, too.
    NoToken(u8),
    Interrupted(u8),
}

impl Sync<'_> {
    /// Opens the database and lists all meetings once.
    async fn round(&mut self, interrupted: &mut Interruption) -> Result<End, Stop> {
        let mut store = tokio::select! {
            store = Store::open(&self.target, self.since) => store?,
            code = &mut *interrupted => return Ok(End::Interrupted(code.unwrap_or(1))),
        };
        self.since = None;
        let outcome = Outcome::new(self.lang);
        let mut round = Round::new(&mut self.context, &mut store, outcome);
        let signal = round.run(interrupted).await?;
        let Round { outcome, counts, malformed_rows, .. } = round;
        store.close().await?;
        if let Some(code) = signal {
            self.print_counts(counts, false);
            return Ok(End::Interrupted(code));
        }
        self.print_counts(counts, self.repeats && !outcome.no_token);
        let code = outcome.code(malformed_rows > 0);
        Ok(if outcome.no_token { End::NoToken(code) } else { End::Code(code) })
    }

    /// Prints the summary line of a round. The numbers of the whole run follow in the last one.
    fn print_counts(&self, counts: Counts, more: bool) {
        let Counts { added, changed, removed, unchanged } = counts;
        let [added, changed, removed, unchanged] =
            [added, changed, removed, unchanged].map(HumanCount);
        let line =
            format!("{added} added, {changed} changed, {removed} removed, {unchanged} unchanged");
        if more {
            self.context.screen.print_note(&line);
        } else {
            self.context.screen.clear();
            let tally = self.context.tally.summary(&self.context.client.stats());
            self.context.screen.print_note(&format!("{line}; {tally}"));
        }
    }

    fn interrupted(&self, code: u8) -> u8 {
        self.context.screen.clear();
        self.context.screen.print_line("interrupted; run the same command to continue");
        code
    }
}
