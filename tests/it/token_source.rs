//! Custom sources of access tokens: when they are called, and what happens if they fail or hang.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::future::{BoxFuture, pending};
use tokio::time::{Instant, sleep};
use wecom_enroll::{AccessToken, Client, Error, ErrorKind, Result, RetryPolicy, TokenSource};

use crate::support::{List, Script, errcode, ids, query};

/// The token service of an organization.
#[derive(Clone, Default)]
struct Central {
    version: Arc<AtomicUsize>,
    invalidated: Arc<AtomicUsize>,
    down: bool,
}

impl TokenSource for Central {
    fn token(&self) -> BoxFuture<'_, Result<AccessToken>> {
        Box::pin(async {
            sleep(Duration::from_millis(5)).await;
            match self.down {
                true => Err(Error::token("the vault is sealed")),
                false => Ok(AccessToken::new(format!("C{}", self.version.load(SeqCst)))),
            }
        })
    }

    fn invalidate(&self, refused: &AccessToken) {
        self.invalidated.fetch_add(1, SeqCst);
        let version = self.version.load(SeqCst);
        if refused.expose() == format!("C{version}") {
            let _ = self.version.compare_exchange(version, version + 1, SeqCst, SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn token_source_is_called_per_attempt_and_on_refusals() {
    let script = Script::new(|call| match call.token.as_deref() {
        Some("C0") if call.number > 3 => errcode(42001),
        _ => List::of(300).respond(call),
    });
    let central = Central::default();
    let client =
        Client::builder().token_source(central.clone()).transport(script.clone()).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), List::of(300).ids());
    assert_eq!(central.invalidated.load(SeqCst), 1);
    assert_eq!(script.calls().last().unwrap().token.as_deref(), Some("C1"));
}

#[tokio::test(start_paused = true)]
async fn token_source_error_is_the_source_of_the_error() {
    let script = List::of(1).script();
    let central = Central { down: true, ..Central::default() };
    let client = Client::builder().token_source(central).transport(script.clone()).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Token);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the vault is sealed");
    assert!(script.calls().is_empty());
}

/// Hangs, except at these calls.
struct Hanging(Arc<AtomicUsize>, usize);

impl TokenSource for Hanging {
    fn token(&self) -> BoxFuture<'_, Result<AccessToken>> {
        match self.0.fetch_add(1, SeqCst) + 1 == self.1 {
            true => Box::pin(async { Ok(AccessToken::new("T")) }),
            false => Box::pin(pending()),
        }
    }

    fn invalidate(&self, _: &AccessToken) {}
}

#[tokio::test(start_paused = true)]
async fn token_source_that_hangs_is_a_timeout_of_the_attempt() {
    let limit = Duration::from_secs(30);
    let none = Duration::ZERO;
    for (policy, calls, waited) in [
        (RetryPolicy::never(), 1, limit),
        (RetryPolicy::new().base(none), 4, 4 * limit),
        (RetryPolicy::new().base(none).max_elapsed(limit * 3 / 2), 2, 2 * limit),
    ] {
        let (script, called) = (List::of(1).script(), Arc::default());
        let source = Hanging(Arc::clone(&called), 0);
        let builder = Client::builder().token_source(source).transport(script.clone());
        let client = builder.retry(policy).build().unwrap();
        let started = Instant::now();
        let error = ids(client.enrolls(query())).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts() as usize), (ErrorKind::Token, calls));
        assert!(error.is_timeout() && error.is_transient() && error.checkpoint().is_some());
        assert!(error.to_string().contains("30s") && error.hint().is_some(), "{error}");
        assert!((waited..waited + Duration::from_millis(10)).contains(&started.elapsed()));
        assert_eq!((called.load(SeqCst), script.calls().len()), (calls, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn token_source_that_hangs_once_is_called_again() {
    let script = List::of(20).script();
    let builder = Client::builder().token_source(Hanging(Arc::default(), 2));
    let client = builder.transport(script.clone()).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap().len(), 20);
    assert_eq!((client.stats().attempts, client.stats().retries), (1, 1));
}
