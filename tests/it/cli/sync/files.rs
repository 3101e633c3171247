//! The SQLite file of `sync`: who may read it, and when it is refused.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rusqlite::Connection;
use tokio::time::{Instant, sleep};
use wecom_enroll::simulator::Simulator;

use super::{EXE, Mirror, code, command, finish, id, lines, roster, stderr, text};
use crate::{
    cli::MS,
    http::{fault, start},
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn database_file_is_readable_by_its_owner_only() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(200).fault(fault("hang@3"))).await;
    let mut child = mirror.command(&sim.base_url(), &[]).spawn().unwrap();
    while sim.calls().list < 3 {
        sleep(MS).await;
    }
    for name in ["enrolls.db", "enrolls.db-wal", "enrolls.db-shm", "enrolls.db.lock"] {
        assert_eq!(mode(&mirror.directory.path().join(name)), 0o600, "{name}");
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn database_path_defaults_to_enrolls_db() {
    let directory = Mirror::sqlite().directory;
    for (args, name) in [(&[][..], "enrolls.db"), (&["--database", "sqlite::memory:"], ":memory:")]
    {
        let mut command = command(EXE, &[&["sync", "--demo", "3", "-q"], args].concat());
        command.current_dir(directory.path());
        assert_eq!(code(&finish(command).await), 0);
        assert!(directory.path().join(name).is_file(), "{name}");
    }
}

#[tokio::test]
async fn file_of_another_program_is_refused_untouched() {
    let sim = start(Simulator::builder()).await;
    let foreign: fn(&Path) = |path| {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE enrolls (x)").unwrap();
    };
    let text: fn(&Path) = |path| fs::write(path, "my notes, which are precious").unwrap();
    let half: fn(&Path) = |path| fs::write(path, "SQLite format 3\0").unwrap();
    for (what, create) in [("database", foreign), ("text", text), ("header", half)] {
        let mirror = Mirror::sqlite();
        create(&mirror.path());
        let before = fs::read(mirror.path()).unwrap();
        let done = mirror.run(&sim, &[]).await;
        assert_eq!((code(&done), sim.calls().list), (1, 0), "{what}: {}", stderr(&done));
        assert!(stderr(&done).contains("was not created by sync"), "{what}: {}", stderr(&done));
        assert_eq!(fs::read(mirror.path()).unwrap(), before, "{what}");
        assert_eq!(fs::read_dir(mirror.directory.path()).unwrap().count(), 1, "{what}");
    }
}

#[tokio::test]
async fn database_of_a_newer_version_is_refused() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder()).await;
    mirror.sync(&sim, &[]).await;
    Connection::open(mirror.path()).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = fs::read(mirror.path()).unwrap();
    sim.enroll("M", 1);
    let done = mirror.run(&sim, &[]).await;
    assert_eq!(code(&done), 1);
    assert!(stderr(&done).contains("the tables have version 2"), "{}", stderr(&done));
    assert_eq!(fs::read(mirror.path()).unwrap(), before);
}

#[tokio::test]
async fn second_sync_waits_for_the_first_or_exits_with_75() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(300).latency(50 * MS)).await;
    let url = sim.base_url();
    let (first, second) =
        tokio::join!(finish(mirror.command(&url, &[])), finish(mirror.command(&url, &[])));
    assert_eq!((code(&first), code(&second)), (0, 0), "{}", stderr(&second));
    // One of them waited, and then found nothing new.
    let printed = [lines(&first.stdout).len(), lines(&second.stdout).len()];
    assert_eq!(printed.iter().max_by_key(|lines| **lines), Some(&300));
    assert_eq!(printed.iter().sum::<usize>(), 300);
    assert_eq!(mirror.roster().await, roster(&sim));

    let hanging = start(Simulator::builder().fault(fault("hang"))).await;
    let mut child = mirror.command(&hanging.base_url(), &[]).spawn().unwrap();
    while hanging.calls().list == 0 {
        sleep(MS).await;
    }
    let started = Instant::now();
    // Through a link, it is the same database.
    let link = mirror.directory.path().join("link.db");
    std::os::unix::fs::symlink(mirror.path(), &link).unwrap();
    let linked = format!("sqlite:{}", link.display());
    let done = finish(mirror.command(&url, &["--database", &linked])).await;
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    assert!(stderr(&done).contains("another sync is using the database"), "{}", stderr(&done));
    assert!(started.elapsed() > 4000 * MS);
    child.kill().await.unwrap();
    assert!(mirror.sync(&sim, &[]).await.is_empty(), "the lock ends with the process");
}

