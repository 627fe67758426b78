//! Preconditions, and many writers at one object.

use std::{collections::BTreeSet, sync::Arc};

use legwork_ports::storage::{Precondition, StorageError};
use tokio::{task::JoinSet, time::timeout};

use super::{PATIENCE, StorageBench, assert_conflict, assert_not_found, text};

/// Writers that meet at one object.
const SWAPPERS: usize = 50;

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
