//! [`Connection`]: the options and environment variables of every command that calls WeCom.
//!
//! Credentials come from the environment only, because arguments are visible in `ps`. No message contains
//! a credential.

use std::{
    env::{self, VarError},
    time::Duration,
};

use clap::ValueEnum;
use jiff::fmt::friendly::SpanParser;
#[cfg(feature = "redis")]
use wecom_enroll::Redis;
use wecom_enroll::{Client, ClientBuilder, Query, Quota, RetryPolicy, simulator::Simulator};

use crate::exit::{Stop, exit_codes};

/// The paragraphs about credentials and proxies in help texts.
pub(crate) const CREDENTIALS: &str = "\
    Credentials are environment variables: WECOM_CORP_ID with WECOM_CORP_SECRET, or WECOM_ACCESS_TOKEN. If \
    WECOM_REDIS_URL is set, quota and access token are shared with every other process that uses the same Redis \
    (requires the feature redis).\n\n\
    HTTPS_PROXY or ALL_PROXY set a proxy, except for the hosts in NO_PROXY. SSL_CERT_FILE and SSL_CERT_DIR replace \
    the system's root certificates (not on macOS and Windows): set them if the server's certificate is not trusted.";

/// The paragraph about durations in help texts.
pub(crate) const DURATIONS: &str = "Durations are written like 10ms, 2s, 1m or 1h.";

/// Returns the text after the options in the help of a command that calls WeCom.
pub(crate) fn notes(own: &str) -> String {
    format!("{own}\n\n{CREDENTIALS}\n\n{DURATIONS}\n\n{}", exit_codes())
}

