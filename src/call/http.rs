//! [`HttpTransport`]: the transport over HTTP. The only file that uses reqwest, except for
//! `ClientBuilder::http_client`.
//!
//! URLs are removed from errors here, because they contain secrets. For the same reason, redirects are not
//! followed. reqwest's own retries are off: a retry uses quota, so it belongs to the retry loop.

use std::{
    error::Error as StdError, fmt, fmt::Write as _, io, iter, mem, sync::Arc, time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::task::yield_now;
use url::Url;

use crate::{
    call::transport::{Transport, check_body},
    error::{ConnectionFailure, Error, Result},
};

/// The time limit for connecting, TLS included. It is part of the attempt's own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection keeps about 80 kB of buffers. At WeCom's limit of 10,000 calls per minute and
/// 0.3 s per call, 50 connections are busy and few are idle; more are left idle only by a burst.
const MAX_IDLE: usize = 32;

/// The chunks of a body are joined when there are this many, so that a server that sends small chunks cannot
/// make the client hold many small buffers. A page of 60 kB is four TLS records.
const MAX_CHUNKS: usize = 8;

/// A [`Transport`] over HTTP/1.1 and rustls. Clones share their connections.
///
/// Each client creates one, unless you pass one to the builder. Several clients may share one.
#[derive(Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    /// The proxies of the environment, if the client uses them.
    proxies: Option<Arc<Matcher>>,
    /// Whether the caller built the client, so that it may follow redirects.
    may_redirect: bool,
}

impl HttpTransport {
    /// Creates a transport that uses the proxies of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if TLS cannot be set up on
    /// this machine.
    pub fn new() -> Result<Self> {
        Self::build(reqwest::Client::builder(), Some(Arc::new(Matcher::from_env())))
    }

    /// Creates a transport that uses no proxy, for servers on this machine. A client whose base URL is a
    /// loopback address uses it by default.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`HttpTransport::new`].
    pub fn loopback() -> Result<Self> {
        Self::build(reqwest::Client::builder().no_proxy(), None)
    }

    fn build(builder: reqwest::ClientBuilder, proxies: Option<Arc<Matcher>>) -> Result<Self> {
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .user_agent(concat!("wecom-enroll/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| {
                Error::invalid_argument(format!(
                    "cannot create an HTTP client: {}",
                    e.without_url()
                ))
            })?;
        Ok(Self { client, proxies, may_redirect: false })
    }

    /// Creates a transport from a reqwest client (version 0.13), for example one with other proxies, root
    /// certificates or headers.
    ///
    /// **Build the client with `redirect(Policy::none())` and `referer(false)`**, or a redirect leaks the
    /// access token in the `Referer` header. Also use `retry(retry::never())`, because reqwest's retries do
    /// not use quota. `Error::is_proxy` detects that a proxy of
    /// this client refuses to connect, but not that the proxy cannot be reached.
    #[must_use]
    pub fn with_client(client: reqwest::Client) -> Self {
        Self { client, proxies: None, may_redirect: true }
    }

    async fn exchange(&self, request: Request<Bytes>, max_body: usize) -> Result<Response<Bytes>> {
        // On a runtime with one thread, a reader that keeps the thread busy also keeps the connections from noticing
        // that the server has closed them. They notice it now.
        yield_now().await;
        let (head, body) = request.into_parts();
        // Formats the URL into a buffer that is large enough, so that it does not reallocate.
        let mut url = String::with_capacity(256);
        let _ = write!(url, "{}", head.uri);
        let url = Url::parse(&url)
            .map_err(|e| Error::invalid_argument(format!("invalid request URL: {e}")))?;
        let expected_url = self.may_redirect.then(|| url.clone());
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body.into());
        let sent = self.client.execute(request).await;
        let mut response = sent.map_err(|e| self.connection_error(e, &head.uri))?;
        if expected_url.is_some_and(|url| *response.url() != url) {
            return Err(Error::http_status(302));
        }
        let (status, headers) = (response.status(), mem::take(response.headers_mut()));
        let mut response = Response::new(read(response, max_body).await?);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }

    fn connection_error(&self, error: reqwest::Error, uri: &Uri) -> Error {
        let proxied = self.proxies.as_ref().is_some_and(|proxies| proxies.intercept(uri).is_some());
        match connection_failure(&error, proxied) {
            Some(failure) => without_url(error).with_connection_failure(failure),
            None => without_url(error),
        }
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>>> {
        self.exchange(request, max_body).boxed()
    }
}

// The `Debug` of reqwest's client prints default headers, which may contain secrets.
impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}

/// Reads the whole body. Its size is counted after decompression.
async fn read(mut response: reqwest::Response, max_body: usize) -> Result<Bytes> {
    // `None` for a compressed or chunked body.
    let length = response.content_length().and_then(|length| usize::try_from(length).ok());
    let (mut body, mut chunks, mut received) = (BytesMut::new(), Vec::new(), 0);
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        received += chunk.len();
        check_body(received, max_body)?;
        if length == Some(chunk.len()) {
            // The usual case, without a copy. Reading the end keeps the connection usable.
            response.chunk().await.map_err(without_url)?;
            return Ok(chunk);
        }
        chunks.push(chunk);
        if chunks.len() == MAX_CHUNKS {
            join(&mut body, &mut chunks);
        }
    }
    join(&mut body, &mut chunks);
    Ok(body.freeze())
}

fn without_url(error: reqwest::Error) -> Error {
    let is_timeout = error.is_timeout();
    let error = Error::transport(error.without_url());
    if is_timeout { error.with_connection_failure(ConnectionFailure::Timeout) } else { error }
}

/// Appends the chunks to the body. Memory is reserved for what was received, not for what `Content-Length`
/// promises: otherwise a thousand concurrent calls would each hold the memory of a whole body while they wait
/// for it.
fn join(body: &mut BytesMut, chunks: &mut Vec<Bytes>) {
    body.reserve(chunks.iter().map(Bytes::len).sum());
    chunks.drain(..).for_each(|chunk| body.extend_from_slice(&chunk));
}

/// Classifies a connection failure by the types in the error's source chain. `proxied`: a proxy of the
/// environment applies to the URL.
fn connection_failure(error: &reqwest::Error, proxied: bool) -> Option<ConnectionFailure> {
    if error.is_timeout() || !error.is_connect() {
        return None;
    }
    let causes = || iter::successors(error.source(), |&cause| cause.source());
    let io_error = causes().find_map(|cause| cause.downcast_ref::<io::Error>());
    // The source of an `io::Error` is not the error that it wraps, which may be another `io::Error`.
    let io_error = iter::successors(io_error, |&error| error.get_ref()?.downcast_ref()).last();
    let wrapped = io_error.and_then(io::Error::get_ref);
    let is_tls = causes().any(<dyn StdError>::is::<rustls::Error>)
        || wrapped.is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>);
    Some(match io_error {
        _ if is_tls => ConnectionFailure::Tls,
        _ if proxied => ConnectionFailure::Proxy,
        // A proxy that refuses to connect is reported without an `io::Error`.
        None => ConnectionFailure::Proxy,
        Some(error) => match (error.kind(), error.raw_os_error()) {
            // The server closed the connection during the handshake.
            (io::ErrorKind::UnexpectedEof, _) => ConnectionFailure::Tls,
            // Except on Windows, the resolver's errors are not errors of the system.
            (_, None | Some(11_001..=11_004)) => ConnectionFailure::Resolve,
            _ => ConnectionFailure::Connect,
        },
    })
}
