//! The lower bound: fetches every page with reqwest and does not parse its rows.

use anyhow::{Context, Result};

use super::fetch::Fetch;
use crate::{measure::Found, rows::PAGE};

pub(super) async fn reqwest(fetch: &Fetch) -> Result<Found> {
    let (mut cursor, mut pages) = (None, 0);
    loop {
        let body = fetch.response(cursor.as_deref()).await?.bytes().await?;
        pages += 1;
        match next_cursor(&body)? {
            Some(next) => cursor = Some(next.to_owned()),
            // All pages of the list are full.
            None => return Ok(Found { rows: pages * PAGE, checksum: None }),
        }
    }
}

/// Returns the next cursor, which comes before the rows.
fn next_cursor(body: &[u8]) -> Result<Option<&str>> {
    let rows = br#""enroll_list""#;
    let rows = body.windows(rows.len()).position(|window| window == rows).context("no rows")?;
    let head = str::from_utf8(&body[..rows])?;
    if !head.contains(r#""has_more":true"#) {
        return Ok(None);
    }
    let cursor = head.split_once(r#""next_cursor":""#).context("no cursor")?.1;
    Ok(Some(cursor.split_once('"').context("incomplete cursor")?.0))
}
