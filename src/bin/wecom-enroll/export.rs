//! `export`: walks several meetings at the same time and writes their rows, page by page, with one writer.
//!
//! ```text
//! walk of meeting 1 ─┐
//! walk of meeting 2 ─┼─▶ one page, and the position behind it ─▶ output ─▶ position kept ─▶ checkpoint
//! walk of meeting 3 ─┘
//! ```
//!
//! A meeting that fails does not keep the others. A position is kept only when its rows are written.

use std::{
    collections::{HashSet, VecDeque},
    error::Error as _,
    iter,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wecom_enroll::{
    BadRow, Checkpoint, Client, Error, ErrorKind, Page, Query, Result as Fetch, StatusFilter,
};

use crate::{
    Stop,
    checkpoint::{Arguments, Saved, folder},
    connect::Connection,
    interruption,
    output::{Format, Output},
    progress::{Screen, Tally, counted},
};

/// How often the checkpoint and the progress are brought up to date.
const TICK: Duration = Duration::from_millis(500);

/// Stream every enrollee of each meeting to a file or standard output
#[derive(clap::Args)]
#[command(after_help = CREDENTIALS)]
pub(crate) struct Args {
    /// Ids of webinars or meetings
    #[arg(value_name = "MEETINGID", required_unless_present = "demo")]
    meetings: Vec<String>,
    /// Which list: the one of webinars, or the same list of ordinary meetings
    #[arg(long, value_enum, default_value = "webinar")]
    kind: Kind,
    /// The API's status filter
    #[arg(long, value_enum, default_value = "all")]
    status: Status,
    /// Output format [default: by the output's extension, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// Keep the position in PATH; if PATH exists, go on from there. A finished one ends a new run at
    /// once: move it away to export anew
    #[arg(long, value_name = "PATH")]
    checkpoint: Option<PathBuf>,
    /// Rows a page, 1 to 50
    #[arg(long, value_name = "N", default_value_t = Query::MAX_PAGE_SIZE)]
    page_size: u8,
    /// Pages fetched before they are needed
    #[arg(long, value_name = "N", default_value_t = 1)]
    read_ahead: usize,
    /// Meetings walked at the same time; rows of one keep their order, those of several alternate
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrency: usize,
    #[command(flatten)]
    connection: Connection,
}

const CREDENTIALS: &str = "Credentials come from the environment: WECOM_CORP_ID with WECOM_CORP_SECRET, or else \
    WECOM_ACCESS_TOKEN.\n\nA CSV or workbook has one column a question of the first page that has rows; answers to other \
    questions stand in the last column, other_answers, as JSON.";

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Webinar,
    Meeting,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Status {
    All,
    Pending,
    Rejected,
    Approved,
}

impl Args {
    /// What can be refused before anything is opened or sent.
    fn check(&self, format: Format) -> Result<(), Stop> {
        let mut seen = HashSet::new();
        for id in &self.meetings {
            if id.trim().is_empty() {
                return Err(Stop::usage("a meeting id is empty"));
            }
            if !seen.insert(id) {
                return Err(Stop::usage(format!("the meeting {id} is given twice")));
            }
        }
        if self.concurrency == 0 {
            return Err(Stop::usage("--concurrency: at least one meeting must be walked"));
        }
        let to_stdout = self.output == Path::new("-");
        let regular = self.output.metadata().map_or(!to_stdout, |metadata| metadata.is_file());
        if format == Format::Xlsx && !regular {
            return Err(Stop::usage("--format xlsx needs a file: give it with --output"));
        }
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        if format == Format::Xlsx {
            return Err(Stop::usage(
                "--checkpoint: a workbook cannot be gone on with; use jsonl or csv",
            ));
        }
        if !regular {
            return Err(Stop::usage(
                "--checkpoint: the output cannot be truncated, so it cannot be gone on with; give a file with --output",
            ));
        }
        if resolved(checkpoint) == resolved(&self.output) {
            return Err(Stop::usage("--checkpoint and --output are the same file"));
        }
        Ok(())
    }

    fn query(&self, id: &str) -> Result<Query, Stop> {
        let query = match self.kind {
            Kind::Webinar => Query::webinar(id),
            Kind::Meeting => Query::meeting(id),
        };
        let status = match self.status {
            Status::All => StatusFilter::All,
            Status::Pending => StatusFilter::Pending,
            Status::Rejected => StatusFilter::Rejected,
            Status::Approved => StatusFilter::Approved,
        };
        Ok(query.status(status).page_size(self.page_size)?)
    }
}

/// The path without links, also of a file that does not exist yet.
fn resolved(path: &Path) -> Option<PathBuf> {
    let in_folder = || Some(folder(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder)
}

/// The name that an option's value has on the command line.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

pub(crate) async fn run(mut args: Args, quiet: bool, screen: &Screen) -> Result<u8, Stop> {
    if args.meetings.is_empty() {
        args.meetings.push("demo".to_owned());
    }
    let format = args.format.unwrap_or_else(|| Format::of(&args.output));
    args.check(format)?;
    let queries: Vec<_> =
        args.meetings.iter().map(|id| args.query(id)).collect::<Result<_, _>>()?;
    let total = args.connection.demo.filter(|_| args.status == Status::All);
    let total = total.map(|rows| rows.saturating_mul(args.meetings.len() as u64));
    let arguments = Arguments {
        kind: name(&args.kind),
        status: name(&args.status),
        format: name(&format),
        page_size: args.page_size,
        meetings: args.meetings,
    };
    // Not yet locked, but it does no harm to go on from a position that another run has just left.
    let earlier = match &args.checkpoint {
        Some(path) => Saved::read(path, &arguments, &queries)?,
        None => None,
    };
    let (client, _simulator) = args.connection.open().await?;
    let mut output = Output::open(&args.output, format, earlier.is_some())?;
    let saved = if let Some(saved) = earlier {
        output.go_on(&saved.output)?;
        saved
    } else {
        let start = |query| client.enrolls(query).checkpoint();
        let saved = Saved::new(arguments, queries.into_iter().map(start).collect());
        // At once: it may be that no checkpoint can be written.
        if let Some(path) = &args.checkpoint {
            saved.write(path)?;
        }
        saved
    };
    let mut export = Export::new(output, args.checkpoint, saved, client, screen);
    if !quiet {
        screen.show(export.earlier, total);
    }
    if export.is_complete() && !quiet {
        screen.say("this export is complete; move the checkpoint away to export anew");
    }
    let walks = export.walks(args.read_ahead, args.concurrency);
    let code = export.run(walks).await?;
    screen.clear();
    if !quiet {
        screen.say(&export.tally().summary());
    }
    Ok(code)
}

/// A page of a meeting, or how its walk ended, and the position behind it.
struct Step {
    meeting: usize,
    page: Fetch<Page>,
    position: Checkpoint,
}

fn walk(
    client: &Client,
    meeting: usize,
    position: Checkpoint,
    read_ahead: usize,
) -> BoxStream<'static, Step> {
    let pages = client.resume_pages(position).read_ahead(read_ahead);
    let steps = stream::unfold(pages, move |mut pages| async move {
        let page = pages.next().await?;
        Some((Step { meeting, page, position: pages.checkpoint() }, pages))
    });
    steps.boxed()
}

/// The writer's side: what was written, and what came of the walks.
struct Export<'a> {
    output: Output,
    path: Option<PathBuf>,
    saved: Saved,
    client: Client,
    screen: &'a Screen,
    begun: Instant,
    /// Rows of earlier runs.
    earlier: u64,
    /// Since the checkpoint was written.
    changed: bool,
    /// No token can be had, and every meeting needs one.
    locked_out: bool,
    /// What the errors of meetings come to: none, some that may pass (75), some that will not (1).
    code: u8,
}

