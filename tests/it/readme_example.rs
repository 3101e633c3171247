//! The export program of the README: it is killed, refused and interrupted, and still writes every row
//! exactly once.
//!
//! The program below is the source text that both READMEs show; a test compares them. The tests use real
//! sockets and real time.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::Stdio,
    time::Duration,
};

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use wecom_enroll::{
    Checkpoint, Client, ErrorKind, Query, RetryPolicy, StatusFilter, simulator::Simulator,
};

// The program starts here.
async fn export(client: &Client, query: &Query, dir: &Path) -> Result<(), Box<dyn Error>> {
    // The state: the position in the list, and the length of the output at that position.
    let state = dir.join("state.json");
    let (mut pages, mut length) = match fs::read(&state) {
        Ok(json) => {
            let (checkpoint, length): (Checkpoint, u64) = serde_json::from_slice(&json)?;
            (client.resume_pages(query, checkpoint)?, length)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (client.pages(query.clone()), 0),
        Err(error) => return Err(error.into()),
    };
    let mut output = File::options().create(true).append(true).open(dir.join("enrolls.jsonl"))?;
    if output.metadata()?.len() < length {
        return Err("the output is shorter than when its state was saved".into());
    }
    let result = loop {
        let page = match pages.try_next().await {
            Ok(Some(page)) => page,
            Ok(None) => break Ok(()),
            Err(error) if error.resume_from().is_some() => return Err(error.into()), // keeps the state
            Err(error) => break Err(error.into()),
        };
        let mut lines = String::new();
        for row in &page {
            match row {
                Ok(row) => lines += &(serde_json::to_string(&row)? + "\n"),
                Err(error) => eprintln!("{error}"), // a malformed row, which is skipped
            }
        }
        output.set_len(length)?; // removes rows that were written after the state was saved
        output.write_all(lines.as_bytes())?;
        output.sync_data()?; // the rows must be on disk before the state is saved
        length += lines.len() as u64;
        if pages.checkpoint().is_end() {
            break Ok(()); // never save the end: a later run would resume there and export nothing
        }
        let mut file = NamedTempFile::new_in(dir)?; // only its owner can read it
        file.write_all(&serde_json::to_vec(&(pages.checkpoint(), length))?)?;
        file.as_file().sync_all()?;
        file.persist(&state)?; // replaces the previous state atomically
    };
    // The list is complete or cannot be resumed, so the next run starts from scratch.
    match fs::remove_file(&state) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => result,
    }
}
// The program ends here.

/// The time limit of every wait for a child process.
const LIMIT: Duration = Duration::from_secs(60);

/// What a child process exports.
#[derive(Serialize, Deserialize)]
struct Job {
    base_url: String,
    dir: std::path::PathBuf,
}

fn client(base_url: &str) -> Client {
    Client::builder()
        .corp_secret(Simulator::CORP_ID, Simulator::SECRET)
        .base_url(base_url)
        .retry(RetryPolicy::never())
        .build()
        .unwrap()
}

fn query() -> Query {
    Query::webinar("M1").status(StatusFilter::All)
}

/// Starts a simulator with these faults. Returns it, its client, and an empty directory.
async fn setup(enrollees: u64, faults: &[&str]) -> (Simulator, Client, TempDir) {
    let builder = Simulator::builder().enrollees(enrollees);
    let builder =
        faults.iter().fold(builder, |builder, fault| builder.fault(fault.parse().unwrap()));
    let sim = builder.start().await.unwrap();
    let client = client(&sim.base_url());
    (sim, client, TempDir::new().unwrap())
}

fn exported(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("enrolls.jsonl")).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is complete");
    let id = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        row["enroll_id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn expected(rows: u64) -> Vec<String> {
    (0..rows).map(Simulator::enroll_id).collect()
}

fn has_state(dir: &Path) -> bool {
    dir.join("state.json").exists()
}

