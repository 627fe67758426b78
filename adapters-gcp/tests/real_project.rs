//! A real bucket and a real key. Ignored: it needs a project, and costs a little.
//!
//! `GCS_LOGS_BUCKET` and `LEGWORK_TEST_KMS_KEY` (the whole name of the key) say which, application default
//! credentials who asks. Objects are written below `smoke-test/` and deleted again.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests: what fails in them fails, and the environment says where"
)]

#[path = "common/world.rs"]
mod world;

use std::sync::Arc;

use bytes::Bytes;
use legwork_adapters_gcp::{GcsConfig, GcsStorage, GoogleAuth, KmsKeys};
use legwork_core::secret::Secret;
use legwork_ports::{
    keys::{Keys as _, KeysError},
    storage::{Precondition, Storage as _, StorageError},
};

use crate::world::{CountedIds, StillClock};

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} has to be set"))
}

fn auth() -> GoogleAuth {
    drop(rustls::crypto::ring::default_provider().install_default());
    GoogleAuth::application_default().unwrap()
}

#[tokio::test]
#[ignore = "needs a Google Cloud project: GCS_LOGS_BUCKET"]
async fn a_real_bucket_swaps_lists_and_deletes() {
    let config =
        GcsConfig { bucket: setting("GCS_LOGS_BUCKET"), endpoint: None, look_again: GcsStorage::LOOK_AGAIN };
    let storage = GcsStorage::new(&auth(), config, Arc::new(StillClock), Arc::new(CountedIds)).unwrap();
    let key = format!("smoke-test/{}", std::process::id());
    storage.delete(&key).await.unwrap();

    let first = storage.put(&key, Bytes::from_static(b"1"), Precondition::Absent).await.unwrap();
    let taken = storage.put(&key, Bytes::from_static(b"x"), Precondition::Absent).await;
    // One write a second and object.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let second = Precondition::Unchanged(first.clone());
    storage.put(&key, Bytes::from_static(b"2"), second).await.unwrap();
    let late = storage.put(&key, Bytes::from_static(b"3"), Precondition::Unchanged(first)).await;
    let read = storage.get(&key).await.unwrap();
    let listed = storage.list("smoke-test/", None, 100).await.unwrap();
    storage.delete(&key).await.unwrap();
    let gone = storage.get(&key).await;

    assert!(matches!(taken, Err(StorageError::Conflict { .. })), "{taken:?}");
    assert!(matches!(late, Err(StorageError::Conflict { .. })), "{late:?}");
    assert_eq!(read.bytes.as_ref(), b"2");
    assert!(listed.iter().any(|entry| entry.key == key), "{listed:?}");
    assert!(matches!(gone, Err(StorageError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
#[ignore = "needs a Google Cloud project: LEGWORK_TEST_KMS_KEY"]
async fn a_real_key_opens_what_it_has_wrapped_for_the_same_task_alone() {
    let keys = KmsKeys::connect(&auth(), None, setting("LEGWORK_TEST_KMS_KEY")).await.unwrap();
    let key = Secret::new([7; 32]);

    let wrapped = keys.wrap(&key, b"one").await.unwrap();
    let opened = keys.unwrap(&wrapped, b"one").await.unwrap();
    let refused = keys.unwrap(&wrapped, b"another").await;

    assert_eq!(opened, key);
    assert!(matches!(refused, Err(KeysError::Rejected)), "{refused:?}");
}
