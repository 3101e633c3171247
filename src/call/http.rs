//! [`HttpTransport`]: the transport over HTTP. The only file that uses reqwest, except for
//! `ClientBuilder::http_client`. `ClientBuilder::build` chooses the default transport, and `check_body` in
//! `transport.rs` limits the size of a body.
//!
//! URLs are removed from errors here, because they contain secrets. For the same reason, redirects are not
//! followed. reqwest's own retries are off: a retry uses quota, so it belongs to the retry loop.

use std::{fmt, fmt::Write as _, io, mem, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::{ClientBuilder, Proxy};
use tokio::{net::TcpStream, task::yield_now, time::timeout};
use url::Url;

use crate::{
    call::{
        proxy,
        tls::{causes, client_config, tls_failure},
        transport::{Transport, check_body},
    },
    error::{ConnectionFailure, Error, Result},
};

/// The time limit for connecting, TLS included. It is part of the attempt's own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of idle connections, each of which keeps about 80 kB of buffers. At WeCom's limit of 10,000
/// calls per minute and 0.3 s per call, 50 connections are busy and few are idle; only a burst leaves more.
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
    /// Creates a transport that uses the proxies of the environment: `HTTPS_PROXY`, or `ALL_PROXY`, except for
    /// the hosts in `NO_PROXY`.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the proxy of the environment
    /// is invalid, or TLS cannot be set up on this machine.
    pub fn new() -> Result<Self> {
        Self::for_destination(None)
    }

    /// Creates a transport for this base URL. An invalid proxy is accepted if `NO_PROXY` exempts the URL.
    pub(crate) fn for_destination(base_url: Option<&Url>) -> Result<Self> {
        let proxies = proxy::from_environment(base_url)?;
        Self::build(Self::client_builder()?, Some(Arc::new(proxies)))
    }

    /// Creates a transport that uses no proxy, for servers on this machine. A client whose base URL is a
    /// loopback address uses it by default.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if TLS cannot be set up on
    /// this machine.
    pub fn loopback() -> Result<Self> {
        Self::build(Self::client_builder()?.no_proxy(), None)
    }

    fn build(builder: ClientBuilder, proxies: Option<Arc<Matcher>>) -> Result<Self> {
        let client = builder.build().map_err(|e| {
            Error::invalid_argument(format!("cannot create an HTTP client: {}", e.without_url()))
        })?;
        Ok(Self { client, proxies, may_redirect: false })
    }

    /// Returns a builder with the settings that [`with_client`](Self::with_client) requires, for an HTTP client
    /// with other proxies, headers or timeouts.
    ///
    /// Its TLS is configured, so reqwest does not look for a default rustls provider, and does not panic if there is
    /// none. Therefore root certificates that are added to the builder have no effect: set `SSL_CERT_FILE`, or
    /// replace the configuration with `tls_backend_preconfigured`.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if TLS cannot be set up on
    /// this machine.
    pub fn client_builder() -> Result<ClientBuilder> {
        let mut tls = client_config()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .user_agent(concat!("wecom-enroll/", env!("CARGO_PKG_VERSION"))))
    }

    /// Creates a transport from a reqwest client (version 0.13), for example one with other proxies, root
    /// certificates or headers.
    ///
    /// **Build the client with [`client_builder`](Self::client_builder)**, or with `redirect(Policy::none())` and
    /// `referer(false)`: otherwise a redirect leaks the access token in the `Referer` header. Also use
    /// `retry(retry::never())`, because reqwest's retries do not use quota.
    ///
    /// With this client, [`Error::is_proxy`] returns true if a proxy refuses to connect (always a permanent error),
    /// and false if the proxy cannot be reached.
    #[must_use]
    pub fn with_client(client: reqwest::Client) -> Self {
        Self { client, proxies: None, may_redirect: true }
    }

    async fn exchange(&self, request: Request<Bytes>, max_body: usize) -> Result<Response<Bytes>> {
        // On a single-threaded runtime, a busy reader prevents the connection tasks from running. Yields, so that
        // connections that the server has closed are removed from the pool first.
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
        let mut response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.connection_error(error, &head.uri).await),
        };
        if expected_url.is_some_and(|url| *response.url() != url) {
            return Err(Error::http_status(302));
        }
        let (status, headers) = (response.status(), mem::take(response.headers_mut()));
        let mut response = Response::new(read(response, max_body).await?);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }

    async fn connection_error(&self, error: reqwest::Error, uri: &Uri) -> Error {
        if error.is_timeout() || !error.is_connect() {
            return without_url(error);
        }
        let proxy = self.proxies.as_ref().and_then(|proxies| proxies.intercept(uri));
        let (failure, transient) = match (connection_failure(&error, proxy.is_some()), proxy) {
            (Some(failure), _) => failure,
            (None, None) => (ConnectionFailure::Proxy, false),
            (None, Some(proxy)) if is_socks(&proxy) => {
                (ConnectionFailure::Proxy, !is_reachable(proxy.uri()).await)
            }
            (None, Some(proxy)) => match refusal(&proxy, uri).await {
                Some(status) => return without_url(error).with_proxy_status(status.as_u16()),
                None => (ConnectionFailure::Proxy, true),
            },
        };
        without_url(error).with_connection_failure(failure, transient)
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
    if is_timeout { error.with_connection_failure(ConnectionFailure::Timeout, true) } else { error }
}

