//! [`Transport`]: sends one HTTP request and returns the response.
//!
//! A response with any status or errcode is `Ok`; only a missing or incomplete response is an error. Tests
//! implement it with scripted responses, services with another HTTP client.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{
    HeaderValue, Method, Request, Response, Uri,
    header::CONTENT_TYPE,
    uri::{Authority, Scheme},
};
use url::{Url, form_urlencoded::Serializer};

use crate::{
    call::token::AccessToken,
    error::{Error, Result},
};

/// Sends one request to the server and reads its response.
///
/// ```
/// use bytes::Bytes;
/// use futures::future::BoxFuture;
/// use http::{Request, Response};
/// use wecom_enroll::{Client, HttpTransport, Result, Transport};
///
/// /// Prints the size of each response.
/// struct Measured(HttpTransport);
///
/// impl Transport for Measured {
///     fn send(
///         &self,
///         request: Request<Bytes>,
///         max_body: usize,
///     ) -> BoxFuture<'_, Result<Response<Bytes>>> {
///         Box::pin(async move {
///             let path = request.uri().path().to_owned(); // not the query: it has the access token
///             let response = self.0.send(request, max_body).await?;
///             println!("{path}: {} bytes", response.body().len());
///             Ok(response)
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
/// # Requirements
///
/// - **Never log the request's URI or `Debug` output**: they contain the access token or the corp secret.
/// - Do not follow redirects: the target would receive the access token.
/// - Do not retry: a retry must use quota, so it belongs to the [`RetryPolicy`](crate::RetryPolicy).
/// - Stop reading a body after more than `max_body` bytes and return what was read: such a response is
///   refused without a retry.
/// - Return the response's headers: the client reads `Retry-After`.
///
/// # Cancel safety
///
/// The caller limits the time of an attempt by dropping the future. Dropping it must cancel the exchange.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and reads the whole response.
    ///
    /// The body of `request` is empty for GET and JSON for POST. `max_body` is the maximum size of the
    /// response's body in bytes, after decompression.
    ///
    /// # Errors
    ///
    /// Return [`Error::transport`](crate::Error::transport) if no complete response was received.
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>>>;
}

/// Returns an error if the body received so far exceeds `max_body`.
pub(super) fn check_body(len: usize, max_body: usize) -> Result<()> {
    if len > max_body { Err(Error::body_too_large(max_body)) } else { Ok(()) }
}

/// The base URL, from which the URLs of all requests are built.
pub(crate) struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// The path prefix, without a final slash.
    path: String,
}

impl BaseUrl {
    /// Converts a URL, which must have a host and no query.
    pub(crate) fn new(url: &Url) -> Result<Self> {
        let parts = Uri::try_from(url.as_str()).map(Uri::into_parts);
        match parts.map(|parts| (parts.scheme, parts.authority)) {
            Ok((Some(scheme), Some(authority))) => {
                Ok(Self { scheme, authority, path: url.path().trim_end_matches('/').to_owned() })
            }
            _ => Err(Error::invalid_argument("the base URL is not a valid HTTP URL with a host")),
        }
    }

    /// Returns the base URL as a string, for `Debug` and for the name of a shared token. Must be stable.
    pub(crate) fn text(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// Builds a request. Parameters are percent-encoded.
    pub(super) fn request(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        token: Option<&AccessToken>,
        body: Option<Bytes>,
    ) -> Result<Request<Bytes>> {
        let parameters = || {
            let token = token.map(|token| ("access_token", token.expose()));
            parameters.iter().copied().chain(token)
        };
        // Exact unless a parameter needs percent-encoding. An exact buffer becomes the URI without a copy.
        let len: usize = parameters().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut target = String::with_capacity(self.path.len() + path.len() + len);
        target.push_str(&self.path);
        target.push_str(path);
        target.push('?');
        let start = target.len();
        let mut query = Serializer::for_suffix(target, start);
        query.extend_pairs(parameters());
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(query.finish())
            .build()
            .map_err(|_| Error::invalid_argument("the request URL is too long"))?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        if let Some(body) = body {
            *request.method_mut() = Method::POST;
            *request.body_mut() = body;
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        Ok(request)
    }
}
