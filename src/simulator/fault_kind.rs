//! [`FaultKind`] and its text form, the `KIND[=VALUE]` of a fault specification.

use std::{fmt, time::Duration};

use jiff::{
    Unit,
    fmt::friendly::{Spacing, SpanParser, SpanPrinter},
};

use super::endpoint::Api;

/// What a simulated [`Fault`](super::Fault) does to a response.
///
/// `Display` prints the `KIND[=VALUE]` part of the specification that is documented at [`Fault`](super::Fault).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// `reset`: resets the connection instead of responding.
    Reset,
    /// `reset-body`: resets the connection after half of the body.
    ResetBody,
    /// `cut`: sends a complete response whose JSON is truncated.
    Cut,
    /// `status=CODE[;retry-after=SECONDS]`: responds with an HTTP status and an HTML body.
    Status {
        /// The status, 200 to 999.
        code: u16,
        /// The value of a `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// `errcode=CODE`: responds with an errcode.
    Errcode(i32),
    /// `latency=DURATION`: delays the response.
    Latency(Duration),
    /// `slow=DURATION`: sends the body in small chunks over this time.
    Slow(Duration),
    /// `hang`: never responds.
    Hang,
    /// `repeat-cursor`: sends the cursor of the requested page as its `next_cursor`.
    RepeatCursor,
    /// `cycle`: sends the cursor of the second page as the `next_cursor`.
    Cycle,
    /// `no-cursor`: sends `has_more` without a `next_cursor`.
    NoCursor,
    /// `empty-page`: inserts a page without rows; its `next_cursor` leads to the rows that were requested.
    EmptyPage,
    /// `null-list`: like `empty-page`, with an `enroll_list` of null.
    NullList,
    /// `absent-list`: like `empty-page`, without `enroll_list`.
    AbsentList,
    /// `malformed-row`: replaces the `answer_list` of the middle row with a number.
    MalformedRow,
    /// `not-object-row`: replaces the middle row with a number.
    NotObjectRow,
    /// `invalid-utf8`: inserts a byte that is not UTF-8 into the `nick_name` of the middle row.
    InvalidUtf8,
    /// `deep`: replaces the `nick_name` of the middle row with 200,000 nested arrays.
    Deep,
    /// `add=N`: adds `N` pending enrollees at the end of the meeting before responding.
    Add(u64),
    /// `drop=N`: removes the first `N` enrollees of the meeting before responding; for an approve request, the first
    /// `N` of its batch.
    Drop(u64),
    /// `lost`: sets the statuses of an approve request, and resets the connection instead of responding.
    Lost,
    /// `partial=N`: sets only the first `N` statuses of an approve request.
    Partial(u64),
    /// `too-big=N`: refuses an approve request with more than `N` ids with errcode 40058.
    TooBig(u64),
    /// `endless`: sends a body that never ends.
    Endless,
    /// `gzip-bomb`: sends one megabyte that decompresses to one gigabyte.
    GzipBomb,
    /// `redirect=URL`: responds with status 302 and this `Location`.
    Redirect(String),
    /// `headers=N`: adds `N` headers to the response.
    Headers(u32),
    /// `token-expired`: responds with errcode 42001 even if the token is valid.
    TokenExpired,
    /// `token-invalid`: responds with errcode 40014 even if the token is valid.
    TokenInvalid,
}

/// The kinds without a value, and the APIs whose requests they apply to.
pub(super) const PLAIN: [(&str, FaultKind, &[Api]); 19] = [
    ("reset", FaultKind::Reset, &Api::ALL),
    ("reset-body", FaultKind::ResetBody, &Api::ALL),
    ("cut", FaultKind::Cut, &Api::ALL),
    ("hang", FaultKind::Hang, &Api::ALL),
    ("endless", FaultKind::Endless, &Api::ALL),
    ("gzip-bomb", FaultKind::GzipBomb, &Api::ALL),
    ("token-expired", FaultKind::TokenExpired, &Api::ALL),
    ("token-invalid", FaultKind::TokenInvalid, &Api::ALL),
    ("repeat-cursor", FaultKind::RepeatCursor, &[Api::List]),
    ("cycle", FaultKind::Cycle, &[Api::List]),
    ("no-cursor", FaultKind::NoCursor, &[Api::List]),
    ("empty-page", FaultKind::EmptyPage, &[Api::List]),
    ("null-list", FaultKind::NullList, &[Api::List]),
    ("absent-list", FaultKind::AbsentList, &[Api::List]),
    ("malformed-row", FaultKind::MalformedRow, &[Api::List]),
    ("not-object-row", FaultKind::NotObjectRow, &[Api::List]),
    ("invalid-utf8", FaultKind::InvalidUtf8, &[Api::List]),
    ("deep", FaultKind::Deep, &[Api::List]),
    ("lost", FaultKind::Lost, &[Api::Approve]),
];

