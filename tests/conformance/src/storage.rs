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

mod lists;
mod objects;
mod swaps;
mod waits;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use legwork_ports::storage::{Entry, Precondition, Storage, StorageError, Version};

pub use self::{lists::*, objects::*, swaps::*, waits::*};

/// How long anything may take that has no limit of its own: a machine may be very busy.
const PATIENCE: Duration = Duration::from_mins(1);
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
/// The argument is a function that returns a [`StorageBench`](crate::storage::StorageBench) over
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
            let (bench, _alive) = $make();
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
