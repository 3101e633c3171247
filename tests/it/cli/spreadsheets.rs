//! `export --excel`: CSV in which text stays text and formulas are harmless.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use wecom_enroll::simulator::Simulator;

use super::{code, finish, run, serve_rows, stderr, with_token};
use crate::http::{expected, fault, start};

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the header and the rows, all of which have the same number of columns.
fn records(csv: &[u8]) -> (csv::StringRecord, Vec<csv::StringRecord>) {
    let mut csv = csv::Reader::from_reader(csv.strip_prefix(MARK).unwrap_or(csv));
    (csv.headers().unwrap().clone(), csv.records().map(Result::unwrap).collect())
}

#[tokio::test]
async fn excel_csv_has_a_mark_no_formulas_and_digits_as_text() {
    let meeting = "=HYPERLINK(1)";
    let plain = run(&["export", "--demo", "120", meeting, "--format", "csv", "-q"]).await;
    let done = run(&["export", "--demo", "120", meeting, "--excel", "-q"]).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    assert!(done.stdout.starts_with(MARK) && !plain.stdout.starts_with(MARK));
    assert_eq!(done.stdout.windows(3).filter(|bytes| *bytes == MARK).count(), 1);
    let ((header, rows), (plain_header, plain_rows)) =
        (records(&done.stdout), records(&plain.stdout));
    assert_eq!((&header, rows.len()), (&plain_header, 120));
    for (row, plain) in rows.iter().zip(&plain_rows) {
        assert_eq!((&row[0], &plain[0]), ("'=HYPERLINK(1)", meeting));
        assert_eq!(row[1], format!("\t{}", &plain[1]), "an ID is text");
        assert_eq!(row[2], plain[2], "a time is not changed");
        for (cell, plain) in row.iter().zip(plain) {
            assert_eq!(cell.trim_start_matches(['\t', '\'']), plain);
        }
        // A phone number, in an answer or as the nickname.
        let phones =
            |row: &csv::StringRecord, start| row.iter().skip(4).any(|c| c.starts_with(start));
        assert!(!phones(row, "13"), "{row:?}");
    }
    assert!(rows.iter().any(|row| row.iter().skip(9).any(|cell| cell.starts_with("\t13"))));
}

#[tokio::test]
async fn excel_with_another_format_is_a_usage_error() {
    for case in [
        &["-o", "rows.xlsx"][..],
        &["-o", "rows.jsonl"],
        &["--format", "jsonl"],
        &["--format", "xlsx"],
    ] {
        let done = run(&[&["export", "--demo", "1", "--excel"], case].concat()).await;
        assert_eq!(code(&done), 2, "{case:?}");
        assert!(stderr(&done).contains("--excel requires csv"), "{}", stderr(&done));
    }
    let directory = TempDir::new().unwrap();
    for (name, more) in
        [("rows.csv", &[][..]), ("rows.txt", &[]), ("rows", &[]), ("a.jsonl", &["--format", "csv"])]
    {
        let path = directory.path().join(name);
        let args = ["export", "--demo", "0", "--excel", "-q", "-o", path.to_str().unwrap()];
        let done = run(&[&args[..], more].concat()).await;
        assert_eq!(code(&done), 0, "{name}: {}", stderr(&done));
        let written = fs::read(&path).unwrap();
        assert!(
            written.starts_with(b"\xef\xbb\xbf\"meetingid\",\"enroll_id\""),
            "even for an empty list"
        );
    }
}

