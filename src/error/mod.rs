//! [`Error`]: what failed, and what to do about it.
//!
//! One opaque type, so that a new cause is not a breaking change. `errcode.rs` contains the table of WeCom's
//! errcodes, and `hint.rs` the hints for all other errors.

mod errcode;
mod hint;
mod kind;
mod malformed_row;

use std::{any::Any, borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use url::form_urlencoded::byte_serialize;

use errcode::{Class, lookup};
use hint::{Hint, hint};
pub(crate) use kind::ConnectionFailure;
pub use kind::ErrorKind;
pub use malformed_row::MalformedRow;

/// The `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of this crate: what failed, where, and what to do about it.
///
/// `Display` prints one line without secrets; `source()` is the cause. Cheap to clone.
///
/// An error that ends a stream carries the checkpoint at which it ended. To decide what to do:
///
/// ```no_run
/// # async fn run(client: wecom_enroll::Client) {
/// use futures::TryStreamExt;
/// use wecom_enroll::Query;
///
/// let rows = client.enrolls(Query::webinar("MEETINGID1"));
/// let Err(error) = rows.try_for_each(|_row| async { Ok(()) }).await else { return };
/// if error.is_transient() {
///     println!("try again later: {error}"); // the retry policy has given up
/// } else if error.is_auth() {
///     println!("a person must check the credentials: {error}");
/// } else {
///     println!("the same call will fail again: {error}");
/// }
/// if let Some(checkpoint) = error.resume_from() {
///     println!("save {} to resume", serde_json::to_string(checkpoint).unwrap());
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    text: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    transient: bool,
    connection: Option<ConnectionFailure>,
    errcode: Option<i64>,
    status: Option<u16>,
    attempts: u32,
    retry_after: Option<Duration>,
    /// The malformed row, a checkpoint or an unknown enrollment id. The types of the last two are in `stream`, which
    /// this module must not import.
    attachment: Option<Arc<dyn Any + Send + Sync>>,
}

impl Error {
    fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            text: text.into(),
            source: None,
            transient: false,
            connection: None,
            errcode: None,
            status: None,
            attempts: 0,
            retry_after: None,
            attachment: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Creates a transient error of kind [`ErrorKind::Transport`]. Intended for custom
    /// [`Transport`](crate::Transport) implementations.
    ///
    /// `source` must not contain the URL of the request, which contains the access token.
    pub fn transport(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        Self::new(ErrorKind::Transport, "no complete response from the server")
            .with(|e| (e.source, e.transient) = (Some(source), true))
    }

    /// Creates a permanent error of kind [`ErrorKind::Token`]. Intended for custom
    /// [`TokenSource`](crate::TokenSource) implementations.
    pub fn token(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        Self::new(ErrorKind::Token, "the token source returned no access token")
            .with(|e| e.source = Some(source))
    }

