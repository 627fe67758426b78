//! The stores of this machine: the port's contract, and what is peculiar to files.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    fs::{self, File, FileTimes, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use legwork_adapters_local::{files::FileStorage, memory::MemoryStorage};
use legwork_conformance::storage::StorageBench;
use legwork_ports::storage::{Precondition, Storage as _, StorageError};
use tempfile::TempDir;

fn files() -> (StorageBench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let bench = StorageBench {
        one: Arc::new(FileStorage::open(&data).unwrap()),
        other: Arc::new(FileStorage::open(&data).unwrap()),
        scratch: folder.path().to_owned(),
    };
    (bench, folder)
}

fn memory() -> (StorageBench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let storage = MemoryStorage::default();
    let bench = StorageBench {
        one: Arc::new(storage.clone()),
        other: Arc::new(storage),
        scratch: folder.path().to_owned(),
    };
    (bench, folder)
}

mod in_files {
    legwork_conformance::storage_suite!(super::files);
}

mod in_memory {
    legwork_conformance::storage_suite!(super::memory);
}

fn store() -> (FileStorage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (FileStorage::open(folder.path()).unwrap(), folder)
}

async fn put(storage: &FileStorage, key: &str) -> Result<(), StorageError> {
    storage.put(key, Bytes::from_static(b"{}\n"), Precondition::Always).await.map(drop)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn objects_are_plain_files_closed_to_others() {
    let (storage, folder) = store();
    let source = folder.path().join("source");
    fs::write(&source, b"{}\n").unwrap();
    fs::set_permissions(&source, Permissions::from_mode(0o644)).unwrap();

    put(&storage, "sessions/t/x.jsonl").await.unwrap();
    storage
        .put_file("sessions/t/y.jsonl", File::open(&source).unwrap(), "application/x-ndjson")
        .await
        .unwrap();

    for name in ["x.jsonl", "y.jsonl"] {
        let path = folder.path().join("objects/sessions/t").join(name);
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
        assert_eq!(mode(&path), 0o600);
    }
    for path in ["objects", "objects/sessions", "objects/sessions/t", "tmp", "locks"] {
        assert_eq!(mode(&folder.path().join(path)), 0o700, "{path}");
    }
}

#[tokio::test]
async fn names_that_would_leave_the_folder_are_refused() {
    let (storage, folder) = store();
    let long = "x".repeat(256);

    for key in ["../x", "a/../../x", "/x", "a//b", "", "a/.", "a/", "a\0b", "..", &long] {
        let errors = [
            put(&storage, key).await.unwrap_err(),
            storage.get(key).await.unwrap_err(),
            storage.delete(key).await.unwrap_err(),
            storage.put_file(key, File::open(folder.path()).unwrap(), "text/plain").await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StorageError::Refused { .. }), "{key:?}: {error}");
        }
    }
    for prefix in ["../", "/", "a//", "a/../"] {
        assert!(matches!(storage.list(prefix, None, 1).await, Err(StorageError::Refused { .. })), "{prefix}");
    }
    put(&storage, &"x".repeat(255)).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_the_folder_of_another_is_refused() {
    let (storage, _folder) = store();
    put(&storage, "a/b").await.unwrap();

    for key in ["a", "a/b/c", "a/b/c/d"] {
        let error = put(&storage, key).await.unwrap_err();
        assert!(matches!(&error, StorageError::Refused { advice, .. } if advice.contains("name")), "{error}");
    }
}

#[tokio::test]
async fn a_folder_emptied_by_deletions_is_no_obstacle() {
    let (storage, folder) = store();
    put(&storage, "a/b").await.unwrap();
    put(&storage, "sessions/t/x").await.unwrap();
    storage.delete("a/b").await.unwrap();

    storage.delete("sessions/t/x").await.unwrap();
    put(&storage, "a").await.unwrap();

    assert!(!folder.path().join("objects/sessions/t").exists());
    assert!(folder.path().join("objects/sessions").exists());
    assert!(folder.path().join("objects/a").is_file());
}

#[tokio::test]
async fn what_a_dead_process_left_half_written_is_no_object_and_is_removed_after_a_day() {
    let (storage, folder) = store();
    let (old, young) = (folder.path().join("tmp/old"), folder.path().join("tmp/young"));
    for path in [&old, &young] {
        fs::write(path, b"half").unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "file times are the machine's")]
    let long_ago = SystemTime::now() - Duration::from_hours(25);
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_times(FileTimes::new().set_modified(long_ago))
        .unwrap();

    let listed = storage.list("", None, 10).await.unwrap();
    drop(FileStorage::open(folder.path()).unwrap());

    assert!(listed.is_empty());
    assert!(!old.exists());
    assert!(young.exists());
}

#[tokio::test]
async fn puts_leave_no_temporary_files_whether_they_are_applied_or_not() {
    let (storage, folder) = store();
    put(&storage, "a/b").await.unwrap();

    put(&storage, "a/b").await.unwrap();
    put(&storage, "a").await.unwrap_err();
    storage.put("a/b", Bytes::new(), Precondition::Absent).await.unwrap_err();
    storage.put_file("a/c", File::open(folder.path()).unwrap(), "text/plain").await.unwrap_err();

    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_lock_that_a_dead_process_held_is_free() {
    let (storage, folder) = store();
    put(&storage, "a/b").await.unwrap();
    for entry in fs::read_dir(folder.path().join("locks")).unwrap() {
        // Held and given back by the kernel alone, as when a process dies.
        File::open(entry.unwrap().path()).unwrap().lock().unwrap();
    }

    put(&storage, "a/b").await.unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();

    for data in [file.join("data"), Path::new("/proc/legwork").to_owned()] {
        assert!(FileStorage::open(&data).is_err(), "{}", data.display());
    }
}

#[tokio::test]
async fn without_its_folders_a_store_is_unavailable_and_not_empty_of_errors() {
    let (storage, folder) = store();
    fs::remove_dir_all(folder.path().join("tmp")).unwrap();

    let error = put(&storage, "a/b").await.unwrap_err();

    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn an_address_is_that_of_the_file() {
    let (storage, folder) = store();
    put(&storage, "a/b c%ü#?").await.unwrap();

    let url = url::Url::parse(&storage.url("a/b c%ü#?")).unwrap();

    assert_eq!(url.to_file_path().unwrap(), folder.path().join("objects/a/b c%ü#?"));
    assert!(storage.url("sessions/t/").ends_with("/objects/sessions/t/"));
}