fn library_error<'a>(error: &'a (dyn Error + 'static)) -> &'a wecom_enroll::Error {
    error.downcast_ref().unwrap_or_else(|| panic!("an error of the library, not {error}"))
}

#[tokio::test]
#[ignore = "the child process of example_killed_at_random_writes_each_row_once"]
async fn child_process_exports() {
    if let Ok(job) = env::var("WECOM_ENROLL_EXPORT") {
        let Job { base_url, dir } = serde_json::from_str(&job).unwrap();
        export(&client(&base_url), &query(), &dir).await.unwrap();
    }
}

#[tokio::test]
async fn example_killed_at_random_writes_each_row_once() {
    let (sim, _, dir) = setup(3_000, &["latency=1ms"]).await;
    let job = Job { base_url: sim.base_url(), dir: dir.path().to_owned() };
    let job = serde_json::to_string(&job).unwrap();
    let mut kills = 0;
    loop {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "readme_example::child_process_exports", "--ignored"])
            .env("WECOM_ENROLL_EXPORT", &job)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // Before a run sends its second request, it has saved its first page, so every run makes progress.
        let last = sim.calls().list + fastrand::u64(2..10);
        let moment = async {
            while sim.calls().list < last {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_micros(fastrand::u64(..10_000))).await;
        };
        let status = tokio::select! {
            status = child.wait() => Some(status.unwrap()),
            moment = timeout(LIMIT, moment) => {
                moment.expect("the child process sends requests");
                None
            }
        };
        if let Some(status) = status {
            assert!(status.success(), "{status}");
            break;
        }
        child.kill().await.unwrap();
        kills += 1;
        if !has_state(dir.path()) {
            break; // the export was complete, although the process had not ended yet
        }
    }
    assert!(kills >= 3, "{kills}");
    assert_eq!(exported(dir.path()), expected(3_000));
    assert!(!has_state(dir.path()));
    let calls = sim.calls().list;
    assert!(calls <= 60 + kills, "a run repeats at most one page: {calls} calls, {kills} kills");
}

#[tokio::test]
async fn example_after_transient_error_resumes() {
    let (sim, client, dir) = setup(300, &["status=503@4", "reset@6"]).await;
    for pages in [3, 4] {
        let error = export(&client, &query(), dir.path()).await.unwrap_err();
        assert!(library_error(&*error).is_transient());
        assert!(has_state(dir.path()));
        assert_eq!(exported(dir.path()), expected(pages * 50));
    }
    export(&client, &query(), dir.path()).await.unwrap();
    assert_eq!(exported(dir.path()), expected(300));
    assert_eq!(sim.calls().list, 6 + 2);
}

#[tokio::test]
async fn example_with_expired_cursor_starts_from_scratch() {
    let (sim, client, dir) = setup(300, &["reset@4", "errcode=50100@5"]).await;
    export(&client, &query(), dir.path()).await.unwrap_err();
    assert!(has_state(dir.path()));
    let error = export(&client, &query(), dir.path()).await.unwrap_err();
    assert_eq!(library_error(&*error).errcode(), Some(50100));
    assert!(!has_state(dir.path()));
    export(&client, &query(), dir.path()).await.unwrap();
    assert_eq!(exported(dir.path()), expected(300));
    assert_eq!(sim.calls().list, 4 + 1 + 6);
}

#[tokio::test]
async fn example_with_corrected_id_exports_that_id() {
    let (sim, client, dir) = setup(300, &["errcode=90602@1"]).await;
    let error = export(&client, &Query::webinar("WRONG"), dir.path()).await.unwrap_err();
    assert_eq!(library_error(&*error).errcode(), Some(90602));
    assert!(!has_state(dir.path()));
    export(&client, &query(), dir.path()).await.unwrap();
    assert_eq!(exported(dir.path()), expected(300));
    assert_eq!(sim.calls().list, 1 + 6);
}

#[tokio::test]
async fn example_refuses_state_of_another_meeting() {
    let (sim, client, dir) = setup(300, &["errcode=50003@3"]).await;
    // A person must enable the app, then the export can continue.
    let error = export(&client, &query(), dir.path()).await.unwrap_err();
    assert!(library_error(&*error).is_auth() && has_state(dir.path()));
    let error = export(&client, &Query::webinar("M2"), dir.path()).await.unwrap_err();
    assert_eq!(library_error(&*error).kind(), ErrorKind::Checkpoint);
    assert_eq!(exported(dir.path()), expected(100));
    export(&client, &query(), dir.path()).await.unwrap();
    assert_eq!(exported(dir.path()), expected(300));
    assert_eq!(sim.calls().list, 3 + 4);
}

