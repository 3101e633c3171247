//! `export`: rows, formats, outputs, and how errors end it.

use std::{fs, process::Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{Instant, sleep, timeout},
};
use wecom_enroll::simulator::Simulator;

use super::{EXE, Files, LIMIT, MS, code, command, finish, ids, run, signal, stderr, text};
use crate::http::{expected, fault, start};

/// Returns the peak memory of a command in kB. Linux only.
#[cfg(target_os = "linux")]
pub(super) async fn peak(args: &[&str]) -> u64 {
    let mut child = command(EXE, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (status, mut peak) = (format!("/proc/{}/status", child.id().unwrap()), 0);
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < LIMIT, "in time");
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = kb.unwrap_or(peak);
        sleep(5 * MS).await;
    }
    peak
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_rows() {
    let directory = TempDir::new().unwrap();
    let book = directory.path().join("rows.xlsx");
    for (command, more) in [("summary", &[][..]), ("export", &["-o", text(&book)])] {
        let peak = async |rows| peak(&[&[command, "--demo", rows], more].concat()).await;
        let (few, many) = (peak("3000").await, peak("30000").await);
        assert!(few > 5000 && many < few + 3000, "{command}: {few} kB, then {many} kB");
    }
}

#[tokio::test]
async fn export_of_a_demo_writes_all_rows_and_a_summary_line() {
    let files = Files::new();
    let done = run(&["export", "--demo", "2000", "-o", text(&files.output)]).await;
    assert_eq!((code(&done), done.stdout.len()), (0, 0), "{}", stderr(&done));
    assert_eq!(files.ids(), expected(2000));
    let summary = stderr(&done);
    assert!(summary.contains("2,000 rows, 40 pages, 0 retries; calls waited"), "{summary}");
    assert_eq!(summary.lines().count(), 1);
}

#[tokio::test]
async fn json_line_has_the_field_names_of_the_api() {
    let done = run(&["export", "--demo", "3", "M\"1", "-q"]).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    for line in std::str::from_utf8(&done.stdout).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let wanted = [
            "enroll_id",
            "enroll_time",
            "enroll_source_type",
            "nick_name",
            "status",
            "userid",
            "tmp_openid",
            "enroll_code",
            "answer_list",
            "meetingid",
        ];
        assert_eq!(row.as_object().unwrap().len(), wanted.len());
        let positions = wanted.map(|name| line.find(&format!("\"{name}\":")));
        assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{line}");
        assert_eq!(row["meetingid"], "M\"1");
        assert!(row["enroll_id"].is_string() && row["status"].is_u64());
        assert!(row["answer_list"][1]["answer_content"].is_array());
    }
}

