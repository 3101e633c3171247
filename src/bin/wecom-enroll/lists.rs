//! Which lists are walked, and how: the arguments that `export` and `summary` share.

use std::collections::HashSet;

use clap::ValueEnum;
use wecom_enroll::{Query, StatusFilter};

use crate::Stop;

#[derive(clap::Args)]
pub(crate) struct Lists {
    /// Ids of webinars or meetings
    #[arg(value_name = "MEETINGID", required_unless_present = "demo")]
    pub(crate) meetings: Vec<String>,
    /// Which list: the one of webinars, or the same list of ordinary meetings
    #[arg(long, value_enum, default_value = "webinar")]
    pub(crate) kind: Kind,
    /// The API's status filter
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) status: Status,
    /// Rows a page, 1 to 50
    #[arg(long, value_name = "N", default_value_t = Query::MAX_PAGE_SIZE)]
    pub(crate) page_size: u8,
    /// Pages fetched before they are needed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) read_ahead: usize,
    /// Meetings walked at the same time; rows of one keep their order, those of several alternate
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) concurrency: usize,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    Webinar,
    Meeting,
}

impl Kind {
    pub(crate) fn query(self, id: &str) -> Query {
        match self {
            Self::Webinar => Query::webinar(id),
            Self::Meeting => Query::meeting(id),
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Status {
    All,
    Pending,
    Rejected,
    Approved,
}

impl Lists {
    /// A query a meeting, once all is refused that can be before anything is opened or sent.
    pub(crate) fn queries(&mut self) -> Result<Vec<Query>, Stop> {
        if self.meetings.is_empty() {
            self.meetings.push("demo".to_owned());
        }
        let mut seen = HashSet::new();
        for id in &self.meetings {
            if id.trim().is_empty() {
                return Err(Stop::usage("a meeting id is empty"));
            }
            if !seen.insert(id) {
                return Err(Stop::usage(format!("the meeting {id} is given twice")));
            }
        }
        if self.concurrency == 0 {
            return Err(Stop::usage("--concurrency: at least one meeting must be walked"));
        }
        self.meetings.iter().map(|id| self.query(id)).collect()
    }

    fn query(&self, id: &str) -> Result<Query, Stop> {
        let status = match self.status {
            Status::All => StatusFilter::All,
            Status::Pending => StatusFilter::Pending,
            Status::Rejected => StatusFilter::Rejected,
            Status::Approved => StatusFilter::Approved,
        };
        Ok(self.kind.query(id).status(status).page_size(self.page_size)?)
    }

    /// The rows of all meetings, where that is known: in the demo.
    pub(crate) fn total(&self, demo: Option<u64>) -> Option<u64> {
        let rows = demo.filter(|_| self.status == Status::All)?;
        Some(rows.saturating_mul(self.meetings.len() as u64))
    }
}

/// The name that an option's value has on the command line.
pub(crate) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
