//! Which listings change the tables, and how.

use std::env;

use serde_json::Value;
use wecom_enroll::simulator::Simulator;

use super::{Mirror, code, id, joined, lines, roster, stderr, summary};
use crate::http::{fault, start};

#[tokio::test]
async fn sync_reports_added_changed_and_removed_rows() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(120)).await;
    let first = mirror.sync(&sim, &[]).await;
    assert_eq!(first.len(), 120);
    assert!(first.iter().all(|line| line["change"] == "added" && line["row"]["meetingid"] == "M"));
    assert!(mirror.sync(&sim, &[]).await.is_empty());

    sim.set_status("M", &id(70), 2_u32);
    let new = sim.enroll("M", 1).remove(0);
    let second = mirror.sync(&sim, &[]).await;
    assert_eq!(summary(&second), [("changed", &*id(70)), ("added", &*new)]);
    assert_eq!(second[0]["row"]["status"], 2);

    sim.remove("M", &id(5));
    assert!(mirror.sync(&sim, &[]).await.is_empty(), "it may only be hidden");
    let done = mirror.run(&sim, &[]).await;
    let third = lines(&done.stdout);
    assert_eq!(summary(&third), [("removed", &*id(5))]);
    assert_eq!(third[0]["row"], first[5]["row"]);
    let counts = "0 added, 0 changed, 1 removed, 120 unchanged; 120 rows, 3 pages";
    assert!(stderr(&done).contains(counts), "{}", stderr(&done));
    assert_eq!(mirror.roster().await, roster(&sim));
    assert_eq!(mirror.replay().await, mirror.table().await);

    sim.restore("M", &id(5));
    assert_eq!(summary(&mirror.sync(&sim, &[]).await), [("added", &*id(5))]);
    let removed = "SELECT COUNT(*) FROM enrolls WHERE removed_at IS NOT NULL";
    assert_eq!(mirror.count(removed).await, 0);
}

#[tokio::test]
async fn row_that_is_hidden_once_is_not_removed() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60)).await;
    mirror.sync(&sim, &[]).await;
    for _ in 0..3 {
        sim.remove("M", &id(5));
        assert!(mirror.sync(&sim, &[]).await.is_empty());
        sim.restore("M", &id(5));
        assert!(mirror.sync(&sim, &[]).await.is_empty());
    }
}

#[tokio::test]
async fn listing_that_failed_or_is_malformed_removes_nobody() {
    // The first listing is complete, the second one misses a row, and the third one must not count.
    for (spec, page, wanted) in [
        ("status=404", 1, 1),
        ("status=404", 3, 1),
        ("malformed-row", 2, 1),
        ("not-object-row", 3, 1),
        ("cycle", 2, 1),
        ("no-cursor", 3, 1),
        ("errcode=45009", 2, 75),
    ] {
        let mirror = Mirror::sqlite();
        let third = fault(&format!("{spec}@{}", 6 + page));
        let sim = start(Simulator::builder().enrollees(150).fault(third)).await;
        mirror.sync(&sim, &[]).await;
        sim.remove("M", &id(5));
        mirror.sync(&sim, &[]).await;
        let more = ["--max-attempts", "1", "--retry-after", "1ms"];
        let done = mirror.run(&sim, &more).await;
        assert_eq!((code(&done), &*lines(&done.stdout)), (wanted, &[][..]), "{spec}@{page}");
        assert!(mirror.roster().await.contains_key(&id(5)), "{spec}@{page}");
        // It does not reset the count either.
        let last = mirror.sync(&sim, &[]).await;
        assert_eq!(summary(&last), [("removed", &*id(5))], "{spec}@{page}");
        assert_eq!(mirror.roster().await, roster(&sim));
    }
}

#[tokio::test]
async fn listing_with_two_malformed_rows_in_a_row_removes_nobody() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60).fault(fault("malformed-row@3..8"))).await;
    mirror.sync(&sim, &[]).await;
    for _ in 0..3 {
        let done = mirror.run(&sim, &[]).await;
        assert_eq!((code(&done), done.stdout.len()), (1, 0), "{}", stderr(&done));
        assert!(
            stderr(&done).contains("malformed row: meeting M, page 1, row"),
            "{}",
            stderr(&done)
        );
    }
    assert_eq!(mirror.roster().await, roster(&sim));
}

