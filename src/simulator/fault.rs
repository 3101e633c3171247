//! A fault is one thing that goes wrong, and the requests that it goes wrong for.
//!
//! It can be built in code or read from a spec, `[gettoken:]KIND[=VALUE][@WHEN]`, as a command line has it. This file
//! only says what a fault *is*; `server.rs` and `page.rs` play it.

use std::{fmt, str::FromStr, time::Duration};

/// What goes wrong.
///
/// Its `Display` is the KIND of a [`Fault`]'s spec.
///
/// ```
/// use wecom_enroll::simulator::{Fault, FaultKind};
///
/// let fault: Fault = "status=503;retry-after=2@3".parse()?;
/// assert_eq!(fault, Fault::new(FaultKind::Status { code: 503, retry_after: Some(2) }).at(3));
/// assert_eq!(FaultKind::Errcode(45009).to_string(), "errcode=45009");
/// # Ok::<(), wecom_enroll::simulator::FaultError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// `reset`: the connection is reset before any reply.
    Reset,
    /// `reset-body`: headers and half of the body, then a reset.
    ResetBody,
    /// `cut`: a complete reply whose JSON stops half-way.
    Cut,
    /// `status=CODE[;retry-after=SECS]`: another HTTP status, with an HTML body.
    Status {
        /// The status, 200 to 999.
        code: u16,
        /// Seconds for a `Retry-After` header.
        retry_after: Option<u64>,
    },
    /// `errcode=CODE`: WeCom's own kind of error.
    Errcode(i32),
    /// `latency=DUR`: the usual reply, later.
    Latency(Duration),
    /// `slow=DUR`: the usual reply, its body dribbled over this time.
    Slow(Duration),
    /// `hang`: no reply until the client goes away.
    Hang,
    /// `repeat-cursor`: `next_cursor` leads to the page that it came with.
    RepeatCursor,
    /// `cycle`: `next_cursor` leads back to the second page.
    Cycle,
    /// `no-cursor`: `has_more` without a `next_cursor`.
    NoCursor,
    /// `empty-page`: no rows, and a cursor that leads on to the rows that belonged here.
    EmptyPage,
    /// `null-list`: an empty page whose `enroll_list` is null.
    NullList,
    /// `absent-list`: an empty page without `enroll_list`.
    AbsentList,
    /// `broken-row`: the `answer_list` of the middle row is a number.
    BrokenRow,
    /// `not-object-row`: the middle row is `7`.
    NotObjectRow,
    /// `invalid-utf8`: the middle row's `nick_name` has a byte that is not UTF-8.
    InvalidUtf8,
    /// `deep`: the middle row's `nick_name` is 200,000 nested arrays.
    Deep,
    /// `endless`: a body that never ends.
    Endless,
    /// `gzip-bomb`: a megabyte that inflates to a gigabyte of spaces.
    GzipBomb,
    /// `redirect=URL`: 302, with this `Location`.
    Redirect(String),
    /// `headers=N`: the usual reply, with so many more headers.
    Headers(u32),
    /// `token-expired`: errcode 42001, though the token is good.
    TokenExpired,
    /// `token-invalid`: errcode 40014, though the token is good.
    TokenInvalid,
}

/// The kinds that take no value; from `FIRST_OF_LIST` on, those that only a list reply can show.
const PLAIN: [(&str, FaultKind); 18] = [
    ("reset", FaultKind::Reset),
    ("reset-body", FaultKind::ResetBody),
    ("cut", FaultKind::Cut),
    ("hang", FaultKind::Hang),
    ("endless", FaultKind::Endless),
    ("gzip-bomb", FaultKind::GzipBomb),
    ("token-expired", FaultKind::TokenExpired),
    ("token-invalid", FaultKind::TokenInvalid),
    ("repeat-cursor", FaultKind::RepeatCursor),
    ("cycle", FaultKind::Cycle),
    ("no-cursor", FaultKind::NoCursor),
    ("empty-page", FaultKind::EmptyPage),
    ("null-list", FaultKind::NullList),
    ("absent-list", FaultKind::AbsentList),
    ("broken-row", FaultKind::BrokenRow),
    ("not-object-row", FaultKind::NotObjectRow),
    ("invalid-utf8", FaultKind::InvalidUtf8),
    ("deep", FaultKind::Deep),
];
const FIRST_OF_LIST: usize = 8;

impl FaultKind {
    fn needs_list(&self) -> bool {
        PLAIN[FIRST_OF_LIST..].iter().any(|(_, kind)| kind == self)
    }

