//! `approve`, `reject` and `unapprove`: set the status of enrollments.
//!
//! ```text
//! ids ─▶ list ─▶ plan ─▶ (read again ─▶ journal ─▶ batch ─▶ journal)… ─▶ list again ─▶ what is not as requested
//! ```
//!
//! Enrollees may be notified of a decision, and it is hard to undo. So nothing is sent without `--yes`, and only
//! enrollments that are named are selected. The response to a batch is only a number, so the result is read from the
//! list.

mod args;
mod ids;
mod journal;
mod plan;
mod roster;
mod send;

use std::{convert::Infallible, sync::atomic::Ordering};

use tokio::time::{Instant, MissedTickBehavior, interval};
use wecom_enroll::{Client, EnrollStatus};

use crate::{
    decide::{
        journal::Journal,
        plan::Plan,
        roster::Roster,
        send::{Progress, Sender},
    },
    exit::Stop,
    listing::TICK,
    signals::{PIPE_GRACE, interruption},
    ui::{
        lang::Lang,
        screen::Screen,
        stdout::print,
        tally::{Tally, costs, wait},
        text::counted,
    },
};

pub(crate) use crate::decide::args::{Action, Args, Decision};

/// The largest number of missing ids that one message names.
const MAX_NAMED: usize = 20;

pub(crate) async fn run(
    action: Action,
    (args, any): (Args, bool),
    verbose: bool,
    lang: Lang,
    screen: &Screen,
) -> Result<u8, Stop> {
    let meeting = args.meeting.unwrap_or_else(|| "demo".to_owned());
    let query = args.connection.kind.query(&meeting);
    query.validate()?;
    let ids = ids::read(&meeting, &args.ids, args.from.as_deref())?;
    let list = args.connection.list_name();
    let open = |path| Journal::open(path, list, &meeting, action.name(), args.yes);
    let journal = args.journal.as_deref().map(open).transpose()?;
    let (client, _simulator) = args.connection.open().await?;
    let progress = Progress::default();
    let roster = Roster::new(client.clone(), query, screen.clone(), ids);
    let mut decide = Decide {
        action,
        meeting: &meeting,
        any,
        batch: args.yes.then_some(args.batch.into()),
        verbose,
        lang,
        screen,
        started: Instant::now(),
        sender: Sender::new(roster, journal, &progress),
    };
    let interrupted = interruption(Some(PIPE_GRACE))?;
    let code = tokio::select! {
        code = decide.run() => return code,
        never = show(&progress, &client, screen) => match never {},
        code = interrupted => code.unwrap_or(1),
    };
    screen.clear();
    match progress.read() {
        (_, 0) => screen.print_line("interrupted; nothing was sent"),
        (sent, all) => {
            let resume = "run the same command again to continue";
            let all = counted(all, "enrollment", "enrollments");
            let line = format!("interrupted after {sent} of {all} were confirmed; {resume}");
            screen.print_line(&line);
        }
    }
    Ok(code)
}

/// Updates the progress bar until it is dropped.
async fn show(progress: &Progress, client: &Client, screen: &Screen) -> Infallible {
    let mut tally = Tally::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let stats = client.stats();
        if progress.is_sending.load(Ordering::Relaxed) {
            let (sent, all) = progress.read();
            let waiting = wait(&stats).map(|wait| format!(", {wait}")).unwrap_or_default();
            let all = counted(all, "enrollment", "enrollments");
            screen.advance(sent, |_| format!("{sent} of {all} sent{waiting}"));
        } else {
            (tally.rows, tally.pages) = (stats.rows, stats.pages);
            screen.update(&tally, &stats);
        }
    }
}

/// One run of a command.
struct Decide<'a> {
    action: Action,
    meeting: &'a str,
    any: bool,
    /// The size of a batch. `None` if nothing may be sent.
    batch: Option<usize>,
    verbose: bool,
    lang: Lang,
    screen: &'a Screen,
    started: Instant,
    sender: Sender<'a>,
}

