//! The connection to Redis: outages, access rights, keys and TLS.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::{process::Command, time::sleep};
use wecom_enroll::{Client, ErrorKind, Query, Redis, RetryPolicy, simulator::Simulator};

use super::{Job, MS, SECOND, outcome, server::RedisServer, until};
use crate::{
    http::{expected, start},
    support::{full_text, ids, ids_until_error, read, resume},
};

#[tokio::test]
async fn redis_restarted_empty_loses_and_repeats_no_row() {
    let Some(mut server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(10_000)).await;
    let job = Job { quota: (40, SECOND), streams: 2, ..Job::new(&sim, &server) };
    let processes: Vec<_> = (0..3).map(|_| job.spawn()).collect();
    until("40 calls", || sim.calls().list > 40).await;
    server.kill();
    sleep(200 * MS).await;
    let gone = sim.calls().list;
    sleep(4800 * MS).await;
    assert_eq!(sim.calls().list, gone, "nothing is sent without quota");
    server.restart().await;
    for process in processes {
        let outcome = outcome(process).await;
        assert_eq!((outcome.rows, outcome.errors), (vec![10_000; 2], vec![]));
    }
    // There is one call per page, so calls from before the restart were not repeated.
    assert_eq!(sim.calls().list, 3 * 2 * 200);
    assert!(sim.calls().gettoken <= 2);
}

#[tokio::test]
async fn redis_down_for_too_long_is_an_error_with_a_checkpoint() {
    let Some(mut server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let job = Job::new(&sim, &server);
    let builder = || job.builder().retry(RetryPolicy::new().base(10 * MS));
    let client = builder().build().unwrap();
    let mut rows = client.enrolls(Query::webinar("M"));
    let first = read(&mut rows, 120).await;
    server.kill();
    let (seen, error) = ids_until_error(&mut rows).await;
    assert_eq!((error.kind(), error.attempts(), seen.len()), (ErrorKind::Redis, 4, 30));
    assert!(error.is_transient() && error.hint().unwrap().contains("Redis"), "{error}");
    assert_eq!((sim.calls().list, sim.calls().gettoken), (3, 1));
    // Without Redis, no token is fetched either.
    let another = ids(builder().build().unwrap().enrolls(Query::webinar("M"))).await.unwrap_err();
    assert!(another.kind() == ErrorKind::Redis && another.is_transient());
    assert_eq!((sim.calls().list, sim.calls().gettoken), (3, 1));
    server.restart().await;
    let rest = ids(resume(&client, error.checkpoint().unwrap().clone())).await.unwrap();
    assert_eq!([first, seen, rest].concat(), expected(1000));
}

/// Returns the rights that the guide lists.
fn documented_rights() -> String {
    let guide = include_str!("../../../src/redis/guide.md");
    let (_, rights) = guide.split_once("ACL SETUSER ").unwrap();
    let (_, rights) = rights.split_once(">PASSWORD ").unwrap();
    rights.split_once("```").unwrap().0.replace('\n', " ")
}

#[tokio::test]
async fn redis_user_with_documented_rights_is_enough() {
    let user = format!("user app on >p%ss {}", documented_rights());
    let Some(server) = RedisServer::with(&["user default off", &user]).await else { return };
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let job = |login: &str| {
        let redis = format!("redis://{login}127.0.0.1:{}", server.port);
        Job { redis, quota: (40, SECOND), ..Job::new(&sim, &server) }
    };
    let client = job("app:p%25ss@").client();
    assert_eq!(ids(client.enrolls(Query::webinar("M"))).await.unwrap(), expected(1000));
    for login in ["app:wr0ng-passw0rd@", "nobody:wr0ng-passw0rd@", ""] {
        let error = ids(job(login).client().enrolls(Query::webinar("M"))).await.unwrap_err();
        let text = full_text(&error);
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Redis, 0), "{text}");
        assert!(!error.is_transient() && error.hint().unwrap().contains("password"), "{text}");
        assert!(!text.contains("wr0ng"), "{text}");
    }
}

#[test]
fn redis_url_is_not_repeated_in_errors_or_debug_output() {
    for url in [
        "redis://h:wr0ng-port",
        "http://wr0ng@h",
        "wr0ng",
        "rediss://wr0ng@h/#insecure",
        "rediss://",
    ] {
        let error = Redis::open(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!full_text(&error).contains("wr0ng"));
    }
    let redis = Redis::open("redis://app:wr0ng-passw0rd@h").unwrap();
    assert!(!format!("{redis:?}").contains("wr0ng"));
}

