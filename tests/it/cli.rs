//! The command line as a contract: exit codes, files, checkpoints, signals, silence about secrets.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use wecom_enroll::simulator::{Simulator, SimulatorBuilder};

use crate::http::{expected, fault, start};

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_wecom-enroll");
pub(crate) const MS: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("WECOM_CORP_ID", Simulator::CORP_ID)
        .env("WECOM_CORP_SECRET", Simulator::SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn finish(mut command: Command) -> Output {
    timeout(LIMIT, command.output()).await.expect("in time").unwrap()
}

pub(crate) async fn run(args: &[&str]) -> Output {
    finish(command(EXE, args)).await
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn ids(jsonl: &[u8]) -> Vec<String> {
    let row = |line| serde_json::from_str::<Value>(line).unwrap();
    let text = std::str::from_utf8(jsonl).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| row(line)["enroll_id"].as_str().unwrap().to_owned()).collect()
}

/// A folder with an output and a checkpoint in it.
struct Files {
    _folder: TempDir,
    output: PathBuf,
    checkpoint: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (output, checkpoint) =
            (folder.path().join("rows.jsonl"), folder.path().join("at.json"));
        Self { _folder: folder, output, checkpoint }
    }

    fn export<'a>(&'a self, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["export", "--base-url", url, "--retry-base", "1ms", "-o"];
        args.extend([text(&self.output), "--checkpoint", text(&self.checkpoint)]);
        args.extend(more);
        args
    }

    fn ids(&self) -> Vec<String> {
        ids(&fs::read(&self.output).unwrap())
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) async fn signal(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// As in a terminal of a person's: one that both output and errors go to. `None`, and loudly: this
/// machine cannot make one.
async fn in_a_terminal(line: &str) -> Option<String> {
    let mut script = command("script", &["-qefc", line, "/dev/null"]);
    script.env("TERM", "xterm").env("EXE", EXE);
    match timeout(LIMIT, script.output()).await.expect("in time") {
        Ok(done) => Some(String::from_utf8(done.stdout).unwrap()),
        Err(e) => {
            println!("SKIPPED: no terminal without util-linux's script: {e}");
            None
        }
    }
}

#[tokio::test]
async fn rows_on_a_terminal_are_not_torn_by_a_bar_and_rows_elsewhere_get_one() {
    let line = r#""$EXE" export --demo 6 --page-size 1 --quota 2/500ms"#;
    let Some(seen) = in_a_terminal(line).await else { return };
    let lines: Vec<_> = seen.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 7, "{seen:?}");
    assert_eq!(ids((lines[..6].join("\n") + "\n").as_bytes()), expected(6));
    assert!(lines[6].starts_with("6 rows, 6 pages"), "{seen:?}");
    let Some(seen) = in_a_terminal(&format!("{line} -o /dev/null")).await else { return };
    assert!(seen.contains("rows/s") && seen.contains("quota: 1 s"), "{seen:?}");
    let Some(seen) = in_a_terminal(&format!("{line} -q -o /dev/null")).await else { return };
    assert_eq!(seen, "");
}

