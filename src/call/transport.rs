//! The seam between one attempt and whatever carries it: a request goes in, a reply comes out.
//!
//! A reply with a bad status or an errcode is a *reply*; only what prevents a complete one is an
//! error. Tests put a script here, services put their own HTTP client.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use url::Url;

use crate::{call::AccessToken, error::Result};

/// Carries one request to the server and brings its reply.
///
/// ```
/// use std::{future::Future, pin::Pin};
/// use wecom_enroll::{Client, HttpTransport, Reply, Request, Result, Transport};
///
/// /// Tells how long each reply was.
/// struct Measured(HttpTransport);
///
/// impl Transport for Measured {
///     fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
///         Box::pin(async move {
///             let path = request.path();
///             let reply = self.0.send(request).await?;
///             println!("{path}: {} bytes", reply.body().len());
///             Ok(reply)
///         })
///     }
/// }
///
/// let transport = Measured(HttpTransport::new()?);
/// let client = Client::builder().access_token("TOKEN").transport(transport).build()?;
/// # let _ = client;
/// # Ok::<(), wecom_enroll::Error>(())
/// ```
///
/// An implementation must not follow redirects, must not log [`Request::url`], and must stop
/// reading a body at [`Request::max_body`]. The time of an attempt is limited by the caller, which
/// drops the future; dropping it must stop the exchange.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and reads the whole reply.
    ///
    /// # Errors
    ///
    /// [`Error::transport`](crate::Error::transport) when no complete reply came.
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>>;
}

/// One HTTP request. Its URL holds a secret, so `Debug` shows the path only.
///
/// Made by the library, and read by a [`Transport`]:
///
/// ```
/// use std::{future::Future, pin::Pin};
///
/// use wecom_enroll::{Error, Reply, Request, Result, Transport};
///
/// /// Whatever a company sends its requests with.
/// struct Ours;
///
/// impl Ours {
///     async fn exchange(&self, method: &str, url: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
/// #       let _ = (method, url, body);
///         // ...
/// #       Ok((200, Vec::new()))
///     }
/// }
///
/// impl Transport for Ours {
///     fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
///         Box::pin(async move {
///             let body = request.body().map_or(&[][..], |body| body);
///             let (status, body) = self
///                 .exchange(request.method(), request.url(), body)
///                 .await
///                 .map_err(Error::transport)?;
///             Ok(Reply::new(status, body))
///         })
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Request {
    url: Arc<Url>,
    path: &'static str,
    body: Option<Bytes>,
    max_body: usize,
}

impl Request {
    pub(super) fn new(url: Arc<Url>, path: &'static str, max_body: usize) -> Self {
        Self { url, path, body: None, max_body }
    }

    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body: Some(body), ..self }
    }

    /// `POST` where there is a body, else `GET`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        if self.body.is_some() { "POST" } else { "GET" }
    }

    /// The whole URL. **Holds the access token, or the corp secret**: never log it.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The same, as it was parsed.
    pub(super) fn parsed_url(&self) -> &Url {
        &self.url
    }

    /// The API's path, without the base URL's own: `/cgi-bin/…`.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The JSON body, if there is one.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// The most bytes of body that a reply may have, counted after decompression.
    #[must_use]
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// The access token of a list call, for scripted transports that check it.
    #[must_use]
    pub fn access_token(&self) -> Option<AccessToken> {
        let (_, token) = self.url.query_pairs().find(|(name, _)| name == "access_token")?;
        Some(AccessToken::new(token))
    }
}

/// Where `path` below `base` is. Query pairs are percent-encoded: they may hold anything.
pub(super) fn address(base: &Url, path: &str, pairs: &[(&str, &str)]) -> Arc<Url> {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.query_pairs_mut().extend_pairs(pairs);
    Arc::new(url)
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A complete HTTP reply. `Debug` shows no body: rows are personal data, grants are secrets.
///
/// ```
/// use std::time::Duration;
///
/// use wecom_enroll::Reply;
///
/// let page = r#"{"errcode":0,"errmsg":"ok","has_more":false,"enroll_list":[]}"#;
/// let reply = Reply::new(200, page);
/// assert_eq!((reply.status(), reply.body().len()), (200, page.len()));
/// let busy = Reply::new(503, "").with_pushback(Duration::from_secs(5));
/// assert_eq!(busy.pushback(), Some(Duration::from_secs(5)));
/// ```
#[derive(Clone)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) pushback: Option<Duration>,
}

impl Reply {
    /// A reply with this HTTP status and body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into(), pushback: None }
    }

    /// The same reply with the wait that its `Retry-After` header asks for.
    #[must_use]
    pub fn with_pushback(self, pushback: Duration) -> Self {
        Self { pushback: Some(pushback), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, after decompression. **Holds personal data, or a token**: never log it.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The wait that the server asks for.
    #[must_use]
    pub fn pushback(&self) -> Option<Duration> {
        self.pushback
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("len", &self.body.len())
            .field("pushback", &self.pushback)
            .finish()
    }
}