/// The syntax of the kinds with a value. [`FaultKind::parse`] must accept each.
pub(super) const WITH_VALUE: [&str; 10] = [
    "status=CODE[;retry-after=SECONDS]",
    "errcode=CODE",
    "latency=DURATION",
    "slow=DURATION",
    "redirect=URL",
    "headers=N",
    "add=N",
    "drop=N",
    "approve:partial=N",
    "approve:too-big=N",
];

impl FaultKind {
    /// Parses `KIND[=VALUE]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some((name, value)) = text.split_once('=') else {
            return PLAIN.into_iter().find_map(|(name, kind, _)| (name == text).then_some(kind));
        };
        Some(match name {
            "status" => {
                let (code, retry_after) = match value.split_once(";retry-after=") {
                    Some((code, seconds)) => (code, Some(seconds.parse().ok()?)),
                    None => (value, None),
                };
                let code = code.parse().ok().filter(|code| (200..1000).contains(code))?;
                Self::Status { code, retry_after }
            }
            "errcode" => Self::Errcode(value.parse().ok()?),
            "latency" => Self::Latency(parse_duration(value)?),
            "slow" => Self::Slow(parse_duration(value)?),
            "redirect" => Self::Redirect(value.to_owned()),
            "headers" => Self::Headers(value.parse().ok()?),
            "add" => Self::Add(value.parse().ok()?),
            "drop" => Self::Drop(value.parse().ok()?),
            "partial" => Self::Partial(value.parse().ok()?),
            "too-big" => Self::TooBig(value.parse().ok()?),
            _ => return None,
        })
    }

    /// Returns the APIs whose requests the kind applies to.
    pub(super) fn apis(&self) -> &'static [Api] {
        match self {
            Self::Partial(_) | Self::TooBig(_) => &[Api::Approve],
            Self::Add(_) | Self::Drop(_) => &[Api::List, Api::Approve],
            _ => {
                let plain = PLAIN.iter().find(|(_, kind, _)| kind == self);
                plain.map_or(&Api::ALL, |(_, _, apis)| apis)
            }
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, retry_after: None } => write!(f, "status={code}"),
            Self::Status { code, retry_after: Some(seconds) } => {
                write!(f, "status={code};retry-after={seconds}")
            }
            Self::Errcode(code) => write!(f, "errcode={code}"),
            Self::Latency(delay) => write!(f, "latency={}", print_duration(*delay)),
            Self::Slow(time) => write!(f, "slow={}", print_duration(*time)),
            Self::Redirect(url) => write!(f, "redirect={url}"),
            Self::Headers(n) => write!(f, "headers={n}"),
            Self::Add(n) => write!(f, "add={n}"),
            Self::Drop(n) => write!(f, "drop={n}"),
            Self::Partial(n) => write!(f, "partial={n}"),
            Self::TooBig(n) => write!(f, "too-big={n}"),
            plain => {
                let plain = PLAIN.iter().find(|(_, kind, _)| kind == plain);
                f.write_str(plain.map_or("", |(name, ..)| name))
            }
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    SpanParser::new().parse_unsigned_duration(text).ok()
}

/// Prints a duration without spaces, such as `1m30s`, because a specification is one word on a command line.
fn print_duration(duration: Duration) -> String {
    SpanPrinter::new()
        .spacing(Spacing::None)
        .zero_unit(Unit::Millisecond)
        .unsigned_duration_to_string(&duration)
}
