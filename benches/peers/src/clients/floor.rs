//! The floors: clients that fetch every page, and look no further than its head.

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Fetch;
use crate::{measure::Found, rows::PAGE, server::meeting};

/// A socket, and a buffer that is used again for each page.
pub(super) async fn raw(base_url: &str, rows: u32) -> Result<Found> {
    let host = base_url.strip_prefix("http://").context("not an http URL")?;
    let mut socket = TcpStream::connect(host).await?;
    socket.set_nodelay(true)?;
    let meeting = meeting(rows);
    let mut buffer = Vec::new();
    let (mut cursor, mut pages) = (String::new(), 0);
    loop {
        let ask =
            format!(r#"{{"meetingid":"{meeting}","status":0,"cursor":"{cursor}","limit":{PAGE}}}"#);
        let request = format!(
            "POST /cgi-bin/meeting/webinar/enroll/list?access_token=T HTTP/1.1\r\nhost: {host}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{ask}",
            ask.len()
        );
        socket.write_all(request.as_bytes()).await?;
        buffer.clear();
        let body = read_reply(&mut socket, &mut buffer).await?;
        pages += 1;
        match next(&buffer[body..])? {
            Some(next) => next.clone_into(&mut cursor),
            None => return Ok(found(pages)),
        }
    }
}

/// reqwest, and the body as it came.
pub(super) async fn reqwest(fetch: &Fetch) -> Result<Found> {
    let (mut cursor, mut pages) = (None, 0);
    loop {
        let body = fetch.reply(cursor.as_deref()).await?.bytes().await?;
        pages += 1;
        match next(&body)? {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(found(pages)),
        }
    }
}

/// Pages are full in this list.
fn found(pages: u32) -> Found {
    Found { rows: pages * PAGE, checksum: None }
}

/// Reads one reply, and tells where its body begins.
async fn read_reply(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<usize> {
    let head = loop {
        ensure!(socket.read_buf(buffer).await? > 0, "the server hung up");
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200"), "not a 200: {text}");
    let length = text.split_once("content-length: ").context("a reply of unknown length")?.1;
    let length: usize = length.split_once("\r\n").context("half a header")?.0.parse()?;
    buffer.reserve((head + length).saturating_sub(buffer.len()));
    while buffer.len() < head + length {
        ensure!(socket.read_buf(buffer).await? > 0, "the server hung up");
    }
    Ok(head)
}

/// The next cursor, from what stands before the rows.
fn next(body: &[u8]) -> Result<Option<&str>> {
    let rows = find(body, br#""enroll_list""#).context("not a page")?;
    let head = str::from_utf8(&body[..rows])?;
    if !head.contains(r#""has_more":true"#) {
        return Ok(None);
    }
    let cursor = head.split_once(r#""next_cursor":""#).context("no cursor")?.1;
    Ok(Some(cursor.split_once('"').context("half a cursor")?.0))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
