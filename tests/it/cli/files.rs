//! Outputs and checkpoints as files: links, names and extensions.
#![cfg(unix)]

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::Path,
    process::Output,
};

use tempfile::TempDir;
use tokio::time::timeout;
use wecom_enroll::simulator::Simulator;

use super::{EXE, Files, LIMIT, code, command, finish, half_done, ids, run, stderr};
use crate::http::{expected, fault, start};

/// Returns the directory's entries.
fn entries(directory: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

async fn run_in(directory: &Path, args: &[&str]) -> Output {
    let mut export = command(EXE, args);
    export.current_dir(directory);
    finish(export).await
}

#[tokio::test]
async fn checkpoint_behind_links_is_replaced_and_links_stay() {
    let (files, sim) = half_done(Simulator::builder()).await;
    let directory = files.checkpoint.parent().unwrap();
    fs::create_dir_all(directory.join("work/links")).unwrap();
    symlink("../at.json", directory.join("work/relative")).unwrap();
    symlink(directory.join("work/relative"), directory.join("work/links/at.json")).unwrap();
    // The link in between is relative to another directory than the first one.
    symlink("work/links", directory.join("linked")).unwrap();
    let url = sim.base_url();
    let export = |checkpoint: &'static str| {
        let args = ["export", "M", "--base-url", &url, "-o", "rows.jsonl", "--checkpoint"];
        [&args[..], &[checkpoint]].concat()
    };
    let before = fs::read(&files.checkpoint).unwrap();
    let done = run_in(directory, &export("linked/at.json")).await;
    assert_eq!((code(&done), files.ids()), (0, expected(1000)), "{}", stderr(&done));
    assert_ne!(fs::read(&files.checkpoint).unwrap(), before);
    assert!(directory.join("work/links/at.json").is_symlink());
    assert!(directory.join("work/relative").is_symlink());
    assert_eq!(entries(directory), ["at.json", "linked", "rows.jsonl", "work"]);
    assert_eq!(entries(&directory.join("work")), ["links", "relative"]);
}

#[tokio::test]
async fn dangling_links_lead_to_new_files() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    for name in ["work", "volume"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    symlink("../volume/at", directory.join("work/at")).unwrap();
    symlink("../volume/rows", directory.join("work/rows")).unwrap();
    let args = ["export", "--demo", "120", "-q", "-o", "work/rows", "--checkpoint", "work/at"];
    let done = run_in(directory, &args).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    assert!(directory.join("work/at").is_symlink() && directory.join("work/rows").is_symlink());
    assert_eq!(entries(&directory.join("volume")), ["at", "rows"]);
    assert_eq!(ids(&fs::read(directory.join("volume/rows")).unwrap()), expected(120));
    // A missing directory is an error before anything is sent.
    symlink("missing/at", directory.join("lost")).unwrap();
    let args = ["export", "--demo", "1", "-o", "rows", "--checkpoint", "lost"];
    let done = run_in(directory, &args).await;
    assert_eq!(code(&done), 1);
    assert!(stderr(&done).contains("cannot write the checkpoint lost"), "{}", stderr(&done));
}

#[tokio::test]
async fn loop_of_links_is_an_error_before_any_request() {
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    let directory = TempDir::new().unwrap();
    symlink("b", directory.path().join("a")).unwrap();
    symlink("a", directory.path().join("b")).unwrap();
    for more in [&["-o", "rows", "--checkpoint", "a"][..], &["-o", "a"]] {
        let args = [&["export", "M", "--base-url", &url], more].concat();
        let done = run_in(directory.path(), &args).await;
        assert_eq!(code(&done), 1, "{more:?}");
        assert!(stderr(&done).contains("symbolic links"), "{}", stderr(&done));
    }
    assert_eq!((sim.calls().connections, entries(directory.path()).len()), (0, 2));
}

#[tokio::test]
async fn checkpoint_that_would_replace_the_output_is_refused() {
    let directory = TempDir::new().unwrap();
    symlink("rows", directory.path().join("link")).unwrap();
    for (output, checkpoint) in [("rows", "link"), ("link", "rows"), (".at.new", "at")] {
        let args = ["export", "--demo", "1", "-o", output, "--checkpoint", checkpoint];
        let done = run_in(directory.path(), &args).await;
        assert_eq!(code(&done), 2, "{output}: {}", stderr(&done));
        assert_eq!(entries(directory.path()), ["link"]);
    }
}