#[tokio::test]
async fn example_with_empty_id_leaves_no_state() {
    let (sim, client, dir) = setup(120, &[]).await;
    export(&client, &query(), dir.path()).await.unwrap();
    let error = export(&client, &Query::webinar(""), dir.path()).await.unwrap_err();
    assert_eq!(library_error(&*error).kind(), ErrorKind::InvalidArgument);
    assert!(!has_state(dir.path()));
    assert_eq!(exported(dir.path()), expected(120), "the previous output is not lost");
    assert_eq!(sim.calls().list, 3);
}

#[tokio::test]
async fn example_run_on_second_night_exports_all_rows() {
    let (sim, client, dir) = setup(120, &[]).await;
    for night in 1..=2 {
        export(&client, &query(), dir.path()).await.unwrap();
        assert_eq!(exported(dir.path()), expected(120));
        assert_eq!(sim.calls().list, night * 3);
    }
}

#[tokio::test]
async fn example_with_unreadable_state_reports_it() {
    let (sim, client, dir) = setup(300, &["reset@4"]).await;
    export(&client, &query(), dir.path()).await.unwrap_err();
    let (path, saved) = (dir.path().join("state.json"), fs::read(dir.path().join("state.json")));
    for damaged in [&saved.unwrap()[..40], b"", b"\0\0\0\0", b"[{},0]"] {
        fs::write(&path, damaged).unwrap();
        let error = export(&client, &query(), dir.path()).await.unwrap_err();
        assert!(error.is::<serde_json::Error>(), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "a damaged state is kept");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = export(&client, &query(), dir.path()).await.unwrap_err();
    assert!(error.is::<io::Error>(), "{error}");
    assert_eq!(exported(dir.path()), expected(150));
    assert_eq!(sim.calls().list, 4);
}

#[tokio::test]
async fn example_with_lost_output_reports_it() {
    let (_sim, client, dir) = setup(300, &["reset@4"]).await;
    export(&client, &query(), dir.path()).await.unwrap_err();
    fs::remove_file(dir.path().join("enrolls.jsonl")).unwrap();
    let error = export(&client, &query(), dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("shorter"), "{error}");
}

#[tokio::test]
async fn example_removes_rows_after_the_checkpoint() {
    let (_sim, client, dir) = setup(300, &["reset@4"]).await;
    export(&client, &query(), dir.path()).await.unwrap_err();
    let mut output = File::options().append(true).open(dir.path().join("enrolls.jsonl")).unwrap();
    output.write_all(b"{\"enroll_id\":\"1\"}\n{\"enr").unwrap();
    export(&client, &query(), dir.path()).await.unwrap();
    assert_eq!(exported(dir.path()), expected(300));
}

#[tokio::test]
async fn example_skips_malformed_rows() {
    let (_sim, client, dir) = setup(120, &["malformed-row@2"]).await;
    export(&client, &query(), dir.path()).await.unwrap();
    let mut rows = expected(120);
    rows.remove(75);
    assert_eq!(exported(dir.path()), rows);
}

/// `timeout` drops the program in the same way.
#[tokio::test]
async fn example_dropped_during_a_request_resumes() {
    let (sim, client, dir) = setup(300, &["hang@4"]).await;
    let fourth_request = async {
        while sim.calls().list < 4 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let query = query();
    tokio::select! {
        result = export(&client, &query, dir.path()) => panic!("the server hangs: {result:?}"),
        reached = timeout(LIMIT, fourth_request) => reached.unwrap(),
    }
    assert_eq!(exported(dir.path()), expected(150));
    export(&client, &query, dir.path()).await.unwrap();
    assert_eq!(exported(dir.path()), expected(300));
    assert_eq!(sim.calls().list, 6 + 1);
}

#[cfg(unix)]
#[tokio::test]
async fn example_state_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let (_sim, client, dir) = setup(120, &["reset@2"]).await;
    export(&client, &query(), dir.path()).await.unwrap_err();
    let mode = fs::metadata(dir.path().join("state.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn example_is_the_program_of_both_readmes() {
    let source = include_str!("readme_example.rs");
    let (_, program) = source.split_once("// The program starts here.\n").unwrap();
    let (program, _) = program.split_once("// The program ends here.\n").unwrap();
    for (name, text) in [
        ("README.md", include_str!("../../README.md")),
        ("README.zh-CN.md", include_str!("../../README.zh-CN.md")),
    ] {
        assert!(text.contains(program), "{name} shows another program");
    }
}
