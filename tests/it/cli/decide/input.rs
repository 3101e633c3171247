//! `--from`: ids and rows of exports.

use std::{fmt::Write, fs, process::Stdio};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::cli::{finish, text};

/// Runs `approve --yes --from -` with this text as standard input.
async fn from_stdin(sim: &Simulator, input: &[u8]) -> Output {
    let url = sim.base_url();
    let mut approve = command(EXE, &args("approve", &url, &[], &["--yes", "--from", "-"]));
    let mut child = approve.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The command may end before it has read everything.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn exported_rows_are_accepted_as_ids() {
    let sim = simulator(120).await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("rows.jsonl");
    let url = sim.base_url();
    let export =
        ["export", "--base-url", &url, "M", "--status", "pending", "-q", "-o", text(&path)];
    assert_eq!(code(&run(&export).await), 0);
    let more = ["--yes", "--from", text(&path)];
    let done = decide(&sim, "reject", &[], &more).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(changed(&sim), all(&pending(12), REJECTED));
    // The same rows for another meeting could be other people.
    let other = ["reject", "--base-url", &url, "N", "--yes", "--from", text(&path)];
    let done = run(&other).await;
    assert_eq!(code(&done), 2);
    assert!(
        stderr(&done).contains("rows.jsonl belongs to the meeting M, not N"),
        "{}",
        stderr(&done)
    );
}

#[tokio::test]
async fn line_ends_marks_blanks_and_duplicates_are_accepted() {
    let sim = simulator(120).await;
    let ids = pending(5);
    let input = format!(
        "\u{feff}{}\r\n\r\n  {} \n{{\"enroll_id\":{},\"x\":1}}\r\n{}\n\u{3000}\n\u{feff}{{\"enroll_id\":\"{}\"}}\n{}",
        ids[0], ids[1], ids[2], ids[0], ids[3], ids[4]
    );
    let done = from_stdin(&sim, input.as_bytes()).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!((changed(&sim), sim.calls().approve), (all(&ids, APPROVED), 1));
    assert!(stdout(&done).starts_with("approve 5 of 5 enrollments"), "{}", stdout(&done));
}

#[tokio::test]
async fn arguments_and_lines_are_combined() {
    let sim = simulator(60).await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ids");
    fs::write(&path, format!("{}\n{}\n", id(0), id(10))).unwrap();
    let done = decide(&sim, "approve", &[id(0), id(20)], &["--yes", "--from", text(&path)]).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(changed(&sim), all(&pending(3), APPROVED));
}

#[tokio::test]
async fn file_of_something_else_is_a_usage_error_with_the_line() {
    let sim = simulator(60).await;
    let url = sim.base_url();
    let csv = run(&["export", "--demo", "10", "M", "--format", "csv", "-q"]).await.stdout;
    let xlsx = b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xff\xfe\n".to_vec();
    let id = id(0);
    for (input, line) in [
        (csv, 1),
        (xlsx, 1),
        (format!("{id}\nAlice Chen\n").into_bytes(), 2),
        (format!("{id}\n{id}\tAlice\n").into_bytes(), 2),
        (format!("{id}\n张伟\n").into_bytes(), 2),
        (format!("{id}\n{{\"nick_name\":\"A\"}}\n").into_bytes(), 2),
        (format!("{id}\n\n{{\"enroll_id\":\"\"}}\n").into_bytes(), 3),
        (format!("[{{\"enroll_id\":{id}}}]").into_bytes(), 1),
        (b"1 2\n".to_vec(), 1),
        (b"1\r2\r".to_vec(), 1),
        (b"1\x00\n\x00".to_vec(), 1),
        (b"\xff\xfe1\x00\n\x00".to_vec(), 1),
        (b"\"1\"\n".to_vec(), 1),
        (b"{\n\"enroll_id\":1}\n".to_vec(), 1),
        (b"{\"enroll_id\":null}\n".to_vec(), 1),
        (b"{\"enroll_id\":1.5}\n".to_vec(), 1),
        (b"{\"enroll_id\":-1}\n".to_vec(), 1),
        (b"{\"enroll_id\":[1]}\n".to_vec(), 1),
        (b"{\"enroll_id\":\"1 2\"}\n".to_vec(), 1),
        (b"{\"enroll_id\":1,\"enroll_id\":2}\n".to_vec(), 1),
        (b"{\"enroll_id\":1} {\"enroll_id\":2}\n".to_vec(), 1),
        (vec![b'x'; 129], 1),
        (vec![b'1'; 9 << 20], 1),
    ] {
        let done = from_stdin(&sim, &input).await;
        assert_eq!((code(&done), stdout(&done)), (2, ""), "{}", stderr(&done));
        let wanted = format!("error: line {line} of standard input ");
        assert!(stderr(&done).starts_with(&wanted), "{}", stderr(&done));
        assert_eq!(stderr(&done).lines().count(), 1);
    }
    for empty in [&b""[..], b"\n\r\n \n", b"\xef\xbb\xbf"] {
        let done = from_stdin(&sim, empty).await;
        assert_eq!(code(&done), 2);
        assert_eq!(stderr(&done), "error: standard input contains no enroll_id\n");
    }
    let missing = ["approve", "--base-url", &url, "M", "--from", "/nonexistent/ids"];
    assert_eq!(code(&run(&missing).await), 1);
    assert_eq!(code(&run(&[&missing[..5], &["/proc"]].concat()).await), 1);
    assert_eq!(sim.calls().connections, 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn fifty_thousand_ids_use_bounded_memory() {
    let directory = TempDir::new().unwrap();
    let mut peaks = Vec::new();
    // Rows of a kilobyte, each of them twice. All but one hundred are not in the list, so it is not changed.
    for rows in [100, 50_000] {
        let path = directory.path().join(rows.to_string());
        let (mut file, answer) = (String::new(), "x".repeat(1000));
        for row in (0..rows).chain(0..rows) {
            let id = id(row);
            writeln!(file, "{{\"enroll_id\":\"{id}\",\"answer_list\":[\"{answer}\"]}}").unwrap();
        }
        fs::write(&path, file).unwrap();
        let args = ["approve", "--demo", "100", "--from", text(&path)];
        peaks.push(crate::cli::export::peak(&args).await);
        let done = finish(command(EXE, &args)).await;
        assert_eq!(code(&done), i32::from(rows > 100), "{}", stderr(&done));
    }
    // The file has 100 MB. An id takes about 100 bytes.
    assert!(peaks[0] > 5000 && peaks[1] < peaks[0] + 12_000, "{peaks:?} kB");
}