/// The most memory that a command has had at once, in kB. Linux only.
#[cfg(target_os = "linux")]
async fn peak(args: &[&str]) -> u64 {
    let mut child = command(EXE, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (status, mut peak) = (format!("/proc/{}/status", child.id().unwrap()), 0);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < LIMIT, "in time");
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
async fn ten_times_the_rows_take_no_more_memory() {
    let folder = TempDir::new().unwrap();
    let book = folder.path().join("rows.xlsx");
    for (command, more) in [("summary", &[][..]), ("export", &["-o", text(&book)])] {
        let peak = async |rows| peak(&[&[command, "--demo", rows], more].concat()).await;
        let (few, many) = (peak("3000").await, peak("30000").await);
        assert!(few > 5000 && many < few + 3000, "{command}: {few} kB, then {many} kB");
    }
}

#[tokio::test]
async fn the_main_job_runs_on_the_embedded_simulator() {
    let files = Files::new();
    let done = run(&["export", "--demo", "2000", "-o", text(&files.output)]).await;
    assert_eq!((code(&done), done.stdout.len()), (0, 0), "{}", stderr(&done));
    assert_eq!(files.ids(), expected(2000));
    let summary = stderr(&done);
    assert!(summary.contains("2,000 rows, 40 pages, 0 retries; calls waited"), "{summary}");
    assert_eq!(summary.lines().count(), 1);
}

#[tokio::test]
async fn a_line_is_one_row_with_the_apis_own_names() {
    let done = run(&["export", "--demo", "3", "M1", "-q"]).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    for line in std::str::from_utf8(&done.stdout).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let names: Vec<_> = row.as_object().unwrap().keys().cloned().collect();
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
        assert_eq!(names, wanted);
        assert_eq!(row["meetingid"], "M1");
        assert!(row["enroll_id"].is_string() && row["status"].is_u64());
        assert!(row["answer_list"][1]["answer_content"].is_array());
    }
}

#[tokio::test]
async fn csv_has_a_column_a_question_and_loses_nothing() {
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
    // Five questions at least, between the scalar fields and the rest.
    assert_eq!(header.iter().next_back(), Some("other_answers"));
    assert!(header.len() > 9 + 5);
    let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
    for meeting in ["A", "B"] {
        let of = rows.iter().filter(|row| &row[0] == meeting).map(|row| row[1].to_owned());
        assert_eq!(of.collect::<Vec<_>>(), expected(120), "in the server's order");
    }
}

