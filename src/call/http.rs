//! The transport over HTTP: the only file that names reqwest.
//!
//! Errors lose their URL on the way in, because WeCom takes its secrets in the query. Redirects are
//! not followed, for the same reason. reqwest's own retries are off: a retry pays quota, so it
//! belongs to the attempt loop.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::{Bytes, BytesMut};
use jiff::fmt::rfc2822;
use reqwest::{
    Response,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};

use crate::{
    call::transport::{Reply, Request, Transport},
    error::{Error, Result},
};

/// How long connecting may take, TLS included; a part of the attempt's own limit. Our choice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection keeps its buffers, about 80 kB. At 10,000 calls a minute and 0.3 s each (our
/// guess) fifty are in use, and few are idle: the next permit takes one. More are left by a burst.
const MAX_IDLE: usize = 32;

/// A body's pieces are joined when there are so many: a server that sends crumbs must not have each
/// of them kept. A page of 60 kB is four TLS records.
const PIECES: usize = 8;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A [`Transport`] over HTTP, with TLS by rustls. Clones share their connections.
///
/// A client makes its own; several clients of one process may share one, and a transport of one's
/// own may send with it: see [`Transport`].
///
/// ```
/// use wecom_enroll::{Client, HttpTransport};
///
/// let http = HttpTransport::new()?;
/// let one = Client::builder().access_token("TOKEN1").transport(http.clone()).build()?;
/// let two = Client::builder().access_token("TOKEN2").transport(http).build()?;
/// # drop((one, two));
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
#[derive(Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// A transport for the API's host, which keeps to the environment's proxies.
    ///
    /// # Errors
    ///
    /// Of kind `Argument` when TLS cannot be set up on this machine.
    pub fn new() -> Result<Self> {
        Self::build(reqwest::Client::builder())
    }

    /// A transport for a server on this machine, which no proxy could reach. What a client uses by
    /// itself when its base URL is a loopback address.
    ///
    /// # Errors
    ///
    /// As [`HttpTransport::new`].
    pub fn loopback() -> Result<Self> {
        Self::build(reqwest::Client::builder().no_proxy())
    }

    fn build(builder: reqwest::ClientBuilder) -> Result<Self> {
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .user_agent(concat!("wecom-enroll/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::argument(format!("no HTTP client: {}", e.without_url())))?;
        Ok(Self { client })
    }

    /// Sends with a client of one's own (reqwest 0.13), for instance with other proxies, roots or
    /// headers.
    ///
    /// **Build it with `redirect(Policy::none())` and `referer(false)`**: a client that follows a
    /// redirect sends the access token to its target, in the `Referer` header. The reply from there is
    /// refused, but the token is gone. And with `retry(retry::never())`: a retry of its own would not
    /// pay quota.
    ///
    /// ```
    /// use reqwest::{Proxy, redirect, retry};
    /// use wecom_enroll::HttpTransport;
    ///
    /// let client = reqwest::Client::builder()
    ///     .redirect(redirect::Policy::none())
    ///     .referer(false)
    ///     .retry(retry::never())
    ///     .proxy(Proxy::https("http://proxy.example:3128")?)
    ///     .build()?;
    /// let transport = HttpTransport::with_client(client);
    /// # drop(transport);
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    #[must_use]
    pub fn with_client(client: reqwest::Client) -> Self {
        Self { client }
    }

    async fn exchange(&self, request: Request) -> Result<Reply> {
        let sent = match request.body() {
            Some(body) => self
                .client
                .post(request.parsed_url().clone())
                .header(CONTENT_TYPE, JSON)
                .body(body.clone()),
            None => self.client.get(request.parsed_url().clone()),
        };
        let mut response = sent.send().await.map_err(without_url)?;
        if response.url() != request.parsed_url() {
            return Err(Error::http_status(302));
        }
        let body = read(&mut response, request.max_body()).await?;
        let reply = Reply::new(response.status().as_u16(), body);
        Ok(match pushback(response.headers()) {
            Some(pushback) => reply.with_pushback(pushback),
            None => reply,
        })
    }
}

// reqwest's own shows default headers, which may hold secrets.
impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        Box::pin(self.exchange(request))
    }
}

/// The whole body, counted after decompression.
async fn read(response: &mut Response, most: usize) -> Result<Bytes> {
    // Unknown if it is compressed.
    let length = response.content_length().and_then(|length| usize::try_from(length).ok());
    let (mut body, mut pieces, mut room) = (BytesMut::new(), Vec::new(), most);
    while let Some(piece) = response.chunk().await.map_err(without_url)? {
        room = room.checked_sub(piece.len()).ok_or_else(|| Error::too_large(most))?;
        // Most come in one piece, and are not copied. To have read its end keeps the connection.
        if length == Some(piece.len()) {
            response.chunk().await.map_err(without_url)?;
            return Ok(piece);
        }
        pieces.push(piece);
        if pieces.len() == PIECES {
            join(&mut body, &mut pieces);
        }
    }
    join(&mut body, &mut pieces);
    Ok(body.freeze())
}

/// Puts `pieces` behind `body`. Room is made for what is there, not for what `Content-Length` promises:
/// else a thousand calls at once would each hold a whole body's memory while they wait for it.
fn join(body: &mut BytesMut, pieces: &mut Vec<Bytes>) {
    body.reserve(pieces.iter().map(Bytes::len).sum());
    pieces.drain(..).for_each(|piece| body.extend_from_slice(&piece));
}

fn without_url(error: reqwest::Error) -> Error {
    Error::transport(error.without_url())
}

/// `Retry-After` in seconds, or as a date: then from the reply's own `Date`, because the server's
/// clock set both.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let instant = |date| rfc2822::parse(date).ok().map(|zoned| zoned.timestamp());
    let wait = instant(after)?.duration_since(instant(text(DATE)?)?);
    Duration::try_from(wait).ok()
}
