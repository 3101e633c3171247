//! A fake WeCom server that uses very little CPU: its pages are serialized in advance.
//!
//! The meeting ID contains the length of the list: meeting `R1000000` has a million rows.

use std::{io::Read, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, buf::Chain};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::sleep,
};

use crate::{
    measure::raise_descriptors,
    rows::{PAGE, ServedPages, Shape, Tail},
};

/// The options of the server.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// How long the server waits before each response, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) latency_ms: u64,
}

/// The options of a command that reads one list in several rounds.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct ListArgs {
    /// The number of rows of the list
    #[arg(long, default_value_t = 100_000, value_parser = full_pages)]
    pub(crate) rows: u32,
    /// The number of rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Parses a number of rows that fills all pages.
fn full_pages(text: &str) -> Result<u32> {
    let rows = text.parse()?;
    ensure!(rows > 0 && rows % PAGE == 0, "must be a multiple of {PAGE}, the page size");
    Ok(rows)
}

/// Returns the ID of the meeting whose list has this many rows.
pub(crate) fn meeting(rows: u32) -> String {
    format!("R{rows}")
}

/// Prints the base URL and serves until standard input is closed, even if the parent was killed.
pub(crate) async fn serve(args: ServerArgs) -> Result<()> {
    raise_descriptors()?;
    let pages = Pages { tails: ServedPages::new(args.shape).tails()?, latency: args.latency_ms };
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on a port")?;
    println!("http://{}", listener.local_addr()?);
    let (closed, wait_until_closed) = oneshot::channel::<()>();
    thread::spawn(move || {
        // Dropping the sender stops the server, even if reading fails.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(closed);
    });
    tokio::select! {
        failed = accept(listener, Arc::new(pages)) => failed,
        _ = wait_until_closed => Ok(()),
    }
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        tokio::spawn(connection(stream, Arc::clone(&pages)));
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    // If this fails, the server is only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(&pages, request));
    // The client reports a connection that was closed early.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

struct Pages {
    tails: Vec<Tail>,
    latency: u64,
}

#[derive(Deserialize)]
struct ListRequest {
    meetingid: String,
    cursor: Option<String>,
    limit: u32,
}

/// The head of the response, then its rows.
type Body = Full<Chain<Bytes, Bytes>>;

async fn answer(pages: &Pages, request: Request<Incoming>) -> Result<Response<Body>> {
    let body = request.into_body().collect().await?.to_bytes();
    if pages.latency > 0 {
        sleep(Duration::from_millis(pages.latency)).await;
    }
    let (head, tail) = match requested_page(&body) {
        Some((number, last)) => {
            let cursor = if last { String::new() } else { format!("{:032x}", number + 1) };
            let head = format!(
                r#"{{"errcode":0,"errmsg":"ok","has_more":{},"next_cursor":"{cursor}","enroll_list":"#,
                !last
            );
            (head, pages.tails[number as usize % pages.tails.len()].of_page(number))
        }
        None => (r#"{"errcode":40058,"errmsg":"unknown list"}"#.to_owned(), Bytes::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(head).chain(tail)));
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Returns the number of the requested page, counted from 0, and whether it is the last one.
fn requested_page(body: &[u8]) -> Option<(u32, bool)> {
    let request: ListRequest = serde_json::from_slice(body).ok()?;
    let rows: u32 = request.meetingid.strip_prefix('R')?.parse().ok()?;
    let number = match request.cursor.as_deref() {
        None | Some("") => 0,
        Some(cursor) => u32::from_str_radix(cursor, 16).ok()?,
    };
    let pages = rows / PAGE;
    (request.limit == PAGE && number < pages).then_some((number, number + 1 == pages))
}
