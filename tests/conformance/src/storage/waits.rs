//! Waiting for changes.

use std::{pin::pin, task::Poll, time::Duration};

use legwork_ports::storage::{Precondition, Storage};
use tokio::time::timeout;

use super::{PATIENCE, StorageBench, text};

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
