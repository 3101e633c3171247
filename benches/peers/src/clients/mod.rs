//! The clients that are compared, and one walk of one of them.

mod fetch;
mod floor;
mod ours;
mod peers;

use std::{fmt, iter};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use futures::future::try_join_all;
use tokio::sync::Barrier;

use crate::{
    measure::{Found, Sample, metered},
    sums::{Sum, Tally},
};
use fetch::Fetch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// A socket, and no parsing: what no client can be below
    Raw,
    /// reqwest, and no parsing: what no client with reqwest can be below
    Reqwest,
    /// A hand-written loop: what a user would write
    Loop,
    #[value(name = "page-turner")]
    PageTurner,
    #[value(name = "azure_core")]
    AzureCore,
    #[value(name = "google-cloud-gax")]
    Gax,
    #[value(name = "aws-smithy-async")]
    Smithy,
    /// `futures`, by page, then flattened
    #[value(name = "try_unfold")]
    TryUnfold,
    /// By item
    #[value(name = "async-stream")]
    AsyncStream,
    #[value(name = "wecom-enroll")]
    Ours,
    /// With a read-ahead of one page
    #[value(name = "wecom-enroll-1-ahead")]
    OursAhead,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// A walk that is to be measured.
#[derive(clap::Args)]
pub(crate) struct Walk {
    pub(crate) client: Client,
    /// The server's address
    #[arg(long)]
    pub(crate) url: String,
    /// Rows of the list
    #[arg(long)]
    pub(crate) rows: u32,
    /// Count allocations, and sum up every byte
    #[arg(long)]
    pub(crate) count: bool,
    /// Walks at the same time; none goes on before all hold a page
    #[arg(long, default_value_t = 1)]
    pub(crate) at_once: usize,
}

/// Walks. What a user makes once for all walks is made before: runtime, HTTP client, URL.
pub(crate) async fn run<S: Sum>(walk: &Walk) -> Result<Sample> {
    let Walk { client, ref url, rows, count, at_once } = *walk;
    if at_once != 1 && !matches!(client, Client::Loop | Client::Ours) {
        bail!("only loop and wecom-enroll walk several lists at once");
    }
    let fetch = || Fetch::new(url, rows);
    let all_hold_a_page = Barrier::new(at_once);
    match client {
        Client::Raw => metered(count, floor::raw(url, rows)).await,
        Client::Reqwest => metered(count, floor::reqwest(&fetch()?)).await,
        Client::Loop => {
            let fetch = fetch()?;
            let walks = (0..at_once).map(|_| by_hand::<S>(&fetch, &all_hold_a_page));
            metered(count, together(walks)).await
        }
        Client::PageTurner => alone(count, peers::page_turner::<S>(&fetch()?)).await,
        Client::AzureCore => alone(count, peers::azure_core::<S>(&fetch()?)).await,
        Client::Gax => alone(count, peers::gax::<S>(&fetch()?)).await,
        Client::Smithy => alone(count, peers::smithy::<S>(&fetch()?)).await,
        Client::TryUnfold => alone(count, peers::try_unfold::<S>(&fetch()?)).await,
        Client::AsyncStream => alone(count, peers::async_stream::<S>(&fetch()?)).await,
        Client::Ours | Client::OursAhead => {
            let ahead = usize::from(client == Client::OursAhead);
            let client = ours::client(url)?;
            let walks =
                (0..at_once).map(|_| ours::walk::<S>(&client, rows, ahead, &all_hold_a_page));
            metered(count, together(walks)).await
        }
    }
}

/// What a user would write.
async fn by_hand<S: Sum>(fetch: &Fetch, all_hold_a_page: &Barrier) -> Result<Tally<S>> {
    let mut tally = Tally::default();
    let mut page = fetch.page(None).await?;
    all_hold_a_page.wait().await;
    loop {
        let next = page.next();
        for row in page.enroll_list {
            tally.add(&row);
        }
        match next {
            Some(cursor) => page = fetch.page(Some(&cursor)).await?,
            None => return Ok(tally),
        }
    }
}

async fn alone<S: Sum>(
    count: bool,
    walk: impl Future<Output = Result<Tally<S>>> + Send,
) -> Result<Sample> {
    metered(count, together(iter::once(walk))).await
}

/// Several walks at the same time, all of the same list.
async fn together<S: Sum>(
    walks: impl Iterator<Item = impl Future<Output = Result<Tally<S>>> + Send> + Send,
) -> Result<Found> {
    let (mut rows, mut checksum) = (0, None);
    for tally in try_join_all(walks).await? {
        rows += tally.rows();
        let sum = tally.checksum();
        ensure!(*checksum.get_or_insert(sum) == sum, "walks of one list differ");
    }
    Ok(Found { rows, checksum })
}
