//! What is asked for: which list of which meeting, which rows of it, in pages of what size.
//!
//! A query stays the same for a whole walk: WeCom's page 98810 demands the `limit` of the first
//! call on every page, and what a cursor means under another filter is written nowhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which list to walk, and how.
///
/// ```
/// use wecom_enroll::{Query, StatusFilter};
///
/// let query = Query::webinar("MEETINGID1").status(StatusFilter::Approved).page_size(20)?;
/// assert_eq!(query.meeting_id(), "MEETINGID1");
/// assert!(Query::webinar("MEETINGID1").page_size(51).is_err());
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    list: List,
    meetingid: Arc<str>,
    status: StatusFilter,
    limit: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum List {
    Webinar,
    Meeting,
}

/// Which rows the server is asked for, by their approval status (WeCom's page 98876).
///
/// It is part of the [`Query`], and the same for every page of a walk.
///
/// ```
/// use wecom_enroll::{Query, StatusFilter};
///
/// let waiting = Query::webinar("MEETINGID1").status(StatusFilter::Pending);
/// assert_ne!(waiting, Query::webinar("MEETINGID1")); // all of them
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StatusFilter {
    /// Every row.
    #[default]
    All = 0,
    /// Rows that wait for approval.
    Pending = 1,
    /// Rows that were rejected.
    Rejected = 2,
    /// Rows that were approved.
    Approved = 3,
}

impl Query {
    /// The most rows that WeCom sends in one page (page 98876), and the default.
    pub const MAX_PAGE_SIZE: u8 = 50;

    fn new(list: List, meetingid: impl Into<String>) -> Self {
        Self {
            list,
            meetingid: meetingid.into().into(),
            status: StatusFilter::All,
            limit: Self::MAX_PAGE_SIZE,
        }
    }

    /// The enrolment list of a webinar, `/cgi-bin/meeting/webinar/enroll/list` (WeCom's page 98876).
    ///
    /// An empty id is refused by the stream, before any call.
    pub fn webinar(meeting_id: impl Into<String>) -> Self {
        Self::new(List::Webinar, meeting_id)
    }

    /// The enrolment list of an ordinary meeting, `/cgi-bin/meeting/enroll/list` (page 98810).
    ///
    /// An empty id is refused by the stream, before any call.
    pub fn meeting(meeting_id: impl Into<String>) -> Self {
        Self::new(List::Meeting, meeting_id)
    }

    /// Which rows the server is asked for. Default: all.
    #[must_use]
    pub fn status(self, status: StatusFilter) -> Self {
        Self { status, ..self }
    }

    /// Rows a page, 1 to 50. Default: 50, the most that WeCom sends.
    ///
    /// # Errors
    ///
    /// Of kind `Argument`, when `rows` is outside 1 to 50.
    pub fn page_size(self, rows: u8) -> Result<Self> {
        let query = Self { limit: rows, ..self };
        if (1..=Self::MAX_PAGE_SIZE).contains(&rows) {
            return Ok(query);
        }
        Err(Error::argument(format!("a page holds 1 to 50 rows, not {rows}")))
    }

    /// The id of the webinar or meeting.
    #[must_use]
    pub fn meeting_id(&self) -> &str {
        &self.meetingid
    }

    /// Refuses what the infallible constructors, or a checkpoint from elsewhere, let in.
    pub(crate) fn check(&self) -> Result<()> {
        if self.meetingid.trim().is_empty() {
            return Err(Error::argument("the meeting id is empty"));
        }
        self.clone().page_size(self.limit).map(drop)
    }

    pub(crate) fn path(&self) -> &'static str {
        match self.list {
            List::Webinar => "/cgi-bin/meeting/webinar/enroll/list",
            List::Meeting => "/cgi-bin/meeting/enroll/list",
        }
    }

    /// Which list it is, in a word.
    pub(crate) fn list(&self) -> &'static str {
        match self.list {
            List::Webinar => "webinar",
            List::Meeting => "meeting",
        }
    }

    pub(crate) fn filter(&self) -> u8 {
        self.status as u8
    }

    pub(crate) fn limit(&self) -> u8 {
        self.limit
    }
}
