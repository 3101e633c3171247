//! The enrollees of one meeting. Only changes are kept in memory, because everything else depends on the index.

use std::collections::{BTreeSet, HashMap};

use super::enrollee::generated_status;

/// The status of an enrollee who waits for approval.
const PENDING: u32 = 1;

/// The enrollees of one meeting, by index, and their status.
#[derive(Clone)]
pub(super) struct Roster {
    /// How many enrollees the meeting had at first.
    initial: u64,
    /// How many enrollees have enrolled since. They follow the others, and are pending at first.
    added: u64,
    removed: BTreeSet<u64>,
    /// The statuses that were set.
    statuses: HashMap<u64, u32>,
}

impl Roster {
    pub(super) fn new(initial: u64) -> Self {
        Self { initial, added: 0, removed: BTreeSet::new(), statuses: HashMap::new() }
    }

    fn end(&self) -> u64 {
        self.initial.saturating_add(self.added)
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        index < self.end() && !self.removed.contains(&index)
    }

    pub(super) fn status(&self, index: u64) -> u32 {
        let unchanged = || if index < self.initial { generated_status(index) } else { PENDING };
        self.statuses.get(&index).copied().unwrap_or_else(unchanged)
    }

    /// Returns the enrollees with this status, without the first `offset` of them. Status 0 matches all.
    pub(super) fn enrollees(&self, status: u32, offset: u64) -> impl Iterator<Item = u64> {
        // Without a filter, the first index can be computed. Lists can have millions of rows.
        let (first, skipped) = if status == 0 { (self.index_at(offset), 0) } else { (0, offset) };
        let matches = move |&index: &u64| {
            !self.removed.contains(&index) && (status == 0 || self.status(index) == status)
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        (first..self.end()).filter(matches).skip(skipped)
    }

    /// Returns the index of the enrollee that has `offset` enrollees before it.
    fn index_at(&self, offset: u64) -> u64 {
        self.removed.iter().fold(offset, |at, &removed| at.saturating_add((removed <= at).into()))
    }

    /// Adds enrollees, and returns the index of the first one.
    pub(super) fn enroll(&mut self, count: u64) -> u64 {
        let first = self.end();
        self.added = self.added.saturating_add(count);
        first
    }

    /// Removes an enrollee. Returns whether there was one.
    pub(super) fn remove(&mut self, index: u64) -> bool {
        self.contains(index) && self.removed.insert(index)
    }

    /// Adds a removed enrollee back. Returns whether it was removed.
    pub(super) fn restore(&mut self, index: u64) -> bool {
        self.removed.remove(&index)
    }

    /// Sets the status of an enrollee. Returns whether it had another one.
    pub(super) fn set_status(&mut self, index: u64, status: u32) -> bool {
        let changes = self.status(index) != status;
        self.statuses.insert(index, status);
        changes
    }
}
