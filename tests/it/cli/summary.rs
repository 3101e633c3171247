//! `summary`: what it counts, its formats, and its exit codes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use wecom_enroll::simulator::Simulator;

use super::{EXE, MS, code, command, finish, run, signal, stderr};
use crate::http::{fault, start};

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

fn object(output: &[u8]) -> Value {
    assert_eq!(text(output).lines().count(), 1);
    serde_json::from_slice(output).unwrap()
}

fn count(counts: &mut BTreeMap<String, u64>, value: impl ToString) {
    *counts.entry(value.to_string()).or_default() += 1;
}

/// Returns the counts of `[{key: .., "count": ..}]`.
fn counts(list: &Value, key: &str) -> BTreeMap<String, u64> {
    let pair =
        |one: &Value| (one[key].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap());
    list.as_array().unwrap().iter().map(pair).collect()
}

#[tokio::test]
async fn summary_agrees_with_an_export_of_the_same_rows() {
    for (kind, meetings) in [("webinar", &["A", "B"][..]), ("meeting", &["A"])] {
        // Enough rows for two days.
        let lists = [&["--demo", "7300", "--kind", kind, "-q"], meetings].concat();
        let rows = 7300 * meetings.len();
        let export = run(&[&["export"], &lists[..]].concat()).await;
        let done = run(&[&["summary", "--format", "json"], &lists[..]].concat()).await;
        assert_eq!((code(&done), &*stderr(&done)), (0, ""));
        let summary = object(&done.stdout);

        let [mut statuses, mut sources, mut days, mut companies] = [const { BTreeMap::new() }; 4];
        let mut choices = BTreeMap::<u64, BTreeMap<_, _>>::new();
        for line in text(&export.stdout).lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            count(&mut statuses, &row["status"]);
            count(&mut sources, &row["enroll_source_type"]);
            count(&mut days, row["enroll_time"].as_str().unwrap()[..10].replace('/', "-"));
            for answer in row["answer_list"].as_array().unwrap() {
                let contents = answer["answer_content"].as_array().unwrap().iter();
                for content in contents.map(|content| content.as_str().unwrap()) {
                    if answer["special_type"] == 5 {
                        count(&mut companies, content);
                    }
                    if answer["question_type"] != 3 {
                        let num = answer["question_num"].as_u64().unwrap();
                        count(choices.entry(num).or_default(), content);
                    }
                }
            }
        }
        assert_eq!(summary["rows"], rows);
        assert_eq!(
            (&summary["meetings"], &summary["malformed_rows"]),
            (&json!(meetings.len()), &json!(0))
        );
        assert_eq!(summary["complete"], true);
        for (key, wanted) in [("by_status", statuses), ("by_source", sources)] {
            let found = summary[key].as_object().unwrap().iter();
            let found = found.map(|(number, one)| (number.clone(), one["count"].as_u64().unwrap()));
            assert_eq!(found.collect::<BTreeMap<_, _>>(), wanted);
        }
        assert_eq!(summary["by_status"]["3"]["name"], "approved");
        assert_eq!(days.len(), 2);
        assert_eq!(counts(&summary["per_day"]["days"], "day"), days);
        assert_eq!(summary["per_day"]["unknown"], 0);
        assert_eq!(summary["company_answers"], companies.values().sum::<u64>());
        assert_eq!(counts(&summary["companies"], "name"), companies, "exact");
        let questions = summary["questions"].as_array().unwrap();
        assert_eq!(questions.len(), choices.len());
        for question in questions {
            let wanted = &choices[&question["num"].as_u64().unwrap()];
            assert_eq!(&counts(&question["answers"], "text"), wanted);
            assert_eq!((&question["answered"], &question["other"]), (&json!(rows), &json!(0)));
        }
    }
}

