//! [`Fault`]: a [`FaultKind`] and the requests that it applies to.

use std::{fmt, str::FromStr};

use super::{
    endpoint::Api,
    fault_kind::{FaultKind, PLAIN, WITH_VALUE},
};

/// The requests that a fault applies to. They are numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Between(u64, u64),
    Every(u64),
    Percent(f64),
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        let positive = |text: &str| text.parse().ok().filter(|&n| n > 0);
        if let Some(n) = text.strip_prefix("every:") {
            return positive(n).map(Self::Every);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
            return percent.map(Self::Percent);
        }
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let (first, last) = (positive(first)?, positive(last)?);
        (first <= last).then_some(Self::Between(first, last))
    }
}

/// A simulated fault and the requests that it applies to.
///
/// A new fault applies to every list request. Requests are numbered from 1, separately for `list`, `approve`,
/// `get_config` and `gettoken`. Webinars and meetings are counted together.
///
/// # Specification
///
/// A fault can be parsed from a specification, which `Display` prints:
///
/// ```text
/// [gettoken:|approve:|get_config:]KIND[=VALUE][@WHEN]
/// ```
///
/// A prefix applies the fault to requests of this API instead of list requests.
///
/// `WHEN` is `N` (only the `N`th request), `N..M` (the `N`th to the `M`th, inclusive), `every:N` (every `N`th) or `P%`
/// (each with a probability of `P` percent). Without it, the fault applies to every request.
///
/// A `DURATION` is written like `10ms`, `2s`, `1m30s` or `1h`.
///
/// | `KIND[=VALUE]` | response | applies to |
/// |---|---|---|
/// | `reset` | none: the connection is reset | all |
/// | `reset-body` | half of the body, then a connection reset | all |
/// | `cut` | truncated JSON in a complete HTTP response | all |
/// | `hang` | none: the connection stays open | all |
/// | `endless` | a body that never ends | all |
/// | `gzip-bomb` | one megabyte that decompresses to one gigabyte | all |
/// | `token-expired` | errcode 42001 | all |
/// | `token-invalid` | errcode 40014 | all |
/// | `status=CODE[;retry-after=SECONDS]` | an HTML page with this HTTP status, 200 to 999 | all |
/// | `errcode=CODE` | this errcode | all |
/// | `latency=DURATION` | the normal response, delayed | all |
/// | `slow=DURATION` | the normal response, its body sent in small chunks over this time | all |
/// | `redirect=URL` | status 302 with this `Location` | all |
/// | `headers=N` | the normal response with `N` more headers | all |
/// | `repeat-cursor` | a page whose `next_cursor` is its own cursor | list |
/// | `cycle` | a page whose `next_cursor` is the cursor of the second page | list |
/// | `no-cursor` | a page with `has_more` but without `next_cursor` | list |
/// | `empty-page` | a page without rows; its `next_cursor` leads to the requested rows | list |
/// | `null-list` | like `empty-page`, with an `enroll_list` of null | list |
/// | `absent-list` | like `empty-page`, without `enroll_list` | list |
/// | `malformed-row` | a page whose middle row has a number as its `answer_list` | list |
/// | `not-object-row` | a page whose middle row is a number | list |
/// | `invalid-utf8` | a page whose middle row has a byte in `nick_name` that is not UTF-8 | list |
/// | `deep` | a page whose middle row has 200,000 nested arrays as its `nick_name` | list |
/// | `add=N` | the normal response, after `N` pending enrollees were added at the end of the meeting | list, approve |
/// | `drop=N` | the normal response, after the first `N` enrollees of the meeting or batch left | list, approve |
/// | `lost` | none: the statuses are set, then the connection is reset | approve |
/// | `partial=N` | the normal response, but only the first `N` statuses are set | approve |
/// | `too-big=N` | errcode 40058 if the batch has more than `N` ids | approve |
///
/// With `reset`, `status` or an errcode, an approve request changes nothing. With `reset-body` or `cut`, its changes
/// are made.
///
/// # Example
///
/// ```
/// use wecom_enroll::simulator::{Fault, Simulator};
///
/// let slow: Fault = "gettoken:latency=500ms@1".parse()?;
/// let throttled = Fault::errcode(45009).between(5, 7);
/// let builder = Simulator::builder().fault(slow).fault(throttled).fault("reset@2%".parse()?);
/// # Ok::<(), wecom_enroll::simulator::FaultError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) api: Api,
    when: When,
}