/// Appends the chunks to the body. Memory is reserved for what was received, not for what `Content-Length` promises:
/// otherwise a thousand concurrent calls would each hold the memory of a whole body while they wait for it.
fn join(body: &mut BytesMut, chunks: &mut Vec<Bytes>) {
    body.reserve(chunks.iter().map(Bytes::len).sum());
    chunks.drain(..).for_each(|chunk| body.extend_from_slice(&chunk));
}

/// Returns which part of connecting failed, and whether that is transient, by the types of the causes.
/// `None` if a proxy refused to connect. `proxied`: a proxy of the environment applies to the URL.
fn connection_failure(error: &reqwest::Error, proxied: bool) -> Option<(ConnectionFailure, bool)> {
    if let Some(failure) = tls_failure(error) {
        return Some(failure);
    }
    let error = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last()?;
    let failure = match (error.kind(), error.raw_os_error()) {
        (_, Some(code)) if is_too_many_open_files(code) => ConnectionFailure::OpenFiles,
        _ if proxied => ConnectionFailure::Proxy,
        // The server closed the connection during the handshake.
        (io::ErrorKind::UnexpectedEof, _) => ConnectionFailure::Tls,
        // Except on Windows, the resolver's errors are not errors of the system.
        (_, None | Some(11_001..=11_004)) => ConnectionFailure::Resolve,
        _ => ConnectionFailure::Connect,
    };
    Some((failure, true))
}

/// Returns whether this error of the system is `EMFILE`, `ENFILE` or `WSAEMFILE`.
fn is_too_many_open_files(code: i32) -> bool {
    if cfg!(windows) { code == 10_024 } else { matches!(code, 23 | 24) }
}

/// Asks an HTTP proxy once more to connect to the host of `uri`, because reqwest does not report the status with
/// which it refused. Returns `None` if it does not respond, or accepts this time.
async fn refusal(proxy: &Intercept, uri: &Uri) -> Option<StatusCode> {
    let mut through = Proxy::http(proxy.uri().to_string()).ok()?;
    if let Some(credentials) = proxy.basic_auth() {
        through = through.custom_http_auth(credentials.clone());
    }
    let client = HttpTransport::client_builder().ok()?.proxy(through).build().ok()?;
    let target = format!("http://{}:{}", uri.host()?, uri.port_u16().unwrap_or(443));
    let response = client.request(Method::CONNECT, target).send().await.ok()?;
    Some(response.status()).filter(|status| !status.is_success())
}

fn is_socks(proxy: &Intercept) -> bool {
    proxy.uri().scheme_str().is_some_and(|scheme| scheme.starts_with("socks"))
}

/// Returns whether a SOCKS proxy accepts connections. Its errors do not show that.
async fn is_reachable(proxy: &Uri) -> bool {
    let host = proxy.host().unwrap_or_default().trim_matches(['[', ']']);
    // reqwest uses port 80 if the URL of the proxy has no port.
    let connect = TcpStream::connect((host, proxy.port_u16().unwrap_or(80)));
    timeout(CONNECT_TIMEOUT, connect).await.is_ok_and(|connected| connected.is_ok())
}
