//! A stand-in for WeCom that costs next to nothing: its pages lie ready, only a reply's head is made.
//!
//! The meeting's id says how long its list is: `R1000000` has a million rows. So one server serves
//! lists of all lengths.

use std::{io::Read, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result};
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
    rows::{PAGE, Roster, Shape},
};

/// What is served, and how fast.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// How long the server waits before each reply, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) latency_ms: u64,
}

/// The id of the meeting whose list has so many rows.
pub(crate) fn meeting(rows: u32) -> String {
    format!("R{rows}")
}

/// Serves, and says on standard output where, until standard input ends: also when whoever has
/// started the server was killed.
pub(crate) async fn serve(args: Args) -> Result<()> {
    raise_descriptors()?;
    let pages = Pages { tails: Roster::new(args.shape).tails()?, latency: args.latency_ms };
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port to listen on")?;
    println!("http://{}", listener.local_addr()?);
    let (ended, end) = oneshot::channel::<()>();
    thread::spawn(move || {
        // Nothing is sent: whatever ends the reading ends the server, by dropping the sender.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended);
    });
    tokio::select! {
        failed = accept(listener, Arc::new(pages)) => failed,
        _ = end => Ok(()),
    }
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("no further connection")?;
        tokio::spawn(connection(stream, Arc::clone(&pages)));
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    // Without it the server is slower, not wrong.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(&pages, request));
    // A client that leaves in the middle is its own to explain.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

struct Pages {
    tails: Vec<Bytes>,
    latency: u64,
}

#[derive(Deserialize)]
struct Asked {
    meetingid: String,
    cursor: Option<String>,
    limit: u32,
}

/// The head of its own, then the page that all replies share.
type Body = Full<Chain<Bytes, Bytes>>;

async fn answer(pages: &Pages, request: Request<Incoming>) -> Result<Response<Body>> {
    let body = request.into_body().collect().await?.to_bytes();
    if pages.latency > 0 {
        sleep(Duration::from_millis(pages.latency)).await;
    }
    let (head, tail) = match page(&body) {
        Some((number, last)) => {
            let cursor = if last { String::new() } else { format!("{:032x}", number + 1) };
            let head = format!(
                r#"{{"errcode":0,"errmsg":"ok","has_more":{},"next_cursor":"{cursor}","enroll_list":"#,
                !last
            );
            (head, pages.tails[number as usize % pages.tails.len()].clone())
        }
        None => (r#"{"errcode":40058,"errmsg":"no such list here"}"#.to_owned(), Bytes::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(head).chain(tail)));
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Which page is asked for, counted from 0, and whether it is the last one.
fn page(asked: &[u8]) -> Option<(u32, bool)> {
    let asked: Asked = serde_json::from_slice(asked).ok()?;
    let rows: u32 = asked.meetingid.strip_prefix('R')?.parse().ok()?;
    let number = match asked.cursor.as_deref() {
        None | Some("") => 0,
        Some(cursor) => u32::from_str_radix(cursor, 16).ok()?,
    };
    let pages = rows / PAGE;
    (asked.limit == PAGE && number < pages).then_some((number, number + 1 == pages))
}