#[tokio::test]
async fn resumed_excel_csv_has_one_mark_and_requires_excel() {
    let directory = TempDir::new().unwrap();
    let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
    let (output, checkpoint) = (path("rows.csv"), path("at.json"));
    for excel in [true, false] {
        let sim = start(Simulator::builder().enrollees(230).fault(fault("errcode=60020@4"))).await;
        let url = sim.base_url();
        let mut args = vec!["export", "--base-url", &url, "M", "-q", "--read-ahead", "0"];
        args.extend(["-o", &output, "--checkpoint", &checkpoint]);
        let flags = [args.clone(), [&args[..], &["--excel"]].concat()];
        let (right, wrong) = (&flags[usize::from(excel)], &flags[usize::from(!excel)]);
        assert_eq!(code(&run(right).await), 1);
        let saved: Value = serde_json::from_slice(&fs::read(&checkpoint).unwrap()).unwrap();
        let half = fs::read(&output).unwrap();
        assert_eq!((&saved["length"], records(&half).1.len()), (&half.len().into(), 150));
        // Every version writes this for CSV without --excel.
        assert_eq!(saved["arguments"]["format"] == "csv", !excel);
        let refused = run(wrong).await;
        assert_eq!(code(&refused), 2);
        let wanted = if excel { "is csv --excel, not csv;" } else { "is csv, not csv --excel;" };
        assert!(stderr(&refused).contains(wanted), "{}", stderr(&refused));
        assert_eq!(code(&run(right).await), 0);
        let whole = fs::read(&output).unwrap();
        assert_eq!(whole.windows(3).filter(|bytes| *bytes == MARK).count(), usize::from(excel));
        let ids = records(&whole).1.into_iter().map(|row| row[1].trim().to_owned());
        assert_eq!(ids.collect::<Vec<_>>(), expected(230));
        fs::remove_file(&checkpoint).unwrap();
    }
}

#[tokio::test]
async fn column_names_of_csv_are_unique_and_not_empty() {
    let titles = ["nick_name", "other_answers", "", "Status", "status"];
    let answers = titles.map(|title| json!({"question_title": title, "answer_content": title}));
    let url =
        serve_rows(&json!([{"enroll_id": 1, "nick_name": "A", "answer_list": answers}])).await;
    for more in ["--format=csv", "--excel"] {
        let done = finish(with_token(&["export", "M", "-q", "--base-url", &url, more])).await;
        assert_eq!((code(&done), &*stderr(&done)), (0, ""));
        let (header, rows) = records(&done.stdout);
        let cell = |name: &str| &rows[0][header.iter().position(|title| title == name).unwrap()];
        assert_eq!(header.len(), 9 + titles.len() + 1);
        assert_eq!((cell("nick_name"), cell("nick_name (2)")), ("A", "nick_name"));
        assert_eq!((cell("other_answers"), cell("other_answers (2)")), ("", "other_answers"));
        assert_eq!((cell("question"), cell("status")), ("", "0"));
        assert_eq!((cell("Status (2)"), cell("status (3)")), ("Status", "status"));
    }
}

#[tokio::test]
async fn texts_that_a_workbook_cannot_hold_are_reported_once() {
    let long = "😀".repeat(20_000);
    let answers = json!([{"question_title": "\u{ffff}", "answer_content": long}]);
    let rows = json!([
        {"enroll_id": 1, "nick_name": "a\u{fffe}", "answer_list": answers},
        {"enroll_id": 2, "nick_name": "b\u{1}"},
        {"enroll_id": 3, "nick_name": "_x0041_\r\n😀", "userid": "\u{85}"},
    ]);
    let url = serve_rows(&rows).await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("rows.xlsx");
    let args = ["export", "M", "--base-url", &url, "-o", path.to_str().unwrap()];
    let done = finish(with_token(&args)).await;
    let printed = stderr(&done);
    assert_eq!((code(&done), printed.lines().count()), (0, 2), "{printed}");
    assert!(
        printed.starts_with("warning: 4 texts were changed, because an XLSX cell"),
        "{printed}"
    );
    let done = finish(with_token(&[&args[..], &["-q"]].concat())).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    let done =
        finish(with_token(&["export", "M", "-q", "--base-url", &url, "--format", "csv"])).await;
    let (header, rows) = records(&done.stdout);
    assert_eq!((&header[9], &rows[0][9]), ("\u{ffff}", &*long), "CSV keeps texts whole");
    assert_eq!((&rows[0][4], &rows[1][4]), ("a\u{fffe}", "b\u{1}"));
}

/// Exports one row per page as CSV. Returns standard error, the header and the rows.
async fn one_row_per_page(
    sim: &Simulator,
    more: &[&str],
) -> (String, csv::StringRecord, Vec<csv::StringRecord>) {
    let url = sim.base_url();
    let args = ["export", "--base-url", &url, "--retry-base", "1ms", "--format", "csv", "M"];
    let done = run(&[&args[..], &["--page-size", "1"], more].concat()).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let (header, rows) = records(&done.stdout);
    (stderr(&done), header, rows)
}