#[tokio::test]
async fn redis_keys_name_the_company_have_no_secret_and_expire() {
    let Some(server) = RedisServer::start().await else { return };
    let secret = "the-secret-of-this-app-that-must-not-show";
    let sim = start(Simulator::builder().credentials("ww{1}:x", secret)).await;
    let job = Job::new(&sim, &server);
    let client = job.builder().corp_secret("ww{1}:x", secret).build().unwrap();
    ids(client.enrolls(Query::webinar("M"))).await.unwrap();
    let wrong = job.builder().corp_secret("ww{1}:x", "a-wrong-secret-that-must-not-show");
    ids(wrong.build().unwrap().enrolls(Query::webinar("M"))).await.unwrap_err();
    let mut keys = server.keys().await;
    keys.sort();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in &keys {
        assert!(key.starts_with("wecom-enroll:{ww%7B1%7D%3Ax}:"), "{key}");
        assert!(!key.contains("must-not-show") && !key.contains(&sim.access_token()), "{key}");
        let left: i64 = server.run(&["PTTL", key]).await;
        assert!((1..7_200_000).contains(&left), "{key} ends in {left} ms");
    }
    assert!(keys[0].contains(":app-") && keys[2].ends_with(":enroll/list:quota"), "{keys:?}");
}

#[test]
fn redis_without_a_company_is_refused() {
    let redis = || Redis::open("redis://h").unwrap();
    let build = |redis| Client::builder().access_token("T").redis(redis).build();
    for redis in [redis(), redis().company(" ")] {
        let error = build(redis).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("Redis::company"), "{error}");
    }
    assert!(build(redis().company("ww1")).is_ok());
    // The corp id is the default.
    assert!(Client::builder().corp_secret("ww1", "s").redis(redis()).build().is_ok());
}

#[tokio::test]
async fn redis_tls_requires_a_trusted_certificate() {
    let directory = TempDir::new().unwrap();
    let [cert, key] = ["cert", "key"].map(|name| directory.path().join(name).display().to_string());
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(' '),
        )
        .args(["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out", &cert, "-keyout", &key])
        .stderr(Stdio::null())
        .status();
    assert!(made.await.unwrap().success());
    let (cert_line, key_line) = (format!("tls-cert-file {cert}"), format!("tls-key-file {key}"));
    let lines = ["tls-auth-clients no", &*cert_line, &*key_line];
    let Some(server) = RedisServer::with(&lines).await else { return };
    let sim = start(Simulator::builder().enrollees(500)).await;
    let redis = format!("rediss://127.0.0.1:{}", server.port);
    let job = Job { redis, ..Job::new(&sim, &server) };
    let trusting = job.command().env("SSL_CERT_FILE", &cert).spawn().unwrap();
    assert_eq!(outcome(trusting).await.rows, [500]);
    let client = job.builder().retry(RetryPolicy::never()).build().unwrap();
    let error = ids(client.enrolls(Query::webinar("M"))).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Redis && full_text(&error).contains("certificate"),
        "{error:?}"
    );
    assert!(error.is_tls() && !error.is_transient(), "{error:?}");
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"), "{error:?}");
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn command_line_without_redis_exits_with_75() {
    use crate::cli::{self, EXE, code, finish, stderr};
    let Some(mut server) = RedisServer::start().await else { return };
    let sim = start(Simulator::builder().enrollees(1000).latency(20 * MS)).await;
    let (url, redis, files) = (sim.base_url(), server.url(), TempDir::new().unwrap());
    let [rows, at] = ["rows.jsonl", "at.json"].map(|name| files.path().join(name));
    let export = || {
        let args = ["export", "--base-url", &url, "--retry-base", "1ms", "M", "-o"];
        let mut command = cli::command(EXE, &args);
        command.arg(&rows).arg("--checkpoint").arg(&at).env("WECOM_REDIS_URL", &redis);
        command
    };
    let (done, ()) = futures::join!(finish(export()), async {
        until("half of the list", || sim.calls().list == 10).await;
        server.signal("-KILL");
    });
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    assert!(stderr(&done).contains("Redis") && at.exists(), "{}", stderr(&done));
    let sent = (sim.calls().list, sim.calls().gettoken);
    assert!(sent.0 <= 12);
    let again = finish(export()).await;
    assert_eq!((code(&again), sim.calls().list, sim.calls().gettoken), (75, sent.0, sent.1));
    server.kill();
    server.restart().await;
    let done = finish(export()).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(std::fs::read_to_string(&rows).unwrap().lines().count(), 1000);
    assert_eq!(server.keys().await.len(), 2);
    let mut without_corp_id = export();
    without_corp_id
        .env("WECOM_CORP_ID", "")
        .env("WECOM_CORP_SECRET", "")
        .env("WECOM_ACCESS_TOKEN", "T");
    let refused = stderr(&finish(without_corp_id).await);
    assert!(refused.contains("whose quota is shared"), "{refused}");
}
