//! The HTTP server: accepts connections and responds to requests.

use std::{
    future,
    io::{self, ErrorKind},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

use super::{
    endpoint::Endpoint,
    errcode,
    fault_kind::FaultKind,
    response::{self, Body},
    state::ServerState,
};

const MAX_REQUEST_BODY: usize = 64 * 1024;

/// Accepts connections until `stop` is notified. The tasks of the connections end with this future.
pub(super) async fn serve(listener: TcpListener, state: Arc<ServerState>, stop: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(stream, peer.ip(), Arc::clone(&state)));
                }
                // The process is probably out of file descriptors, which is transient.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = stop.notified() => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Counts a connection as open until dropped, even if its task is aborted.
struct OpenConnection(Arc<ServerState>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

async fn serve_connection(stream: TcpStream, peer: IpAddr, state: Arc<ServerState>) {
    state.connection_opened();
    let _open = OpenConnection(Arc::clone(&state));
    // A failure only makes the simulator slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(Arc::clone(&state), peer, request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // A fault requested a reset, or the client has disconnected and a reset has no effect.
        let stream = connection.into_parts().io.into_inner();
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// Returns the response to one request. An error resets the connection.
async fn respond(
    state: Arc<ServerState>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    // hyper notices that the client disconnected during a delay only after the request body has been read.
    let body =
        Limited::new(body, MAX_REQUEST_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let Some(endpoint) = Endpoint::from_path(head.uri.path()) else {
        return response::html(404, None);
    };
    let admitted = state.admit(endpoint);
    response::pause(state.settings.latency).await;
    let fault = match admitted {
        Ok(fault) => fault,
        Err(errcode) => return response::json(state.error_body(errcode, peer), None),
    };
    match &fault {
        Some(FaultKind::Reset) => return Err(ErrorKind::ConnectionReset.into()),
        Some(FaultKind::Hang) => return future::pending().await,
        Some(FaultKind::Status { code, retry_after }) => {
            let seconds = retry_after.map(|seconds| seconds.to_string());
            return response::html(*code, seconds.as_deref().map(|value| ("retry-after", value)));
        }
        Some(FaultKind::Redirect(url)) => return response::html(302, Some(("location", url))),
        Some(FaultKind::Endless) => return response::endless(),
        Some(FaultKind::GzipBomb) => return response::gzip_bomb(),
        Some(FaultKind::Latency(delay)) => response::pause(*delay).await,
        _ => {}
    }
    let query = head.uri.query().unwrap_or_default();
    let params: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let result = match (&fault, endpoint) {
        (Some(FaultKind::Errcode(errcode)), _) => Err(*errcode),
        (Some(FaultKind::TokenExpired), _) => Err(errcode::EXPIRED_TOKEN),
        (Some(FaultKind::TokenInvalid), _) => Err(errcode::INVALID_TOKEN),
        (_, Endpoint::GetToken) if head.method != Method::GET => Err(errcode::GET_REQUIRED),
        (_, Endpoint::GetToken) => state.gettoken(&params),
        _ if head.method != Method::POST => Err(errcode::POST_REQUIRED),
        (_, Endpoint::List(list)) => match state.check_list(list, &params, &body) {
            Ok((request, position)) => {
                state.change_by_fault(&request.meeting, fault.as_ref());
                let roster = state.roster(&request.meeting);
                Ok(request.page(position, &roster, fault.as_ref())?)
            }
            Err(errcode) => Err(errcode),
        },
        (_, Endpoint::Approve(_)) => state.approve(&params, &body, fault.as_ref()),
        (_, Endpoint::GetConfig(_)) => state.get_config(&params, &body),
    };
    if fault == Some(FaultKind::Lost) {
        return Err(ErrorKind::ConnectionReset.into());
    }
    let json = result.unwrap_or_else(|errcode| state.error_body(errcode, peer));
    response::json(json, fault.as_ref())
}
