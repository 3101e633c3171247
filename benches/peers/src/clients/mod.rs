//! The clients that are compared, and one run of one of them.

mod fetch;
mod ours;
mod peers;
mod without_parsing;

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
    /// reqwest without parsing: the lower bound for a client that uses reqwest
    Reqwest,
    /// A hand-written loop
    Loop,
    #[value(name = "page-turner")]
    PageTurner,
    #[value(name = "azure_core")]
    AzureCore,
    #[value(name = "google-cloud-gax")]
    Gax,
    #[value(name = "aws-smithy-async")]
    Smithy,
    /// `futures::stream::try_unfold` by page, flattened
    #[value(name = "try_unfold")]
    TryUnfold,
    /// `async_stream::try_stream` by row
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

/// One run to measure.
#[derive(clap::Args)]
pub(crate) struct Run {
    client: Client,
    /// The server's base URL
    #[arg(long)]
    url: String,
    /// The number of rows of the list
    #[arg(long)]
    rows: u32,
    /// Count allocations, and compute the checksum of every byte
    #[arg(long)]
    pub(crate) count: bool,
    /// How many streams run at the same time. All wait until each has its first page
    #[arg(long, default_value_t = 1)]
    streams: usize,
}

/// Runs a client. Runtime, HTTP client and URL are created before the measurement starts.
pub(crate) async fn run<S: Sum>(run: &Run) -> Result<Sample> {
    let Run { client, ref url, rows, count, streams } = *run;
    if streams != 1 && !matches!(client, Client::Loop | Client::Ours) {
        bail!("only loop and wecom-enroll support several streams");
    }
    let fetch = || Fetch::new(url, rows);
    let first_page = Barrier::new(streams);
    match client {
        Client::Reqwest => metered(count, without_parsing::reqwest(&fetch()?)).await,
        Client::Loop => {
            let fetch = fetch()?;
            let loops = (0..streams).map(|_| by_hand::<S>(&fetch, &first_page));
            metered(count, together(loops)).await
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
            let lists = (0..streams).map(|_| ours::list::<S>(&client, rows, ahead, &first_page));
            metered(count, together(lists)).await
        }
    }
}

/// The hand-written loop.
async fn by_hand<S: Sum>(fetch: &Fetch, first_page: &Barrier) -> Result<Tally<S>> {
    let mut tally = Tally::default();
    let mut page = fetch.page(None).await?;
    first_page.wait().await;
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
    list: impl Future<Output = Result<Tally<S>>> + Send,
) -> Result<Sample> {
    metered(count, together(iter::once(list))).await
}

/// Runs several streams of the same list at the same time.
async fn together<S: Sum>(
    lists: impl Iterator<Item = impl Future<Output = Result<Tally<S>>> + Send> + Send,
) -> Result<Found> {
    let (mut rows, mut checksum) = (0, None);
    for tally in try_join_all(lists).await? {
        rows += tally.rows();
        let sum = tally.checksum();
        ensure!(*checksum.get_or_insert(sum) == sum, "streams of the same list differ");
    }
    Ok(Found { rows, checksum })
}
