//! From the connection options and the environment to a client.
//!
//! Credentials come from the environment only: an argument shows in `ps`. No message repeats one.

use std::{
    env::{self, VarError},
    time::Duration,
};

#[cfg(feature = "redis")]
use wecom_enroll::Redis;
use wecom_enroll::{Client, ClientBuilder, Quota, RetryPolicy, simulator::Simulator};

use crate::Stop;

#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// At most N calls in any sliding WINDOW; may be repeated, and replaces the defaults
    /// [default: 10000/1m and 150000/1h]
    #[arg(long = "quota", value_name = "N/WINDOW", value_parser = quota)]
    quotas: Vec<Quota>,
    /// How long every walk holds when the server says 45009
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pushback: Duration,
    /// Attempts of one call, the first included [default: 4; 1 for doctor]
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// First backoff ceiling; doubles, full jitter, capped at 30 s
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "500ms")]
    retry_base: Duration,
    /// One attempt, body included
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    timeout: Duration,
    /// The API's host: https, or http to a loopback address [default: WeCom's]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// No account needed: an embedded simulator serves N enrollees in every meeting
    #[arg(long, value_name = "N", conflicts_with = "base_url")]
    pub(crate) demo: Option<u64>,
}

impl Connection {
    /// The client, and the simulator that it talks to: the demo ends with it.
    pub(crate) async fn open(self) -> Result<(Client, Option<Simulator>), Stop> {
        let retry = RetryPolicy::new()
            .max_attempts(self.max_attempts.unwrap_or(4))?
            .base(self.retry_base)
            // A pushback that was asked for is no reason to give up.
            .max_pushback(self.pushback.max(Duration::from_secs(3600)));
        let builder =
            Client::builder().pushback(self.pushback).retry(retry).attempt_timeout(self.timeout);
        let builder = self.quotas.into_iter().fold(builder, ClientBuilder::quota);
        if let Some(enrollees) = self.demo {
            let simulator = Simulator::builder().enrollees(enrollees).start().await;
            let simulator =
                simulator.map_err(|e| Stop::failed(format!("the demo cannot start: {e}")))?;
            let builder = builder.corp_secret(Simulator::CORP_ID, Simulator::SECRET);
            return Ok((builder.base_url(simulator.base_url()).build()?, Some(simulator)));
        }
        let builder = match Credentials::read()? {
            Credentials::Secret { corp_id, secret } => builder.corp_secret(corp_id, secret),
            Credentials::Token(token) => builder.access_token(token),
        };
        let builder = fleet(builder)?;
        let builder = match self.base_url {
            Some(url) => builder.base_url(url),
            None => builder,
        };
        Ok((builder.build()?, None))
    }
}

/// What the environment has.
pub(crate) enum Credentials {
    Secret { corp_id: String, secret: String },
    Token(String),
}

impl Credentials {
    pub(crate) fn read() -> Result<Self, Stop> {
        let [corp_id, secret, token] =
            ["WECOM_CORP_ID", "WECOM_CORP_SECRET", "WECOM_ACCESS_TOKEN"].map(variable);
        match (corp_id?, secret?, token?) {
            // A token ends after two hours; the secret gets new ones.
            (Some(corp_id), Some(secret), _) => Ok(Self::Secret { corp_id, secret }),
            (_, _, Some(token)) => Ok(Self::Token(token)),
            (Some(_), None, None) => {
                Err(Stop::usage("WECOM_CORP_ID is set, but WECOM_CORP_SECRET is not"))
            }
            (None, Some(_), None) => {
                Err(Stop::usage("WECOM_CORP_SECRET is set, but WECOM_CORP_ID is not"))
            }
            (None, None, None) => Err(Stop::usage(
                "credentials are missing: set the environment variables WECOM_CORP_ID and WECOM_CORP_SECRET, or \
                 WECOM_ACCESS_TOKEN; or try --demo 1000, which needs none",
            )),
        }
    }
}

/// The Redis in the environment, and the company for which quota, token and work are shared there.
#[cfg(feature = "redis")]
pub(crate) fn shared() -> Result<Option<(Redis, String)>, Stop> {
    let Some(url) = variable("WECOM_REDIS_URL")? else { return Ok(None) };
    let company = variable("WECOM_CORP_ID")?.ok_or_else(|| {
        Stop::usage(
            "WECOM_REDIS_URL is set, but WECOM_CORP_ID is not: it tells whose quota is shared",
        )
    })?;
    Ok(Some((Redis::open(&url)?, company)))
}

#[cfg(feature = "redis")]
fn fleet(builder: ClientBuilder) -> Result<ClientBuilder, Stop> {
    Ok(match shared()? {
        Some((redis, company)) => builder.redis(redis).company(company),
        None => builder,
    })
}

/// Without the quota of its fleet a process would break it.
#[cfg(not(feature = "redis"))]
fn fleet(builder: ClientBuilder) -> Result<ClientBuilder, Stop> {
    match variable("WECOM_REDIS_URL")? {
        None => Ok(builder),
        Some(_) => Err(Stop::usage(
            "WECOM_REDIS_URL is set, but this program was built without the feature redis",
        )),
    }
}

/// The variable's value, if it has one. std's own error would show it.
fn variable(name: &str) -> Result<Option<String>, Stop> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Stop::usage(format!("{name} is not UTF-8"))),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    millis.and_then(|millis| number?.checked_mul(millis)).map(Duration::from_millis).ok_or_else(
        || "a duration is a whole number and a unit, like 10ms, 2s, 1m or 1h".to_owned(),
    )
}

fn quota(text: &str) -> Result<Quota, String> {
    let (calls, window) =
        text.split_once('/').ok_or("a quota is N/WINDOW, like 10000/1m".to_owned())?;
    let calls = calls.parse().map_err(|e| format!("{calls:?} calls: {e}"))?;
    Quota::new(calls, duration(window)?).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let millis = |text| duration(text).map(|time| time.as_millis()).ok();
        assert_eq!(["10ms", "2s", "1m", "1h"].map(millis), [10, 2000, 60_000, 3_600_000].map(Some));
        for wrong in [
            "",
            "s",
            "10",
            "1.5s",
            "-1s",
            "1d",
            "1 s",
            "1S",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn quotas_are_calls_per_window() {
        let minute = Duration::from_secs(60);
        assert_eq!(quota("10000/1m").ok(), Quota::new(10_000, minute).ok());
        for wrong in
            ["", "5", "/1m", "5/", "0/1m", "5/0s", "-5/1m", "5/1m/1h", "4294967296/1m", "5/9000h"]
        {
            assert!(quota(wrong).is_err(), "{wrong}");
        }
    }
}