    pub(crate) fn invalid_argument(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, text)
    }

    pub(crate) fn timeout(limit: Duration) -> Self {
        Self::new(ErrorKind::Transport, format!("no complete response within {limit:?}"))
            .with(|e| (e.connection, e.transient) = (Some(ConnectionFailure::Timeout), true))
    }

    /// Creates the error for a custom token source that took too long.
    pub(crate) fn token_timeout(limit: Duration) -> Self {
        Self::new(ErrorKind::Token, format!("the token source returned no token within {limit:?}"))
            .with(|e| (e.connection, e.transient) = (Some(ConnectionFailure::Timeout), true))
    }

    /// Returns whether a custom token source took too long. Attempts of `gettoken` that took too long do not
    /// count: they were already retried.
    pub(crate) fn is_token_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Token && self.is_timeout() && self.0.attempts == 0
    }

    pub(crate) fn with_connection_failure(
        self,
        failure: ConnectionFailure,
        transient: bool,
    ) -> Self {
        self.with(|e| (e.connection, e.transient) = (Some(failure), transient))
    }

    /// Sets the HTTP status with which a proxy refused to connect to the server.
    pub(crate) fn with_proxy_status(self, status: u16) -> Self {
        let failure = match status {
            407 => ConnectionFailure::ProxyCredentials,
            _ => ConnectionFailure::Proxy,
        };
        self.with_connection_failure(failure, is_transient_status(status))
            .with(|e| e.text = format!("the proxy refused to connect: HTTP status {status}").into())
    }

    pub(crate) fn body_too_large(max_body: usize) -> Self {
        Self::new(
            ErrorKind::Transport,
            format!("the response body is larger than {max_body} bytes"),
        )
    }

    pub(crate) fn http_status(status: u16) -> Self {
        Self::new(ErrorKind::Status, format!("the server responded with HTTP status {status}"))
            .with_status(status)
    }

    pub(crate) fn decode(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Decode, text)
    }

    /// Creates the error for a body that ends in the middle of the JSON, for example because the connection
    /// was interrupted.
    pub(crate) fn truncated() -> Self {
        Self::decode("the JSON of the response is truncated").with(|e| e.transient = true)
    }

    pub(crate) fn api(errcode: i64, errmsg: &str) -> Self {
        let class = lookup(errcode).map(|entry| entry.class);
        let transient = matches!(class, Some(Class::Busy | Class::Throttled));
        Self::new(ErrorKind::Api, format!("WeCom responded with errcode {errcode}: {errmsg}"))
            .with(|e| (e.errcode, e.transient) = (Some(errcode), transient))
    }

    pub(crate) fn cursor(text: &'static str) -> Self {
        Self::new(ErrorKind::Cursor, text)
    }

    pub(crate) fn checkpoint_refused(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Checkpoint, text)
    }

    #[cfg(feature = "redis")]
    pub(crate) fn redis(text: &'static str, transient: bool) -> Self {
        Self::new(ErrorKind::Redis, text).with(|e| e.transient = transient)
    }

    /// Sets the cause, which must not contain a secret.
    #[cfg(feature = "redis")]
    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|e| e.source = Some(Arc::new(source)))
    }

    pub(crate) fn row(row: MalformedRow) -> Self {
        let field = row.field;
        let at = if field.is_empty() { String::new() } else { format!(" (at `{field}`)") };
        let text = format!("row {} of page {} is malformed{at}", row.row, row.page);
        Self::new(ErrorKind::Row, text).with_attachment(row)
    }

    pub(crate) fn with_attempts(self, attempts: u32) -> Self {
        self.with(|e| e.attempts = attempts)
    }

    /// Sets the HTTP status. It decides whether the error is transient, unless the errcode is known.
    pub(crate) fn with_status(self, status: u16) -> Self {
        let transient = self.class().is_none() && is_transient_status(status);
        self.with(|e| (e.status, e.transient) = (Some(status), e.transient || transient))
    }

    pub(crate) fn with_retry_after(self, retry_after: Duration) -> Self {
        self.with(|e| e.retry_after = Some(retry_after))
    }

    pub(crate) fn with_attachment(self, attachment: impl Any + Send + Sync) -> Self {
        self.with(|e| e.attachment = Some(Arc::new(attachment)))
    }

    pub(crate) fn attachment<T: Any>(&self) -> Option<&T> {
        self.0.attachment.as_ref()?.downcast_ref()
    }

    /// Prefixes the message with its subject.
    pub(crate) fn about(self, subject: &str) -> Self {
        self.with(|e| e.text = format!("{subject}: {}", e.text).into())
    }

    /// Converts an error of a `gettoken` call to an error of the call that needed the token.
    pub(crate) fn into_token_error(self) -> Self {
        self.about("no access token").with(|e| e.kind = ErrorKind::Token)
    }

    /// Removes these secrets from the text, in case the server repeated them, and makes the text printable.
    /// Secrets of fewer than 8 bytes are not removed: they could match ordinary words.
    pub(crate) fn redacted<'a>(self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = self.0.text.to_string();
        for secret in secrets.into_iter().filter(|secret| secret.len() >= 8) {
            let encoded: String = byte_serialize(secret.as_bytes()).collect();
            text = text.replace(secret, "[redacted]").replace(&encoded, "[redacted]");
        }
        self.with(|e| e.text = printable(&text).into())
    }

    /// Returns the kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same call may succeed later: connection failures, timeouts, truncated bodies, HTTP
    /// status 408, 429 and 5xx, errcode -1, 45033 and 45009, and an unreachable Redis. An untrusted certificate
    /// is permanent. So are TLS versions or ciphers that do not match, and a proxy's refusal to connect, except
    /// with one of these statuses.
    ///
    /// Unless the token source failed or the server asked for too long a wait, the call was already retried
    /// as the retry policy allows.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// Returns whether a rate limit was exceeded: errcode 45009 or HTTP status 429.
    pub fn is_throttled(&self) -> bool {
        self.class() == Some(Class::Throttled) || self.0.status == Some(429)
    }

    /// Returns whether the credentials or permissions are wrong. A retry does not help; a person must correct them.
    pub fn is_auth(&self) -> bool {
        matches!(self.class(), Some(Class::Auth | Class::Token))
    }

    /// Returns whether WeCom refused the cursor because it is no longer valid: errcode 50100 or 701105. The list
    /// must then be read from its start, so [`Error::resume_from`] returns `None`.
    pub fn is_cursor_expired(&self) -> bool {
        self.class() == Some(Class::Cursor)
    }

    /// Returns whether the time for an attempt, or for connecting, was exceeded.
    pub fn is_timeout(&self) -> bool {
        self.0.connection == Some(ConnectionFailure::Timeout)
    }

    /// Returns whether no connection could be established: the host name could not be resolved, the host
    /// could not be reached, the proxy refused, the TLS handshake failed, or too many files are open.
    pub fn is_connect(&self) -> bool {
        !matches!(self.0.connection, None | Some(ConnectionFailure::Timeout))
    }

    /// Returns whether the TLS handshake failed, for example because of an untrusted certificate.
    pub fn is_tls(&self) -> bool {
        use ConnectionFailure::{Certificate, Tls};
        matches!(self.0.connection, Some(Tls | Certificate))
    }

    /// Returns whether the proxy could not be reached or refused the request.
    pub fn is_proxy(&self) -> bool {
        use ConnectionFailure::{Proxy, ProxyCredentials};
        matches!(self.0.connection, Some(Proxy | ProxyCredentials)) || self.0.status == Some(407)
    }

    /// Returns whether WeCom refused the access token.
    pub(crate) fn refuses_token(&self) -> bool {
        self.class() == Some(Class::Token)
    }

    /// Returns whether the server may have carried out the request nevertheless: its response was lost or cannot be
    /// understood, or an internal failure occurred.
    pub(crate) fn outcome_is_unknown(&self) -> bool {
        let failed = matches!(self.0.status, Some(408 | 500..=599));
        match self.0.kind {
            ErrorKind::Transport => !self.is_connect(),
            ErrorKind::Decode => true,
            ErrorKind::Status => failed,
            ErrorKind::Api => self.0.errcode == Some(-1) || (failed && self.class().is_none()),
            _ => false,
        }
    }

    /// Returns whether the request itself was refused, so that its position is useless.
    pub(crate) fn refuses_request(&self) -> bool {
        // A refused `gettoken` request does not show that the list request is wrong.
        self.0.kind == ErrorKind::Api
            && matches!(self.class(), Some(Class::Request | Class::Cursor))
    }

    fn class(&self) -> Option<Class> {
        self.0.errcode.and_then(lookup).map(|entry| entry.class)
    }

    /// Returns WeCom's errcode, including undocumented ones, if the response has one.
    pub fn errcode(&self) -> Option<i64> {
        self.0.errcode
    }

    /// Returns the HTTP status, if it is not 2xx. 302 if a custom HTTP client followed a redirect.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Returns the number of attempts of the failed call that count toward the retry policy, including the
    /// first. A repetition with a refreshed access token does not count; an attempt that failed because Redis
    /// was unavailable, or because a custom token source took too long, does. Returns 0 if the error does not
    /// come from an attempt, such as an invalid argument, a malformed row or an error of a custom token source.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns how long the server asked to wait: the `Retry-After` header, or for errcode 45009 and HTTP
    /// status 429 without one, [`ClientBuilder::retry_after`](crate::ClientBuilder::retry_after).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the malformed row of an error of kind [`ErrorKind::Row`].
    pub fn malformed_row(&self) -> Option<&MalformedRow> {
        self.attachment()
    }

    /// Returns what a person can do about this error: one sentence in English, without a full stop. Returns
    /// `None` if the message already says what to do, or the cause is unknown.
    pub fn hint(&self) -> Option<&'static str> {
        self.hints().map(|hint| hint.en)
    }

    /// Returns the hint in Chinese.
    pub fn hint_zh(&self) -> Option<&'static str> {
        self.hints().map(|hint| hint.zh)
    }

    fn hints(&self) -> Option<&'static Hint> {
        let Inner { kind, transient, connection, errcode, status, attempts, .. } = *self.0;
        match errcode {
            Some(errcode) => Some(errcode::hint(errcode)),
            // The cause of a failed custom token source is unknown.
            None if kind == ErrorKind::Token && attempts == 0 => None,
            None => hint(kind, transient, connection, status),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, text, source, errcode, status, attempts, .. } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("text", text)
            .field("errcode", errcode)
            .field("status", status)
            .field("attempts", attempts)
            .field("hint", &self.hint())
            .field("source", &source.as_ref().map(ToString::to_string))
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// Replaces control characters and limits the length, because the text may be printed to a terminal.
fn printable(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