#[tokio::test]
async fn database_locked_by_another_program_is_a_temporary_failure() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder()).await;
    mirror.sync(&sim, &[]).await;
    let connection = Connection::open(mirror.path()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let done = mirror.run(&sim, &[]).await;
    assert_eq!(code(&done), 75, "{}", stderr(&done));
    assert!(stderr(&done).contains("database is locked"), "{}", stderr(&done));
    connection.execute_batch("ROLLBACK").unwrap();
    sim.set_status("M", &id(3), 2_u32);
    assert_eq!(mirror.sync(&sim, &[]).await.len(), 1);
}

#[tokio::test]
async fn database_that_cannot_be_opened_is_a_clear_error() {
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    let mirror = Mirror::sqlite();
    let directory = format!("sqlite:{}", mirror.directory.path().display());
    let missing = format!("{directory}/missing/enrolls.db");
    for database in ["sqlite:/proc/enrolls.db", &directory, &missing] {
        let done = finish(mirror.command(&url, &["--database", database])).await;
        let path = database.strip_prefix("sqlite:").unwrap();
        assert_eq!((code(&done), sim.calls().list), (1, 0), "{}", stderr(&done));
        assert!(stderr(&done).contains(&format!("the database {path}")), "{}", stderr(&done));
    }
    for usage in ["mysql://u:hunter2@h/d", "enrolls.db", "postgres://u:hunter2@h:x/d"] {
        let done = finish(mirror.command(&url, &["--database", usage])).await;
        assert_eq!(code(&done), 2, "{}", stderr(&done));
        assert!(!stderr(&done).contains("hunter2"), "{}", stderr(&done));
    }
}

#[tokio::test]
async fn full_disk_is_a_clear_error_and_loses_nothing() {
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(2000)).await;
    // Files of at most 1000 blocks of 1024 bytes.
    let limited =
        format!("trap '' XFSZ; ulimit -f 1000; exec {EXE} sync M --base-url {}", sim.base_url());
    let mut shell = command("bash", &["-c", &limited]);
    shell.env("DATABASE_URL", &mirror.url);
    let done = finish(shell).await;
    let printed = lines(&done.stdout).len();
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert!(
        stderr(&done).contains("the database") && stderr(&done).contains("disk"),
        "{}",
        stderr(&done)
    );
    assert!((50..2000).contains(&printed), "{printed}");
    let rest = mirror.sync(&sim, &[]).await;
    assert!(printed + rest.len() >= 2000, "{printed} and {}", rest.len());
    assert_eq!(mirror.roster().await, roster(&sim));
    assert_eq!(mirror.replay().await, mirror.table().await);
}

/// A crash of the machine must not undo what was printed. Only the system calls show that.
#[tokio::test]
async fn change_is_written_to_disk_before_it_is_printed() {
    let probe = command("strace", &["-o", "/dev/null", "true"]).output().await;
    if !probe.is_ok_and(|done| done.status.success()) {
        let _ =
            writeln!(io::stderr(), "\nSKIPPED: strace is missing, or may not trace processes\n");
        return;
    }
    let mirror = Mirror::sqlite();
    let sim = start(Simulator::builder().enrollees(500)).await;
    let (trace, url) = (mirror.directory.path().join("trace"), sim.base_url());
    let strace = ["-fy", "-e", "trace=pwrite64,fsync,fdatasync,write", "-o", text(&trace)];
    let sync = [EXE, "sync", "M", "--base-url", &url, "-q"];
    let mut traced = command("strace", &[&strace[..], &sync].concat());
    traced.env("DATABASE_URL", &mirror.url);
    assert_eq!(lines(&finish(traced).await.stdout).len(), 500);

    let (mut on_disk, mut printed) = (true, 0);
    for line in fs::read_to_string(&trace).unwrap().lines() {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let name = call.split('(').next().unwrap();
        match name {
            "pwrite64" if call.contains("-wal>") => on_disk = false,
            "fsync" | "fdatasync" if call.contains("-wal>") => on_disk = true,
            "write" if call.starts_with("write(1<") => {
                assert!(on_disk, "write {printed} is not on disk: {line}");
                printed += 1;
            }
            _ => {}
        }
    }
    assert!(printed > 1, "{printed}");
}
