//! The server carries requests from the socket to the desk, and replies back, spoilt if a fault says so.

use std::{
    future,
    io::{self, ErrorKind},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

use super::{
    desk::{Api, Desk},
    fault::FaultKind,
    roster::List,
};

/// Tells the server to stop.
pub(super) type Stop = Notify;

type Body = Either<Full<Bytes>, StreamBody<stream::BoxStream<'static, io::Result<Frame<Bytes>>>>>;

const JSON: &str = "application/json; charset=UTF-8";
const MAX_REQUEST: usize = 64 * 1024;
/// Into how many pieces a slow body is cut.
const PIECES: u32 = 20;
/// Long enough for the first half of a body to leave before the reset overtakes it.
const HALFTIME: Duration = Duration::from_millis(20);

/// Accepts until told to stop. The connections' tasks are owned here, and die with this future.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>, stop: Arc<Stop>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer.ip(), Arc::clone(&desk)));
                }
                // Out of file descriptors, most likely: they may come back.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = stop.notified() => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Counts a connection as open while it lives, however it ends.
struct Open(Arc<Desk>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, desk: Arc<Desk>) {
    desk.connected();
    let _open = Open(Arc::clone(&desk));
    // Without it the simulator is slower, not wrong.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(Arc::clone(&desk), peer, request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // Either a fault wants a reset, or the client is gone and does not care.
        let stream = connection.into_parts().io.into_inner();
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// Answers one request; an error resets the connection.
async fn answer(
    desk: Arc<Desk>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    // Read to its end in any case, so that hyper can see the client leave while a fault holds the reply back.
    let body =
        Limited::new(body, MAX_REQUEST).collect().await.map_err(io::Error::other)?.to_bytes();
    let (api, method, wrong_method) = match head.uri.path() {
        "/cgi-bin/gettoken" => (Api::GetToken, Method::GET, 43001),
        "/cgi-bin/meeting/webinar/enroll/list" => (Api::List(List::Webinar), Method::POST, 43002),
        "/cgi-bin/meeting/enroll/list" => (Api::List(List::Meeting), Method::POST, 43002),
        _ => return html(404, &[]),
    };
    let arrival = desk.arrive(api);
    pause(desk.latency()).await;
    let refuse = |errcode| desk.refuse(errcode, peer);
    let fault = match arrival {
        Ok(fault) => fault,
        Err(errcode) => return reply(200, JSON, &[], full(refuse(errcode))),
    };
    match &fault {
        Some(FaultKind::Reset) => return Err(ErrorKind::ConnectionReset.into()),
        Some(FaultKind::Hang) => return future::pending().await,
        Some(FaultKind::Status { code, retry_after: None }) => return html(*code, &[]),
        Some(FaultKind::Status { code, retry_after: Some(secs) }) => {
            return html(*code, &[("retry-after", &secs.to_string())]);
        }
        Some(FaultKind::Redirect(url)) => return html(302, &[("location", url)]),
        Some(FaultKind::Endless) => return reply(200, JSON, &[], endless()),
        Some(FaultKind::GzipBomb) => {
            return reply(200, JSON, &[("content-encoding", "gzip")], full(gzip_bomb()));
        }
        Some(FaultKind::Latency(time)) => pause(*time).await,
        _ => {}
    }
    let params: Vec<(String, String)> =
        url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let judged = match (&fault, api) {
        (Some(FaultKind::Errcode(errcode)), _) => Err(*errcode),
        (Some(FaultKind::TokenExpired), _) => Err(42001),
        (Some(FaultKind::TokenInvalid), _) => Err(40014),
        _ if head.method != method => Err(wrong_method),
        (_, Api::GetToken) => desk.gettoken(&params),
        (_, Api::List(list)) => match desk.check(list, &params, &body) {
            Ok((asked, place)) => {
                Ok(asked.page(place, desk.enrollees(&asked.meeting), fault.as_ref())?)
            }
            Err(errcode) => Err(errcode),
        },
    };
    send(judged.unwrap_or_else(refuse), fault.as_ref())
}

async fn pause(time: Duration) {
    // A sleep of nothing still waits for the next tick of the timer.
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// Puts the JSON on the wire, the way that the fault has it.
fn send(mut json: Vec<u8>, fault: Option<&FaultKind>) -> io::Result<Response<Body>> {
    let length = json.len().to_string();
    let length = ("content-length", length.as_str());
    match fault {
        Some(FaultKind::Cut) => {
            json.truncate(json.len() / 2);
            reply(200, JSON, &[], full(json))
        }
        Some(FaultKind::ResetBody) => {
            json.truncate(json.len() / 2);
            let reset = async {
                sleep(HALFTIME).await;
                Err(ErrorKind::ConnectionReset.into())
            };
            let half = Ok(Frame::data(json.into()));
            reply(200, JSON, &[length], streamed(stream::iter([half]).chain(stream::once(reset))))
        }
        Some(FaultKind::Slow(time)) => {
            let pace = *time / PIECES;
            let size = json.len().div_ceil(PIECES as usize);
            let pieces: Vec<_> = json.chunks(size).map(Bytes::copy_from_slice).collect();
            let dribble = stream::iter(pieces).then(move |piece| async move {
                pause(pace).await;
                Ok(Frame::data(piece))
            });
            reply(200, JSON, &[length], streamed(dribble))
        }
        Some(FaultKind::Headers(n)) => {
            let mut reply = reply(200, JSON, &[], full(json))?;
            for _ in 0..*n {
                reply.headers_mut().append("x-filler", HeaderValue::from_static("filler"));
            }
            Ok(reply)
        }
        _ => reply(200, JSON, &[], full(json)),
    }
}

fn reply(
    code: u16,
    content_type: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> io::Result<Response<Body>> {
    let reply = Response::builder().status(code).header(header::CONTENT_TYPE, content_type);
    let reply = headers.iter().fold(reply, |reply, (name, value)| reply.header(*name, *value));
    reply.body(body).map_err(io::Error::other)
}

/// What a gateway says.
fn html(code: u16, headers: &[(&str, &str)]) -> io::Result<Response<Body>> {
    let reason = StatusCode::from_u16(code)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or("Simulated");
    let page = format!(
        "<html><head><title>{code} {reason}</title></head><body><h1>{code} {reason}</h1></body></html>"
    );
    reply(code, "text/html", headers, full(page.into()))
}

fn full(body: Vec<u8>) -> Body {
    Either::Left(Full::new(body.into()))
}

fn streamed(frames: impl stream::Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Body {
    Either::Right(StreamBody::new(frames.boxed()))
}

fn endless() -> Body {
    let start = br#"{"errcode":0,"errmsg":"ok","has_more":false,"next_cursor":"","enroll_list":["#;
    let more = stream::repeat(Bytes::from_static(&[b' '; 16 * 1024]));
    streamed(
        stream::iter([Bytes::from_static(start)]).chain(more).map(|piece| Ok(Frame::data(piece))),
    )
}

/// A valid gzip stream of 1,073,742,337 spaces.
///
/// Its one block has a Huffman table in which "the last 258 bytes again" takes two zero bits, so that each zero byte of
/// the stream stands for 1032 spaces.
fn gzip_bomb() -> Vec<u8> {
    // A gzip header; the block's tables, and one space.
    const START: [u8; 25] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xed, 0xc0, 0x81, 0, 0, 0, 0, 0x80, 0x20, 0x95,
        0xfd, 0x29, 0x17, 0xa9, 0,
    ];
    const ZEROS: usize = 1_040_447;
    // The end of the block; the CRC-32 and the length.
    const END: [u8; 9] = [0x06, 0x8b, 0x1e, 0x34, 0x73, 0x01, 0x02, 0x00, 0x40];
    let mut bomb = START.to_vec();
    bomb.resize(START.len() + ZEROS, 0);
    bomb.extend_from_slice(&END);
    bomb
}
