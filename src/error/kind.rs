//! [`ErrorKind`] and the internal classification of connection failures.

/// The kind of failure of an [`Error`](crate::Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is invalid, or the call is not possible here (for example a blocking iterator inside a runtime).
    /// Nothing was sent.
    InvalidArgument,
    /// No complete response was received: connecting, sending or reading failed, the attempt timed out, or
    /// the body exceeded the size cap.
    Transport,
    /// The response has an HTTP status other than 2xx and no errcode.
    Status,
    /// The response is not what the API documents.
    Decode,
    /// WeCom responded with an errcode other than 0.
    Api,
    /// No access token could be obtained.
    Token,
    /// The server's pages cannot be followed: a cursor is missing or was already followed, a page has the rows of
    /// an earlier one, or too many consecutive pages have no ids.
    Cursor,
    /// One row is malformed. A stream of rows continues after this kind, and after no other.
    Row,
    /// A checkpoint belongs to another query.
    Checkpoint,
    /// The shared Redis could not be reached or refused a request. Only with the feature `redis`.
    Redis,
}

/// Which part of a connection failed. Determined by the type of the cause, never by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionFailure {
    Resolve,
    /// The host could not be reached, or refused the connection.
    Connect,
    /// The process or the system has too many open files and connections.
    OpenFiles,
    Tls,
    Certificate,
    /// The proxy could not be reached, or refused to connect.
    Proxy,
    /// The proxy requires credentials, or refused those that were sent.
    ProxyCredentials,
    /// The time for the attempt, or for connecting, was exceeded.
    Timeout,
}