impl<'a> Export<'a> {
    fn new(
        output: Output,
        path: Option<PathBuf>,
        saved: Saved,
        client: Client,
        screen: &'a Screen,
    ) -> Self {
        let earlier = saved.meetings.iter().map(|meeting| meeting.rows).sum();
        let (begun, changed, locked_out, code) = (Instant::now(), false, false, 0);
        Self { output, path, saved, client, screen, begun, earlier, changed, locked_out, code }
    }

    /// The steps of every meeting that is not at its end.
    ///
    /// Where columns are still to be found, one meeting after the other at first: they are those of
    /// the first that has rows, not of the one that answered first.
    fn walks(&self, read_ahead: usize, concurrency: usize) -> impl Stream<Item = Step> + use<> {
        let open = self.saved.meetings.iter().map(|meeting| meeting.position.clone()).enumerate();
        let open = open.filter(|(_, position)| !position.is_end());
        let walk = |(meeting, position)| walk(&self.client, meeting, position, read_ahead);
        let mut walks: VecDeque<_> = open.map(walk).collect();
        let mut seek = self.output.lacks_columns();
        let steps = async_stream::stream! {
            while let (true, Some(first)) = (seek, walks.front_mut()) {
                match first.next().await {
                    Some(step) => {
                        seek = !step.page.as_ref().is_ok_and(|page| page.rows().any(|row| row.is_ok()));
                        yield step;
                    }
                    None => drop(walks.pop_front()),
                }
            }
            let mut all = stream::iter(walks).flatten_unordered(concurrency);
            while let Some(step) = all.next().await {
                yield step;
            }
        };
        steps.boxed()
    }

