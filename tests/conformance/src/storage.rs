//! What every `Storage` has to keep.
//!
//! Each function gets a store without objects. Nothing waits for a time that is guessed: who waits is
//! woken by what it waits for, and fails when that does not come in time.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic"
)]

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use legwork_ports::storage::{Entry, Precondition, Storage, StorageError, Version};
use tokio::{task::JoinSet, time::timeout};

/// How long anything may take that has no limit of its own: a machine may be very busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// Writers that meet at one object.
const SWAPPERS: usize = 50;
/// Names whose order is not that of their folders, or of their letters in a dictionary.
const TRICKY: [&str; 16] = [
    "a", "a!x", "a-b", "a-b/c", "a.b", "a0/x", "a0a", "aa/b/c", "aa/b/c-d", "aa/b-c/d", "aa/B", "ab", "b/1",
    "b/10", "b/9", "é/ü",
];

/// A store to be tried.
#[derive(Debug, Clone)]
pub struct StorageBench {
    /// The store.
    pub one: Arc<dyn Storage>,
    /// The same store as another process would open it.
    pub other: Arc<dyn Storage>,
    /// A folder for files that become objects.
    pub scratch: PathBuf,
}

/// Makes one `#[tokio::test]` of each function of [`storage`](crate::storage).
///
/// The argument is an async function that returns a [`StorageBench`](crate::storage::StorageBench) over
/// a store without objects, and a value that keeps it alive.
#[macro_export]
macro_rules! storage_suite {
    ($make:path) => {
        $crate::storage_suite!($make:
            what_was_put_is_got,
            an_empty_object_is_an_object,
            a_missing_object_is_not_found,
            put_over_an_existing_key_replaces_it,
            a_put_of_what_is_absent_makes_it,
            a_put_of_what_is_absent_leaves_what_is_there,
            a_put_of_what_is_unchanged_replaces_it,
            a_put_of_what_is_unchanged_leaves_what_has_changed,
            a_put_of_what_is_unchanged_makes_nothing,
            of_many_who_make_an_object_one_wins,
            of_many_swappers_one_wins_each_round,
            an_unconditional_put_is_seen_by_every_swap_after_it,
            states_have_different_versions,
            every_reading_of_a_state_gives_its_version,
            no_reader_sees_a_part,
            a_dropped_put_is_applied_whole_or_not_at_all,
            a_range_ends_with_the_object,
            a_large_file_becomes_an_object,
            an_object_is_replaced_from_a_file,
            a_file_that_cannot_be_read_makes_no_object,
            keys_are_listed_in_byte_order,
            a_list_begins_strictly_after_a_key,
            a_list_has_only_what_is_below_whole_segments,
            pages_hold_every_key_once,
            a_prefix_without_objects_is_an_empty_list,
            a_list_shows_every_put_that_returned_before,
            a_list_tells_size_and_time,
            a_change_mark_differs_after_each_write,
            a_deleted_object_is_gone,
            removing_what_is_missing_succeeds,
            a_deleted_object_is_absent_to_a_put,
            puts_and_deletions_of_neighbours_do_not_disturb_each_other,
            a_waiter_is_woken_by_a_put,
            a_waiter_is_woken_by_a_put_of_another_process,
            a_waiter_is_woken_by_a_put_into_a_new_folder,
            a_waiter_is_woken_by_a_put_deep_below,
            a_waiter_is_woken_by_a_replacement,
            many_waiters_are_woken_by_one_put,
            a_waiter_waits_no_longer_than_it_was_told,
            a_signed_address_is_an_https_address_if_there_is_one,
            each_key_has_an_address_of_its_own,
        );
    };
    ($make:path: $($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let (bench, _alive) = $make().await;
            $crate::storage::$name(&bench).await;
        })*
    };
}

fn text(content: impl Into<String>) -> Bytes {
    Bytes::from(content.into())
}

