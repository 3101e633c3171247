//! [`Plan`]: which enrollments are sent, which are skipped, and why.

use std::{collections::BTreeMap, fmt::Write};

use wecom_enroll::EnrollStatus;

use crate::{
    decide::{args::Action, roster::Enrollment},
    ui::text::{counted, sanitized},
};

/// What happens to an enrollment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Send,
    HasStatus,
    NotPending,
    InJournal,
}

/// The selection of the requested enrollments.
pub(super) struct Plan<'a> {
    action: Action,
    meeting: &'a str,
    /// The ids and names of the enrollments with each fate and status.
    groups: BTreeMap<(Fate, EnrollStatus), Vec<(&'a str, &'a str)>>,
}

impl<'a> Plan<'a> {
    /// Selects from the requested enrollments.
    pub(super) fn new(
        action: Action,
        meeting: &'a str,
        any: bool,
        found: Vec<(&'a str, &'a Enrollment)>,
        is_in_journal: impl Fn(&str) -> bool,
    ) -> Self {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, enrollment) in found {
            let fate = match enrollment.status {
                status if status == action.status() => Fate::HasStatus,
                _ if is_in_journal(id) => Fate::InJournal,
                status if !any && !action.applies_to(status) => Fate::NotPending,
                _ => Fate::Send,
            };
            let group = groups.entry((fate, enrollment.status)).or_default();
            group.push((id, &*enrollment.name));
        }
        Self { action, meeting, groups }
    }

    /// Returns the ids to send, page by page of the list for each status.
    pub(super) fn ids(&self) -> Vec<String> {
        let groups = self.groups.iter().filter(|((fate, _), _)| *fate == Fate::Send);
        groups.flat_map(|(_, group)| group).map(|(id, _)| (*id).to_owned()).collect()
    }

    /// Returns the plan, with the names of the enrollees if `verbose`.
    pub(super) fn text(&self, verbose: bool) -> String {
        let count = |group: &Vec<_>| group.len() as u64;
        let all = self.groups.values().map(count).sum();
        let all = counted(all, "enrollment", "enrollments");
        let (name, status) = (self.action.name(), self.action.status());
        let meeting = sanitized(self.meeting);
        let mut text = format!("{name} {} of {all} in {meeting}:\n", self.ids().len());
        for ((fate, from), group) in &self.groups {
            let reason = match fate {
                Fate::Send => format!("will be {status}"),
                Fate::HasStatus => format!("skipped: already {status}"),
                Fate::NotPending => "skipped: not pending; --any includes them".to_owned(),
                Fate::InJournal => "skipped: the journal records them as done".to_owned(),
            };
            let from = match from {
                EnrollStatus::Unknown(number) => format!("with status {number}"),
                known => known.to_string(),
            };
            let number = counted(count(group), "is", "are");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {number} {from}: {reason}");
            for (id, name) in group.iter().filter(|_| verbose) {
                let _ = writeln!(text, "    {} {}", sanitized(id), sanitized(name));
            }
        }
        text
    }
}
