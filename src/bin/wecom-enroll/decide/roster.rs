//! [`Roster`]: the requested enrollments as the list contains them. All other rows are dropped.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use wecom_enroll::{Checkpoint, Client, EnrollStatus, Page, Query, Result};

use crate::ui::{screen::Screen, text::malformed_row_line};

pub(super) struct Roster {
    pub(super) client: Client,
    pub(super) query: Query,
    pub(super) screen: Screen,
    /// The requested ids, and the enrollments that were found.
    enrollments: BTreeMap<String, Option<Enrollment>>,
    /// The positions before the pages that contain requested enrollments.
    positions: Vec<Checkpoint>,
}

pub(super) struct Enrollment {
    pub(super) status: EnrollStatus,
    pub(super) name: String,
    /// The index of the position before its page.
    page: usize,
}

impl Roster {
    pub(super) fn new(client: Client, query: Query, screen: Screen, ids: BTreeSet<String>) -> Self {
        let enrollments = ids.into_iter().map(|id| (id, None)).collect();
        Self { client, query, screen, enrollments, positions: Vec::new() }
    }

    /// Lists the meeting. If an enrollment is missing, lists it once more, because the listing can skip a row if
    /// another enrollee withdraws meanwhile.
    pub(super) async fn list(&mut self) -> Result<()> {
        for _ in 0..2 {
            self.positions.clear();
            self.enrollments.values_mut().for_each(|found| *found = None);
            let mut pages = self.client.pages(self.query.clone()).read_ahead(1);
            loop {
                let position = pages.checkpoint();
                let Some(page) = pages.next().await else { break };
                self.positions.push(position);
                if self.take(&page?, self.positions.len() - 1).is_empty() {
                    self.positions.pop();
                }
            }
            if self.missing().next().is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the pages of these enrollments again. Lists the whole meeting if one of them is not on its page any more.
    pub(super) async fn refresh(&mut self, ids: &[String]) -> Result<()> {
        let pages = ids.iter().filter_map(|id| Some(self.get(id)?.page));
        let mut missing: BTreeSet<_> = ids.iter().cloned().collect();
        for index in pages.collect::<BTreeSet<_>>() {
            let Some(position) = self.positions.get(index).cloned() else { continue };
            match self.client.resume_pages(&self.query, position)?.next().await {
                Some(Ok(page)) => {
                    for id in self.take(&page, index) {
                        missing.remove(&id);
                    }
                }
                Some(Err(error)) if error.is_transient() => return Err(error),
                // For example, the cursor has expired. Listing again reports any other permanent error.
                Some(Err(_)) | None => break,
            }
        }
        if missing.is_empty() { Ok(()) } else { self.list().await }
    }

    /// Records the requested enrollments of a page, and returns their ids.
    fn take(&mut self, page: &Page, index: usize) -> Vec<String> {
        let mut found = Vec::new();
        for row in page {
            let (id, status, name) = match row {
                Ok(row) => (row.enroll_id().to_owned(), row.status(), row.nick_name().to_owned()),
                Err(error) => {
                    let id = error.malformed_row().and_then(|row| row.enroll_id.clone());
                    if id.as_ref().is_none_or(|id| self.enrollments.contains_key(id)) {
                        let line = malformed_row_line(self.query.meeting_id(), &error);
                        self.screen.print_line(&line);
                    }
                    // Nothing is known about its status.
                    (id.unwrap_or_default(), EnrollStatus::Unknown(0), String::new())
                }
            };
            if let Some(enrollment) = self.enrollments.get_mut(&id) {
                *enrollment = Some(Enrollment { status, name, page: index });
                found.push(id);
            }
        }
        found
    }

    pub(super) fn get(&self, id: &str) -> Option<&Enrollment> {
        self.enrollments.get(id)?.as_ref()
    }

    pub(super) fn status(&self, id: &str) -> Option<EnrollStatus> {
        self.get(id).map(|enrollment| enrollment.status)
    }

    /// Returns the enrollments that were found, sorted by page, so that refreshing a batch requests few pages.
    pub(super) fn found(&self) -> Vec<(&str, &Enrollment)> {
        let found = self.enrollments.iter();
        let mut found: Vec<_> = found
            .filter_map(|(id, enrollment)| Some((id.as_str(), enrollment.as_ref()?)))
            .collect();
        found.sort_by_key(|(_, enrollment)| enrollment.page);
        found
    }

    /// Returns the ids that are not in the list.
    pub(super) fn missing(&self) -> impl Iterator<Item = &str> {
        self.enrollments.iter().filter(|(_, found)| found.is_none()).map(|(id, _)| id.as_str())
    }
}
