//! Positions that outlive a process: replaced as a whole, private, and believed only when whole.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use futures::{FutureExt, StreamExt, future::join_all};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use wecom_enroll::{Checkpoint, CheckpointStore, ErrorKind, FileStore};

use crate::support::{List, ids, query};

/// What a job keeps beside its position.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    checkpoint: Checkpoint,
    length: u64,
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("at.json");
    (folder, path)
}

/// What every store promises.
pub(crate) async fn keeps_what_was_saved_last(store: &impl CheckpointStore) {
    assert!(store.load::<Checkpoint>().await.unwrap().is_none());
    let client = List::of(200).script().client();
    let mut rows = client.enrolls(query());
    for _ in 0..75 {
        rows.next().await.unwrap().unwrap();
        store.save(&rows.checkpoint()).await.unwrap();
    }
    let rest = client.resume(store.load().await.unwrap().unwrap());
    assert_eq!(ids(rest).await.unwrap(), List::of(200).ids()[75..]);
    // Something else may be kept with it, and is not mistaken for it alone.
    let saved = Saved { checkpoint: rows.checkpoint(), length: 75 };
    store.save(&saved).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some(saved));
    let error = store.load::<Checkpoint>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert!(!format!("{error} {error:?}").contains("cursor-1"));
}

#[tokio::test]
async fn a_file_keeps_what_was_saved_last() {
    let (_folder, path) = place();
    keeps_what_was_saved_last(&FileStore::new(path)).await;
}

#[tokio::test]
async fn only_its_owner_may_read_it_and_nothing_else_is_left_behind() {
    let (folder, path) = place();
    // One that a killed process left, open to all, is not written into.
    let left = folder.path().join(".at.json.new");
    fs::write(&left, "left").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
    FileStore::new(&path).save(&1).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_that_is_cut_empty_or_foreign_is_refused_and_left_alone() {
    let (_folder, path) = place();
    let store = FileStore::new(&path);
    let rows = List::of(1).script().client().enrolls(query());
    store.save(&rows.checkpoint()).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for text in [&whole[..whole.len() / 2], b"", b"my notes", b"{\"version\": 99}", b"\xff\xfe"] {
        fs::write(&path, text).unwrap();
        let error = store.load::<Checkpoint>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
        assert!(error.to_string().contains("at.json is no checkpoint that can be used"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn a_save_that_fails_leaves_what_was_there() {
    let (folder, path) = place();
    let store = FileStore::new(&path);
    store.save(&1).await.unwrap();
    // Neither written nor removed.
    fs::create_dir(folder.path().join(".at.json.new")).unwrap();
    let error = store.save(&2).await.unwrap_err();
    assert!(error.to_string().contains("cannot write the checkpoint"), "{error}");
    assert!(!error.is_transient());
    assert_eq!(store.load::<u32>().await.unwrap(), Some(1));
    let nowhere = FileStore::new(folder.path().join("none/at.json"));
    assert!(nowhere.save(&1).await.is_err() && nowhere.load::<u32>().await.unwrap().is_none());
}

#[tokio::test]
async fn saves_keep_their_order_also_those_nobody_waits_for() {
    let (_folder, path) = place();
    let store = FileStore::new(&path);
    for round in 0..50 {
        // Begun, and dropped.
        assert!(store.save(&format!("dropped {round}")).now_or_never().is_none());
        store.save(&round).await.unwrap();
        assert_eq!(store.load::<u32>().await.unwrap(), Some(round));
    }
}

#[tokio::test]
async fn a_reader_sees_one_save_or_the_other_and_never_half_of_one() {
    let (_folder, path) = place();
    let store = FileStore::new(&path);
    let long = |letter: char| letter.to_string().repeat(1 << 16);
    store.save(&long('a')).await.unwrap();
    let written = store.clone();
    let writer = tokio::spawn(async move {
        join_all(('a'..='z').map(|letter| {
            let written = written.clone();
            async move { written.save(&long(letter)).await.unwrap() }
        }))
        .await
    });
    // Another process' eyes: without the store's turns.
    while !writer.is_finished() {
        let text: String = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(text, long(text.chars().next().unwrap()));
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
