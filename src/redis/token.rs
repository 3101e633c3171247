//! [`SharedApp`]: an access token that several processes share through Redis.
//!
//! A process that finds no token takes a lease and fetches one; the others wait for it. A lease that is not
//! renewed expires, and only its owner can store a result and end it. Each process caches the token, so it
//! asks Redis once per token lifetime, and again when WeCom refuses the token.

use std::{pin::Pin, sync::LazyLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use redis::Script;
use sha1_smol::Sha1;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::{
    call::{
        gettoken::App,
        token::{AccessToken, Issued, Issuer, REFUSAL_PERIOD},
    },
    error::{Error, Result},
    redis::connection::Redis,
};

static ASK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("token.lua")));
static END_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("end_lease.lua")));

/// The lifetime of a lease. Its owner renews it every third of that time.
const LEASE: Duration = Duration::from_secs(10);

/// The pause before asking again whether another process has fetched the token, in milliseconds.
const POLL_INTERVAL: std::ops::Range<u64> = 50..200;

/// The errcode for an untrusted IP. It concerns this machine only, so it is not shared.
const UNTRUSTED_IP: i64 = 60020;

/// An app whose token is shared by all processes that know its secret.
pub(crate) struct SharedApp {
    app: App,
    redis: Redis,
    /// Identifies the leases of this client.
    id: String,
    token: String,
    lease: String,
    refusal: String,
}

impl SharedApp {
    pub(crate) fn new(app: App, redis: Redis) -> Self {
        // The hash identifies the app without revealing its secret, which has 43 random characters. The base
        // URL separates the tokens of tests from those of production.
        let text = [&*app.api.base_url.text(), &app.corp_id, &app.secret].join("\n");
        let name = &Sha1::from(text).digest().to_string()[..16];
        let key = |what| redis.key(&format!("app-{name}:{what}"));
        let (token, lease, refusal) = (key("token"), key("lease"), key("refusal"));
        let id = format!("{:032x}", fastrand::u128(..));
        Self { app, redis, id, token, lease, refusal }
    }

    async fn issue(&self, refused: &str) -> Result<Issued> {
        loop {
            let asked_at = Instant::now();
            let (action, value, millis) = self.ask(refused).await?;
            match &*action {
                "token" => {
                    let stale_at = asked_at + Duration::from_millis(millis);
                    return Ok(Issued { token: AccessToken::new(value), stale_at });
                }
                "refused" => {
                    let errcode = value.parse().unwrap_or_default();
                    let error = Error::api(errcode, "reported by another process");
                    return Err(error.into_token_error());
                }
                "fetch" => return self.fetch(refused).await,
                _ => sleep(Duration::from_millis(fastrand::u64(POLL_INTERVAL).min(millis))).await,
            }
        }
    }

    async fn fetch(&self, refused: &str) -> Result<Issued> {
        let mut issuing = self.app.issue(None);
        let issued = loop {
            match timeout(LEASE / 3, Pin::new(&mut issuing)).await {
                Ok(issued) => break issued,
                // Renews the lease. If that fails, the token is valid nevertheless.
                Err(_) => drop(self.ask(refused).await),
            }
        };
        let errcode = issued.as_ref().err().and_then(Error::errcode).unwrap_or_default();
        let (key, value, valid_for) = match &issued {
            Ok(issued) => {
                let valid_for = issued.stale_at.saturating_duration_since(Instant::now());
                (&self.token, issued.token.expose().to_owned(), valid_for)
            }
            Err(error) if error.is_auth() && errcode != UNTRUSTED_IP => {
                (&self.refusal, errcode.to_string(), REFUSAL_PERIOD)
            }
            Err(_) => (&self.refusal, String::new(), Duration::ZERO),
        };
        let mut end = END_LEASE.key(&*self.lease);
        end.key(&**key).arg(&*self.id).arg(value).arg(millis(valid_for));
        if let Err(error) = self.redis.run::<()>(&end).await {
            warn!(%error, "the access token could not be shared; other processes will fetch another");
        }
        issued
    }

    async fn ask(&self, refused: &str) -> Result<(String, String, u64)> {
        let mut ask = ASK.key(&*self.token);
        ask.key(&*self.lease).key(&*self.refusal);
        self.redis.run(ask.arg(&*self.id).arg(millis(LEASE)).arg(refused)).await
    }
}

impl Issuer for SharedApp {
    fn issue(&self, refused: Option<AccessToken>) -> BoxFuture<'_, Result<Issued>> {
        async move { self.issue(refused.as_ref().map_or("", AccessToken::expose)).await }.boxed()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