#[tokio::test]
async fn listing_resumes_at_the_page_that_failed() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(500).fault(fault("status=404@6"))).await;
    let done = mirror.run(&sim, &["-q"]).await;
    assert_eq!((code(&done), lines(&done.stdout).len()), (1, 250), "{}", stderr(&done));
    let stored = "SELECT COUNT(*) FROM positions WHERE position IS NOT NULL";
    assert_eq!(mirror.count(stored).await, 5);
    let calls = sim.calls().list;
    assert_eq!(mirror.sync(&sim, &[]).await.len(), 250);
    assert_eq!(sim.calls().list - calls, 5);
    assert_eq!(mirror.count(stored).await, 0, "the listing has ended");
}

#[tokio::test]
async fn expired_cursor_starts_a_new_listing_by_itself() {
    let mirror = Mirror::sqlite();
    let sim = Simulator::builder().enrollees(200).fault(fault("status=404@3"));
    let sim = start(sim.fault(fault("errcode=50100@4"))).await;
    assert_eq!(code(&mirror.run(&sim, &[]).await), 1);
    let calls = sim.calls().list;
    let done = mirror.run(&sim, &[]).await;
    assert_eq!((code(&done), lines(&done.stdout).len()), (0, 100), "{}", stderr(&done));
    assert!(stderr(&done).contains("the cursor has expired"), "{}", stderr(&done));
    assert_eq!((sim.calls().list - calls, mirror.roster().await), (1 + 4, roster(&sim)));

    // A cursor that expires again in the new listing is an error, not an endless loop.
    let mirror = Mirror::sqlite();
    let sim =
        start(Simulator::builder().enrollees(200).fault(fault("errcode=50100@every:2"))).await;
    let done = mirror.run(&sim, &[]).await;
    assert_eq!((code(&done), sim.calls().list), (1, 4), "{}", stderr(&done));
    assert!(stderr(&done).contains("50100"), "{}", stderr(&done));
}

#[tokio::test]
async fn empty_listing_removes_nobody_unless_it_is_allowed() {
    let mirror = Mirror::sqlite();
    let full = start(Simulator::builder().enrollees(60)).await;
    mirror.sync(&full, &[]).await;
    let empty = start(Simulator::builder().enrollees(0)).await;
    for _ in 0..3 {
        let done = mirror.run(&empty, &[]).await;
        assert_eq!((code(&done), done.stdout.len()), (0, 0), "{}", stderr(&done));
        assert!(stderr(&done).contains("meeting M: the list is empty"), "{}", stderr(&done));
    }
    assert_eq!(mirror.roster().await, roster(&full));
    assert!(mirror.sync(&empty, &["--allow-empty"]).await.is_empty());
    let removed = mirror.sync(&empty, &["--allow-empty"]).await;
    assert!(removed.len() == 60 && removed.iter().all(|line| line["change"] == "removed"));
    // An empty table has nothing to lose.
    let done = mirror.run(&empty, &[]).await;
    assert!(!stderr(&done).contains("empty"), "{}", stderr(&done));
}

#[tokio::test]
async fn meetings_and_kinds_are_separate_lists() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().meeting("M", 60).meeting("N", 30)).await;
    assert_eq!(mirror.sync(&sim, &["N"]).await.len(), 90);
    assert_eq!(mirror.sync(&sim, &["--kind", "meeting"]).await.len(), 60);
    let sql =
        "SELECT list, meetingid, COUNT(*) FROM enrolls GROUP BY list, meetingid ORDER BY 1, 2";
    let found: Vec<_> = mirror.query(sql).await.into_iter().map(joined).collect();
    assert_eq!(found, ["meeting M 60", "webinar M 60", "webinar N 30"]);
    // A list that is not synchronized keeps its rows.
    for _ in 0..2 {
        assert!(mirror.sync(&sim, &[]).await.is_empty());
    }
    assert_eq!(mirror.count("SELECT COUNT(*) FROM enrolls WHERE removed_at IS NULL").await, 150);
}

