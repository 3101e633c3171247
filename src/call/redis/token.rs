//! The token of a fleet: issued once by WeCom, kept on a Redis for as long as it is good.
//!
//! Whoever finds none takes a lease and fetches one; the others wait for it. A lease that is not
//! renewed ends by itself, and only its owner may end it with a token. Each process keeps the token
//! that it was given, so Redis is asked once a lifetime, and again when WeCom has refused it.

use std::{pin::Pin, sync::LazyLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use redis::Script;
use sha1_smol::Sha1;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::{
    call::{
        redis::Redis,
        token::{AccessToken, App, DAMPER, Issued, Issuer},
    },
    error::{Error, Result},
};

static ASK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("token.lua")));
static END_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("end_lease.lua")));

/// How long the others wait for a process that died. It is renewed three times as often. Our choice.
const LEASE: Duration = Duration::from_secs(10);

/// Pause before asking again whether another process has the token, in milliseconds. Our choice.
const PAUSE: std::ops::Range<u64> = 50..200;

/// This machine's IP is not trusted: that says nothing about the others.
const UNTRUSTED_IP: i64 = 60020;

/// The app of all processes that know its secret.
pub(crate) struct SharedApp {
    app: App,
    redis: Redis,
    /// Sets this process's leases apart.
    id: String,
    token: String,
    lease: String,
    refusal: String,
}

impl SharedApp {
    pub(crate) fn new(app: App, redis: Redis, company: &str) -> Self {
        // Names the app without telling its secret, which has 43 random characters: nobody finds
        // those by trying. The base URL keeps tests off the tokens of production.
        let text = [app.base.as_str(), &app.corp_id, &app.secret].join("\n");
        let name = &Sha1::from(text).digest().to_string()[..16];
        let key = |what| Redis::key(company, &format!("app-{name}:{what}"));
        let (token, lease, refusal) = (key("token"), key("lease"), key("refusal"));
        Self { app, redis, id: format!("{:032x}", fastrand::u128(..)), token, lease, refusal }
    }

    async fn issue(&self, refused: &str) -> Result<Issued> {
        loop {
            let asked = Instant::now();
            let (todo, with, millis) = self.ask(refused).await?;
            match &*todo {
                "token" => {
                    let stale_at = asked + Duration::from_millis(millis);
                    return Ok(Issued { token: AccessToken::new(with), stale_at });
                }
                "refused" => {
                    let errcode = with.parse().unwrap_or_default();
                    let error = Error::api(errcode, "so it told another process of the fleet");
                    return Err(error.while_getting_a_token());
                }
                "fetch" => return self.fetch(refused).await,
                _ => sleep(Duration::from_millis(fastrand::u64(PAUSE).min(millis))).await,
            }
        }
    }

    async fn fetch(&self, refused: &str) -> Result<Issued> {
        let mut issuing = self.app.issue(None);
        let issued = loop {
            match timeout(LEASE / 3, Pin::new(&mut issuing)).await {
                Ok(issued) => break issued,
                // Renews the lease. If that fails, the token is good all the same.
                Err(_) => drop(self.ask(refused).await),
            }
        };
        let errcode = issued.as_ref().err().and_then(Error::errcode).unwrap_or_default();
        let (key, kept, good_for) = match &issued {
            Ok(issued) => {
                let good_for = issued.stale_at.saturating_duration_since(Instant::now());
                (&self.token, issued.token.expose().to_owned(), good_for)
            }
            Err(error) if error.is_auth() && errcode != UNTRUSTED_IP => {
                (&self.refusal, errcode.to_string(), DAMPER)
            }
            Err(_) => (&self.refusal, String::new(), Duration::ZERO),
        };
        let mut end = END_LEASE.key(&*self.lease);
        end.key(&**key).arg(&*self.id).arg(kept).arg(millis(good_for));
        if let Err(error) = self.redis.run::<()>(&end).await {
            warn!(%error, "the fleet was not told of the token, and will fetch another one");
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