#[tokio::test]
async fn names_of_255_bytes_can_be_resumed() {
    for unit in ["x", "企"] {
        let sim = Simulator::builder().enrollees(100);
        for bytes in [100, 251, 252, 255] {
            let sim = start(sim.clone().fault(fault("errcode=60020@2"))).await;
            let url = sim.base_url();
            let directory = TempDir::new().unwrap();
            let name = |first: &str| first.to_owned() + &unit.repeat((bytes - 1) / unit.len());
            let (output, checkpoint) = (name("o"), name("c"));
            let args = ["export", "--base-url", &url, "M", "-o", &output];
            let args = [&args[..], &["--checkpoint", &checkpoint, "--read-ahead", "0"]].concat();
            for wanted in [1, 0] {
                let done = run_in(directory.path(), &args).await;
                assert_eq!(code(&done), wanted, "{bytes}: {}", stderr(&done));
            }
            assert_eq!(ids(&fs::read(directory.path().join(&output)).unwrap()), expected(100));
            assert_eq!(
                entries(directory.path()),
                [checkpoint, output],
                "no temporary file is left"
            );
        }
    }
}

#[tokio::test]
async fn unknown_extension_requires_a_format() {
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    let directory = TempDir::new().unwrap();
    let names = [
        "a.xls",
        "a.XLS",
        "a.tsv",
        "a.csv.gz",
        "a.jsonl.zst",
        "a.txt",
        "a.parquet",
        "a.csv ",
        "a.xlsm",
        "a.企",
        "a.2026-01-01",
    ];
    for name in names {
        let args = ["export", "M", "--base-url", &url, "-o", name];
        let done = run_in(directory.path(), &args).await;
        assert_eq!((code(&done), sim.calls().connections), (2, 0), "{name}");
        assert!(stderr(&done).contains("--format"), "{}", stderr(&done));
    }
    assert!(entries(directory.path()).is_empty());
    for name in names {
        let args = ["export", "--demo", "1", "-q", "-o", name, "--format", "jsonl"];
        let done = run_in(directory.path(), &args).await;
        assert_eq!((code(&done), &*stderr(&done)), (0, ""), "{name}");
        assert_eq!(ids(&fs::read(directory.path().join(name)).unwrap()), expected(1));
    }
    // The name of a pipe promises no format, and a dot at the start or end begins no extension.
    let script =
        r#"mkfifo rows.pipe; cat rows.pipe & "$0" export --demo 9 -q -o rows.pipe && wait"#;
    let mut pipe = command("sh", &["-c", script, EXE]);
    pipe.current_dir(directory.path());
    assert_eq!(ids(&finish(pipe).await.stdout), expected(9));
    for name in [".xls", "rows."] {
        let args = ["export", "--demo", "1", "-q", "-o", name];
        assert_eq!(code(&run_in(directory.path(), &args).await), 0, "{name}");
    }
}

#[tokio::test]
async fn output_can_be_a_path_of_standard_output() {
    let files = Files::new();
    for path in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        if !Path::new(path).exists() {
            println!("SKIPPED: this system has no {path}");
            continue;
        }
        let done = run(&["export", "--demo", "60", "-q", "-o", path]).await;
        assert_eq!((code(&done), &*stderr(&done)), (0, ""), "{path}");
        assert_eq!(ids(&done.stdout), expected(60));
        // A file, which is locked and synced.
        let mut export = command(EXE, &["export", "--demo", "60", "-o", path]);
        let export = export.stdout(File::create(&files.output).unwrap()).spawn().unwrap();
        let done = timeout(LIMIT, export.wait_with_output()).await.unwrap().unwrap();
        assert_eq!((code(&done), files.ids()), (0, expected(60)), "{path}: {}", stderr(&done));
        assert_eq!(stderr(&done).lines().count(), 1, "no warning: {}", stderr(&done));
    }
}
