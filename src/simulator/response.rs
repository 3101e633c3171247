//! HTTP responses, including those that simulate a fault.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{Either, Full, StreamBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::sleep;

use super::fault_kind::FaultKind;

pub(super) type Body =
    Either<Full<Bytes>, StreamBody<stream::BoxStream<'static, io::Result<Frame<Bytes>>>>>;

/// The number of chunks of a body that is sent slowly.
const SLOW_CHUNKS: u32 = 20;

/// The delay before a reset, so that the first half of the body arrives.
const DELAY_BEFORE_RESET: Duration = Duration::from_millis(20);

/// Returns a JSON response with the given body, altered by the fault.
pub(super) fn json(mut json: Vec<u8>, fault: Option<&FaultKind>) -> io::Result<Response<Body>> {
    let length = json.len().to_string();
    let length = ("content-length", length.as_str());
    match fault {
        Some(FaultKind::Cut) => {
            json.truncate(json.len() / 2);
            with_json_body(None, full(json))
        }
        Some(FaultKind::ResetBody) => {
            json.truncate(json.len() / 2);
            let reset = async {
                sleep(DELAY_BEFORE_RESET).await;
                Err(ErrorKind::ConnectionReset.into())
            };
            let half = stream::iter([Ok(json.into())]);
            with_json_body(Some(length), chunked(half.chain(stream::once(reset))))
        }
        Some(FaultKind::Slow(time)) => {
            let delay = *time / SLOW_CHUNKS;
            let size = json.len().div_ceil(SLOW_CHUNKS as usize).max(1);
            let chunks: Vec<_> = json.chunks(size).map(Bytes::copy_from_slice).collect();
            let delayed = stream::iter(chunks).then(move |chunk| async move {
                pause(delay).await;
                Ok(chunk)
            });
            with_json_body(Some(length), chunked(delayed))
        }
        Some(FaultKind::Headers(n)) => {
            let mut response = with_json_body(None, full(json))?;
            for _ in 0..*n {
                response.headers_mut().append("x-filler", HeaderValue::from_static("filler"));
            }
            Ok(response)
        }
        _ => with_json_body(None, full(json)),
    }
}

/// Returns an HTML response, as a gateway would send it.
pub(super) fn html(status: u16, header: Option<(&str, &str)>) -> io::Result<Response<Body>> {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Simulated");
    let page = format!(
        "<html><head><title>{status} {reason}</title></head><body><h1>{status} {reason}</h1></body></html>"
    );
    build(status, "text/html", header, full(page.into()))
}

/// Returns a response that starts like a page and continues with spaces forever.
pub(super) fn endless() -> io::Result<Response<Body>> {
    let start = br#"{"errcode":0,"errmsg":"ok","has_more":false,"next_cursor":"","enroll_list":["#;
    let spaces = stream::repeat(Bytes::from_static(&[b' '; 16 * 1024]));
    let chunks = stream::iter([Bytes::from_static(start)]).chain(spaces).map(Ok);
    with_json_body(None, chunked(chunks))
}

/// Returns a valid gzip response that decompresses to 1,073,742,337 spaces.
///
/// Its only deflate block has a Huffman table in which "repeat the last byte 258 times" takes two zero bits, so each
/// zero byte of the body decompresses to 1,032 spaces.
pub(super) fn gzip_bomb() -> io::Result<Response<Body>> {
    // The gzip header, the Huffman tables, and one space.
    const START: [u8; 25] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xed, 0xc0, 0x81, 0, 0, 0, 0, 0x80, 0x20, 0x95,
        0xfd, 0x29, 0x17, 0xa9, 0,
    ];
    const ZEROS: usize = 1_040_447;
    // The end of the block, the CRC-32, and the length.
    const END: [u8; 9] = [0x06, 0x8b, 0x1e, 0x34, 0x73, 0x01, 0x02, 0x00, 0x40];
    let mut body = START.to_vec();
    body.resize(START.len() + ZEROS, 0);
    body.extend_from_slice(&END);
    with_json_body(Some(("content-encoding", "gzip")), full(body))
}

fn with_json_body(header: Option<(&str, &str)>, body: Body) -> io::Result<Response<Body>> {
    build(200, "application/json; charset=UTF-8", header, body)
}

fn build(
    status: u16,
    content_type: &str,
    header: Option<(&str, &str)>,
    body: Body,
) -> io::Result<Response<Body>> {
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(body).map_err(io::Error::other)
}

fn full(body: Vec<u8>) -> Body {
    Either::Left(Full::new(body.into()))
}

fn chunked(chunks: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    Either::Right(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data)).boxed()))
}

/// Sleeps, except for a duration of zero, because even such a sleep waits for the next tick of the timer.
pub(super) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}