/// Returns whether a row has an answer without a column.
fn has_other_answers(rows: &[csv::StringRecord]) -> bool {
    rows.iter().any(|row| !row.iter().next_back().unwrap().is_empty())
}

#[tokio::test]
async fn columns_are_those_of_the_settings() {
    let sim = start(Simulator::builder().enrollees(40)).await;
    let (_, header, rows) = one_row_per_page(&sim, &[]).await;
    // The first page answers only five of the six questions.
    assert_eq!((header.len(), rows.len(), has_other_answers(&rows)), (9 + 6 + 1, 40, false));
    assert_eq!(sim.calls().get_config, 1);
    // The order is that of the settings, and a question of two meetings has one column.
    assert_eq!(
        (&header[9], &header[14]),
        ("您的岗位是?(单选)", "您所在的公司名称(与营业执照一致)")
    );
    let (_, two, rows) = one_row_per_page(&sim, &["N"]).await;
    assert_eq!((two, rows.len(), sim.calls().get_config), (header, 80, 3));

    let directory = TempDir::new().unwrap();
    let path = directory.path().join("rows.xlsx");
    let url = sim.base_url();
    for (format, calls) in [("xlsx", 4), ("jsonl", 4)] {
        let output = ["--format", format, "-o", path.to_str().unwrap()];
        let done = run(&[&["export", "--base-url", &url, "M"][..], &output].concat()).await;
        assert_eq!((code(&done), sim.calls().get_config), (0, calls), "{format}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_read_leave_the_first_page() {
    for spec in ["get_config:errcode=48002", "get_config:status=404", "get_config:cut@1..4"] {
        let sim = start(Simulator::builder().enrollees(40).fault(fault(spec))).await;
        let (printed, header, rows) = one_row_per_page(&sim, &["-q"]).await;
        assert_eq!((header.len(), rows.len()), (9 + 5 + 1, 40), "{spec}");
        assert!(has_other_answers(&rows) && printed.is_empty(), "{spec}: {printed}");
    }
    // Each meeting counts for itself, and a list that cannot be read needs no settings.
    let sim =
        start(Simulator::builder().enrollees(40).fault(fault("get_config:errcode=48002@1"))).await;
    let (_, header, rows) = one_row_per_page(&sim, &["N", "--concurrency", "1"]).await;
    assert_eq!((header.len(), rows.len(), has_other_answers(&rows)), (9 + 6 + 1, 80, false));
    let sim = start(Simulator::builder().fault(fault("errcode=48002"))).await;
    let done = run(&["export", "--base-url", &sim.base_url(), "M", "--excel"]).await;
    assert_eq!((code(&done), sim.calls().get_config), (1, 0));
}

#[tokio::test]
async fn resumed_csv_keeps_the_columns_of_the_file() {
    for (spec, columns) in
        [("get_config:errcode=48002@1", 9 + 5 + 1), ("get_config:errcode=48002@2..9", 9 + 6 + 1)]
    {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("rows.csv");
        let checkpoint = directory.path().join("at.json");
        let sim = Simulator::builder().enrollees(40).fault(fault("status=404@11"));
        let sim = start(sim.fault(fault(spec))).await;
        let url = sim.base_url();
        let args = ["export", "--base-url", &url, "M", "--page-size", "1", "--read-ahead", "0"];
        let files = ["-o", path.to_str().unwrap(), "--checkpoint", checkpoint.to_str().unwrap()];
        for wanted in [1, 0] {
            let done = run(&[&args[..], &files].concat()).await;
            assert_eq!(code(&done), wanted, "{}", stderr(&done));
        }
        let (header, rows) = records(&fs::read(&path).unwrap());
        assert_eq!((header.len(), rows.len()), (columns, 40), "{spec}");
        let ids = rows.iter().map(|row| row[1].to_owned());
        assert!(ids.eq(expected(40)), "{spec}");
        assert_eq!(sim.calls().get_config, 1, "the columns are in the checkpoint");
    }
}