    fn is_complete(&self) -> bool {
        self.saved.meetings.iter().all(|meeting| meeting.position.is_end())
    }

    async fn run(&mut self, walks: impl Stream<Item = Step> + Unpin + Send) -> Result<u8, Stop> {
        // A pipe that nobody reads hangs in a write, and there is nothing to save.
        let patience = (!self.output.is_file()).then_some(Duration::from_secs(2));
        let mut interrupted = interruption(patience)?;
        let mut walks = walks.fuse();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signal = None;
        while !self.locked_out {
            tokio::select! {
                step = walks.next() => match step {
                    Some(step) => self.take(step)?,
                    None => break,
                },
                _ = ticks.tick() => {
                    self.save()?;
                    self.screen.update(&self.tally());
                }
                code = &mut interrupted => {
                    signal = code.ok();
                    break;
                }
            }
        }
        self.output.finish(self.is_complete())?;
        self.changed |= self.output.length() != self.saved.output.length;
        self.save()?;
        if signal.is_some() {
            let checkpoint = self
                .path
                .as_ref()
                .map_or("", |_| "; the checkpoint is good: run the same command to go on");
            self.screen.say(&format!("interrupted{checkpoint}"));
        }
        let bad_rows = self.tally().bad_rows > 0;
        Ok(signal.unwrap_or(if self.code == 0 { bad_rows.into() } else { self.code }))
    }

    /// Writes a page's rows, then keeps the position behind them.
    fn take(&mut self, Step { meeting, page, position }: Step) -> Result<(), Stop> {
        let meeting = &mut self.saved.meetings[meeting];
        let id = position.query().meeting_id().to_owned();
        match page {
            Ok(page) => {
                let mut rows = Vec::with_capacity(page.len());
                for row in page.rows() {
                    match row {
                        Ok(row) => rows.push(row),
                        Err(error) => self.screen.say(&bad_row(&id, &error)),
                    }
                }
                self.output.write(&id, &rows)?;
                meeting.rows += rows.len() as u64;
                meeting.bad_rows += (page.len() - rows.len()) as u64;
                meeting.pages += 1;
            }
            Err(error) => {
                self.screen.say(&stopped(&id, meeting.rows, &error));
                self.code = if error.is_transient() && self.code != 1 { 75 } else { 1 };
                // Repeated wrong secrets get the machine's IP banned.
                self.locked_out = error.kind() == ErrorKind::Token && !error.is_transient();
            }
        }
        meeting.position = position;
        self.changed = true;
        if self.locked_out && self.saved.meetings.len() > 1 {
            self.screen.say("error: no meeting can be walked further without an access token");
        }
        Ok(())
    }

    /// The checkpoint, if there is one and something has changed.
    fn save(&mut self) -> Result<(), Stop> {
        if let (Some(path), true) = (&self.path, self.changed) {
            self.saved.output = self.output.sync()?;
            self.saved.write(path)?;
            self.changed = false;
        }
        Ok(())
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally {
            begun: self.begun,
            rows: 0,
            earlier: self.earlier,
            bad_rows: 0,
            pages: 0,
            stats: self.client.stats(),
        };
        for meeting in &self.saved.meetings {
            tally.rows += meeting.rows;
            tally.bad_rows += meeting.bad_rows;
            tally.pages += meeting.pages;
        }
        tally
    }
}

fn bad_row(id: &str, error: &Error) -> String {
    let Some(BadRow { page, index, enroll_id, .. }) = error.bad_row() else {
        return format!("bad row: meeting {id}: {error}");
    };
    let enroll_id = enroll_id.as_ref().map(|id| format!(", enroll_id {id}")).unwrap_or_default();
    format!("bad row: meeting {id}, page {page}, index {index}{enroll_id}: {error}")
}

/// One line: what happened, in which meeting, after how much, and what to do.
fn stopped(id: &str, rows: u64, error: &Error) -> String {
    let attempts = match error.attempts() {
        0 => String::new(),
        attempts => format!(" and {}", counted(attempts.into(), "attempt", "attempts")),
    };
    let rows = counted(rows, "row", "rows");
    let mut line = vec![format!("error: meeting {id} stopped after {rows}{attempts}: {error}")];
    let causes = iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string);
    line.extend(causes.filter(|cause| cause.len() <= 200));
    if let Some(seconds @ 1..) = error.pushback().map(|pushback| pushback.as_secs()) {
        line.push(format!("wait {} first", counted(seconds, "second", "seconds")));
    }
    let line = line.join(": ");
    match error.hint() {
        Some(hint) => line + "; hint: " + hint,
        None if error.is_transient() => line + "; hint: this may pass, run the same command again",
        None => line,
    }
}
