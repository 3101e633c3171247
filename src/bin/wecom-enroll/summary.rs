//! `summary`: walks meetings as `export` does, and counts their rows instead of writing them.
//!
//! One pass, and nothing of a row stays but what it adds to a count, so that memory does not grow
//! with the rows. What was read before an error or an interruption is still shown, and called incomplete.

use std::{io, time::Duration};

use clap::ValueEnum;
use futures::{Stream, StreamExt, stream};
use terminal_size::{Width, terminal_size_of};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wecom_enroll::Client;

use crate::{
    Stop,
    connect::Connection,
    counts::Counts,
    interruption,
    lang::Lang,
    lists::Lists,
    print,
    progress::{Screen, Tally},
    report::Report,
    walks::{LOCKED_OUT, Outcome, Step, TICK, bad_row, walk},
};

/// Where standard output is no terminal.
const WIDTH: usize = 80;

/// Count the enrollees of all meetings given: by status, source and day, and the answers to choice
/// questions
#[derive(clap::Args)]
#[command(after_help = REPORT)]
pub(crate) struct Args {
    #[command(flatten)]
    lists: Lists,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

const REPORT: &str = "Credentials come from the environment: WECOM_CORP_ID with WECOM_CORP_SECRET, or else \
    WECOM_ACCESS_TOKEN.\n\n--format json is one object: meetings, rows, bad_rows, complete (each meeting was walked to its \
    end); by_status and by_source, {NUMBER: {name, count}} with the API's numbers; per_day, {days: [{day, count}], \
    unknown, other}; questions, [{num, title, type, answered, answers: [{text, count}], other}]; other_questions; \
    company_answers; companies, the top 10, [{name, count, overcount}]: a count is too high by overcount at most.\n\n\
    Memory is bounded: 400 days, 64 choice questions and 64 answers to each are counted apart, the rest as other; texts \
    are cut after 120 characters; companies are exact up to 256 names.";

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) async fn run(
    mut args: Args,
    quiet: bool,
    lang: Lang,
    screen: &Screen,
) -> Result<u8, Stop> {
    let queries = args.lists.queries()?;
    let total = args.lists.total(args.connection.demo);
    let Lists { read_ahead, concurrency, .. } = args.lists;
    let (client, _simulator) = args.connection.open().await?;
    if !quiet {
        screen.show(0, total);
    }
    let mut summary = Summary::new(queries.len(), client.clone(), screen, lang);
    let walks = queries.into_iter().enumerate().map(|(meeting, query)| {
        let start = client.enrolls(query).checkpoint();
        walk(&client, meeting, start, read_ahead)
    });
    let walks: Vec<_> = walks.collect();
    let code = summary.run(stream::iter(walks).flatten_unordered(concurrency)).await?;
    screen.clear();
    summary.print(args.format)?;
    if !quiet {
        screen.say(&summary.tally().summary());
    }
    Ok(code)
}

struct Summary<'a> {
    counts: Counts,
    /// Rows of each meeting.
    rows: Vec<u64>,
    bad_rows: u64,
    pages: u64,
    client: Client,
    screen: &'a Screen,
    begun: Instant,
    outcome: Outcome,
    /// Each walk came to its end.
    complete: bool,
}

impl<'a> Summary<'a> {
    fn new(meetings: usize, client: Client, screen: &'a Screen, lang: Lang) -> Self {
        let (counts, rows, begun) = (Counts::new(), vec![0; meetings], Instant::now());
        let (bad_rows, pages, outcome, complete) = (0, 0, Outcome::new(lang), false);
        Self { counts, rows, bad_rows, pages, client, screen, begun, outcome, complete }
    }

    async fn run(&mut self, walks: impl Stream<Item = Step> + Unpin + Send) -> Result<u8, Stop> {
        // A pipe that nobody reads hangs in a write, and there is nothing to save.
        let mut interrupted = interruption(Some(Duration::from_secs(2)))?;
        let mut walks = walks.fuse();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.outcome.is_locked_out() {
            tokio::select! {
                step = walks.next() => match step {
                    Some(step) => self.take(step),
                    None => break,
                },
                _ = ticks.tick() => self.screen.update(&self.tally()),
                code = &mut interrupted => {
                    self.screen.say("interrupted");
                    return Ok(code.unwrap_or(1));
                }
            }
        }
        self.complete = self.outcome.code(false) == 0;
        Ok(self.outcome.code(self.bad_rows > 0))
    }

    /// Counts a page's rows.
    fn take(&mut self, Step { meeting, page, position }: Step) {
        let id = position.query().meeting_id();
        match page {
            Ok(page) => {
                self.pages += 1;
                for row in page.rows() {
                    match row {
                        Ok(row) => {
                            self.counts.add(&row);
                            self.rows[meeting] += 1;
                        }
                        Err(error) => {
                            self.bad_rows += 1;
                            self.screen.say(&bad_row(id, &error));
                        }
                    }
                }
            }
            Err(error) => {
                self.screen.say(&self.outcome.stopped(id, self.rows[meeting], &error));
                if self.outcome.is_locked_out() && self.rows.len() > 1 {
                    self.screen.say(LOCKED_OUT);
                }
            }
        }
    }

    fn print(&self, format: Format) -> Result<(), Stop> {
        let report = Report::new(&self.counts, self.rows.len(), self.bad_rows, self.complete);
        let text = match format {
            Format::Text => {
                let width = terminal_size_of(io::stdout());
                report.text(width.map_or(WIDTH, |(Width(width), _)| width.into()))
            }
            Format::Json => report.json().map_err(|e| Stop::failed(e.to_string()))?,
        };
        print(text.as_bytes())
    }

    fn tally(&self) -> Tally {
        Tally {
            begun: self.begun,
            rows: self.counts.rows,
            earlier: 0,
            bad_rows: self.bad_rows,
            pages: self.pages,
            stats: self.client.stats(),
        }
    }
}
