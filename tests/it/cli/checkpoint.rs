//! `export --checkpoint`: killed or interrupted exports, and checkpoints that are refused.

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use wecom_enroll::simulator::Simulator;

use super::{EXE, Files, LIMIT, MS, code, command, half_done, run, signal, stderr, text};
use crate::http::{expected, fault, start};

#[tokio::test]
async fn export_killed_100_times_writes_every_row_once_in_order() {
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
            // An export takes half a second, and writes its checkpoint twice a second.
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
async fn csv_export_of_several_meetings_survives_kills() {
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

#[tokio::test]
async fn damaged_checkpoint_or_output_is_refused_and_kept() {
    type Damage = fn(&Files);
    let damages: [(&str, Damage); 8] = [
        ("truncated", |files| {
            let text = fs::read(&files.checkpoint).unwrap();
            fs::write(&files.checkpoint, &text[..text.len() / 2]).unwrap();
        }),
        ("empty", |files| fs::write(&files.checkpoint, "").unwrap()),
        ("another version", |files| fs::write(&files.checkpoint, "{\"version\": 99}").unwrap()),
        ("not JSON", |files| fs::write(&files.checkpoint, "my notes").unwrap()),
        ("shortened", |files| {
            let file = fs::File::options().write(true).open(&files.output).unwrap();
            file.set_len(1000).unwrap();
        }),
        ("edited", |files| {
            let mut text = fs::read(&files.output).unwrap();
            text[1000] ^= 1;
            fs::write(&files.output, text).unwrap();
        }),
        ("missing", |files| fs::remove_file(&files.output).unwrap()),
        ("reordered", |files| {
            let text = fs::read(&files.output).unwrap();
            fs::write(&files.output, [&text[5000..], &text[..5000]].concat()).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (files, sim) = half_done(Simulator::builder()).await;
        damage(&files);
        let before = (fs::read(&files.output).ok(), fs::read(&files.checkpoint).unwrap());
        let done = run(&files.export(&sim.base_url(), &["M"])).await;
        assert_eq!(code(&done), 1, "{what}: {}", stderr(&done));
        assert!(stderr(&done).contains("start again"), "{what}: {}", stderr(&done));
        let after = (fs::read(&files.output).ok(), fs::read(&files.checkpoint).unwrap());
        assert!(before == after, "{what}: nothing was changed");
    }
}

#[tokio::test]
async fn output_after_the_checkpoint_is_cut_off() {
    let (files, sim) = half_done(Simulator::builder()).await;
    let mut text = fs::read(&files.output).unwrap();
    text.extend(b"{\"half\": a row");
    fs::write(&files.output, text).unwrap();
    assert_eq!(code(&run(&files.export(&sim.base_url(), &["M"])).await), 0);
    assert_eq!(files.ids(), expected(1000));
}

#[tokio::test]
async fn checkpoint_of_other_arguments_is_refused() {
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
async fn checkpoint_of_a_demo_is_refused_without_the_demo() {
    let (files, sim) = (Files::new(), start(Simulator::builder()).await);
    let url = sim.base_url();
    let (output, checkpoint) = (text(&files.output), text(&files.checkpoint));
    let demo = ["export", "--demo", "10", "M", "-o", output, "--checkpoint", checkpoint];
    assert_eq!(code(&run(&demo).await), 0);
    let done = run(&files.export(&url, &["M"])).await;
    assert_eq!((code(&done), sim.calls().list, files.ids().len()), (2, 0, 10));
    assert!(stderr(&done).contains("another export"), "{}", stderr(&done));
}

#[cfg(unix)]
#[tokio::test]
async fn checkpoint_replaces_the_leftover_of_a_killed_export() {
    use std::os::unix::fs::PermissionsExt;
    let (files, sim) = half_done(Simulator::builder()).await;
    let leftover = files.checkpoint.with_file_name(".at.json.new");
    // A directory cannot be replaced by a file.
    fs::create_dir(&leftover).unwrap();
    let before = fs::read(&files.checkpoint).unwrap();
    let done = run(&files.export(&sim.base_url(), &["M"])).await;
    assert_eq!(code(&done), 1);
    assert!(stderr(&done).contains("cannot write the checkpoint"), "{}", stderr(&done));
    assert_eq!(fs::read(&files.checkpoint).unwrap(), before);

    fs::remove_dir(&leftover).unwrap();
    fs::write(&leftover, "left").unwrap();
    fs::set_permissions(&leftover, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(code(&run(&files.export(&sim.base_url(), &["M"])).await), 0);
    let mode = fs::metadata(&files.checkpoint).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, leftover.exists()), (0o600, false));
    assert_eq!(files.ids(), expected(1000));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn unwritable_checkpoint_fails_before_output_is_changed() {
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

#[cfg(unix)]
#[tokio::test]
async fn interrupted_export_leaves_a_valid_checkpoint() {
    for (name, wanted) in [("-INT", 130), ("-TERM", 143)] {
        // While pages are fetched, during a backoff, and during a wait that the server asked for.
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
            let started = Instant::now();
            signal(&child, name).await;
            let done = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
            assert_eq!(code(&done), wanted, "{spec}: {}", stderr(&done));
            assert!(started.elapsed() < Duration::from_secs(5), "{spec}");
            assert!(stderr(&done).contains("the checkpoint is valid"), "{}", stderr(&done));
            assert!(files.ids().len() < 500);
            assert_eq!(code(&run(&args).await), 0);
            assert_eq!(files.ids(), expected(500), "{spec}");
        }
    }
}
