//! [`Round`]: lists all meetings once, and stores page after page.

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{MissedTickBehavior, interval};
use wecom_enroll::{Checkpoint, Client, Error, ErrorKind, Page, Query};

use crate::{
    connect::Kind,
    exit::Stop,
    listing::{NO_TOKEN, Outcome, Step, TICK, steps},
    signals::Interruption,
    sync::{
        store::{Counts, Ended, Listed, Store, has_key},
        value::List,
    },
    ui::{screen::Screen, tally::Tally, text::malformed_row_line},
};

/// Meetings listed at the same time, and pages fetched before they are needed: the defaults of `export`.
const CONCURRENCY: usize = 4;
const READ_AHEAD: usize = 1;

/// What all rounds of a run have in common.
pub(crate) struct Context<'a> {
    pub(crate) client: Client,
    pub(crate) kind: Kind,
    pub(crate) queries: Vec<Query>,
    pub(crate) allow_empty: bool,
    pub(crate) screen: &'a Screen,
    /// The numbers of all rounds so far.
    pub(crate) tally: Tally,
    /// Whether it was reported that U+0000 is replaced.
    pub(crate) reported_nul: bool,
}

impl Context<'_> {
    fn list(&self, meeting: usize) -> List<'_> {
        List { kind: self.kind.name(), meeting: self.queries[meeting].meeting_id() }
    }

    fn warn(&self, line: &str) {
        self.screen.print_note(&format!("warning: {line}"));
    }
}

pub(crate) struct Round<'a, 'b> {
    context: &'a mut Context<'b>,
    store: &'a mut Store,
    meetings: Vec<Meeting>,
    /// The meetings to list next, and their positions.
    pending: Vec<(usize, Checkpoint)>,
    pub(crate) outcome: Outcome,
    pub(crate) counts: Counts,
    pub(crate) malformed_rows: u64,
}

#[derive(Clone, Default)]
struct Meeting {
    rows: u64,
    /// Whether its cursor had expired, so that it was started from scratch.
    restarted: bool,
}

impl<'a, 'b> Round<'a, 'b> {
    pub(crate) fn new(
        context: &'a mut Context<'b>,
        store: &'a mut Store,
        outcome: Outcome,
    ) -> Self {
        let meetings = vec![Meeting::default(); context.queries.len()];
        let (pending, counts) = (Vec::new(), Counts::default());
        Self { context, store, meetings, pending, outcome, counts, malformed_rows: 0 }
    }

    /// Lists all meetings. If it is interrupted, returns the exit code of the signal.
    pub(crate) async fn run(&mut self, interrupted: &mut Interruption) -> Result<Option<u8>, Stop> {
        // What an earlier run has committed comes first.
        self.store.print().await?;
        for meeting in 0..self.meetings.len() {
            let position = self.store.position(self.context.list(meeting)).await?;
            match position.filter(|position| *position.query() == self.context.queries[meeting]) {
                // An earlier run was killed after it had stored the last page.
                Some(position) if position.is_end() => self.finish(meeting).await?,
                Some(position) => self.pending.push((meeting, position)),
                None => self.restart(meeting).await?,
            }
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.pending.is_empty() && !self.outcome.no_token {
            let mut steps = self.steps()?;
            while !self.outcome.no_token {
                tokio::select! {
                    step = steps.next() => match step {
                        Some(step) => self.take(step).await?,
                        None => break,
                    },
                    _ = ticks.tick() => {
                        let stats = self.context.client.stats();
                        self.context.screen.update(&self.context.tally, &stats);
                    }
                    code = &mut *interrupted => return Ok(code.ok()),
                }
            }
        }
        Ok(None)
    }

    /// Returns the pages of all pending meetings.
    fn steps(&mut self) -> Result<BoxStream<'static, Step>, Stop> {
        let client = &self.context.client;
        let pages = self.pending.drain(..).map(|(meeting, position)| {
            let query = position.query().clone();
            let pages = client.resume_pages(&query, position)?;
            Ok(steps(meeting, pages.read_ahead(READ_AHEAD)))
        });
        let pages = pages.collect::<Result<Vec<_>, Stop>>()?;
        Ok(stream::iter(pages).flatten_unordered(CONCURRENCY).boxed())
    }