    fn with_value(name: &str, value: &str) -> Option<Self> {
        Some(match name {
            "status" => {
                let (code, retry_after) = match value.split_once(";retry-after=") {
                    Some((code, secs)) => (code, Some(secs.parse().ok()?)),
                    None => (value, None),
                };
                let code = code.parse().ok().filter(|code| (200..1000).contains(code))?;
                Self::Status { code, retry_after }
            }
            "errcode" => Self::Errcode(value.parse().ok()?),
            "latency" => Self::Latency(duration(value)?),
            "slow" => Self::Slow(duration(value)?),
            "redirect" => Self::Redirect(value.to_owned()),
            "headers" => Self::Headers(value.parse().ok()?),
            _ => return None,
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, retry_after: None } => write!(f, "status={code}"),
            Self::Status { code, retry_after: Some(secs) } => {
                write!(f, "status={code};retry-after={secs}")
            }
            Self::Errcode(code) => write!(f, "errcode={code}"),
            Self::Latency(time) => write!(f, "latency={}", Spelled(*time)),
            Self::Slow(time) => write!(f, "slow={}", Spelled(*time)),
            Self::Redirect(url) => write!(f, "redirect={url}"),
            Self::Headers(n) => write!(f, "headers={n}"),
            plain => f.write_str(
                PLAIN.iter().find(|(_, kind)| kind == plain).map_or("", |(name, _)| name),
            ),
        }
    }
}

/// Which of the requests, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Between(u64, u64),
    Every(u64),
    Percent(f64),
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        let count = |text: &str| text.parse().ok().filter(|&n| n > 0);
        Some(if let Some(n) = text.strip_prefix("every:") {
            Self::Every(count(n)?)
        } else if let Some(percent) = text.strip_suffix('%') {
            Self::Percent(percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?)
        } else if let Some((first, last)) = text.split_once("..") {
            let (first, last) = (count(first)?, count(last)?);
            (first <= last).then_some(Self::Between(first, last))?
        } else {
            let n = count(text)?;
            Self::Between(n, n)
        })
    }
}

/// One thing that goes wrong, and the requests that it goes wrong for.
///
/// It concerns every list request until told otherwise. Requests are counted from 1, those for tokens on their own.
///
/// The spec that it is read from, and that its `Display` gives back, is `[gettoken:]KIND[=VALUE][@WHEN]`. [`FaultKind`]
/// has the kinds; WHEN is `N`, `N..M` (`M` included), `every:N` or `P%`; times are like `10ms`, `2s`, `1m`, `1h`.
///
/// ```
/// use wecom_enroll::simulator::{Fault, Simulator};
///
/// let slow: Fault = "gettoken:latency=500ms@1".parse()?;
/// let throttled = Fault::errcode(45009).between(5, 7);
/// let sim = Simulator::builder().fault(slow).fault(throttled).fault("reset@2%".parse()?);
/// # drop(sim);
/// # Ok::<(), wecom_enroll::simulator::FaultError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) gettoken: bool,
    when: When,
}