impl StorageBench {
    async fn write(&self, key: &str, content: impl Into<String>) -> Version {
        self.one.put(key, text(content), Precondition::Always).await.expect("a put is applied")
    }

    async fn read(&self, key: &str) -> Bytes {
        self.one.get(key).await.expect("the object is there").bytes
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Entry> {
        self.one.list(prefix, after, limit).await.expect("a list is given")
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.list(prefix, after, limit).await.into_iter().map(|entry| entry.key).collect()
    }

    async fn row(&self, key: &str) -> Entry {
        let rows = self.list("", None, usize::MAX).await;
        rows.into_iter().find(|row| row.key == key).expect("the object is listed")
    }

    async fn write_tricky(&self) -> Vec<String> {
        let mut keys: Vec<String> = TRICKY
            .iter()
            // No key is another's folder.
            .filter(|key| !TRICKY.iter().any(|other| other.starts_with(&format!("{key}/"))))
            .map(ToString::to_string)
            .collect();
        for key in keys.iter().rev() {
            self.write(key, "x").await;
        }
        keys.sort_unstable();
        keys
    }
}

#[track_caller]
fn assert_conflict(put: Result<Version, StorageError>) {
    match put {
        Err(StorageError::Conflict { .. }) => {}
        Err(error) => panic!("not a conflict: {error}"),
        Ok(_) => panic!("the put was applied"),
    }
}

#[track_caller]
fn assert_not_found<T>(read: Result<T, StorageError>, key: &str) {
    match read {
        Err(StorageError::NotFound { key: told }) => assert_eq!(told, key),
        Err(error) => panic!("not the error for a missing object: {error}"),
        Ok(_) => panic!("there is no such object"),
    }
}

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

/// `Absent` holds where there is no object of the name.
pub async fn a_put_of_what_is_absent_makes_it(bench: &StorageBench) {
    let put = bench.one.put("a/b", text("x"), Precondition::Absent).await;

    assert!(put.is_ok(), "{put:?}");
    assert_eq!(bench.read("a/b").await, "x");
}

/// `Absent` does not hold where there is one.
pub async fn a_put_of_what_is_absent_leaves_what_is_there(bench: &StorageBench) {
    bench.write("a/b", "first").await;

    let put = bench.other.put("a/b", text("second"), Precondition::Absent).await;

    assert_conflict(put);
    assert_eq!(bench.read("a/b").await, "first");
}

/// `Unchanged` holds for the state that a put or a get returned.
pub async fn a_put_of_what_is_unchanged_replaces_it(bench: &StorageBench) {
    let first = bench.write("a/b", "1").await;

    let second =
        bench.one.put("a/b", text("2"), Precondition::Unchanged(first)).await.expect("it is unchanged");
    let read = bench.other.get("a/b").await.expect("it is there").version;
    let third = bench.other.put("a/b", text("3"), Precondition::Unchanged(read.clone())).await;

    assert_eq!(read, second);
    assert!(third.is_ok(), "{third:?}");
    assert_eq!(bench.read("a/b").await, "3");
}

/// `Unchanged` does not hold for an older state.
pub async fn a_put_of_what_is_unchanged_leaves_what_has_changed(bench: &StorageBench) {
    let first = bench.write("a/b", "1").await;
    bench.write("a/b", "2").await;

    let put = bench.other.put("a/b", text("3"), Precondition::Unchanged(first)).await;

    assert_conflict(put);
    assert_eq!(bench.read("a/b").await, "2");
}

/// `Unchanged` does not hold for a missing object.
pub async fn a_put_of_what_is_unchanged_makes_nothing(bench: &StorageBench) {
    let first = bench.write("a/b", "1").await;
    bench.one.delete("a/b").await.expect("it is deleted");

    let put = bench.one.put("a/b", text("2"), Precondition::Unchanged(first)).await;

    assert_conflict(put);
    assert_not_found(bench.one.get("a/b").await, "a/b");
}

/// Of many puts with `Absent`, one wins.
pub async fn of_many_who_make_an_object_one_wins(bench: &StorageBench) {
    for round in 0..5 {
        let key = format!("made/{round}");
        let mut makers = JoinSet::new();
        for number in 0..SWAPPERS {
            let (bench, key) = (bench.clone(), key.clone());
            makers.spawn(async move {
                let storage = if number % 2 == 0 { bench.one } else { bench.other };
                let put = storage.put(&key, text(number.to_string()), Precondition::Absent).await;
                (number, put.map_err(|error| matches!(error, StorageError::Conflict { .. })))
            });
        }
        let puts = makers.join_all().await;

        assert!(puts.iter().all(|(_, put)| *put != Err(false)), "an error that is no conflict");
        let winners: Vec<_> = puts.iter().filter(|(_, put)| put.is_ok()).map(|(number, _)| number).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(bench.read(&key).await, text(winners.first().expect("there is one").to_string()));
    }
}

/// Of many puts with the same state as precondition, one wins: no update is lost.
pub async fn of_many_swappers_one_wins_each_round(bench: &StorageBench) {
    bench.write("count", "0").await;
    let mut swappers = JoinSet::new();
    for number in 0..SWAPPERS {
        let storage = if number % 2 == 0 { Arc::clone(&bench.one) } else { Arc::clone(&bench.other) };
        swappers.spawn(async move {
            loop {
                let read = storage.get("count").await.expect("it is there");
                let count: usize = std::str::from_utf8(&read.bytes)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .expect("a number");
                let next = text((count + 1).to_string());
                match storage.put("count", next, Precondition::Unchanged(read.version)).await {
                    Ok(_) => return count,
                    Err(StorageError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    let counts = timeout(PATIENCE, swappers.join_all()).await.expect("somebody always wins");

    let each_once: BTreeSet<usize> = counts.into_iter().collect();
    assert_eq!(each_once, (0..SWAPPERS).collect());
    assert_eq!(bench.read("count").await, SWAPPERS.to_string());
}

/// A swap never overwrites a put that it has not seen, whatever that put's precondition.
pub async fn an_unconditional_put_is_seen_by_every_swap_after_it(bench: &StorageBench) {
    let first = bench.write("a/b", "0").await;

    for round in 0..20 {
        let before = bench.write("a/b", format!("before {round}")).await;
        assert_ne!(before, first);
        let swap = bench.one.put("a/b", text(format!("swap {round}")), Precondition::Unchanged(before));
        let put = bench.other.put("a/b", text(format!("put {round}")), Precondition::Always);
        let (swapped, written) = tokio::join!(swap, put);

        written.expect("it is applied");
        // Whether before it or not at all: the swap is never what is left.
        assert_eq!(bench.read("a/b").await, format!("put {round}"), "{swapped:?}");
    }
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

    let size_bytes =
        bench.one.put_file("a/large", &path, "application/octet-stream").await.expect("it is put");
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

    bench.one.put_file("a/b", &path, "text/plain").await.expect("it is put");
    let swap = bench.one.put("a/b", text("x"), Precondition::Unchanged(before)).await;

    assert_conflict(swap);
    assert_eq!(bench.read("a/b").await, "after");
    assert_eq!(std::fs::read(&path).expect("the file is left alone"), b"after");
}

/// A file that cannot be read is an error, and nothing appears.
pub async fn a_file_that_cannot_be_read_makes_no_object(bench: &StorageBench) {
    for path in [bench.scratch.join("none"), bench.scratch.clone()] {
        let put = bench.one.put_file("a/b", &path, "text/plain").await;

        match put {
            Err(StorageError::Unavailable { .. } | StorageError::Refused { .. }) => {}
            put => panic!("{put:?}"),
        }
        assert_not_found(bench.one.get("a/b").await, "a/b");
    }
}

/// Keys are listed in ascending byte order of the whole keys: `a-b` before `a/b`.
pub async fn keys_are_listed_in_byte_order(bench: &StorageBench) {
    let keys = bench.write_tricky().await;

    assert_eq!(bench.keys("", None, usize::MAX).await, keys);
}

/// A list begins strictly after a key, whether there is an object of that name or not.
pub async fn a_list_begins_strictly_after_a_key(bench: &StorageBench) {
    let keys = bench.write_tricky().await;
    let between = [
        "", "A", "a", "a-b", "a/", "aa/", "aa/b", "aa/b/", "aa/b/c", "aa/b/c/d", "aa0", "b", "b/1~", "~", "ü",
    ];

    for after in keys.iter().map(String::as_str).chain(between) {
        let expected: Vec<_> = keys.iter().filter(|key| key.as_str() > after).cloned().collect();
        assert_eq!(bench.keys("", Some(after), usize::MAX).await, expected, "after {after:?}");
        let below: Vec<_> = expected.into_iter().filter(|key| key.starts_with("aa/b/")).collect();
        assert_eq!(bench.keys("aa/b/", Some(after), usize::MAX).await, below, "below aa/b/ after {after:?}");
    }
}

/// A prefix is whole segments.
pub async fn a_list_has_only_what_is_below_whole_segments(bench: &StorageBench) {
    for key in ["a/1", "a/b/2", "a-b/3", "ab/4", "a.5", "b/a/6"] {
        bench.write(key, "x").await;
    }

    assert_eq!(bench.keys("a/", None, 100).await, ["a/1", "a/b/2"]);
    assert_eq!(bench.keys("a/b/", None, 100).await, ["a/b/2"]);
    assert_eq!(bench.keys("", None, 100).await.len(), 6);
}

/// At most `limit` entries come, and fewer than `limit` only at the end.
pub async fn pages_hold_every_key_once(bench: &StorageBench) {
    let keys = bench.write_tricky().await;

    for limit in 1..=keys.len() + 1 {
        let mut paged: Vec<String> = Vec::new();
        loop {
            let page = bench.keys("", paged.last().map(String::as_str), limit).await;
            assert!(page.len() <= limit);
            let is_last = page.len() < limit;
            paged.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(paged, keys, "pages of {limit}");
    }
    assert!(bench.keys("", None, 0).await.is_empty());
}

/// A prefix without objects is an empty list.
pub async fn a_prefix_without_objects_is_an_empty_list(bench: &StorageBench) {
    let in_empty_store = bench.keys("", None, 10).await;
    bench.write("a/b", "x").await;

    assert!(in_empty_store.is_empty());
    for prefix in ["none/", "none/at/all/", "a/b/", "a/c/"] {
        assert!(bench.keys(prefix, None, 10).await.is_empty(), "{prefix}");
    }
}

/// A list sees every put that returned before the call, whoever put.
pub async fn a_list_shows_every_put_that_returned_before(bench: &StorageBench) {
    for number in 0..30 {
        let key = format!("a/{number:03}/x");
        bench.other.put(&key, text("x"), Precondition::Always).await.expect("it is put");

        assert_eq!(bench.keys("a/", None, 100).await.len(), number + 1);
    }
}

/// An entry tells the size, and the time that a read tells.
pub async fn a_list_tells_size_and_time(bench: &StorageBench) {
    bench.write("a/old", "0123456789").await;
    bench.write("a/new", "x").await;

    let (old, new) = (bench.row("a/old").await, bench.row("a/new").await);

    assert_eq!((old.size_bytes, new.size_bytes), (10, 1));
    assert!(old.modified <= new.modified);
    assert_eq!(bench.one.get("a/old").await.expect("it is there").modified, old.modified);
}

/// A change mark differs after each write of different content, and only after a write.
pub async fn a_change_mark_differs_after_each_write(bench: &StorageBench) {
    let mut marks = HashSet::new();

    for round in 0..30 {
        bench.write("a/b", format!("{round:03}")).await;
        let mark = bench.row("a/b").await.change_mark;
        bench.read("a/b").await;
        assert_eq!(bench.row("a/b").await.change_mark, mark);
        assert!(marks.insert(mark), "a mark came again");
    }
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

/// Begins to wait, has `writer` put, and sees that the wait ends. Several times, as any one may end early.
async fn wakes(reader: &dyn Storage, writer: &dyn Storage, prefix: &str, keys: &[&str]) {
    for (round, key) in keys.iter().cycle().take(keys.len().max(6)).enumerate() {
        let mut wait = pin!(reader.changed(prefix, PATIENCE * 10));
        // The first poll begins the call.
        let early = std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await;

        writer.put(key, text(format!("round {round}")), Precondition::Always).await.expect("it is put");

        if !early {
            timeout(PATIENCE, wait).await.expect("the change wakes the waiter");
        }
    }
}

/// A wait ends when something below the prefix changes.
pub async fn a_waiter_is_woken_by_a_put(bench: &StorageBench) {
    bench.write("a/0", "x").await;

    wakes(&*bench.one, &*bench.one, "a/", &["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"]).await;
}

/// Whoever changes it.
pub async fn a_waiter_is_woken_by_a_put_of_another_process(bench: &StorageBench) {
    bench.write("a/0", "x").await;

    wakes(&*bench.one, &*bench.other, "a/", &["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"]).await;
}

/// Also where there was nothing below the prefix yet.
pub async fn a_waiter_is_woken_by_a_put_into_a_new_folder(bench: &StorageBench) {
    for task in ["1", "2", "3"] {
        let prefix = format!("sessions/{task}/");
        // Waits that end early set up what the next ones are woken by.
        for _ in 0..3 {
            bench.one.changed(&prefix, Duration::from_millis(20)).await;
        }

        wakes(&*bench.one, &*bench.other, &prefix, &[&format!("{prefix}a"), &format!("{prefix}b")]).await;
    }
}

/// Also where it is not directly below the prefix.
pub async fn a_waiter_is_woken_by_a_put_deep_below(bench: &StorageBench) {
    wakes(
        &*bench.one,
        &*bench.other,
        "a/",
        &["a/1/x", "a/1/y", "a/b/c/d/1", "a/b/c/d/2", "a/b/e/1", "a/b/f"],
    )
    .await;
    wakes(&*bench.one, &*bench.other, "", &["b/1/x", "b/1/y", "c"]).await;
}

/// A replaced object is a change too.
pub async fn a_waiter_is_woken_by_a_replacement(bench: &StorageBench) {
    bench.write("a/b", "x").await;

    wakes(&*bench.one, &*bench.other, "a/", &["a/b"]).await;
}

/// All waiters are woken.
pub async fn many_waiters_are_woken_by_one_put(bench: &StorageBench) {
    bench.write("a/0", "x").await;
    for round in 0..5 {
        let mut waiters: Vec<_> = (0..100).map(|_| bench.one.changed("a/", PATIENCE * 10)).collect();
        let mut asleep = Vec::new();
        for mut wait in waiters.drain(..) {
            if !std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await {
                asleep.push(wait);
            }
        }

        bench
            .other
            .put("a/1", text(format!("round {round}")), Precondition::Always)
            .await
            .expect("it is put");

        for wait in asleep {
            timeout(PATIENCE, wait).await.expect("the change wakes every waiter");
        }
    }
}

/// A wait ends after `at_most`, whether or not there can be anything.
pub async fn a_waiter_waits_no_longer_than_it_was_told(bench: &StorageBench) {
    bench.write("a/b", "x").await;

    for prefix in ["", "a/", "none/", "none/at/all/", "a/b/"] {
        for at_most in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(20)] {
            let waited = timeout(PATIENCE, bench.one.changed(prefix, at_most)).await;
            assert!(waited.is_ok(), "{prefix}");
        }
    }
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
