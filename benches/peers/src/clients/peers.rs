//! The other paginators, used as their documentation shows. All fetch pages with [`Fetch`].

use std::pin::pin;

use anyhow::Result;
use async_stream::try_stream;
use async_trait::async_trait;
use aws_smithy_async::future::pagination_stream::{
    PaginationStream, TryFlatMap, fn_stream::FnStream,
};
use azure_core::{
    error::ErrorKind,
    http::pager::{self, ItemIterator, PagerContinuation, PagerResult, PagerState},
};
use futures::{Stream, TryStreamExt, stream};
use google_cloud_gax::paginator::{
    ItemPaginator, Paginator,
    internal::{PageableResponse, new_paginator},
};
use page_turner::prelude::*;

use super::fetch::Fetch;
use crate::{
    rows::{Page, Row},
    sums::{Sum, Tally},
};

/// The request for a page: its cursor, or `None` for the first page.
struct PageAt(Option<String>);

impl PageTurner<PageAt> for Fetch {
    type PageItems = Vec<Row>;
    type PageError = anyhow::Error;

    async fn turn_page(&self, PageAt(cursor): PageAt) -> TurnedPageResult<Self, PageAt> {
        let mut page = self.page(cursor.as_deref()).await?;
        let next = page.next().map(|cursor| PageAt(Some(cursor)));
        Ok(TurnedPage::new(page.enroll_list, next))
    }
}

pub(super) async fn page_turner<S: Sum>(fetch: &Fetch) -> Result<Tally<S>> {
    tally(fetch.pages(PageAt(None)).items()).await
}

#[async_trait]
impl pager::Page for Page {
    type Item = Row;
    type IntoIter = std::vec::IntoIter<Row>;

    async fn into_items(self) -> azure_core::Result<Self::IntoIter> {
        Ok(self.enroll_list.into_iter())
    }
}

/// Azure's services decode the rows in `into_items`. Here the page is decoded when it is fetched, as for
/// the other clients.
pub(super) async fn azure_core<S: Sum>(fetch: &Fetch) -> Result<Tally<S>> {
    let fetch = fetch.clone();
    let request = move |state, _| {
        let fetch = fetch.clone();
        let page = async move {
            let mut page = match state {
                PagerState::Initial => fetch.page(None).await,
                PagerState::More(cursor) => fetch.page(Some(cursor.as_ref())).await,
            }
            .map_err(|error| azure_core::Error::new(ErrorKind::Other, error))?;
            Ok(match page.next() {
                Some(cursor) => {
                    let continuation = PagerContinuation::Token(cursor);
                    PagerResult::More { response: page, continuation }
                }
                None => PagerResult::Done { response: page },
            })
        };
        Box::pin(page) as pager::PagerResultFuture<Page>
    };
    tally(ItemIterator::new(request, None)).await
}

impl PageableResponse for Page {
    type PageItem = Row;

    fn items(self) -> Vec<Row> {
        self.enroll_list
    }

    /// Returns an empty string if this is the last page.
    fn next_page_token(&self) -> String {
        if self.has_more { self.next_cursor.clone() } else { String::new() }
    }
}

pub(super) async fn gax<S: Sum>(fetch: &Fetch) -> Result<Tally<S>> {
    let mut tally = Tally::default();
    let fetch = fetch.clone();
    let execute = move |cursor: String| {
        let fetch = fetch.clone();
        async move { fetch.page(Some(cursor.as_str()).filter(|cursor| !cursor.is_empty())).await }
    };
    let mut rows = new_paginator(String::new(), execute).items();
    while let Some(row) = rows.next().await {
        tally.add(&row?);
    }
    Ok(tally)
}

/// The AWS SDK generates the same function for each paginated operation.
pub(super) async fn smithy<S: Sum>(fetch: &Fetch) -> Result<Tally<S>> {
    let mut tally = Tally::default();
    let fetch = fetch.clone();
    let pages = FnStream::new(|pages| {
        Box::pin(async move {
            let mut cursor = None;
            loop {
                let mut page = fetch.page(cursor.as_deref()).await;
                cursor = page.as_mut().ok().and_then(Page::next);
                if pages.send(page).await.is_err() || cursor.is_none() {
                    return;
                }
            }
        })
    });
    let mut rows = TryFlatMap::new(PaginationStream::new(pages)).flat_map(|page| page.enroll_list);
    while let Some(row) = rows.try_next().await? {
        tally.add(&row);
    }
    Ok(tally)
}

pub(super) async fn try_unfold<S: Sum>(fetch: &Fetch) -> Result<Tally<S>> {
    tally(unfolded(fetch)).await
}

fn unfolded(fetch: &Fetch) -> impl Stream<Item = Result<Row>> + Send {
    let pages = stream::try_unfold(Some(PageAt(None)), |request| async {
        let Some(PageAt(cursor)) = request else { return anyhow::Ok(None) };
        let mut page = fetch.page(cursor.as_deref()).await?;
        let next = page.next().map(|cursor| PageAt(Some(cursor)));
        Ok(Some((stream::iter(page.enroll_list.into_iter().map(anyhow::Ok)), next)))
    });
    pages.try_flatten()
}

pub(super) async fn async_stream<S: Sum>(fetch: &Fetch) -> Result<Tally<S>> {
    tally(yielded(fetch)).await
}

fn yielded(fetch: &Fetch) -> impl Stream<Item = Result<Row>> + Send {
    try_stream! {
        let mut page = fetch.page(None).await?;
        loop {
            let next = page.next();
            for row in page.enroll_list {
                yield row;
            }
            match next {
                Some(cursor) => page = fetch.page(Some(&cursor)).await?,
                None => return,
            }
        }
    }
}

async fn tally<S: Sum, E>(rows: impl Stream<Item = Result<Row, E>> + Send) -> Result<Tally<S>>
where
    anyhow::Error: From<E>,
    E: Send,
{
    let mut tally = Tally::default();
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await? {
        tally.add(&row);
    }
    Ok(tally)
}