#[tokio::test]
async fn listing_without_changes_writes_only_positions() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(500)).await;
    mirror.sync(&sim, &[]).await;
    let connection = rusqlite::Connection::open(mirror.path()).unwrap();
    connection.execute_batch("CREATE TABLE writes (name TEXT)").unwrap();
    for table in ["enrolls", "changes", "positions", "printed"] {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let sql = format!(
                "CREATE TRIGGER {table}_{event} AFTER {event} ON {table} BEGIN
                    INSERT INTO writes VALUES ('{table} {event}'); END"
            );
            connection.execute_batch(&sql).unwrap();
        }
    }
    drop(connection);
    assert!(mirror.sync(&sim, &[]).await.is_empty());
    let sql = "SELECT name, COUNT(*) FROM writes GROUP BY name ORDER BY name";
    let writes: Vec<_> = mirror.query(sql).await.into_iter().map(joined).collect();
    // One write per page, which is deleted at the end, and one for the whole listing.
    assert_eq!(writes, ["positions DELETE 10", "positions INSERT 10", "positions UPDATE 1"]);
}

#[tokio::test]
async fn last_seen_of_a_missing_row_is_the_last_complete_listing() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60)).await;
    mirror.sync(&sim, &[]).await;
    let connection = rusqlite::Connection::open(mirror.path()).unwrap();
    let earlier = "UPDATE enrolls SET last_seen = '2020-01-01 00:00:00', first_seen = last_seen;
        UPDATE positions SET completed_at = '2021-01-01 00:00:00'";
    connection.execute_batch(earlier).unwrap();
    drop(connection);
    sim.remove("M", &id(5));
    mirror.sync(&sim, &[]).await;
    mirror.sync(&sim, &[]).await;
    let sql = format!("SELECT last_seen, removed_at FROM enrolls WHERE enroll_id = '{}'", id(5));
    let row = mirror.query(&sql).await.remove(0);
    assert_eq!(row[0].as_deref(), Some("2021-01-01 00:00:00"));
    assert!(row[1] > row[0], "{row:?}");
}

#[tokio::test]
async fn times_are_in_utc_and_enroll_time_is_as_received() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(1)).await;
    let line = mirror.sync(&sim, &[]).await.remove(0);
    let sql =
        "SELECT enroll_time, enrolled_at, abs(julianday(first_seen) - julianday('now')) < 0.1,
        (SELECT strftime('%Y-%m-%dT%H:%M:%SZ', \"time\") FROM changes) FROM enrolls";
    let row = joined(mirror.query(sql).await.remove(0));
    let time = line["time"].as_str().unwrap();
    assert_eq!(row, format!("2023-03-23 10:00:00 2023-03-23 02:00:00 1 {time}"));
}

#[tokio::test]
async fn answers_view_has_one_row_per_answer() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(60)).await;
    let rows = mirror.sync(&sim, &[]).await;
    assert_eq!(mirror.count("SELECT COUNT(*) FROM answers").await, 300);
    let sql = "SELECT enroll_id, question_num, question_title, question_type, answer FROM answers
        ORDER BY enroll_id, question_num";
    let wanted = rows.iter().flat_map(|line| {
        let answers = line["row"]["answer_list"].as_array().unwrap();
        answers.iter().map(move |answer| {
            let contents = answer["answer_content"].as_array().unwrap();
            let contents: Vec<_> = contents.iter().map(|text| text.as_str().unwrap()).collect();
            let texts =
                [&line["enroll_id"], &answer["question_title"]].map(|text| text.as_str().unwrap());
            let numbers = [&answer["question_num"], &answer["question_type"]].map(Value::to_string);
            let [num, kind] = numbers;
            [texts[0].to_owned(), num, texts[1].to_owned(), kind, contents.join("; ")].map(Some)
        })
    });
    assert_eq!(mirror.query(sql).await, wanted.collect::<Vec<_>>());
}

/// `WECOM_ENROLL_SYNC_ROWS` is the number of rows of the longer list.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sync_memory_does_not_grow_with_the_list() {
    let all = env::var("WECOM_ENROLL_SYNC_ROWS").map_or(10_000, |rows| rows.parse().unwrap());
    let (few, many) = (Mirror::sqlite(), Mirror::sqlite());
    let peak = async |mirror: &Mirror, rows: u64| {
        let args = ["sync", "--demo", &rows.to_string(), "--database", &mirror.url, "-q"];
        crate::cli::export::peak(&args).await
    };
    // The second listing compares, and the fourth one removes half of the rows.
    for rows in [all, all, all / 2, all / 2] {
        let (few, many) = (peak(&few, rows / 10).await, peak(&many, rows).await);
        assert!(few > 5000 && many < few + 3000, "{rows} rows: {few} kB, then {many} kB");
    }
    let removed = "SELECT COUNT(*) FROM enrolls WHERE removed_at IS NOT NULL";
    assert_eq!(many.count(removed).await, all / 2);
}
