//! [`Plan`]: which enrollments are sent, which are skipped, and why.

use std::{collections::BTreeMap, fmt::Write};

use wecom_enroll::EnrollStatus;

use crate::{
    decide::{args::Action, roster::Enrollment},
    ui::text::{counted, sanitized},
};

/// Whether an enrollment is sent, or why it is skipped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Selection {
    Send,
    HasStatus,
    NotPending,
    InJournal,
}

/// The selection of the requested enrollments.
pub(super) struct Plan<'a> {
    action: Action,
    meeting: &'a str,
    /// The ids and names of the enrollments with each selection and status.
    groups: BTreeMap<(Selection, EnrollStatus), Vec<(&'a str, &'a str)>>,
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
            let selection = match enrollment.status {
                status if status == action.status() => Selection::HasStatus,
                _ if is_in_journal(id) => Selection::InJournal,
                status if !any && !action.applies_to(status) => Selection::NotPending,
                _ => Selection::Send,
            };
            let group = groups.entry((selection, enrollment.status)).or_default();
            group.push((id, &*enrollment.name));
        }
        Self { action, meeting, groups }
    }

    /// Returns the ids to send, grouped by current status, and in the order of pages within a group.
    pub(super) fn ids(&self) -> Vec<String> {
        let groups = self.groups.iter().filter(|((selection, _), _)| *selection == Selection::Send);
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
        for ((selection, from), group) in &self.groups {
            let reason = match selection {
                Selection::Send => format!("will be {status}"),
                Selection::HasStatus => format!("skipped: already {status}"),
                Selection::NotPending => "skipped: not pending; --any includes them".to_owned(),
                Selection::InJournal => "skipped: the journal records them as done".to_owned(),
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
