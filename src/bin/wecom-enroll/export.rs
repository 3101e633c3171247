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
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wecom_enroll::{CheckpointStore, Client, FileStore};

use crate::{
    Interruption, Stop,
    checkpoint::{Arguments, Saved, folder},
    connect::Connection,
    interruption,
    lang::Lang,
    lists::{Lists, name},
    output::{Format, Output},
    progress::{Screen, Tally},
    walks::{LOCKED_OUT, Outcome, Step, TICK, bad_row, walk},
};
#[cfg(feature = "redis")]
use crate::{connect::duration, fleet};

/// Stream every enrollee of each meeting to a file or standard output
#[derive(clap::Args)]
#[command(after_help = CREDENTIALS)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) lists: Lists,
    /// Output format [default: by the output's extension, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// CSV for spreadsheets: a byte-order mark, no text that becomes a formula, and digits that stay
    /// text. Implies csv where neither --format nor the output's extension says otherwise
    #[arg(long)]
    excel: bool,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub(crate) output: PathBuf,
    /// Keep the position in PATH; if PATH exists, go on from there. A finished one ends a new run at
    /// once: move it away to export anew
    #[arg(long, value_name = "PATH")]
    checkpoint: Option<PathBuf>,
    /// Divide the meetings with every other process of that name on the same Redis. The output is then a
    /// folder, on storage that all of them share, where each meeting becomes a file of its own; what
    /// ends in .part is not yet complete. Checkpoints are kept on the Redis
    #[arg(long, value_name = "NAME", conflicts_with_all = ["checkpoint", "demo"])]
    fleet: Option<String>,
    /// How long a process of the fleet may be silent before others go on with its meetings
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15s", requires = "fleet")]
    #[cfg(feature = "redis")]
    pub(crate) lease: Duration,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

const CREDENTIALS: &str = "Credentials come from the environment: WECOM_CORP_ID with WECOM_CORP_SECRET, or else \
    WECOM_ACCESS_TOKEN. With WECOM_REDIS_URL, quota and token are those of all processes on that Redis.\n\nA CSV or \
    workbook has one column a question of the first page that has rows; answers to other questions stand in the last \
    column, other_answers, as JSON.\n\nWith --excel a text that begins like a formula (= + - @) \
    gets an apostrophe before it, and one that would be read as a number or date, as phone numbers and ids are, a tab, which spreadsheets do not show.";

impl Args {
    fn format(&self) -> Result<Format, Stop> {
        match (self.format.or_else(|| Format::of(&self.output)), self.excel) {
            (None | Some(Format::Csv | Format::Excel), true) => Ok(Format::Excel),
            (Some(other), true) => Err(Stop::usage(format!(
                "--excel is a kind of csv, and this output is {}: leave --excel out, or give --format csv",
                name(&other)
            ))),
            (format, false) => Ok(format.unwrap_or(Format::Jsonl)),
        }
    }

    /// What must be the same when going on.
    pub(crate) fn arguments(&self, format: Format) -> Arguments {
        let Lists { meetings, kind, status, page_size, .. } = &self.lists;
        Arguments {
            kind: name(kind),
            status: name(status),
            format: name(&format),
            page_size: *page_size,
            meetings: meetings.clone(),
        }
    }

    /// What can be refused before anything is opened or sent.
    fn check(&self, format: Format) -> Result<(), Stop> {
        let to_stdout = self.output == Path::new("-");
        let regular = self.output.metadata().map_or(!to_stdout, |metadata| metadata.is_file());
        if format == Format::Xlsx && !regular {
            return Err(Stop::usage("--format xlsx needs a file: give it with --output"));
        }
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        if format == Format::Xlsx {
            return Err(Stop::usage(
                "--checkpoint: a workbook cannot be continued; use jsonl or csv",
            ));
        }
        if !regular {
            return Err(Stop::usage(
                "--checkpoint: the output cannot be truncated, so it cannot be continued; give a file with --output",
            ));
        }
        if resolved(checkpoint) == resolved(&self.output) {
            return Err(Stop::usage("--checkpoint and --output are the same file"));
        }
        Ok(())
    }
}

