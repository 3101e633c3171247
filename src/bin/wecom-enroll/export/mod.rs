//! `export`: lists several meetings at the same time and writes their rows, page by page, to one output.
//!
//! ```text
//! meeting 1 ─┐
//! meeting 2 ─┼─▶ page and position ─▶ output ─▶ checkpoint file
//! meeting 3 ─┘
//! ```
//!
//! An error of one meeting does not end the others. A position is saved only after its rows are on disk.

mod checkpoint;
mod excel;
mod format;
mod output;
mod questions;
mod table;
mod workbook;

use std::{
    collections::VecDeque,
    mem,
    path::{Path, PathBuf},
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wecom_enroll::{Checkpoint, Client, Page, Query};

use crate::{
    connect::{Connection, notes},
    exit::Stop,
    export::{
        checkpoint::{Arguments, CheckpointFile, Saved},
        format::Format,
        output::Output,
        questions::questions,
    },
    files::{follow_links, is_same_file, parent, temporary_name},
    listing::{NO_TOKEN, Outcome, Step, TICK, steps},
    meetings::Meetings,
    signals::{Interruption, PIPE_GRACE, interruption},
    ui::{lang::Lang, screen::Screen, tally::Tally, text::malformed_row_line},
};

/// Stream every enrollee of each meeting to a file or standard output
#[derive(clap::Args)]
#[command(after_help = notes(NOTES))]
pub(crate) struct Args {
    #[command(flatten)]
    meetings: Meetings,
    /// Output format [default: by the extension of the output, or jsonl if it has none]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// CSV for spreadsheet programs: with a byte-order mark, formulas made harmless, and digits kept as text. Implies
    /// --format csv; an error with another format
    #[arg(long)]
    excel: bool,
    /// Output file; - is standard output
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// Keep the position in PATH, and resume from it if it exists. If the export that PATH belongs to is complete,
    /// nothing is exported; move PATH away to start again
    #[arg(long, value_name = "PATH")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

const NOTES: &str = "\
    JSON Lines: one object per row, with the API's field names and meetingid.\n\n\
    CSV and XLSX: one column per scalar field, then one per question, then other_answers with the answers to all \
    other questions as JSON. The questions are those of the meetings' settings, if the app may read them, and of the \
    first page that has rows. The column of a question without a title is named question. A title that is already \
    the name of a column gets a number, such as status (2). A cell of XLSX holds at most 32,767 UTF-16 \
    units and no control characters; a warning reports how many texts were changed.\n\n\
    --excel: a text that starts like a formula (= + - @) gets an apostrophe before it. A text that would be read as \
    a number, amount, date or time, such as a phone number or id, gets a tab, which spreadsheet programs do not \
    show.\n\n\
    Terminal: control characters are written like \\u001b. Files and pipes receive the exact text.\n\n\
    Malformed rows are reported on standard error, and all other rows are delivered.\n\n\
    --checkpoint: the export can be killed at any moment; if you run it again with the same arguments, the output \
    contains every row exactly once.";

impl Args {
    fn output_format(&self) -> Result<Format, Stop> {
        let by_extension = match Format::from_extension(&self.output) {
            Ok(format) => format,
            // The format does not depend on the extension.
            Err(_) if self.format.is_some() || self.excel || !self.has_file() => None,
            Err(extension) => {
                return Err(Stop::Usage(format!(
                    "the extension .{extension} of the output is not one of .jsonl, .ndjson, .json, .csv and .xlsx: \
                     set the format with --format"
                )));
            }
        };
        match self.format.or(by_extension) {
            None | Some(Format::Csv) if self.excel => Ok(Format::ExcelCsv),
            Some(_) if self.excel => {
                Err(Stop::Usage("--excel requires csv: remove --excel, or use --format csv".into()))
            }
            format => Ok(format.unwrap_or(Format::Jsonl)),
        }
    }

    /// Returns the arguments that must be the same when the export is resumed.
    fn arguments(&self, format: Format) -> Arguments {
        Arguments {
            kind: self.connection.list_name(),
            status: self.meetings.status.to_string(),
            format: format.to_string(),
            page_size: self.meetings.page_size,
            meetings: self.meetings.ids.clone(),
        }
    }

    /// Returns whether the output is a file, and not standard output, a device or a pipe.
    fn has_file(&self) -> bool {
        let to_stdout = self.output == Path::new("-");
        !to_stdout && self.output.metadata().map_or(true, |m| m.is_file())
    }

    /// Checks what can be checked before anything is opened or sent.
    fn check(&self, format: Format) -> Result<(), Stop> {
        let is_file = self.has_file();
        let problem = match &self.checkpoint {
            None if format == Format::Xlsx && !is_file => {
                "--format xlsx requires a file: set it with --output"
            }
            Some(_) if format == Format::Xlsx => {
                "--checkpoint: an XLSX workbook cannot be resumed; use jsonl or csv"
            }
            Some(_) if !is_file => {
                "--checkpoint requires an output that can be truncated: set a file with --output"
            }
            Some(path) if is_same_file(path, &self.output) => {
                "--checkpoint and --output are the same file"
            }
            Some(path) if is_temporary_file(path, &self.output) => {
                "--output is the temporary file of --checkpoint: rename one of them"
            }
            None | Some(_) => return Ok(()),
        };
        Err(Stop::Usage(problem.into()))
    }
}

/// Returns whether the output is the file through which the checkpoint is replaced, which would delete it.
fn is_temporary_file(checkpoint: &Path, output: &Path) -> bool {
    let temporary = follow_links(checkpoint).ok().and_then(|path| {
        let name = temporary_name(&path)?;
        Some(parent(&path).join(name))
    });
    temporary.is_some_and(|temporary| is_same_file(&temporary, output))
}

pub(crate) async fn run(mut args: Args, lang: Lang, screen: &Screen) -> Result<u8, Stop> {
    let queries = args.meetings.queries(args.connection.kind)?;
    let format = args.output_format()?;
    args.check(format)?;
    let total = args.meetings.total_rows(args.connection.demo);
    let Meetings { read_ahead, concurrency, .. } = args.meetings;
    let arguments = args.arguments(format);
    let file = args.checkpoint.as_deref().map(CheckpointFile::new).transpose()?;
    // Reads the checkpoint before the output is locked. If another run is still writing both files,
    // `Output::open` fails below.
    let earlier = file.as_ref().map(|file| file.read(&arguments, &queries)).transpose()?.flatten();
    let (client, _simulator) = args.connection.open().await?;
    let mut output = Output::open(&args.output, format, earlier.is_some())?;
    let saved = if let Some(saved) = earlier {
        output.resume(&saved.output)?;
        saved
    } else {
        let start = |query| client.pages(query).checkpoint();
        let saved = Saved::new(arguments, queries.into_iter().map(start).collect());
        // Written now, so that a checkpoint file that cannot be written is an error before any request.
        if let Some(file) = &file {
            file.write(&saved).await?;
        }
        saved
    };
    let mut export = Export {
        earlier: saved.meetings.iter().map(|meeting| meeting.rows).sum(),
        output,
        file,
        saved,
        client,
        screen,
        started: Instant::now(),
        changed: false,
        outcome: Outcome::new(lang),
    };
    // Rows and a progress bar would overwrite each other on one terminal.
    if !export.output.is_terminal() {
        screen.show(export.earlier, total);
    }
    if export.is_complete() {
        screen.print_note("this export is complete; move the checkpoint away to start again");
    }
    // A write to a pipe can block forever, and a pipe has no checkpoint to save. So after a signal, the process exits
    // within `PIPE_GRACE`.
    let grace = (!export.output.is_file()).then_some(PIPE_GRACE);
    let interrupted = interruption(grace)?;
    let steps = export.steps(read_ahead, concurrency)?;
    let signal = export.run(steps, interrupted).await?;
    screen.clear();
    if signal.is_some() {
        let resume = "interrupted; the checkpoint is valid: run the same command to resume";
        screen.print_line(if args.checkpoint.is_some() { resume } else { "interrupted" });
    }
    let tally = export.tally();
    screen.print_note(&tally.summary(&export.client.stats()));
    Ok(signal.unwrap_or(export.outcome.code(tally.malformed_rows > 0)))
}

struct Export<'a> {
    output: Output,
    file: Option<CheckpointFile>,
    saved: Saved,
    client: Client,
    screen: &'a Screen,
    started: Instant,
    /// The number of rows that earlier runs wrote.
    earlier: u64,
    /// Whether `saved` is newer than the checkpoint file.
    changed: bool,
    outcome: Outcome,
}

impl Export<'_> {
    /// Returns the pages of all meetings that are not complete, and the questions that have a column.
    ///
    /// If the output has no columns yet, the meetings are listed one after the other until a page has rows, so that
    /// the columns do not depend on which meeting responds first. The settings are read only then: if the list cannot
    /// be read, nothing else is sent. Questions are returned only with the first page that has rows.
    fn steps(
        &self,
        read_ahead: usize,
        concurrency: usize,
    ) -> Result<BoxStream<'static, (Step, Vec<String>)>, Stop> {
        let positions = self.saved.meetings.iter().map(|meeting| meeting.position.clone());
        let meetings = positions.enumerate().filter(|(_, position)| !position.is_end());
        let client = self.client.clone();
        let mut queries = Vec::new();
        let pages = |(meeting, position): (usize, Checkpoint)| {
            let query: Query = position.query().clone();
            let pages = self.client.resume_pages(&query, position)?;
            queries.push(query);
            Ok(steps(meeting, pages.read_ahead(read_ahead)))
        };
        let mut meetings = meetings.map(pages).collect::<Result<VecDeque<_>, Stop>>()?;
        let mut lacks_columns = self.output.lacks_columns();
        let steps = async_stream::stream! {
            while lacks_columns {
                let Some(first) = meetings.front_mut() else { break };
                let Some(step) = first.next().await else {
                    meetings.pop_front();
                    continue;
                };
                let has_rows = |page: &Page| page.rows().any(|row| row.is_ok());
                lacks_columns = !step.page.as_ref().is_ok_and(has_rows);
                let titles = if lacks_columns {
                    Vec::new()
                } else {
                    questions(&client, mem::take(&mut queries), concurrency).await
                };
                yield (step, titles);
            }
            let mut all = stream::iter(meetings).flatten_unordered(concurrency);
            while let Some(step) = all.next().await {
                yield (step, Vec::new());
            }
        };
        Ok(steps.boxed())
    }

    fn is_complete(&self) -> bool {
        self.saved.meetings.iter().all(|meeting| meeting.position.is_end())
    }

    /// Writes all pages. If it is interrupted, returns the exit code of the signal.
    async fn run(
        &mut self,
        steps: impl Stream<Item = (Step, Vec<String>)> + Unpin + Send,
        mut interrupted: Interruption,
    ) -> Result<Option<u8>, Stop> {
        let mut steps = steps.fuse();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signal = None;
        while !self.outcome.no_token {
            tokio::select! {
                step = steps.next() => match step {
                    Some((step, questions)) => {
                        self.output.questions.extend(questions);
                        self.take(step)?;
                    }
                    None => break,
                },
                _ = ticks.tick() => {
                    self.save().await?;
                    self.screen.update(&self.tally(), &self.client.stats());
                }
                code = &mut interrupted => {
                    signal = code.ok();
                    break;
                }
            }
        }
        self.output.finish(self.is_complete())?;
        // `finish` may have written the header of an empty list.
        self.changed |= self.output.length != self.saved.output.length;
        self.save().await?;
        Ok(signal)
    }

    /// Writes the rows of a page, then advances the position of its meeting.
    fn take(&mut self, Step { meeting, page, position }: Step) -> Result<(), Stop> {
        let meeting = &mut self.saved.meetings[meeting];
        let id = position.query().meeting_id().to_owned();
        match page {
            Ok(page) => {
                let mut rows = Vec::with_capacity(page.len());
                for row in &page {
                    match row {
                        Ok(row) => rows.push(row),
                        Err(error) => self.screen.print_line(&malformed_row_line(&id, &error)),
                    }
                }
                self.output.write(&id, &rows)?;
                meeting.rows += rows.len() as u64;
                meeting.malformed_rows += (page.len() - rows.len()) as u64;
                meeting.pages += 1;
            }
            Err(error) => {
                self.screen.print_line(&self.outcome.record(&id, meeting.rows, &error));
            }
        }
        meeting.position = position;
        self.changed = true;
        if self.outcome.no_token && self.saved.meetings.len() > 1 {
            self.screen.print_line(NO_TOKEN);
        }
        Ok(())
    }

    /// Writes the checkpoint file, if there is one and it is out of date.
    async fn save(&mut self) -> Result<(), Stop> {
        if let (Some(file), true) = (&self.file, self.changed) {
            self.saved.output = self.output.sync()?;
            file.write(&self.saved).await?;
            self.changed = false;
        }
        Ok(())
    }

    fn tally(&self) -> Tally {
        let sum =
            |count: fn(&checkpoint::Meeting) -> u64| self.saved.meetings.iter().map(count).sum();
        Tally {
            started: self.started,
            rows: sum(|meeting| meeting.rows),
            earlier: self.earlier,
            malformed_rows: sum(|meeting| meeting.malformed_rows),
            pages: sum(|meeting| meeting.pages),
        }
    }
}
