//! `sync` with a real PostgreSQL server. Skipped visibly if it is not installed.

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use wecom_enroll::simulator::Simulator;

use super::{Mirror, code, finish, id, kills, lines, roster, stderr, summary, texts};
use crate::{
    cli::{LIMIT, MS, signal},
    http::start,
    support::postgres::{PASSWORD, PostgresServer},
};

impl Mirror {
    fn postgres(server: &PostgresServer) -> Self {
        Self { url: server.url(), ..Self::sqlite() }
    }
}

#[tokio::test]
async fn postgres_mirror_equals_the_list_and_its_changes() {
    let Some(server) = PostgresServer::start().await else { return };
    let mirror = Mirror::postgres(&server);
    let sim = start(Simulator::builder().enrollees(120)).await;
    assert_eq!(mirror.sync(&sim, &[]).await.len(), 120);
    assert!(mirror.sync(&sim, &[]).await.is_empty());
    assert_eq!(mirror.count("SELECT COUNT(*) FROM answers").await, 600);
    sim.set_status("M", &id(70), 2_u32);
    sim.remove("M", &id(5));
    assert_eq!(summary(&mirror.sync(&sim, &[]).await), [("changed", &*id(70))]);
    assert_eq!(summary(&mirror.sync(&sim, &[]).await), [("removed", &*id(5))]);
    sim.restore("M", &id(5));
    assert_eq!(summary(&mirror.sync(&sim, &[]).await), [("added", &*id(5))]);
    assert_eq!(mirror.roster().await, roster(&sim));
    assert_eq!(mirror.replay().await, mirror.table().await);
    assert_eq!(mirror.sync(&sim, &["--since", "121"]).await.len(), 2);
    let sql =
        "SELECT enroll_time, enrolled_at AT TIME ZONE 'UTC', first_seen > now() - interval '1 hour'
        FROM enrolls ORDER BY enroll_time LIMIT 1";
    let row = super::joined(mirror.query(sql).await.remove(0));
    assert_eq!(row, "2023-03-23 10:00:00 2023-03-23 02:00:00 t");

    // Tables of a newer version are refused.
    server.query("INSERT INTO wecom_enroll VALUES (2)").await;
    let done = mirror.run(&sim, &[]).await;
    assert_eq!(code(&done), 1);
    assert!(stderr(&done).contains("the tables have version 2"), "{}", stderr(&done));
    server.query("DELETE FROM wecom_enroll WHERE version = 2").await;

    // The names $1 and so on are parameters, so no text is a part of a statement.
    let replaced = |text: &str| text.replace('\0', "\u{fffd}");
    server.query("CREATE SCHEMA texts; ALTER ROLE enroll SET search_path = texts").await;
    let warnings = texts::store_hostile_texts(&mirror, replaced).await;
    assert_eq!(warnings.matches("U+0000 was replaced").count(), 1, "{warnings}");
}

#[tokio::test]
async fn postgres_sync_killed_at_random_moments_loses_no_change() {
    let Some(server) = PostgresServer::start().await else { return };
    kills::kill_and_compare(&Mirror::postgres(&server)).await;
}

#[tokio::test]
async fn postgres_failures_are_clear_and_never_contain_the_password() {
    let Some(mut server) = PostgresServer::start().await else { return };
    let mirror = Mirror::postgres(&server);
    let sim = start(Simulator::builder().enrollees(120)).await;
    let run = async |database: &str, wanted: i32, message: &str| {
        let done = finish(mirror.command(&sim.base_url(), &["--database", database])).await;
        assert_eq!(code(&done), wanted, "{}", stderr(&done));
        assert!(stderr(&done).contains(message), "{}", stderr(&done));
        assert!(!stderr(&done).contains("hunter22") && !stderr(&done).contains(PASSWORD));
    };
    run(&server.url_with("hunter22"), 1, "password authentication failed").await;
    run(&format!("{}?sslmode=require", server.url()), 1, "TLS").await;
    run(&server.url().replace("/postgres", "/missing"), 1, "does not exist").await;
    run(
        &format!("{}?options=-c%20default_transaction_read_only%3Don", server.url()),
        1,
        "read-only",
    )
    .await;
    assert_eq!(sim.calls().list, 0);

    // Tables of another program are kept.
    server.query("CREATE SCHEMA other; CREATE TABLE other.enrolls (x INT)").await;
    let other = format!("{}?options=-c%20search_path%3Dother", server.url());
    run(&other, 1, "already exists").await;
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'other'";
    assert_eq!(server.query(tables).await, [[Some("enrolls".to_owned())]]);

    // Another program holds a lock.
    mirror.sync(&sim, &[]).await;
    sim.enroll("M", 1);
    let locked = "BEGIN; LOCK TABLE positions; SELECT pg_sleep(7)";
    let (_, ()) = tokio::join!(server.query(locked), async {
        tokio::time::sleep(200 * MS).await;
        run(&server.url(), 75, "lock timeout").await;
    });
    server.stop().await;
    run(&server.url(), 75, "Connection refused").await;
}

#[tokio::test]
async fn postgres_that_restarts_in_mid_run_loses_no_change() {
    let Some(mut server) = PostgresServer::start().await else { return };
    let mirror = Mirror::postgres(&server);
    let sim = start(Simulator::builder().enrollees(1000).latency(10 * MS)).await;
    let url = sim.base_url();
    // Without --every, it is a temporary failure.
    let mut child = mirror.command(&url, &[]).spawn().unwrap();
    let mut first = BufReader::new(child.stdout.take().unwrap()).lines();
    timeout(LIMIT, first.next_line()).await.unwrap().unwrap().unwrap();
    server.stop().await;
    let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    drop(first);
    server.restart().await;

    let mut child = mirror.command(&url, &["--every", "50ms"]).spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || timeout(LIMIT, printed.next_line()).await.unwrap().unwrap().unwrap();
    next().await;
    server.stop().await;
    sim.enroll("M", 1);
    server.restart().await;
    let last = roster(&sim).len();
    let mut seen = 1;
    while !next().await.contains(&id(1000)) {
        seen += 1;
        assert!(seen < 2 * last);
    }
    signal(&child, "-INT").await;
    let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(code(&done), 130, "{}", stderr(&done));
    assert!(stderr(&done).contains("error: PostgreSQL failed"), "{}", stderr(&done));
    assert_eq!(mirror.roster().await, roster(&sim));
    assert_eq!(mirror.replay().await, mirror.table().await);
    assert!(lines(&done.stdout).is_empty());
}

#[tokio::test]
async fn postgres_lock_makes_the_second_sync_wait() {
    let Some(server) = PostgresServer::start().await else { return };
    let mirror = Mirror::postgres(&server);
    let sim = start(Simulator::builder().enrollees(300).latency(50 * MS)).await;
    let url = sim.base_url();
    let (first, second) =
        tokio::join!(finish(mirror.command(&url, &[])), finish(mirror.command(&url, &[])));
    assert_eq!((code(&first), code(&second)), (0, 0), "{}", stderr(&second));
    assert_eq!(lines(&first.stdout).len() + lines(&second.stdout).len(), 300);
    assert_eq!(mirror.roster().await, roster(&sim));
}
