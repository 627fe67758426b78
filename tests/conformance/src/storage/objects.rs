//! Reading, writing and removing single objects.

use std::{collections::HashSet, fs::File, sync::Arc, task::Poll};

use legwork_ports::storage::{Precondition, StorageError};
use tokio::{task::JoinSet, time::timeout};

use super::{PATIENCE, StorageBench, assert_conflict, assert_not_found, text};

/// `get` returns a whole object.
pub async fn what_was_put_is_got(bench: &StorageBench) {
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();

    bench.one.put("a/b/c.bin", content.clone().into(), Precondition::Always).await.expect("it is put");
    let got = bench.other.get("a/b/c.bin").await.expect("it is there");

    assert_eq!(got.bytes, content);
}

/// An object may have no bytes.
pub async fn an_empty_object_is_an_object(bench: &StorageBench) {
    bench.write("a/empty", "").await;

    assert!(bench.read("a/empty").await.is_empty());
    assert_eq!(bench.row("a/empty").await.size_bytes, 0);
    let put = bench.one.put("a/empty", text("x"), Precondition::Absent).await;
    assert_conflict(put);
}

/// A missing key is `NotFound`, also where it names a folder or something below an object.
pub async fn a_missing_object_is_not_found(bench: &StorageBench) {
    bench.write("a/b", "x").await;

    for key in ["none", "a", "a/c", "none/b"] {
        assert_not_found(bench.one.get(key).await, key);
        assert_not_found(bench.one.get_range(key, 0, 1).await, key);
    }
}

/// `Always` replaces whatever is there.
pub async fn put_over_an_existing_key_replaces_it(bench: &StorageBench) {
    bench.write("a/b", "a longer content").await;

    bench.write("a/b", "short").await;

    assert_eq!(bench.read("a/b").await, "short");
    assert_eq!(bench.row("a/b").await.size_bytes, 5);
}

/// A version names one state.
pub async fn states_have_different_versions(bench: &StorageBench) {
    let mut versions = HashSet::new();

    for round in 0..20 {
        versions.insert(bench.write("a/b", format!("state {round}")).await);
    }

    assert_eq!(versions.len(), 20);
}

/// Reading changes no version, and a part has that of the whole.
pub async fn every_reading_of_a_state_gives_its_version(bench: &StorageBench) {
    for content in ["first", "other"] {
        let version = bench.write("a/b", content).await;

        assert_eq!(bench.one.get("a/b").await.expect("it is there").version, version);
        for offset in [0, 1, 9] {
            let part = bench.other.get_range("a/b", offset, 2).await.expect("it is there");
            assert_eq!(part.version, version);
        }
    }
}

/// No reader sees a part of a write.
pub async fn no_reader_sees_a_part(bench: &StorageBench) {
    let contents = [text("a".repeat(300_000)), text("b".repeat(10))];
    bench.write("a/b", "b".repeat(10)).await;
    let (writing, written) = tokio::sync::watch::channel(());
    let storage = Arc::clone(&bench.other);
    let whole = contents.clone();
    let mut reader = JoinSet::new();
    reader.spawn(async move {
        while written.has_changed().is_ok() {
            let read = storage.get("a/b").await.expect("it is always there");
            assert!(whole.contains(&read.bytes), "a part of {} bytes", read.bytes.len());
        }
    });

    for content in contents.iter().cycle().take(40) {
        bench.one.put("a/b", content.clone(), Precondition::Always).await.expect("it is put");
    }
    drop(writing);

    reader.join_all().await;
}

