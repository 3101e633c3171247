//! [`Query`]: the list, the meeting, the status filter and the page size.
//!
//! A query is the same for all pages of a list: WeCom doc 98810 requires the `limit` of the first
//! request on every page, and does not document what a cursor means under another filter.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    wire::integer::integer,
};

/// Selects a list and its rows. If it is invalid, a stream sends nothing and yields one error, see
/// [`Query::validate`].
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
    list: ListKind,
    meetingid: Arc<str>,
    pub(super) status: StatusFilter,
    #[serde(deserialize_with = "integer")]
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ListKind {
    Webinar,
    Meeting,
}

/// The API's filter by approval status (WeCom doc 98876). Part of a [`Query`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StatusFilter {
    /// All rows.
    #[default]
    All = 0,
    /// Rows that wait for approval.
    Pending = 1,
    /// Rejected rows.
    Rejected = 2,
    /// Approved rows.
    Approved = 3,
}

/// Prints the filter's name: `all`, `pending`, `rejected` or `approved`.
impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::All => "all",
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Approved => "approved",
        })
    }
}

/// Parses what `Display` prints.
impl FromStr for StatusFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::All, Self::Pending, Self::Rejected, Self::Approved];
        all.into_iter().find(|filter| filter.to_string() == text).ok_or_else(|| {
            Error::invalid_argument(
                "invalid status filter: expected all, pending, rejected or approved",
            )
        })
    }
}

impl Query {
    /// The maximum and default number of rows per page (WeCom doc 98876).
    pub const MAX_PAGE_SIZE: u8 = 50;

    fn new(list: ListKind, meetingid: impl Into<String>) -> Self {
        Self {
            list,
            meetingid: meetingid.into().into(),
            status: StatusFilter::All,
            limit: Self::MAX_PAGE_SIZE.into(),
        }
    }

    /// Selects the enrollment list of a webinar: `/cgi-bin/meeting/webinar/enroll/list` (WeCom doc 98876).
    pub fn webinar(meeting_id: impl Into<String>) -> Self {
        Self::new(ListKind::Webinar, meeting_id)
    }

    /// Selects the enrollment list of an ordinary meeting: `/cgi-bin/meeting/enroll/list` (WeCom doc 98810).
    pub fn meeting(meeting_id: impl Into<String>) -> Self {
        Self::new(ListKind::Meeting, meeting_id)
    }

    /// Sets the filter by status. Default: all rows.
    #[must_use]
    pub fn status(self, status: StatusFilter) -> Self {
        Self { status, ..self }
    }

    /// Sets the number of rows per page, 1 to 50. Default: 50.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if `rows` is not in 1 to 50.
    pub fn page_size(self, rows: u8) -> Result<Self> {
        let limit = rows.into();
        check_page_size(limit)?;
        Ok(Self { limit, ..self })
    }

    /// Returns the id of the webinar or meeting.
    pub fn meeting_id(&self) -> &str {
        &self.meetingid
    }

    /// Checks the meeting id and the page size. Every stream does this before it sends anything.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the id is empty, contains a
    /// control character, or starts or ends with white space or an invisible character, or if the page size of
    /// a deserialized query is not in 1 to 50.
    pub fn validate(&self) -> Result<()> {
        if let Some(problem) = text_problem(&self.meetingid) {
            let text = format!("the meeting id {:?} {problem}", self.meetingid);
            return Err(Error::invalid_argument(text));
        }
        // The page size of a deserialized query is not checked yet.
        check_page_size(self.limit)
    }

    /// Returns the path of the call for a page (WeCom docs 98876, 98810).
    pub(crate) fn list_path(&self) -> &'static str {
        self.either("/cgi-bin/meeting/webinar/enroll/list", "/cgi-bin/meeting/enroll/list")
    }

    /// Returns the path of the call that sets statuses (WeCom docs 98877, 98807).
    pub(crate) fn approve_path(&self) -> &'static str {
        self.either("/cgi-bin/meeting/webinar/enroll/approve", "/cgi-bin/meeting/enroll/approve")
    }

    /// Returns the path of the call for the enrollment settings (WeCom docs 98874, 98800).
    pub(crate) fn config_path(&self) -> &'static str {
        let webinar = "/cgi-bin/meeting/webinar/enroll/get_config";
        self.either(webinar, "/cgi-bin/meeting/enroll/get_config")
    }

    /// Returns the list's name, for spans.
    pub(crate) fn list(&self) -> &'static str {
        self.either("webinar", "meeting")
    }

    fn either(&self, webinar: &'static str, meeting: &'static str) -> &'static str {
        match self.list {
            ListKind::Webinar => webinar,
            ListKind::Meeting => meeting,
        }
    }
}

fn check_page_size(rows: u64) -> Result<()> {
    if (1..=Query::MAX_PAGE_SIZE.into()).contains(&rows) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("page size must be 1 to 50 rows, not {rows}")))
}

/// Returns what is wrong with an id or a credential, such as the line end of the file that it was read from.
pub(crate) fn text_problem(text: &str) -> Option<&'static str> {
    // A byte-order mark and other characters without a width.
    let is_invisible = |c: char| {
        c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let trimmed = text.trim_matches(is_invisible);
    if trimmed.is_empty() {
        Some("is empty")
    } else if trimmed.len() < text.len() {
        Some("starts or ends with white space or an invisible character")
    } else if text.contains(char::is_control) {
        Some("contains a control character")
    } else {
        None
    }
}