impl Fault {
    /// Creates a fault that applies to every list request.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, api: Api::List, when: When::Every(1) }
    }

    /// Creates a fault that responds with an HTTP status.
    #[must_use]
    pub fn status(code: u16) -> Self {
        Self::new(FaultKind::Status { code, retry_after: None })
    }

    /// Creates a fault that responds with an errcode.
    #[must_use]
    pub fn errcode(code: i32) -> Self {
        Self::new(FaultKind::Errcode(code))
    }

    /// Applies the fault to the `n`th request only.
    #[must_use]
    pub fn at(self, n: u64) -> Self {
        self.between(n, n)
    }

    /// Applies the fault to the requests from `first` to `last`, inclusive.
    #[must_use]
    pub fn between(self, first: u64, last: u64) -> Self {
        Self { when: When::Between(first, last), ..self }
    }

    /// Applies the fault to every `n`th request. If `n` is 0, the fault never applies.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Self { when: When::Every(n), ..self }
    }

    /// Applies the fault to each request with this probability, from 0.0 to 1.0.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self { when: When::Percent(probability.clamp(0.0, 1.0) * 100.0), ..self }
    }

    /// Applies the fault to `gettoken` requests instead of list requests. Kinds that do not apply to them then have no
    /// effect.
    #[must_use]
    pub fn on_gettoken(self) -> Self {
        Self { api: Api::GetToken, ..self }
    }

    /// Applies the fault to approve requests instead of list requests. Kinds that do not apply to them then have no
    /// effect.
    #[must_use]
    pub fn on_approve(self) -> Self {
        Self { api: Api::Approve, ..self }
    }

    /// Applies the fault to `get_config` requests instead of list requests. Kinds that do not apply to them then have
    /// no effect.
    #[must_use]
    pub fn on_get_config(self) -> Self {
        Self { api: Api::GetConfig, ..self }
    }

    /// Returns the syntax of every kind, such as `reset` or `latency=DURATION`, for a help text. A kind that applies
    /// only to approve requests starts with `approve:`.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        let plain = PLAIN.iter().filter(|(_, _, apis)| *apis != [Api::Approve]);
        plain.map(|(name, ..)| *name).chain(["approve:lost"]).chain(WITH_VALUE)
    }

    /// Returns whether the fault applies to the `n`th request.
    pub(super) fn applies_to(&self, n: u64, rng: &mut fastrand::Rng) -> bool {
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
        let error = |problem: &str| FaultError(format!("invalid fault \"{spec}\": {problem}"));
        let mut apis = Api::ALL.into_iter().filter(|api| *api != Api::List);
        let found = apis.find_map(|api| Some((api, spec.strip_prefix(api.prefix())?)));
        let (api, rest) = found.unwrap_or((Api::List, spec));
        let (kind, when) = match rest.rsplit_once('@') {
            Some((kind, when)) => (kind, When::parse(when)),
            None => (rest, Some(When::Every(1))),
        };
        let when =
            when.ok_or_else(|| error("expected N, N..M, every:N or P% after @, counted from 1"))?;
        let kind = FaultKind::parse(kind).ok_or_else(|| {
            let name = kind.split('=').next();
            let mut kinds = Self::kinds()
                .map(|syntax| syntax.strip_prefix(Api::Approve.prefix()).unwrap_or(syntax));
            let Some(syntax) = kinds.find(|syntax| syntax.split('=').next() == name) else {
                let kinds = Self::kinds().collect::<Vec<_>>().join(", ");
                return error(&format!("unknown kind; the kinds are {kinds}"));
            };
            let note = match name {
                Some("status") => " with a CODE from 200 to 999",
                Some("latency" | "slow") => " with a DURATION such as 10ms, 2s, 1m or 1h",
                _ => "",
            };
            error(&format!("expected {syntax}{note}"))
        })?;
        let remove = format!("remove {}", api.prefix());
        let (apis, remedy) = match kind.apis() {
            apis if apis.contains(&api) => return Ok(Self { kind, api, when }),
            [Api::Approve] => ("approve", "write approve: before it"),
            [Api::List] => ("list", &*remove),
            _ => ("list and approve", &*remove),
        };
        Err(error(&format!("this fault applies to {apis} requests only; {remedy}")))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_string();
        write!(f, "{}{kind}", self.api.prefix())?;
        match self.when {
            // Without a WHEN, an @ in a URL would be parsed as the start of one.
            When::Every(1) if !kind.contains('@') => Ok(()),
            When::Every(step) => write!(f, "@every:{step}"),
            When::Between(first, last) if first == last => write!(f, "@{first}"),
            When::Between(first, last) => write!(f, "@{first}..{last}"),
            When::Percent(percent) => write!(f, "@{percent}%"),
        }
    }
}

/// The error of parsing a [`Fault`]. Its text describes the problem and lists what is accepted instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultError(String);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}
