//! The key file: the port's contract, and what is peculiar to a file.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    collections::HashSet,
    error::Error as _,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    sync::{Arc, Barrier},
    thread,
};

use legwork_adapters_local::key_file::FileKeys;
use legwork_conformance::keys::KeysBench;
use legwork_core::{envelope::DataKey, secret::Secret};
use legwork_ports::keys::{Keys as _, KeysError};
use tempfile::TempDir;

fn file() -> (KeysBench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let bench = KeysBench {
        one: Arc::new(FileKeys::open(&path).unwrap()),
        other: Arc::new(FileKeys::open(&path).unwrap()),
        stranger: Arc::new(FileKeys::open(&folder.path().join("others.json")).unwrap()),
    };
    (bench, folder)
}

legwork_conformance::keys_suite!(file);

fn keys() -> (FileKeys, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    (FileKeys::open(&path).unwrap(), path, folder)
}

fn key() -> DataKey {
    Secret::new([7; 32])
}

#[tokio::test]
async fn after_rotation_older_wrapped_keys_still_open_and_new_ones_are_wrapped_otherwise() {
    let (here, path, _folder) = keys();
    let elsewhere = FileKeys::open(&path).unwrap();
    let before = here.wrap(&key(), b"t").await.unwrap();

    elsewhere.rotate().unwrap();
    let after = here.wrap(&key(), b"t").await.unwrap();

    // A format byte, then the id of the key.
    assert_ne!(before[..9], after[..9]);
    for wrapped in [before, after] {
        assert_eq!(here.unwrap(&wrapped, b"t").await.unwrap(), key());
        assert_eq!(elsewhere.unwrap(&wrapped, b"t").await.unwrap(), key());
    }
}

#[tokio::test]
async fn rotations_at_once_lose_no_key() {
    let (keys, path, folder) = keys();
    let start = Barrier::new(8);

    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                keys.rotate().unwrap();
            });
        }
    });

    let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let ids: HashSet<_> = file["keys"].as_array().unwrap().iter().map(|key| key["id"].to_string()).collect();
    assert_eq!(ids.len(), 9);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the keys and their lock");
}

#[tokio::test]
async fn of_many_who_open_it_first_all_use_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let start = Barrier::new(8);
    let open = || {
        start.wait();
        FileKeys::open(&path).unwrap()
    };

    let all: Vec<FileKeys> = thread::scope(|scope| {
        let opened: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        opened.into_iter().map(|keys| keys.join().unwrap()).collect()
    });

    let wrapped = all[0].wrap(&key(), b"t").await.unwrap();
    for keys in &all {
        assert_eq!(keys.unwrap(&wrapped, b"t").await.unwrap(), key());
    }
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused_with_what_to_do() {
    let (keys, path, _folder) = keys();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

    let opened = FileKeys::open(&path).unwrap_err();
    let wrapped = keys.wrap(&key(), b"t").await.unwrap_err();

    assert!(opened.to_string().contains("chmod 600"), "{opened}");
    assert!(
        matches!(&wrapped, KeysError::Refused { advice, .. } if advice.starts_with("chmod 600")),
        "{wrapped}"
    );
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_made_anew_while_it_is_in_use() {
    let (keys, path, _folder) = keys();
    fs::remove_file(&path).unwrap();

    let error = keys.wrap(&key(), b"t").await.unwrap_err();

    assert!(matches!(error, KeysError::Refused { .. }), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_broken_file_is_told_without_its_content() {
    let (keys, path, _folder) = keys();
    let text = fs::read_to_string(&path).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    let secret = stored["keys"][0]["key"].as_str().unwrap();
    let broken = [
        "{".to_owned(),
        "[]".to_owned(),
        text.replace("\"version\": 1", "\"version\": 2"),
        text.replace("\"version\": 1", &format!("\"version\": \"{secret}\"")),
        text.replace(secret, &format!("{secret}A")),
        text.replace(secret, "AAAA"),
        text.replace("\"primary\": \"", "\"primary\": \"0"),
    ];

    for content in broken {
        assert_ne!(content, text);
        fs::write(&path, &content).unwrap();
        let opened = FileKeys::open(&path).unwrap_err();
        let error = keys.unwrap(&[1; 69], b"t").await.unwrap_err();
        let told = format!("{opened} {opened:?} {error} {:?}", error.source());
        assert!(opened.to_string().contains("is not a key file"), "{opened}");
        assert!(matches!(error, KeysError::Refused { .. }), "{error}");
        assert!(!told.contains(secret), "the error shows a key");
    }
}

#[test]
fn the_file_holds_what_it_is_said_to_hold() {
    let (_keys, path, _folder) = keys();

    let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();

    assert_eq!(file["version"], 1);
    assert_eq!(file["primary"], file["keys"][0]["id"]);
    assert_eq!(file["keys"][0]["key"].as_str().unwrap().len(), 44);
    assert!(file["keys"][0]["created"].as_str().unwrap().ends_with('Z'));
}
