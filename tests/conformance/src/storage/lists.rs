//! Listings: order, pages, and what an entry tells.

use std::collections::HashSet;

use legwork_ports::storage::Precondition;

use super::{StorageBench, text};

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