#[tokio::test]
async fn format_is_chosen_by_extension() {
    let directory = TempDir::new().unwrap();
    for (name, start) in [
        ("a.CSV", "meetingid,"),
        ("b.xlsx", "PK"),
        ("c.json", "{"),
        ("d.jsonl", "{"),
        ("e.ndjson", "{"),
        ("f", "{"),
        (".csv", "{"),
    ] {
        let path = directory.path().join(name);
        assert_eq!(code(&run(&["export", "--demo", "1", "-q", "-o", text(&path)]).await), 0);
        assert!(fs::read(&path).unwrap().starts_with(start.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn csv_has_one_column_per_question() {
    let files = Files::new();
    let path = files.output.with_extension("csv");
    let done = run(&["export", "--demo", "120", "A", "B", "-o", text(&path)]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let mut csv = csv::Reader::from_path(&path).unwrap();
    let header = csv.headers().unwrap().clone();
    assert_eq!(
        header.iter().take(3).collect::<Vec<_>>(),
        ["meetingid", "enroll_id", "enroll_time"]
    );
    // At least five questions.
    assert_eq!(header.iter().next_back(), Some("other_answers"));
    assert!(header.len() > 9 + 5);
    let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
    for meeting in ["A", "B"] {
        let of = rows.iter().filter(|row| &row[0] == meeting).map(|row| row[1].to_owned());
        assert_eq!(of.collect::<Vec<_>>(), expected(120), "the server's order");
    }
}

#[tokio::test]
async fn xlsx_requires_a_file() {
    let files = Files::new();
    let path = files.output.with_extension("xlsx");
    let done = run(&["export", "--demo", "120", "-o", text(&path)]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(fs::read(&path).unwrap().starts_with(b"PK\x03\x04"));
    assert_eq!(code(&run(&["export", "--demo", "1", "--format", "xlsx"]).await), 2);
}

#[tokio::test]
async fn stdout_is_not_the_file_with_the_name_of_a_dash() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("-"), "precious").unwrap();
    for more in [["--format", "xlsx"], ["--checkpoint", "at.json"]] {
        let mut export = command(EXE, &[&["export", "--demo", "1"][..], &more].concat());
        export.current_dir(directory.path());
        let done = finish(export).await;
        assert_eq!((code(&done), done.stdout.len()), (2, 0), "{more:?}: {}", stderr(&done));
        assert!(stderr(&done).contains("--output"), "{}", stderr(&done));
    }
}

#[tokio::test]
async fn missing_directory_is_reported_as_such() {
    let directory = TempDir::new().unwrap();
    let args = ["export", "--demo", "1", "-o", "missing/a", "--checkpoint", "missing/b"];
    let mut export = command(EXE, &args);
    export.current_dir(directory.path());
    let done = finish(export).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert!(stderr(&done).contains("cannot open the output missing/a"), "{}", stderr(&done));
}

#[tokio::test]
async fn kind_status_and_page_size_are_requested() {
    let sim = start(Simulator::builder().enrollees(100)).await;
    let url = sim.base_url();
    let args = [
        "export",
        "--base-url",
        &url,
        "M",
        "--kind",
        "meeting",
        "--status",
        "pending",
        "--page-size",
        "3",
        "--read-ahead",
        "0",
        "-q",
    ];
    let done = run(&args).await;
    assert_eq!((code(&done), ids(&done.stdout).len()), (0, 10));
    assert_eq!(sim.calls().list, 4);
}

#[tokio::test]
async fn error_of_one_meeting_does_not_end_the_others() {
    let files = Files::new();
    let sim = Simulator::builder().enrollees(300).fault(fault("errcode=730005@5"));
    let sim = start(sim).await;
    let url = sim.base_url();
    let args = files.export(&url, &["A", "B", "C", "D", "--read-ahead", "0", "--concurrency", "2"]);
    let done = run(&args).await;
    assert_eq!(code(&done), 1);
    let rows = files.ids().len();
    assert!((900..1200).contains(&rows), "three complete meetings and a part of one: {rows}");
    // The fault does not occur again, so the second run completes the export.
    assert_eq!(code(&run(&args).await), 0);
    let lines = fs::read_to_string(&files.output).unwrap();
    for meeting in ["A", "B", "C", "D"] {
        let of =
            lines.lines().filter(|line| line.contains(&format!("\"meetingid\":\"{meeting}\"")));
        let of = of.flat_map(|line| [line, "\n"]).collect::<String>();
        assert_eq!(ids(of.as_bytes()), expected(300), "{meeting}");
    }
}

#[tokio::test]
async fn malformed_rows_are_named_and_others_delivered() {
    let files = Files::new();
    let sim = Simulator::builder().enrollees(150).fault(fault("malformed-row@2"));
    let sim = start(sim.fault(fault("not-object-row@3"))).await;
    let url = sim.base_url();
    let args = files.export(&url, &["M"]);
    let done = run(&args).await;
    let printed = stderr(&done);
    assert_eq!((code(&done), files.ids().len()), (1, 148), "{printed}");
    let id = Simulator::enroll_id(75);
    for wanted in [
        &*format!(
            "malformed row: meeting M, page 2, row 26, enroll_id {id}: invalid `answer_list`\n"
        ),
        "malformed row: meeting M, page 3, row 26: not an object\n",
        "2 malformed rows",
    ] {
        assert!(printed.contains(wanted), "{printed}");
    }
    // The complete checkpoint reports the malformed rows again, and nothing is sent.
    let before = sim.calls().list;
    let again = run(&args).await;
    assert_eq!((code(&again), sim.calls().list), (1, before), "{}", stderr(&again));
}

#[cfg(unix)]
#[tokio::test]
async fn closed_pipe_ends_export_with_0() {
    let done = finish(command("sh", &["-c", "\"$0\" export --demo 20000 | head -n 1", EXE])).await;
    assert_eq!((done.stdout.split(|&b| b == b'\n').count(), &*stderr(&done)), (2, ""));
    let script = "{ \"$0\" export --demo 20000; echo $? >&2; } | head -n 1";
    let done = finish(command("sh", &["-c", script, EXE])).await;
    assert_eq!(stderr(&done), "0\n");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk_is_reported_and_export_can_be_resumed() {
    for args in [vec!["-o", "/dev/full"], vec![]] {
        let script = if args.is_empty() { "exec \"$@\" > /dev/full" } else { "exec \"$@\"" };
        let all = [vec!["-c", script, "sh", EXE, "export", "--demo", "100"], args].concat();
        let done = finish(command("sh", &all)).await;
        assert_eq!(code(&done), 1);
        assert!(stderr(&done).contains("cannot write to"), "{}", stderr(&done));
    }
    // The file may first grow to 100 KiB only.
    let files = Files::new();
    let sim = start(Simulator::builder().enrollees(1000)).await;
    let url = sim.base_url();
    let export = files.export(&url, &["M"]);
    let limited = "trap '' XFSZ; ulimit -f 200; exec \"$@\"";
    let done = finish(command("sh", &[&["-c", limited, "sh", EXE], &*export].concat())).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert!(stderr(&done).contains("cannot write to"), "{}", stderr(&done));
    assert_eq!(code(&run(&export).await), 0);
    assert_eq!(files.ids(), expected(1000));
}

#[tokio::test]
async fn second_export_to_the_same_output_is_refused() {
    let files = Files::new();
    let sim = start(Simulator::builder().enrollees(500).latency(50 * MS)).await;
    let url = sim.base_url();
    let args = files.export(&url, &["M"]);
    let mut first = command(EXE, &args).spawn().unwrap();
    while sim.calls().list == 0 {
        sleep(MS).await;
    }
    let second = run(&args).await;
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains("another process"), "{}", stderr(&second));
    assert!(timeout(LIMIT, first.wait()).await.unwrap().unwrap().success());
    assert_eq!(files.ids(), expected(500));
}

#[cfg(unix)]
#[tokio::test]
async fn export_survives_faults_in_a_third_of_responses() {
    let mut args = vec!["simulate", "--enrollees", "6000"];
    for spec in [
        "reset@5%",
        "reset-body@5%",
        "cut@5%",
        "status=500@5%",
        "status=502@5%",
        "errcode=-1@5%",
        "errcode=45033@5%",
        "hang@1%",
        "slow=300ms@2%",
    ] {
        args.extend(["--fault", spec]);
    }
    let mut server = command(EXE, &args).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    for ahead in ["0", "1", "3"] {
        let files = Files::new();
        let more = ["M", "--read-ahead", ahead, "--timeout", "200ms", "--max-attempts", "99"];
        let done = run(&files.export(&url, &more)).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        assert!(files.ids() == expected(6000), "{ahead} ahead");
    }
    signal(&server, "-INT").await;
    assert_eq!(timeout(LIMIT, server.wait()).await.unwrap().unwrap().code(), Some(130));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hostile_responses_use_bounded_memory() {
    for spec in ["gzip-bomb", "endless", "deep"] {
        let sim = start(Simulator::builder().fault(fault(spec))).await;
        let url = sim.base_url();
        let script = "ulimit -v 600000; exec \"$@\"";
        let args = ["-c", script, "sh", EXE, "export", "--base-url", &url, "M", "-q"];
        let done = finish(command("sh", &args)).await;
        assert_eq!(code(&done), 1, "{spec}: {}", stderr(&done));
        assert!(stderr(&done).contains(if spec == "deep" { "malformed row" } else { "8388608" }));
    }
}

#[tokio::test]
async fn rows_reach_a_pipe_before_the_list_ends() {
    let sim = start(Simulator::builder().enrollees(100).fault(fault("hang@2"))).await;
    let url = sim.base_url();
    let mut child = command(EXE, &["export", "--base-url", &url, "M"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..50 {
        assert!(timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().is_some());
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn export_without_rows_keeps_the_earlier_output() {
    for more in [&[][..], &["--checkpoint", "at.json"], &["--format", "csv"], &["--format", "xlsx"]]
    {
        let files = Files::new();
        fs::write(&files.output, "precious").unwrap();
        let sim = start(Simulator::builder().fault(fault("errcode=60020@1..2"))).await;
        let url = sim.base_url();
        let directory = files.output.parent().unwrap();
        for wanted in [1, 1, 0] {
            let args = ["export", "--base-url", &url, "M", "-q", "-o", text(&files.output)];
            let mut export = command(EXE, &[&args[..], more].concat());
            let done = finish({
                export.current_dir(directory);
                export
            })
            .await;
            assert_eq!(code(&done), wanted, "{}", stderr(&done));
            let kept = fs::read(&files.output).unwrap() == b"precious";
            assert_eq!(kept, wanted == 1, "{more:?}");
        }
        if more.first() != Some(&"--format") {
            assert_eq!(files.ids(), expected(100));
        }
    }
    // An empty list is a result.
    let files = Files::new();
    fs::write(&files.output, "precious").unwrap();
    let done = run(&["export", "--demo", "0", "-o", text(&files.output)]).await;
    assert_eq!((code(&done), fs::read(&files.output).unwrap().len()), (0, 0));
}

#[tokio::test]
async fn columns_are_those_of_the_first_meeting_with_rows() {
    // The first page of A is delayed, and the meeting before it is empty.
    let sim = Simulator::builder().enrollees(60).meeting("EMPTY", 0);
    let sim = start(sim.fault(fault("latency=150ms@2"))).await;
    let url = sim.base_url();
    let done = run(&["export", "--base-url", &url, "EMPTY", "A", "B", "--format", "csv"]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let mut csv = csv::Reader::from_reader(&*done.stdout);
    let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[0][0]), (120, "A"), "A comes first and determines the columns");
}
