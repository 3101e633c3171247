//! Standard output and standard error in non-blocking mode.
#![cfg(unix)]

use std::{fs::File, io::Read, process::Stdio};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    pipe::pipe,
};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{EXE, LIMIT, MS, command, ids, run};
use crate::http::expected;

/// Runs the command with both outputs in non-blocking mode, in pipes that are full before they are read.
async fn run_without_blocking(args: &[&str]) -> (i32, Vec<u8>, String) {
    let non_blocking = || {
        let (reader, writer) = pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        (File::from(reader), Stdio::from(writer))
    };
    let ((mut stdout, out), (mut stderr, err)) = (non_blocking(), non_blocking());
    let mut command = command(EXE, args);
    let mut child = command.stdout(out).stderr(err).spawn().unwrap();
    drop(command);
    sleep(500 * MS).await;
    let errors = spawn_blocking(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let output = spawn_blocking(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let status = timeout(LIMIT, child.wait()).await.expect("in time").unwrap();
    (status.code().unwrap(), output.await.unwrap().unwrap(), errors.await.unwrap().unwrap())
}

#[tokio::test]
async fn non_blocking_output_receives_everything() {
    let export = ["export", "--demo", "3000"];
    let (code, rows, errors) = run_without_blocking(&export).await;
    assert_eq!((code, ids(&rows) == expected(3000)), (0, true), "{errors}");
    let csv = [&export[..], &["--format", "csv"]].concat();
    let (code, rows, errors) = run_without_blocking(&csv).await;
    let rows = csv::Reader::from_reader(&*rows).records().map(Result::unwrap).count();
    assert_eq!((code, rows), (0, 3000), "{errors}");
    let device = [&export[..], &["-o", "/dev/stdout"]].concat();
    let (code, rows, errors) = run_without_blocking(&device).await;
    assert_eq!((code, ids(&rows) == expected(3000)), (0, true), "{errors}");
}

#[tokio::test]
async fn non_blocking_output_receives_long_texts_and_errors() {
    // Longer than a pipe.
    let long = "M".repeat(100_000);
    let (code, output, errors) =
        run_without_blocking(&["export", "--demo", "1", &long, &long]).await;
    assert_eq!((code, output.len()), (2, 0));
    assert!(errors == format!("error: the meeting {long} is given twice\n"));
    let unknown = format!("--{long}");
    let (code, output, errors) = run_without_blocking(&["export", &unknown]).await;
    assert_eq!((code, output.len()), (2, 0));
    assert!(errors.contains(&unknown) && errors.contains("Usage: "));
    for text in [&["export", "--help"][..], &["completions", "bash"]] {
        let blocking = run(text).await;
        let (code, output, errors) = run_without_blocking(text).await;
        assert!((code, output, &*errors) == (0, blocking.stdout, ""), "{text:?}: {errors}");
    }
}