#[tokio::test]
async fn summary_text_in_a_pipe_has_80_columns() {
    let done = run(&["summary", "--demo", "2000"]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let shown = text(&done.stdout);
    assert!(
        shown.starts_with("2,000 rows of 1 meeting\n\nStatus\n  approved  1,600  80.0%  █"),
        "{shown}"
    );
    for words in ["manual", "2023-03-23", "A. 产品经理", "multiple choice", "Top companies"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // A Chinese character takes two columns.
    let columns = |line: &str| {
        line.chars().map(|c| if ('一'..='龥').contains(&c) { 2 } else { 1 }).sum::<usize>()
    };
    assert_eq!(shown.lines().map(columns).max(), Some(80));
    assert!(stderr(&done).starts_with("2,000 rows, 40 pages, 0 retries; calls waited"));
}

#[tokio::test]
async fn summary_applies_the_status_filter() {
    let done = run(&["summary", "--demo", "100", "--status", "pending", "--format", "json"]).await;
    let summary = object(&done.stdout);
    assert_eq!(summary["by_status"], json!({"1": {"name": "pending", "count": 10}}));
    let done = run(&["summary", "--demo", "0"]).await;
    assert_eq!((code(&done), text(&done.stdout)), (0, "0 rows of 1 meeting\n"));
}

#[tokio::test]
async fn summary_after_an_error_is_marked_incomplete() {
    for (spec, wanted) in [("errcode=730005@5", 1), ("status=503@5..99", 75)] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault(spec))).await;
        let url = sim.base_url();
        let args =
            ["summary", "--base-url", &url, "M", "--read-ahead", "0", "--retry-base", "1ms", "-q"];
        let done = run(&args).await;
        assert_eq!(code(&done), wanted, "{}", stderr(&done));
        assert!(text(&done.stdout).starts_with("200 rows of 1 meeting\nINCOMPLETE"), "{spec}");
        let printed = stderr(&done);
        assert!(
            printed.contains("meeting M stopped after 200 rows") && printed.lines().count() == 1,
            "{printed}"
        );
    }
    // An error of one meeting does not end the others.
    let sim = start(Simulator::builder().enrollees(300).fault(fault("errcode=730005@5"))).await;
    let url = sim.base_url();
    let done = run(&["summary", "--base-url", &url, "A", "B", "C", "--format", "json"]).await;
    let summary = object(&done.stdout);
    assert_eq!((code(&done), &summary["complete"]), (1, &json!(false)));
    assert!((600..900).contains(&summary["rows"].as_u64().unwrap()), "{summary}");
}

#[tokio::test]
async fn summary_counts_malformed_rows_and_is_complete() {
    let sim = Simulator::builder().enrollees(150).fault(fault("malformed-row@2"));
    let sim = start(sim).await;
    let url = sim.base_url();
    let done = run(&["summary", "--base-url", &url, "M", "--format", "json"]).await;
    let (printed, summary) = (stderr(&done), object(&done.stdout));
    assert_eq!(
        (code(&done), &summary["rows"], &summary["malformed_rows"]),
        (1, &json!(149), &json!(1))
    );
    assert_eq!(summary["complete"], true);
    assert!(
        printed.contains("page 2, row 26, enroll_id") && printed.contains("1 malformed row;"),
        "{printed}"
    );
}

#[tokio::test]
async fn summary_has_the_exit_codes_of_export() {
    for case in [
        &[][..],
        &["M", "--page-size", "51"],
        &["M", "M"],
        &["M", "--format", "csv"],
        &["M", "--concurrency", "0"],
        &["M", "--checkpoint", "at.json"],
        &["M", "--base-url", "http://example.com"],
    ] {
        let done = run(&[&["summary"], case].concat()).await;
        assert_eq!((code(&done), done.stdout.len()), (2, 0), "{case:?}: {}", stderr(&done));
    }
    // No server listens on this port.
    let args = [
        "summary",
        "--base-url",
        "http://127.0.0.1:1",
        "M",
        "--max-attempts",
        "1",
        "--format",
        "json",
    ];
    let done = run(&args).await;
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    assert_eq!(object(&done.stdout)["complete"], false);
    let sim = start(Simulator::builder().fault(fault("gettoken:errcode=40001"))).await;
    let done = run(&["summary", "--base-url", &sim.base_url(), "A", "B", "C", "-q"]).await;
    assert_eq!((code(&done), sim.calls().list), (1, 0), "{}", stderr(&done));
    assert!(stderr(&done).ends_with("there is no access token\n"), "{}", stderr(&done));
}

#[cfg(unix)]
#[tokio::test]
async fn summary_after_an_interruption_is_printed() {
    let sim =
        start(Simulator::builder().enrollees(500).latency(20 * MS).fault(fault("hang@4"))).await;
    let url = sim.base_url();
    let child =
        command(EXE, &["summary", "--base-url", &url, "M", "--read-ahead", "0"]).spawn().unwrap();
    while sim.calls().list < 4 {
        sleep(MS).await;
    }
    sleep(30 * MS).await;
    signal(&child, "-INT").await;
    let done = timeout(5000 * MS, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(code(&done), 130, "{}", stderr(&done));
    assert!(
        text(&done.stdout).starts_with("150 rows of 1 meeting\nINCOMPLETE"),
        "{}",
        text(&done.stdout)
    );
}

#[cfg(unix)]
#[tokio::test]
async fn closed_pipe_ends_summary_with_0() {
    let script = "{ sleep 1; \"$0\" summary --demo 2000 -q; echo $? >&2; } | true";
    let done = finish(command("sh", &["-c", script, EXE])).await;
    assert_eq!(stderr(&done), "0\n");
}