impl Fault {
    /// Makes a fault of this kind, for every list request.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, gettoken: false, when: When::Every(1) }
    }

    /// Answers with this HTTP status.
    #[must_use]
    pub fn status(code: u16) -> Self {
        Self::new(FaultKind::Status { code, retry_after: None })
    }

    /// Answers with this errcode.
    #[must_use]
    pub fn errcode(code: i32) -> Self {
        Self::new(FaultKind::Errcode(code))
    }

    /// Concerns only the `n`th request.
    #[must_use]
    pub fn at(self, n: u64) -> Self {
        self.between(n, n)
    }

    /// Concerns the requests from `first` to `last`, both included.
    #[must_use]
    pub fn between(self, first: u64, last: u64) -> Self {
        Self { when: When::Between(first, last), ..self }
    }

    /// Concerns every `n`th request; none if `n` is 0.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Self { when: When::Every(n), ..self }
    }

    /// Concerns a request with this probability, 0.0 to 1.0.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self { when: When::Percent(probability.clamp(0.0, 1.0) * 100.0), ..self }
    }

    /// Concerns `gettoken` requests instead; kinds about a list's rows or cursor then do nothing.
    #[must_use]
    pub fn on_gettoken(self) -> Self {
        Self { gettoken: true, ..self }
    }

    /// Whether it plays at the `n`th request.
    pub(super) fn plays(&self, n: u64, rng: &mut fastrand::Rng) -> bool {
        match self.when {
            When::Between(first, last) => (first..=last).contains(&n),
            When::Every(step) => n.checked_rem(step) == Some(0),
            When::Percent(percent) => rng.f64() * 100.0 < percent,
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(spec: &str) -> Result<Self, FaultError> {
        let error = |why: String| FaultError(format!("fault \"{spec}\": {why}"));
        let rest = spec.strip_prefix("gettoken:");
        let (gettoken, rest) = (rest.is_some(), rest.unwrap_or(spec));
        let (kind, when) = match rest.rsplit_once('@') {
            Some((kind, when)) => (kind, When::parse(when)),
            None => (rest, Some(When::Every(1))),
        };
        let when = when
            .ok_or_else(|| error("after @ goes N, N..M, every:N or P%, counted from 1".into()))?;
        let kind = match kind.split_once('=') {
            Some((name, value)) => FaultKind::with_value(name, value),
            None => PLAIN.into_iter().find(|(name, _)| *name == kind).map(|(_, kind)| kind),
        }
        .ok_or_else(|| {
            let plain = PLAIN.map(|(name, _)| name).join(", ");
            error(format!(
                "the kinds are {plain}, status=200..999[;retry-after=SECS], errcode=CODE, latency=TIME, slow=TIME, \
                 redirect=URL, headers=N; a TIME is like 10ms, 2s, 1m or 1h"
            ))
        })?;
        if gettoken && kind.needs_list() {
            return Err(error("gettoken has no rows and no cursor".into()));
        }
        Ok(Self { kind, gettoken, when })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_string();
        write!(f, "{}{kind}", if self.gettoken { "gettoken:" } else { "" })?;
        match self.when {
            // Always is left unsaid, unless an @ within the kind would be taken for ours.
            When::Every(1) if !kind.contains('@') => Ok(()),
            When::Every(step) => write!(f, "@every:{step}"),
            When::Between(first, last) if first == last => write!(f, "@{first}"),
            When::Between(first, last) => write!(f, "@{first}..{last}"),
            When::Percent(percent) => write!(f, "@{percent}%"),
        }
    }
}

/// A fault's spec that cannot be read; says what is understood.
///
/// ```
/// use wecom_enroll::simulator::Fault;
///
/// let error = "statsu=503".parse::<Fault>().unwrap_err();
/// assert!(error.to_string().contains("status=200..999"), "{error}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultError(String);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

/// Spells a time as a spec has it, in the largest unit that is exact, down to milliseconds.
struct Spelled(Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let exact =
            UNITS.into_iter().find(|&(_, unit)| millis > 0 && millis % u128::from(unit) == 0);
        let (name, unit) = exact.unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / u128::from(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spec_reads_back_as_it_was_written() {
        let plain = PLAIN.map(|(name, _)| name.to_owned());
        let valued = [
            "status=503",
            "status=503;retry-after=2@3",
            "errcode=-1@3..5",
            "latency=10ms@every:10",
            "slow=2s@30%",
            "latency=1m",
            "latency=1h",
            "latency=0ms",
            "redirect=http://127.0.0.1:1/a=b",
            "headers=300@12.5%",
            "redirect=http://me@host/@every:1",
            "gettoken:errcode=40001@1",
            "gettoken:hang",
            "gettoken:token-invalid",
        ];
        for spec in plain.into_iter().chain(valued.map(str::to_owned)) {
            let fault: Fault = spec.parse().unwrap();
            assert_eq!(fault.to_string(), spec);
            assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
        }
    }

    #[test]
    fn built_and_read_faults_are_equal() {
        let same = [
            (Fault::status(503).at(3), "status=503@3"),
            (Fault::errcode(-1).between(2, 4), "errcode=-1@2..4"),
            (Fault::new(FaultKind::Reset).every(10), "reset@every:10"),
            (Fault::new(FaultKind::Hang).with_probability(0.25).on_gettoken(), "gettoken:hang@25%"),
            (Fault::new(FaultKind::Slow(Duration::from_millis(1500))), "slow=1500ms"),
        ];
        for (built, spec) in same {
            assert_eq!(built, spec.parse().unwrap());
            assert_eq!(built.to_string(), spec);
        }
    }

    #[test]
    fn a_bad_spec_is_refused_with_what_is_understood() {
        for spec in [
            "",
            "rest",
            "reset=1",
            "status",
            "status=42",
            "status=5x3",
            "status=503;retry-after=x",
            "errcode=",
            "latency=3",
            "latency=s",
            "slow=2d",
            "headers=-1",
            "latency=99999999999999999h",
            "gettoken:deep",
            "reset@",
            "reset@0",
            "reset@3..2",
            "reset@every:0",
            "reset@101%",
            "reset@NaN%",
            "reset@x",
        ] {
            let error = spec.parse::<Fault>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("fault \"{spec}\": ")), "{error}");
        }
        assert!("rest".parse::<Fault>().unwrap_err().to_string().contains("reset-body"));
        assert!("reset@0".parse::<Fault>().unwrap_err().to_string().contains("every:N"));
    }

    #[test]
    fn plays_at_the_requests_it_names() {
        let played = |spec: &str| {
            let (fault, mut rng) = (spec.parse::<Fault>().unwrap(), fastrand::Rng::with_seed(7));
            (1..=12).filter(|&n| fault.plays(n, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(played("reset@3"), [3]);
        assert_eq!(played("reset@3..5"), [3, 4, 5]);
        assert_eq!(played("reset@every:4"), [4, 8, 12]);
        assert!(played("reset@0%").is_empty());
        assert_eq!(played("reset@100%").len(), 12);
        assert_eq!(played("reset").len(), 12);
        let some = played("reset@50%");
        assert!((1..12).contains(&some.len()));
        assert_eq!(some, played("reset@50%"));
        let (never, mut rng) = (Fault::new(FaultKind::Reset).every(0), fastrand::Rng::new());
        assert!(!never.plays(5, &mut rng));
    }
}
