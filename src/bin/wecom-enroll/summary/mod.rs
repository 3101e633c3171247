//! `summary`: lists meetings as `export` does, and counts their rows instead of writing them.
//!
//! Each row is counted and then dropped, so that memory does not grow with the number of rows. After an error or an
//! interruption, the summary of the rows received so far is printed, marked as incomplete.

mod chart;
mod counts;
mod report;

use std::io;

use clap::ValueEnum;
use futures::{Stream, StreamExt, stream};
use terminal_size::{Width, terminal_size_of};
use tokio::time::{MissedTickBehavior, interval};
use wecom_enroll::Client;

use crate::{
    connect::{Connection, notes},
    exit::Stop,
    listing::{NO_TOKEN, Outcome, Step, TICK, steps},
    meetings::Meetings,
    signals::{PIPE_GRACE, interruption},
    summary::{counts::Counts, report::Report},
    ui::{lang::Lang, screen::Screen, stdout::print, tally::Tally, text::malformed_row_line},
};

/// The width of the text if standard output is not a terminal.
const WIDTH: usize = 80;

/// Count enrollees by status, source, day and company, and the answers to choice questions
#[derive(clap::Args)]
#[command(after_help = notes(NOTES))]
pub(crate) struct Args {
    #[command(flatten)]
    meetings: Meetings,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

const NOTES: &str = "\
    --format json prints one object:\n\
    \x20 meetings         number of meetings\n\
    \x20 rows             number of rows\n\
    \x20 malformed_rows   number of malformed rows, which are not counted anywhere else\n\
    \x20 complete         whether every meeting was listed to its end\n\
    \x20 by_status, by_source\n\
    \x20                  {NUMBER: {name, count}} with the API's numbers\n\
    \x20 per_day          {days: [{day, count}], unknown, other}, in UTC+8\n\
    \x20 questions        choice questions, [{num, title, type, answered, answers: [{text, count}], other}]\n\
    \x20 other_questions  number of answers to choice questions beyond the limit\n\
    \x20 company_answers  number of answers to questions that ask for a company\n\
    \x20 companies        the 10 most frequent companies, [{name, count}]\n\
    \x20 other_companies  number of these answers whose company is not listed\n\n\
    Limits, to bound the memory: 400 days, 64 choice questions, 64 choices per question, 50,000 companies. Anything \
    beyond is counted as other. Text is shortened to 120 characters.";

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) async fn run(mut args: Args, lang: Lang, screen: &Screen) -> Result<u8, Stop> {
    let queries = args.meetings.queries(args.connection.kind)?;
    let total = args.meetings.total_rows(args.connection.demo);
    let Meetings { read_ahead, concurrency, .. } = args.meetings;
    let (client, _simulator) = args.connection.open().await?;
    screen.show(0, total);
    let mut summary = Summary {
        counts: Counts::new(),
        rows: vec![0; queries.len()],
        tally: Tally::new(),
        client: client.clone(),
        screen,
        outcome: Outcome::new(lang),
        complete: false,
    };
    let meetings: Vec<_> = queries
        .into_iter()
        .enumerate()
        .map(|(meeting, query)| steps(meeting, client.pages(query).read_ahead(read_ahead)))
        .collect();
    let code = summary.run(stream::iter(meetings).flatten_unordered(concurrency)).await?;
    screen.clear();
    summary.print(args.format)?;
    screen.print_note(&summary.tally.summary(&client.stats()));
    Ok(code)
}

struct Summary<'a> {
    counts: Counts,
    /// The number of rows of each meeting.
    rows: Vec<u64>,
    tally: Tally,
    client: Client,
    screen: &'a Screen,
    outcome: Outcome,
    /// Whether every meeting was listed to its end.
    complete: bool,
}

impl Summary<'_> {
    /// Counts all pages. Returns the exit code.
    async fn run(&mut self, steps: impl Stream<Item = Step> + Unpin + Send) -> Result<u8, Stop> {
        let mut interrupted = interruption(Some(PIPE_GRACE))?;
        let mut steps = steps.fuse();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.outcome.no_token {
            tokio::select! {
                step = steps.next() => match step {
                    Some(step) => self.take(step),
                    None => break,
                },
                _ = ticks.tick() => self.screen.update(&self.tally, &self.client.stats()),
                code = &mut interrupted => {
                    self.screen.print_line("interrupted");
                    return Ok(code.unwrap_or(1));
                }
            }
        }
        self.complete = self.outcome.code(false) == 0;
        Ok(self.outcome.code(self.tally.malformed_rows > 0))
    }

    /// Counts the rows of a page.
    fn take(&mut self, Step { meeting, page, position }: Step) {
        let id = position.query().meeting_id();
        match page {
            Ok(page) => {
                self.tally.pages += 1;
                for row in &page {
                    match row {
                        Ok(row) => {
                            self.counts.add(&row);
                            self.tally.rows += 1;
                            self.rows[meeting] += 1;
                        }
                        Err(error) => {
                            self.tally.malformed_rows += 1;
                            self.screen.print_line(&malformed_row_line(id, &error));
                        }
                    }
                }
            }
            Err(error) => {
                self.screen.print_line(&self.outcome.record(id, self.rows[meeting], &error));
                if self.outcome.no_token && self.rows.len() > 1 {
                    self.screen.print_line(NO_TOKEN);
                }
            }
        }
    }

    fn print(&self, format: Format) -> Result<(), Stop> {
        let malformed_rows = self.tally.malformed_rows;
        let report = Report::new(&self.counts, self.rows.len(), malformed_rows, self.complete);
        let text = match format {
            Format::Text => {
                let width = terminal_size_of(io::stdout());
                report.text(width.map_or(WIDTH, |(Width(width), _)| width.into()))
            }
            Format::Json => report.json().map_err(|e| Stop::Failed(e.to_string()))?,
        };
        print(text.as_bytes())
    }
}