    async fn take(&mut self, Step { meeting, page, position }: Step) -> Result<(), Stop> {
        match page {
            Ok(page) => self.store(meeting, &page, &position).await?,
            Err(error) => self.fail(meeting, &error).await?,
        }
        if position.is_end() { self.finish(meeting).await } else { Ok(()) }
    }

    /// Stores a page.
    async fn store(
        &mut self,
        meeting: usize,
        page: &Page,
        position: &Checkpoint,
    ) -> Result<(), Stop> {
        let list = self.context.list(meeting);
        let mut rows = Vec::with_capacity(page.len());
        for (index, row) in page.rows().enumerate() {
            match row {
                Ok(row) if has_key(&row) => rows.push(row),
                Ok(_) => self.context.screen.print_line(&format!(
                    "malformed row: meeting {}, page {}, row {}: no usable `enroll_id`",
                    list.meeting,
                    page.number(),
                    index + 1
                )),
                Err(error) => {
                    self.context.screen.print_line(&malformed_row_line(list.meeting, &error));
                }
            }
        }
        let malformed_rows = (page.len() - rows.len()) as u64;
        let listed = Listed { number: page.number(), rows: &rows, malformed_rows, position };
        self.counts += self.store.commit(list, listed).await?;
        if self.store.replaced_nul && !self.context.reported_nul {
            self.context.warn(
                "U+0000 was replaced with U+FFFD in some texts, because the database cannot store it",
            );
            self.context.reported_nul = true;
        }
        self.malformed_rows += malformed_rows;
        self.meetings[meeting].rows += rows.len() as u64;
        self.context.tally.rows += rows.len() as u64;
        self.context.tally.malformed_rows += malformed_rows;
        self.context.tally.pages += 1;
        Ok(())
    }

    /// Handles the error that ended a meeting's listing.
    async fn fail(&mut self, meeting: usize, error: &Error) -> Result<(), Stop> {
        let id = self.context.list(meeting).meeting.to_owned();
        let expired =
            error.is_cursor_expired() && !error.checkpoint().is_some_and(Checkpoint::is_start);
        if expired && !self.meetings[meeting].restarted {
            self.meetings[meeting].restarted = true;
            self.context.warn(&format!(
                "meeting {id}: the cursor has expired, so the list is read from its start"
            ));
            return self.restart(meeting).await;
        }
        let line = self.outcome.record(&id, self.meetings[meeting].rows, error);
        self.context.screen.print_line(&line);
        if self.outcome.no_token && self.meetings.len() > 1 {
            self.context.screen.print_line(NO_TOKEN);
        }
        // A cursor that cannot be followed is refused again if the listing is resumed.
        if error.resume_from().is_none() || error.kind() == ErrorKind::Cursor {
            self.store.restart(self.context.list(meeting)).await?;
        }
        Ok(())
    }

    /// Starts a listing with the first page.
    async fn restart(&mut self, meeting: usize) -> Result<(), Stop> {
        self.store.restart(self.context.list(meeting)).await?;
        let start = self.context.client.pages(self.context.queries[meeting].clone()).checkpoint();
        self.pending.push((meeting, start));
        Ok(())
    }

    /// Ends a listing that has reached its end.
    async fn finish(&mut self, meeting: usize) -> Result<(), Stop> {
        let list = self.context.list(meeting);
        match self.store.finish(list, self.context.allow_empty).await? {
            Ended::Complete { removed } => self.counts.removed += removed,
            Ended::Empty => self.context.warn(&format!(
                "meeting {}: the list is empty, but the database has rows of it; no row is removed \
                 unless --allow-empty is set",
                list.meeting
            )),
            // Each malformed row was already reported.
            Ended::Malformed => {}
        }
        Ok(())
    }
}