impl Decide<'_> {
    /// Lists, sends, and lists again. Returns the exit code.
    async fn run(&mut self) -> Result<u8, Stop> {
        self.screen.show(0, None);
        self.sender.roster.list().await?;
        self.check_missing()?;
        let Self { action, meeting, any, .. } = *self;
        let is_in_journal = |id: &str| self.sender.is_in_journal(id);
        let plan = Plan::new(action, meeting, any, self.sender.roster.found(), is_in_journal);
        let (ids, text) = (plan.ids(), plan.text(self.verbose));
        self.screen.clear();
        print(text.as_bytes())?;
        let Some(batch) = self.batch.filter(|_| !ids.is_empty()) else {
            let end = if ids.is_empty() {
                "nothing to do\n"
            } else {
                "nothing was sent; add --yes to send\n"
            };
            print(end.as_bytes())?;
            return Ok(0);
        };
        self.screen.show(0, Some(ids.len() as u64));
        // `unapprove` selects all that are decided, and with `--any` the caller wants to overrule others.
        let only_pending = !self.any && self.action != Action::Unapprove;
        let failure = self.sender.send(self.action.status(), &ids, batch, only_pending).await.err();
        self.screen.show(0, None);
        let code = self.verify(&ids, failure).await;
        self.screen.clear();
        self.print_summary(ids.len() as u64);
        Ok(code)
    }

    /// Returns an error that names the requested ids that are not in the list.
    fn check_missing(&self) -> Result<(), Stop> {
        let missing: Vec<_> = self.sender.roster.missing().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = missing.iter().take(MAX_NAMED).copied().collect();
        let more = match missing.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Stop::Failed(format!(
            "nothing was sent, because the list of {} does not contain {}: {}{more}; remove them, or check the \
             meeting id and --kind",
            self.meeting,
            counted(missing.len() as u64, "enrollment", "enrollments"),
            named.join(", ")
        )))
    }

    /// Lists again, and names what does not have the requested status. Returns the exit code.
    async fn verify(&mut self, ids: &[String], failure: Option<Stop>) -> u8 {
        let error = |stop: &Stop, context: &str| {
            if let Some(message) = stop.message(self.lang) {
                self.screen.print_line(&format!("error: {context}{message}"));
            }
        };
        if let Some(stop) = &failure {
            error(stop, "not all enrollments were sent: ");
        }
        let mut code = failure.as_ref().map(Stop::code);
        if let Err(failed) = self.sender.roster.list().await {
            let failed = Stop::from(failed);
            error(&failed, "cannot list the meeting again: ");
            code = code.or(Some(failed.code()));
            for id in ids.iter().filter(|id| !self.sender.confirmed.contains(*id)) {
                self.screen.print_line(&format!("error: enrollment {id} is not confirmed"));
            }
        } else {
            let mut wrong = false;
            for id in ids {
                let was = match self.sender.roster.status(id) {
                    Some(status) if status == self.action.status() => continue,
                    // Somebody else has decided. That decision is kept.
                    Some(_) if self.sender.decided.contains(id) => continue,
                    Some(EnrollStatus::Unknown(number)) => format!("has status {number}"),
                    Some(status) => format!("is {status}"),
                    None => "is not in the list any more".to_owned(),
                };
                wrong = true;
                self.screen.print_line(&format!("error: enrollment {id} {was}"));
            }
            code = code.or(wrong.then_some(1));
        }
        code.unwrap_or(u8::from(!self.sender.unknown.is_empty()))
    }

    fn print_summary(&self, selected: u64) {
        let Sender { confirmed, decided, unknown, batches, .. } = &self.sender;
        let named = |ids: usize, what| match ids {
            0 => String::new(),
            ids => format!(", {ids} {what}"),
        };
        self.screen.print_note(&format!(
            "{} of {} set to {}{}{}, {}, {}",
            confirmed.len(),
            counted(selected, "enrollment", "enrollments"),
            self.action.status(),
            named(decided.len(), "decided by others meanwhile"),
            named(unknown.len(), "unknown to WeCom"),
            counted(*batches, "batch", "batches"),
            costs(&self.sender.roster.client.stats(), self.started)
        ));
    }
}