/// The longest accepted duration: 100 years. Adding it to the current time cannot overflow.
const MAX_DURATION: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Parses a duration like `10ms`, `2s`, `1m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SpanParser::new().parse_unsigned_duration(text).ok();
    parsed
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| "expected a duration like 10ms, 2s, 1m or 1h, at most 100 years".to_owned())
}

/// Parses a quota like `10000/1m`.
fn quota(text: &str) -> Result<Quota, String> {
    let (calls, window) = text.split_once('/').ok_or("expected N/WINDOW, like 10000/1m")?;
    let calls = calls.parse().map_err(|e| format!("invalid number of calls {calls:?}: {e}"))?;
    Quota::new(calls, duration(window)?).map_err(|e| e.to_string())
}

#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Whether the ids are of webinars or of ordinary meetings
    #[arg(long, value_enum, default_value = "webinar")]
    pub(crate) kind: Kind,
    /// At most N calls in any sliding WINDOW. Repeatable; replaces the defaults
    /// [default: 10000/1m and 150000/1h]
    #[arg(long = "quota", value_name = "N/WINDOW", value_parser = quota)]
    quotas: Vec<Quota>,
    /// How long all calls wait after errcode 45009 or HTTP status 429, if the response has no Retry-After header
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s", alias = "pushback")]
    retry_after: Duration,
    /// Attempts per call, including the first [default: 4, or 1 for doctor]
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// Maximum of the first backoff. It doubles with each attempt, up to 30 s; the backoff is a random time below it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "500ms")]
    retry_base: Duration,
    /// Timeout of one attempt, including the body
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    timeout: Duration,
    /// Base URL of the API: https, or http to a loopback address [default: WeCom's]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// No account needed: an embedded simulator serves N enrollees in every meeting
    #[arg(long, value_name = "N", conflicts_with = "base_url")]
    pub(crate) demo: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    Webinar,
    Meeting,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Webinar => "webinar",
            Self::Meeting => "meeting",
        }
    }

    pub(crate) fn query(self, id: &str) -> Query {
        match self {
            Self::Webinar => Query::webinar(id),
            Self::Meeting => Query::meeting(id),
        }
    }
}

impl Connection {
    /// Returns the name of the list for checkpoints and journals. The rows of a demo are not those of a real list.
    pub(crate) fn list_name(&self) -> String {
        match self.demo {
            Some(rows) => format!("{} --demo {rows}", self.kind.name()),
            None => self.kind.name().to_owned(),
        }
    }

    /// Creates the client. With `--demo`, also returns its simulator, which stops when it is dropped.
    pub(crate) async fn open(self) -> Result<(Client, Option<Simulator>), Stop> {
        let retry = RetryPolicy::new()
            .max_attempts(self.max_attempts.unwrap_or(4))
            .base(self.retry_base)
            // A wait that the user asked for must not be refused.
            .max_retry_after(self.retry_after.max(Duration::from_secs(3600)));
        let mut builder = Client::builder()
            .retry_after(self.retry_after)
            .retry(retry)
            .attempt_timeout(self.timeout);
        if !self.quotas.is_empty() {
            builder = builder.quotas(self.quotas);
        }
        if let Some(enrollees) = self.demo {
            let simulator = Simulator::builder().enrollees(enrollees).start().await;
            let simulator = simulator
                .map_err(|e| Stop::Failed(format!("cannot start the demo's simulator: {e}")))?;
            let builder = builder.corp_secret(Simulator::CORP_ID, Simulator::SECRET);
            return Ok((builder.base_url(simulator.base_url()).build()?, Some(simulator)));
        }
        builder = match Credentials::read()? {
            Credentials::Secret { corp_id, secret } => builder.corp_secret(corp_id, secret),
            Credentials::Token(token) => builder.access_token(token),
        };
        if let Some(url) = variable("WECOM_REDIS_URL")? {
            builder = with_redis(builder, &url)?;
        }
        if let Some(url) = self.base_url {
            builder = builder.base_url(url);
        }
        Ok((builder.build()?, None))
    }
}

/// The credentials in the environment.
pub(crate) enum Credentials {
    Secret { corp_id: String, secret: String },
    Token(String),
}

impl Credentials {
    pub(crate) fn read() -> Result<Self, Stop> {
        let [corp_id, secret, token] =
            ["WECOM_CORP_ID", "WECOM_CORP_SECRET", "WECOM_ACCESS_TOKEN"].map(variable);
        let problem = match (corp_id?, secret?, token?) {
            // A token expires after two hours, so the secret is preferred.
            (Some(corp_id), Some(secret), _) => return Ok(Self::Secret { corp_id, secret }),
            (_, _, Some(token)) => return Ok(Self::Token(token)),
            (Some(_), None, None) => "WECOM_CORP_ID is set, but WECOM_CORP_SECRET is not",
            (None, Some(_), None) => "WECOM_CORP_SECRET is set, but WECOM_CORP_ID is not",
            (None, None, None) => {
                "credentials are missing: set the environment variables WECOM_CORP_ID and WECOM_CORP_SECRET, or \
                 WECOM_ACCESS_TOKEN; to try the program without an account, use --demo 1000"
            }
        };
        Err(Stop::Usage(problem.into()))
    }
}

/// Returns whether `WECOM_REDIS_URL` is set.
pub(crate) fn has_redis() -> Result<bool, Stop> {
    Ok(variable("WECOM_REDIS_URL")?.is_some())
}

#[cfg(feature = "redis")]
fn with_redis(builder: ClientBuilder, url: &str) -> Result<ClientBuilder, Stop> {
    let text = "WECOM_REDIS_URL is set, but WECOM_CORP_ID is not; the corp id determines whose quota is shared";
    let corp_id = variable("WECOM_CORP_ID")?.ok_or_else(|| Stop::Usage(text.into()))?;
    Ok(builder.redis(Redis::open(url)?.company(corp_id)))
}

/// Returns an error, because without the shared quota this process could exceed it.
#[cfg(not(feature = "redis"))]
fn with_redis(_: ClientBuilder, _: &str) -> Result<ClientBuilder, Stop> {
    let text = "WECOM_REDIS_URL is set, but this program was built without the feature redis";
    Err(Stop::Usage(text.into()))
}

/// Returns the value of an environment variable, unless it is blank. The error of the standard library would contain
/// the value.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Stop> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Stop::Usage(format!("{name} is not valid UTF-8"))),
    }
}
