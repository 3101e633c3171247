//! [`Sender`]: sends batches, one after the other.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures::StreamExt;
use wecom_enroll::EnrollStatus;

use crate::{
    decide::{journal::Journal, roster::Roster},
    exit::Stop,
};

/// How much was sent. Read while a batch is in flight.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) is_sending: AtomicBool,
    confirmed: AtomicU64,
    selected: AtomicU64,
}

impl Progress {
    /// Returns how many enrollments a response has confirmed, and how many were selected.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.confirmed.load(Ordering::Relaxed), self.selected.load(Ordering::Relaxed))
    }
}

pub(super) struct Sender<'a> {
    pub(super) roster: Roster,
    journal: Option<Journal>,
    progress: &'a Progress,
    /// The ids that a response has confirmed.
    pub(super) confirmed: HashSet<String>,
    /// The ids that somebody else decided after the plan was made.
    pub(super) decided: HashSet<String>,
    /// The ids that WeCom refused as unknown.
    pub(super) unknown: HashSet<String>,
    /// The number of batches that a response has confirmed.
    pub(super) batches: u64,
}

impl<'a> Sender<'a> {
    pub(super) fn new(roster: Roster, journal: Option<Journal>, progress: &'a Progress) -> Self {
        let [confirmed, decided, unknown] = [(); 3].map(|()| HashSet::new());
        Self { roster, journal, progress, confirmed, decided, unknown, batches: 0 }
    }

    pub(super) fn is_in_journal(&self, id: &str) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.done.contains(id))
    }

    /// Sends all ids. Returns the error that ended the sending.
    pub(super) async fn send(
        &mut self,
        status: EnrollStatus,
        ids: &[String],
        mut batch_size: usize,
        only_pending: bool,
    ) -> Result<(), Stop> {
        self.progress.selected.store(ids.len() as u64, Ordering::Relaxed);
        self.progress.is_sending.store(true, Ordering::Relaxed);
        let mut queue: VecDeque<_> = ids.iter().cloned().collect();
        let mut result = Ok(());
        while result.is_ok() && !queue.is_empty() {
            let mut batch: Vec<_> = queue.drain(..batch_size.min(queue.len())).collect();
            if only_pending {
                result = self.drop_decided(&mut batch).await;
            }
            if result.is_ok() && !batch.is_empty() {
                result = self.send_batch(status, &batch, &mut batch_size).await;
            }
        }
        self.progress.is_sending.store(false, Ordering::Relaxed);
        result
    }

    /// Removes the ids that are not pending any more. The API has no conditional update, so reading them again
    /// immediately before they are sent is all that can be done.
    async fn drop_decided(&mut self, batch: &mut Vec<String>) -> Result<(), Stop> {
        self.roster.refresh(batch).await?;
        batch.retain(|id| match self.roster.status(id) {
            Some(EnrollStatus::Pending) => true,
            Some(_) => {
                self.decided.insert(id.clone());
                false
            }
            None => false,
        });
        Ok(())
    }

    /// Sends one batch. If WeCom refuses it, the library splits it into several calls.
    async fn send_batch(
        &mut self,
        status: EnrollStatus,
        batch: &[String],
        batch_size: &mut usize,
    ) -> Result<(), Stop> {
        if let Some(journal) = &mut self.journal {
            journal.sending(batch)?;
        }
        let Roster { client, query, screen, .. } = &self.roster;
        let updates = client.set_status(query.clone(), status, batch);
        let mut updates = updates.batch_size(batch.len())?;
        let (mut largest, mut has_unknown) = (0, false);
        while let Some(update) = updates.next().await {
            match update {
                Ok(update) => {
                    if let Some(journal) = &mut self.journal {
                        journal.done(&update.ids)?;
                    }
                    largest = largest.max(update.ids.len());
                    self.batches += 1;
                    self.progress.confirmed.fetch_add(update.ids.len() as u64, Ordering::Relaxed);
                    self.confirmed.extend(update.ids);
                }
                Err(error) => {
                    let Some(id) = error.enroll_id().map(str::to_owned) else {
                        return Err(error.into());
                    };
                    has_unknown = true;
                    screen.print_line(&format!("error: WeCom does not know enrollment {id}"));
                    self.unknown.insert(id);
                }
            }
        }
        // A batch without an unknown id is halved only if it is too big.
        if !has_unknown && largest < batch.len() {
            *batch_size = largest;
        }
        Ok(())
    }
}
