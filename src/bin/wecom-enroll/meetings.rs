//! [`Meetings`]: the arguments of `export` and `summary` that select and list meetings.

use std::collections::HashSet;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use wecom_enroll::{Query, StatusFilter};

use crate::{connect::Kind, exit::Stop};

#[derive(clap::Args)]
pub(crate) struct Meetings {
    /// The ids of webinars or meetings
    #[arg(value_name = "MEETINGID", required_unless_present = "demo")]
    pub(crate) ids: Vec<String>,
    /// List only enrollments with this status
    #[arg(long, default_value = "all", value_parser = status_filter())]
    pub(crate) status: StatusFilter,
    /// Rows per page, 1 to 50, constant for the whole list
    #[arg(long, value_name = "N", default_value_t = Query::MAX_PAGE_SIZE)]
    pub(crate) page_size: u8,
    /// Pages fetched before they are needed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) read_ahead: usize,
    /// Meetings listed at the same time. The rows of one meeting keep the server's order; the pages of
    /// several meetings alternate
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) concurrency: usize,
}

fn status_filter() -> impl TypedValueParser<Value = StatusFilter> {
    PossibleValuesParser::new(["all", "pending", "rejected", "approved"])
        .try_map(|name| name.parse::<StatusFilter>())
}

impl Meetings {
    /// Returns one query per meeting, after checking everything that can be checked before anything is opened or sent.
    pub(crate) fn queries(&mut self, kind: Kind) -> Result<Vec<Query>, Stop> {
        if self.concurrency == 0 {
            return Err(Stop::Usage("--concurrency must be at least 1".into()));
        }
        queries(&mut self.ids, |id| {
            Ok(kind.query(id).status(self.status).page_size(self.page_size)?)
        })
    }

    /// Returns the number of rows of all meetings if it is known, which it is for an unfiltered demo.
    pub(crate) fn total_rows(&self, demo: Option<u64>) -> Option<u64> {
        let rows = demo.filter(|_| self.status == StatusFilter::All)?;
        Some(rows.saturating_mul(self.ids.len() as u64))
    }
}

/// Returns one query per id. If there is no id, which only a demo allows, adds that of the demo.
pub(crate) fn queries(
    ids: &mut Vec<String>,
    query: impl Fn(&str) -> Result<Query, Stop>,
) -> Result<Vec<Query>, Stop> {
    if ids.is_empty() {
        ids.push("demo".to_owned());
    }
    let mut seen = HashSet::new();
    let mut queries = Vec::with_capacity(ids.len());
    for id in &*ids {
        if !seen.insert(id) {
            return Err(Stop::Usage(format!("the meeting {id} is given twice")));
        }
        let query = query(id)?;
        query.validate()?;
        queries.push(query);
    }
    Ok(queries)
}