/// The path without links, also of a file that does not exist yet.
fn resolved(path: &Path) -> Option<PathBuf> {
    let in_folder = || Some(folder(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder)
}

pub(crate) async fn run(
    mut args: Args,
    quiet: bool,
    lang: Lang,
    screen: &Screen,
) -> Result<u8, Stop> {
    let queries = args.lists.queries()?;
    let format = args.format()?;
    if let Some(name) = args.fleet.take() {
        #[cfg(feature = "redis")]
        return fleet::run(name, args, queries, format, quiet, lang, screen).await;
        #[cfg(not(feature = "redis"))]
        return Err(Stop::usage(format!(
            "--fleet {name}: this program was built without the feature redis"
        )));
    }
    args.check(format)?;
    let total = args.lists.total(args.connection.demo);
    let Lists { read_ahead, concurrency, .. } = args.lists;
    let arguments = args.arguments(format);
    let path = args.checkpoint.as_deref();
    let store = path.map(FileStore::new);
    // Not yet locked, but it does no harm to go on from a position that another run has just left.
    let earlier = match path.zip(store.as_ref()) {
        Some((path, store)) => {
            Saved::read(store, &path.display().to_string(), &arguments, &queries).await?
        }
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
        if let Some(store) = &store {
            saved.write(store).await?;
        }
        saved
    };
    let mut export = Export::new(output, store.as_ref(), saved, client, screen, lang);
    // Rows and a bar in one terminal would tear each other.
    if !quiet && !export.output.is_terminal() {
        screen.show(export.earlier, total);
    }
    if export.is_complete() && !quiet {
        screen.say("this export is complete; move the checkpoint away to export anew");
    }
    // A pipe that nobody reads hangs in a write, and there is nothing to save.
    let patience = (!export.output.is_file()).then_some(Duration::from_secs(2));
    let interrupted = interruption(patience)?;
    let walks = export.walks(read_ahead, concurrency);
    let signal = export.run(walks, interrupted, |tally| screen.update(&tally)).await?;
    screen.clear();
    if signal.is_some() {
        let checkpoint =
            path.map_or("", |_| "; the checkpoint is good: run the same command to go on");
        screen.say(&format!("interrupted{checkpoint}"));
    }
    let tally = export.tally();
    if !quiet {
        screen.say(&tally.summary());
    }
    Ok(signal.unwrap_or(export.outcome.code(tally.bad_rows > 0)))
}

/// The writer's side: what was written, and what came of the walks.
pub(crate) struct Export<'a, S> {
    output: Output,
    store: Option<&'a S>,
    saved: Saved,
    client: Client,
    screen: &'a Screen,
    begun: Instant,
    /// Rows of earlier runs.
    earlier: u64,
    /// Since the checkpoint was written.
    changed: bool,
    pub(crate) outcome: Outcome,
}

impl<'a, S: CheckpointStore> Export<'a, S> {
    pub(crate) fn new(
        output: Output,
        store: Option<&'a S>,
        saved: Saved,
        client: Client,
        screen: &'a Screen,
        lang: Lang,
    ) -> Self {
        let earlier = saved.meetings.iter().map(|meeting| meeting.rows).sum();
        let (begun, changed, outcome) = (Instant::now(), false, Outcome::new(lang));
        Self { output, store, saved, client, screen, begun, earlier, changed, outcome }
    }

    /// The steps of every meeting that is not at its end.
    ///
    /// Where columns are still to be found, one meeting after the other at first: they are those of
    /// the first that has rows, not of the one that answered first.
    pub(crate) fn walks(&self, read_ahead: usize, concurrency: usize) -> BoxStream<'static, Step> {
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

    pub(crate) fn is_complete(&self) -> bool {
        self.saved.meetings.iter().all(|meeting| meeting.position.is_end())
    }

    /// Walks and writes until the end, or until it is interrupted: then with the exit code for that.
    pub(crate) async fn run(
        &mut self,
        walks: impl Stream<Item = Step> + Unpin + Send,
        mut interrupted: Interruption,
        mut show: impl FnMut(Tally) + Send,
    ) -> Result<Option<u8>, Stop> {
        let mut walks = walks.fuse();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signal = None;
        while !self.outcome.is_locked_out() {
            tokio::select! {
                step = walks.next() => match step {
                    Some(step) => self.take(step)?,
                    None => break,
                },
                _ = ticks.tick() => {
                    self.save().await?;
                    show(self.tally());
                }
                code = &mut interrupted => {
                    signal = code.ok();
                    break;
                }
            }
        }
        self.output.finish(self.is_complete())?;
        self.changed |= self.output.length() != self.saved.output.length;
        self.save().await?;
        Ok(signal)
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
                self.screen.say(&self.outcome.stopped(&id, meeting.rows, &error));
            }
        }
        meeting.position = position;
        self.changed = true;
        if self.outcome.is_locked_out() && self.saved.meetings.len() > 1 {
            self.screen.say(LOCKED_OUT);
        }
        Ok(())
    }

    /// The checkpoint, if there is one and something has changed.
    async fn save(&mut self) -> Result<(), Stop> {
        if let (Some(store), true) = (self.store, self.changed) {
            self.saved.output = self.output.sync()?;
            self.saved.write(store).await?;
            self.changed = false;
        }
        Ok(())
    }

    pub(crate) fn tally(&self) -> Tally {
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