#[tokio::test]
async fn a_workbook_is_written_whole_and_needs_a_file() {
    let files = Files::new();
    let path = files.output.with_extension("xlsx");
    let done = run(&["export", "--demo", "120", "-o", text(&path)]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(fs::read(&path).unwrap().starts_with(b"PK\x03\x04"));
    assert_eq!(code(&run(&["export", "--demo", "1", "--format", "xlsx"]).await), 2);
}

#[tokio::test]
async fn an_ordinary_meeting_a_filter_and_a_page_size_are_asked_for() {
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
async fn wrong_usage_is_2_and_sends_nothing() {
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    let files = Files::new();
    let (output, checkpoint) = (text(&files.output), text(&files.checkpoint));
    let cases: &[&[&str]] = &[
        &[],
        &["M", "--page-size", "0"],
        &["M", "--page-size", "51"],
        &["M", "--quota", "0/1m"],
        &["M", "--quota", "5"],
        &["M", "--timeout", "5"],
        &["M", "--timeout", "0s"],
        &["", "-q"],
        &["M", "M"],
        &["M", "--checkpoint", checkpoint],
        &["M", "--kind", "webcast"],
        &["M", "-o", output, "--checkpoint", output],
        &["M", "--max-attempts", "0"],
        &["M", "--base-url", "http://example.com"],
        &["M", "--base-url", "https://u:p4ss@example.com"],
        &["M", "--concurrency", "0"],
        &["M", "--unknown"],
        &["M", "--format", "xlsx"],
    ];
    for case in cases {
        let mut args = vec!["export"];
        if !case.contains(&"--base-url") {
            args.extend(["--base-url", &url]);
        }
        args.extend(*case);
        let done = run(&args).await;
        assert_eq!(code(&done), 2, "{case:?}: {}", stderr(&done));
        assert!(!stderr(&done).is_empty() && !stderr(&done).contains("p4ss"));
    }
    let mut bare = command(EXE, &["export", "--base-url", &url, "M"]);
    bare.env_remove("WECOM_CORP_SECRET");
    assert_eq!(code(&finish(bare).await), 2);
    assert_eq!(code(&run(&["simulate", "--listen", "0.0.0.0:0"]).await), 2);
    assert_eq!(code(&run(&["simulate", "--fault", "gremlins"]).await), 2);
    assert_eq!(sim.calls().connections, 0);
    assert!(!files.output.exists() && !files.checkpoint.exists());
}

#[tokio::test]
async fn errors_tell_what_happened_where_and_what_to_do() {
    for (spec, wanted, words) in [
        ("errcode=60020", 1, "60020"),
        ("errcode=730005", 1, "another app"),
        ("errcode=1234567", 1, "registration is turned on"),
        ("status=503", 75, "HTTP status 503"),
        ("reset", 75, "no complete reply"),
        ("errcode=45009", 75, "quota"),
        ("cut", 75, "before its end"),
        ("status=404", 1, "404"),
        ("no-cursor@2", 1, "no cursor"),
        ("cycle@3", 1, "already followed"),
        ("gettoken:errcode=40001", 1, "ban the IP"),
        ("gettoken:status=500", 75, "no access token"),
        ("endless", 1, "larger than 8388608"),
        ("hang", 75, "within 300ms"),
        ("token-invalid", 1, "get a new one"),
        ("redirect=http://127.0.0.1:1/", 1, "redirects"),
    ] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault(spec))).await;
        let url = sim.base_url();
        let args = [
            "export",
            "--base-url",
            &url,
            "MEET-1",
            "--retry-base",
            "1ms",
            "--timeout",
            "300ms",
            "--pushback",
            "1ms",
            "-q",
        ];
        let done = run(&args).await;
        let told = stderr(&done);
        assert_eq!(code(&done), wanted, "{spec}: {told}");
        assert!(told.contains(words) && told.contains("MEET-1") && told.contains("row"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn hints_are_in_the_language_asked_for_and_all_else_is_english() {
    let told = |variables: &'static [(&str, &str)], more: &'static [&str], spec: &'static str| async move {
        let sim = start(Simulator::builder().fault(fault(spec))).await;
        let url = sim.base_url();
        let args =
            ["export", "--base-url", &url, "M", "-q", "--max-attempts", "1", "--pushback", "1ms"];
        let mut export = command(EXE, &[&args[..], more].concat());
        let done = finish({
            export.envs(variables.iter().copied());
            export
        })
        .await;
        let told = stderr(&done);
        assert!(
            told.starts_with("error: meeting M stopped after 0 rows and 1 attempt: "),
            "{told}"
        );
        told.split_once("; hint: ").unwrap().1.trim().to_owned()
    };
    let spec = "errcode=60020";
    for (variables, more, is_chinese) in [
        (&[][..], &[][..], false),
        (&[], &["--lang", "zh"], true),
        (&[("LANG", "zh_CN.UTF-8")], &[], true),
        (&[("LANG", "zh_CN.UTF-8")], &["--lang", "en"], false),
        (&[("LANG", "zh_CN.UTF-8"), ("LC_MESSAGES", "en_GB.UTF-8")], &[], false),
        (&[("LANG", "C"), ("LC_ALL", "zh_TW"), ("LC_MESSAGES", "C")], &[], true),
        (&[("LC_ALL", ""), ("LANG", "zh")], &[], true),
        (&[("LANG", "zha_CN")], &[], false),
    ] {
        let hint = told(variables, more, spec).await;
        assert_eq!(
            hint.starts_with("本机 IP 不可信"),
            is_chinese,
            "{variables:?} {more:?}: {hint}"
        );
    }
    for (spec, wanted) in [
        ("status=503", "重新运行同一命令"),
        ("errcode=1234567", "开启报名"),
        ("redirect=http://127.0.0.1:1/", "重定向"),
        ("gettoken:errcode=40001", "封禁一小时"),
    ] {
        let hint = told(&[], &["--lang", "zh"], spec).await;
        assert!(hint.contains(wanted), "{spec}: {hint}");
    }
    assert_eq!(code(&run(&["export", "--demo", "1", "--lang", "fr"]).await), 2);
}

#[tokio::test]
async fn one_meeting_that_fails_does_not_keep_the_others() {
    let files = Files::new();
    let sim = Simulator::builder().enrollees(300).fault(fault("errcode=730005@5"));
    let sim = start(sim).await;
    let url = sim.base_url();
    let args = files.export(&url, &["A", "B", "C", "D", "--read-ahead", "0", "--concurrency", "2"]);
    let done = run(&args).await;
    assert_eq!(code(&done), 1);
    let rows = files.ids().len();
    assert!((900..1200).contains(&rows), "three whole, one in part: {rows}");
    // The fault was played once: the checkpoint brings the rest.
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
async fn bad_rows_are_named_and_the_others_delivered() {
    let files = Files::new();
    let sim = Simulator::builder().enrollees(150).fault(fault("broken-row@2"));
    let sim = start(sim.fault(fault("not-object-row@3"))).await;
    let url = sim.base_url();
    let args = files.export(&url, &["M"]);
    let done = run(&args).await;
    let told = stderr(&done);
    assert_eq!((code(&done), files.ids().len()), (1, 148), "{told}");
    let id = Simulator::enroll_id(75);
    assert!(told.contains(&format!("page 2, index 25, enroll_id {id}")), "{told}");
    assert!(told.contains("page 3, index 25:") && told.contains("2 bad rows"), "{told}");
    // A finished checkpoint says so again, and sends nothing.
    let before = sim.calls().list;
    let again = run(&args).await;
    assert_eq!((code(&again), sim.calls().list), (1, before), "{}", stderr(&again));
}

#[tokio::test]
async fn a_closed_pipe_ends_it_quietly() {
    let done = finish(command("sh", &["-c", "\"$0\" export --demo 20000 | head -n 1", EXE])).await;
    assert_eq!((done.stdout.split(|&b| b == b'\n').count(), &*stderr(&done)), (2, ""));
    let script = "{ \"$0\" export --demo 20000; echo $? >&2; } | head -n 1";
    let done = finish(command("sh", &["-c", script, EXE])).await;
    assert_eq!(stderr(&done), "0\n");
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_and_room_made_is_gone_on_in() {
    for args in [vec!["-o", "/dev/full"], vec![]] {
        let script = if args.is_empty() { "exec \"$@\" > /dev/full" } else { "exec \"$@\"" };
        let all = [vec!["-c", script, "sh", EXE, "export", "--demo", "100"], args].concat();
        let done = finish(command("sh", &all)).await;
        assert_eq!(code(&done), 1);
        assert!(stderr(&done).contains("cannot write to"), "{}", stderr(&done));
    }
    // A file that may grow to 100 KiB, then as it likes.
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
async fn killed_at_a_hundred_random_moments_the_output_holds_every_row_once_in_order() {
    let (mut kills, mut rounds) = (0, 0);
    while kills < 100 {
        let files = Files::new();
        let sim = Simulator::builder().enrollees(3000).latency(4 * MS).seed(rounds);
        let sim = start(sim.fault(fault("reset-body@5%")).fault(fault("status=502@5%"))).await;
        let url = sim.base_url();
        let ahead = ["0", "1", "3"][rounds as usize % 3];
        let args = files.export(&url, &["M", "--read-ahead", ahead, "-q", "--max-attempts", "50"]);
        loop {
            let mut child = command(EXE, &args).spawn().unwrap();
            // It takes half a second, and saves twice a second.
            let moment = MS * fastrand::u32(0..900);
            match timeout(moment, child.wait()).await {
                Ok(status) => {
                    assert!(status.unwrap().success());
                    break;
                }
                Err(_) => {
                    child.kill().await.unwrap();
                    kills += 1;
                }
            }
        }
        assert!(files.ids() == expected(3000), "after {kills} kills");
        rounds += 1;
    }
    println!("{kills} kills in {rounds} exports");
}

#[tokio::test]
async fn killed_exports_of_several_meetings_to_csv_hold_every_row_once() {
    let files = Files::new();
    let path = files.output.with_extension("csv");
    let sim = start(Simulator::builder().enrollees(1500).latency(5 * MS)).await;
    let url = sim.base_url();
    let checkpoint = text(&files.checkpoint);
    let args = [
        "export",
        "--base-url",
        &url,
        "A",
        "B",
        "C",
        "-o",
        text(&path),
        "--checkpoint",
        checkpoint,
        "-q",
    ];
    let mut kills = 0;
    loop {
        let mut child = command(EXE, &args).spawn().unwrap();
        match timeout(MS * fastrand::u32(100..900), child.wait()).await {
            Ok(status) => break assert!(status.unwrap().success()),
            Err(_) => child.kill().await.unwrap(),
        }
        kills += 1;
    }
    let rows: Vec<_> =
        csv::Reader::from_path(&path).unwrap().records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4500, "{kills} kills");
    for meeting in ["A", "B", "C"] {
        let of = rows.iter().filter(|row| &row[0] == meeting).map(|row| row[1].to_owned());
        assert!(of.eq(expected(1500)), "{meeting}, {kills} kills");
    }
}

/// An export stopped in the middle, with its files.
async fn half_done(sim: SimulatorBuilder) -> (Files, Simulator) {
    let files = Files::new();
    let sim = start(sim.enrollees(1000).fault(fault("status=404@11"))).await;
    let url = sim.base_url();
    let done = run(&files.export(&url, &["M", "--read-ahead", "0"])).await;
    assert_eq!((code(&done), files.ids().len()), (1, 500), "{}", stderr(&done));
    (files, sim)
}

#[tokio::test]
async fn a_checkpoint_or_output_that_was_meddled_with_is_refused_and_left_alone() {
    type Meddle = fn(&Files);
    let meddlings: [(&str, Meddle); 8] = [
        ("cut", |files| {
            let text = fs::read(&files.checkpoint).unwrap();
            fs::write(&files.checkpoint, &text[..text.len() / 2]).unwrap();
        }),
        ("empty", |files| fs::write(&files.checkpoint, "").unwrap()),
        ("foreign", |files| fs::write(&files.checkpoint, "{\"version\": 99}").unwrap()),
        ("no JSON", |files| fs::write(&files.checkpoint, "my notes").unwrap()),
        ("shortened", |files| {
            let file = fs::File::options().write(true).open(&files.output).unwrap();
            file.set_len(1000).unwrap();
        }),
        ("edited", |files| {
            let mut text = fs::read(&files.output).unwrap();
            text[1000] ^= 1;
            fs::write(&files.output, text).unwrap();
        }),
        ("gone", |files| fs::remove_file(&files.output).unwrap()),
        ("swapped", |files| {
            let text = fs::read(&files.output).unwrap();
            fs::write(&files.output, [&text[5000..], &text[..5000]].concat()).unwrap();
        }),
    ];
    for (what, meddle) in meddlings {
        let (files, sim) = half_done(Simulator::builder()).await;
        meddle(&files);
        let before = (fs::read(&files.output).ok(), fs::read(&files.checkpoint).unwrap());
        let done = run(&files.export(&sim.base_url(), &["M"])).await;
        assert_eq!(code(&done), 1, "{what}: {}", stderr(&done));
        assert!(stderr(&done).contains("start again"), "{what}: {}", stderr(&done));
        let after = (fs::read(&files.output).ok(), fs::read(&files.checkpoint).unwrap());
        assert!(before == after, "{what}: nothing was touched");
    }
}

#[tokio::test]
async fn what_was_added_behind_the_checkpoint_is_cut_off() {
    let (files, sim) = half_done(Simulator::builder()).await;
    let mut text = fs::read(&files.output).unwrap();
    text.extend(b"{\"half\": a row");
    fs::write(&files.output, text).unwrap();
    assert_eq!(code(&run(&files.export(&sim.base_url(), &["M"])).await), 0);
    assert_eq!(files.ids(), expected(1000));
}

#[tokio::test]
async fn a_checkpoint_of_other_arguments_is_refused() {
    let (files, sim) = half_done(Simulator::builder()).await;
    let url = sim.base_url();
    let list_calls = sim.calls().list;
    for more in [
        &["N"][..],
        &["M", "N"],
        &["M", "--status", "approved"],
        &["M", "--page-size", "20"],
        &["M", "--kind", "meeting"],
        &["M", "--format", "csv"],
    ] {
        let done = run(&files.export(&url, more)).await;
        assert_eq!(code(&done), 2, "{more:?}");
        assert!(stderr(&done).contains("another export"), "{}", stderr(&done));
    }
    assert_eq!((sim.calls().list, files.ids().len()), (list_calls, 500));
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_is_told_before_the_output_is_touched() {
    let files = Files::new();
    fs::write(&files.output, "precious").unwrap();
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    let args = [
        "export",
        "--base-url",
        &url,
        "M",
        "-o",
        text(&files.output),
        "--checkpoint",
        "/proc/checkpoint.json",
    ];
    let done = run(&args).await;
    assert_eq!(code(&done), 1);
    assert!(stderr(&done).contains("cannot write the checkpoint"), "{}", stderr(&done));
    assert_eq!(
        (fs::read_to_string(&files.output).unwrap(), sim.calls().list),
        ("precious".into(), 0)
    );
}

#[tokio::test]
async fn two_exports_to_one_output_do_not_mix() {
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

#[tokio::test]
async fn an_interruption_leaves_a_good_checkpoint() {
    for (name, wanted) in [("-INT", 130), ("-TERM", 143)] {
        // In the middle of a walk, of a backoff, and of a pushback.
        for spec in ["latency=1ms", "status=503;retry-after=60@3", "errcode=45009@3"] {
            let files = Files::new();
            let sim = Simulator::builder().enrollees(500).latency(20 * MS).fault(fault(spec));
            let sim = start(sim).await;
            let url = sim.base_url();
            let args = files.export(&url, &["M", "--read-ahead", "0"]);
            let child = command(EXE, &args).spawn().unwrap();
            while sim.calls().list < 3 {
                sleep(MS).await;
            }
            sleep(30 * MS).await;
            let begun = Instant::now();
            signal(&child, name).await;
            let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
            assert_eq!(code(&done), wanted, "{spec}: {}", stderr(&done));
            assert!(begun.elapsed() < Duration::from_secs(5), "{spec}");
            assert!(stderr(&done).contains("the checkpoint is good"), "{}", stderr(&done));
            assert!(files.ids().len() < 500);
            assert_eq!(code(&run(&args).await), 0);
            assert_eq!(files.ids(), expected(500), "{spec}");
        }
    }
}

#[tokio::test]
async fn a_third_of_all_replies_broken_loses_and_doubles_nothing() {
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
    assert!(timeout(LIMIT, server.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn hostile_replies_stay_within_bounded_memory() {
    for spec in ["gzip-bomb", "endless", "deep"] {
        let sim = start(Simulator::builder().fault(fault(spec))).await;
        let url = sim.base_url();
        let script = "ulimit -v 600000; exec \"$@\"";
        let args = ["-c", script, "sh", EXE, "export", "--base-url", &url, "M", "-q"];
        let done = finish(command("sh", &args)).await;
        assert_eq!(code(&done), 1, "{spec}: {}", stderr(&done));
        assert!(stderr(&done).contains(if spec == "deep" { "bad row" } else { "8388608" }));
    }
}

#[tokio::test]
async fn no_secret_shows_at_any_log_level() {
    let sim = Simulator::builder().enrollees(120).fault(fault("status=503@2"));
    let sim = start(sim.fault(fault("token-expired@4")).fault(fault("reset@6"))).await;
    let url = sim.base_url();
    let token = sim.access_token();
    for log in ["trace", "trace,hyper=trace,reqwest=trace,hyper_util=trace", "debug"] {
        let mut export =
            command(EXE, &["export", "--base-url", &url, "M", "-vvv", "--retry-base", "1ms"]);
        export.env("RUST_LOG", log);
        let done = finish(export).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let told = stderr(&done);
        assert!(told.contains("page fetched"), "{told}");
        let rows = String::from_utf8(done.stdout).unwrap();
        let names = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let names: Vec<_> =
            names.map(|row| row["nick_name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names.len(), 120);
        for secret in
            names.iter().map(String::as_str).chain([&*token, Simulator::SECRET, "access_token="])
        {
            assert!(!told.contains(secret), "{secret} shows with RUST_LOG={log}");
        }
    }
    // Nor in a checkpoint, which holds a cursor, to others than its owner.
    let (files, _sim) = half_done(Simulator::builder()).await;
    let saved: Value = serde_json::from_slice(&fs::read(&files.checkpoint).unwrap()).unwrap();
    assert_eq!(saved["length"], json!(fs::metadata(&files.output).unwrap().len()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(&files.checkpoint).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_real_bash_completes_subcommands_options_and_values() {
    let script = r#"
        source <("$0" completions bash)
        complete -p wecom-enroll >&2
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wecom-enroll "$1" "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
        try wecom-enroll exp
        try wecom-enroll export --exc
        try wecom-enroll export --format ''
        try wecom-enroll completions z
    "#;
    let done = finish(command("bash", &["-c", script, EXE])).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("-F _wecom-enroll wecom-enroll"));
    let wanted = "export\n--excel\njsonl csv xlsx\nzsh\n";
    assert_eq!(String::from_utf8(done.stdout).unwrap(), wanted);
}

#[tokio::test]
async fn each_man_page_has_all_options_of_the_help_and_what_no_option_tells() {
    let told = |done: Output| String::from_utf8(done.stdout).unwrap();
    for subcommand in ["", "export", "summary", "doctor", "simulate", "completions", "man"] {
        let subcommand: &[_] = if subcommand.is_empty() { &[] } else { &[subcommand] };
        let page = told(run(&[&["man"], subcommand].concat()).await).replace('\\', "");
        assert!(page.contains(".SH ENVIRONMENT") && page.contains("WECOM_CORP_SECRET"), "{page}");
        assert!(page.contains(".SH \"EXIT STATUS\"") && page.contains("75"), "{page}");
        let help = told(run(&[subcommand, &["--help"]].concat()).await);
        let options = help.lines().filter_map(|line| {
            let option =
                &line[line.split_once("--").filter(|(before, _)| before.len() < 7)?.0.len()..];
            option.split([' ', '.']).next()
        });
        let options: Vec<_> = options.collect();
        assert!(options.len() > 2, "{help}");
        for option in options {
            assert!(page.contains(option), "{option}: {page}");
        }
    }
    assert_eq!(code(&run(&["man", "nothing"]).await), 2);
    assert_eq!(code(&run(&["completions", "tcsh"]).await), 2);
    for page in ["completions bash", "man"] {
        let script = format!("{{ sleep 0.3; \"$0\" {page}; echo $? >&2; }} | true");
        assert_eq!(stderr(&finish(command("sh", &["-c", &script, EXE])).await), "0\n");
    }
}

#[tokio::test]
async fn a_retry_and_a_hold_are_one_line_each_and_a_pipe_sees_no_progress() {
    let sim = Simulator::builder().enrollees(300).fault(fault("status=503@2"));
    let sim = start(sim.fault(fault("errcode=45009@4")).latency(30 * MS)).await;
    let url = sim.base_url();
    let args = ["export", "--base-url", &url, "MEET-1", "--read-ahead", "0", "--pushback", "700ms"];
    let done = run(&args).await;
    let told = stderr(&done);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!((code(&done), lines.len()), (0, 3), "{told}");
    let retry = "warning: meeting MEET-1, page 2: the server answered with HTTP status 503; trying again in ";
    assert!(lines[0].starts_with(retry), "{told}");
    let held = "warning: meeting MEET-1, page 3: WeCom answered errcode 45009: ";
    assert!(lines[1].starts_with(held) && lines[1].ends_with("; every call holds for 0.7 s"));
    assert!(lines[2].starts_with("300 rows, 6 pages, 2 retries; calls waited "), "{told}");
    assert!(lines[2].contains("pushback 0.7 s"));
    assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{told}");
    // The same without them, and in full.
    let sim = start(Simulator::builder().fault(fault("status=503@1"))).await;
    let url = sim.base_url();
    assert_eq!(stderr(&run(&["export", "--base-url", &url, "M", "-q"]).await), "");
    let sim = start(Simulator::builder().fault(fault("status=503@1"))).await;
    let url = sim.base_url();
    let told = stderr(&run(&["export", "--base-url", &url, "M", "-v"]).await);
    assert!(told.contains("enrolls{meeting=\"M\" list=\"webinar\"}:call{page=1}"), "{told}");
}

#[tokio::test]
async fn what_a_meetings_id_holds_neither_draws_on_the_terminal_nor_breaks_a_line() {
    let sim = start(Simulator::builder().fault(fault("status=503@1"))).await;
    let (url, odd) = (sim.base_url(), "M\u{1b}[2J\nwarning: 1\r2");
    let done = run(&["export", "--base-url", &url, "--retry-base", "1ms", odd]).await;
    let told = stderr(&done);
    assert!(told.starts_with("warning: meeting M [2J warning: 1 2, page 1: "), "{told:?}");
    assert!(told.lines().all(|line| !line.contains(char::is_control)), "{told:?}");
    assert_eq!((code(&done), told.lines().count()), (0, 2), "{told:?}");
}

#[tokio::test]
async fn rows_reach_a_pipe_while_the_walk_waits() {
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
async fn an_export_that_fails_before_its_first_row_leaves_the_earlier_one() {
    for more in [&[][..], &["--checkpoint", "at.json"], &["--format", "csv"], &["--format", "xlsx"]]
    {
        let files = Files::new();
        fs::write(&files.output, "precious").unwrap();
        let sim = start(Simulator::builder().fault(fault("errcode=60020@1..2"))).await;
        let url = sim.base_url();
        let folder = files.output.parent().unwrap();
        for wanted in [1, 1, 0] {
            let args = ["export", "--base-url", &url, "M", "-q", "-o", text(&files.output)];
            let mut export = command(EXE, &[&args[..], more].concat());
            let done = finish({
                export.current_dir(folder);
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
    // An empty list is a result, too.
    let files = Files::new();
    fs::write(&files.output, "precious").unwrap();
    let done = run(&["export", "--demo", "0", "-o", text(&files.output)]).await;
    assert_eq!((code(&done), fs::read(&files.output).unwrap().len()), (0, 0));
}

#[tokio::test]
async fn the_columns_are_those_of_the_first_meeting_not_of_the_quickest() {
    // The first meeting's first page is held back, and an earlier one is empty.
    let sim = Simulator::builder().enrollees(60).meeting("EMPTY", 0);
    let sim = start(sim.fault(fault("latency=150ms@2"))).await;
    let url = sim.base_url();
    let done = run(&["export", "--base-url", &url, "EMPTY", "A", "B", "--format", "csv"]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let mut csv = csv::Reader::from_reader(&*done.stdout);
    let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[0][0]), (120, "A"), "a page of A's decided, and came first");
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_and_a_finished_checkpoint_are_told() {
    let sim = start(Simulator::builder().fault(fault("status=429;retry-after=7200"))).await;
    let done = run(&["export", "--base-url", &sim.base_url(), "M"]).await;
    assert_eq!(code(&done), 75);
    assert!(stderr(&done).contains("wait 7,200 seconds first"), "{}", stderr(&done));

    let files = Files::new();
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    assert_eq!(code(&run(&files.export(&url, &["M"])).await), 0);
    let again = run(&files.export(&url, &["M"])).await;
    assert_eq!((code(&again), sim.calls().list), (0, 2));
    assert!(stderr(&again).contains("move the checkpoint away"), "{}", stderr(&again));
}
