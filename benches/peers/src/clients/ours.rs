//! wecom-enroll, used as its README shows.

use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt;
use tokio::sync::Barrier;
use wecom_enroll::{Client, Query, Quota};

use crate::{
    server::meeting,
    sums::{Sum, Tally},
};

/// Builds a client whose quota never makes it wait. It uses no proxy for a loopback address.
pub(super) fn client(base_url: &str) -> Result<Client> {
    let quota = Quota::new(u32::MAX, Duration::from_secs(1))?;
    Ok(Client::builder().access_token("T").base_url(base_url).quotas([quota]).build()?)
}

pub(super) async fn list<S: Sum>(
    client: &Client,
    rows: u32,
    ahead: usize,
    first_page: &Barrier,
) -> Result<Tally<S>> {
    let mut tally = Tally::default();
    let mut rows = client.enrolls(Query::webinar(meeting(rows))).read_ahead(ahead);
    let first = rows.try_next().await?;
    first_page.wait().await;
    if let Some(row) = first {
        tally.add(&row);
    }
    while let Some(row) = rows.try_next().await? {
        tally.add(&row);
    }
    Ok(tally)
}