/// Dropping the future of a put leaves the write applied or not, never in part.
pub async fn a_dropped_put_is_applied_whole_or_not_at_all(bench: &StorageBench) {
    let (old, new) = (text("old"), text("n".repeat(500_000)));
    for steps in 0..10 {
        bench.one.put("a/b", old.clone(), Precondition::Always).await.expect("it is put");
        {
            let mut put = bench.one.put("a/b", new.clone(), Precondition::Always);
            for _ in 0..steps {
                if std::future::poll_fn(|context| Poll::Ready(put.as_mut().poll(context).is_ready())).await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }

        let read = bench.read("a/b").await;
        assert!(read == old || read == new, "a part of {} bytes", read.len());
    }
}

/// A range gives fewer bytes at the end of the object, and none past it.
pub async fn a_range_ends_with_the_object(bench: &StorageBench) {
    bench.write("a/b", "0123456789").await;
    let cases = [
        (0, 10, "0123456789"),
        (0, 4, "0123"),
        (3, 4, "3456"),
        (8, 4, "89"),
        (9, 1, "9"),
        (0, 0, ""),
        (10, 1, ""),
        (11, 5, ""),
        (2, u64::MAX, "23456789"),
        (u64::MAX, 1, ""),
        (u64::MAX, u64::MAX, ""),
    ];

    for (offset, length, expected) in cases {
        let part = bench.one.get_range("a/b", offset, length).await.expect("it is there");
        assert_eq!(part.bytes, expected, "{length} from {offset}");
    }
}

/// A file of any size becomes an object; its size is returned.
pub async fn a_large_file_becomes_an_object(bench: &StorageBench) {
    const SIZE_BYTES: u64 = 64 * 1024 * 1024;
    let path = bench.scratch.join("large");
    // A file with a hole: it takes no room where it lies.
    File::create(&path).and_then(|file| file.set_len(SIZE_BYTES)).expect("a file is made");

    let size_bytes = bench
        .one
        .put_file("a/large", File::open(&path).expect("it is there"), "application/octet-stream")
        .await
        .expect("it is put");
    let end = bench.one.get_range("a/large", SIZE_BYTES - 3, 10).await.expect("it is there");

    assert_eq!(size_bytes, SIZE_BYTES);
    assert_eq!(bench.row("a/large").await.size_bytes, SIZE_BYTES);
    assert_eq!(end.bytes, [0; 3].as_slice());
}

/// A put from a file replaces what is there, and a swap notices.
pub async fn an_object_is_replaced_from_a_file(bench: &StorageBench) {
    let before = bench.write("a/b", "before").await;
    let path = bench.scratch.join("file");
    std::fs::write(&path, "after").expect("a file is made");

    bench
        .one
        .put_file("a/b", File::open(&path).expect("it is there"), "text/plain")
        .await
        .expect("it is put");
    let swap = bench.one.put("a/b", text("x"), Precondition::Unchanged(before)).await;

    assert_conflict(swap);
    assert_eq!(bench.read("a/b").await, "after");
    assert_eq!(std::fs::read(&path).expect("the file is left alone"), b"after");
}

/// A file that cannot be read is an error, and nothing appears.
pub async fn a_file_that_cannot_be_read_makes_no_object(bench: &StorageBench) {
    let folder = File::open(&bench.scratch).expect("it is there");

    let put = bench.one.put_file("a/b", folder, "text/plain").await;

    match put {
        Err(StorageError::Unavailable { .. } | StorageError::Refused { .. }) => {}
        put => panic!("{put:?}"),
    }
    assert_not_found(bench.one.get("a/b").await, "a/b");
}

/// A deleted object is neither got nor listed.
pub async fn a_deleted_object_is_gone(bench: &StorageBench) {
    bench.write("a/b/c", "x").await;
    bench.write("a/b/d", "x").await;

    bench.one.delete("a/b/c").await.expect("it is deleted");

    assert_not_found(bench.other.get("a/b/c").await, "a/b/c");
    assert_eq!(bench.keys("", None, 10).await, ["a/b/d"]);
}

/// Removing a missing object succeeds, and removes nothing else.
pub async fn removing_what_is_missing_succeeds(bench: &StorageBench) {
    bench.write("a/b/c", "x").await;

    for key in ["none", "a/none", "none/none", "a/b", "a", "a/b/c/d"] {
        let deleted = bench.one.delete(key).await;
        assert!(deleted.is_ok(), "{key}: {deleted:?}");
    }
    for _ in 0..2 {
        assert!(bench.one.delete("a/x").await.is_ok());
    }

    assert_eq!(bench.keys("", None, 10).await, ["a/b/c"]);
}

/// After a deletion there is no object of the name.
pub async fn a_deleted_object_is_absent_to_a_put(bench: &StorageBench) {
    bench.write("a/b", "first").await;
    bench.one.delete("a/b").await.expect("it is deleted");

    let put = bench.other.put("a/b", text("second"), Precondition::Absent).await;

    assert!(put.is_ok(), "{put:?}");
    assert_eq!(bench.read("a/b").await, "second");
}

/// Puts succeed while others empty the same folder.
pub async fn puts_and_deletions_of_neighbours_do_not_disturb_each_other(bench: &StorageBench) {
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let storage = if number % 2 == 0 { Arc::clone(&bench.one) } else { Arc::clone(&bench.other) };
        writers.spawn(async move {
            let key = format!("sessions/task/below/{number}");
            for _ in 0..25 {
                let put = storage.put(&key, text("x"), Precondition::Absent).await;
                assert!(put.is_ok(), "{put:?}");
                let read = storage.get(&key).await;
                assert!(read.is_ok(), "{read:?}");
                let deleted = storage.delete(&key).await;
                assert!(deleted.is_ok(), "{deleted:?}");
            }
        });
    }

    timeout(PATIENCE, writers.join_all()).await.expect("all get through");

    assert!(bench.keys("", None, 10).await.is_empty());
}

/// A signed address can be fetched by a browser, where there is one.
pub async fn a_signed_address_is_an_https_address_if_there_is_one(bench: &StorageBench) {
    bench.write("a/b", "x").await;

    let url = bench.one.signed_url("a/b", PATIENCE, "attachment; filename=\"b\"").await.expect("an answer");

    assert!(url.as_ref().is_none_or(|url| url.starts_with("https://")), "not an https address");
}

/// Two keys have two addresses, the same for every process, in characters that an address may have.
pub async fn each_key_has_an_address_of_its_own(bench: &StorageBench) {
    let keys = ["a/b", "a/b c", "a/b%20c", "a/b#c", "a/b?c", "a/ü", "a-b"];
    for key in keys {
        bench.write(key, "x").await;
    }

    let urls: HashSet<String> = keys.iter().map(|key| bench.one.url(key)).collect();

    assert_eq!(urls.len(), keys.len());
    assert_eq!(urls, keys.iter().map(|key| bench.other.url(key)).collect());
    for url in urls {
        assert!(url.contains("://") && url.is_ascii() && !url.contains(' '), "{url}");
    }
}
