//! The bucket: the port's contract, and what is peculiar to Cloud Storage.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;
#[path = "common/world.rs"]
mod world;

use std::{net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use legwork_adapters_gcp::{GcsConfig, GcsStorage, GoogleAuth};
use legwork_conformance::storage::StorageBench;
use legwork_ports::storage::{Precondition, Storage as _, StorageError};
use legwork_simulators::google::GoogleCloud;
use tempfile::TempDir;

use crate::{
    common::{Cloud, start},
    world::{CountedIds, StillClock},
};

fn storage(endpoint: String, bucket: &str) -> GcsStorage {
    let config = GcsConfig {
        bucket: bucket.to_owned(),
        endpoint: Some(endpoint),
        look_again: Duration::from_millis(50),
    };
    GcsStorage::new(&GoogleAuth::anonymous(), config, Arc::new(StillClock), Arc::new(CountedIds)).unwrap()
}

fn in_bucket(cloud: &GoogleCloud) -> GcsStorage {
    storage(cloud.gcs_endpoint(), cloud.bucket())
}

/// Returns an address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn bench() -> (StorageBench, (Cloud, TempDir)) {
    let ((one, other), cloud) = start(async |cloud: &GoogleCloud| (in_bucket(cloud), in_bucket(cloud)));
    let folder = tempfile::tempdir().unwrap();
    let bench =
        StorageBench { one: Arc::new(one), other: Arc::new(other), scratch: folder.path().to_owned() };
    (bench, (cloud, folder))
}

legwork_conformance::storage_suite!(bench);

#[tokio::test]
async fn a_missing_bucket_is_told_with_what_makes_it() {
    let (storage, _cloud) =
        start(async |cloud: &GoogleCloud| storage(cloud.gcs_endpoint(), "no-such-bucket"));

    let errors = [
        storage.get("a/b").await.unwrap_err(),
        storage.list("a/", None, 1).await.unwrap_err(),
        storage.put("a/b", Bytes::new(), Precondition::Always).await.unwrap_err(),
        storage.put("a/b", Bytes::new(), Precondition::Absent).await.unwrap_err(),
    ];

    for error in errors {
        assert!(
            matches!(&error, StorageError::Refused { advice, .. }
                if advice.contains("no bucket no-such-bucket") && advice.contains("./scripts/setup-project.sh")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_name_that_cloud_storage_or_its_client_would_not_keep_is_refused() {
    let (storage, _cloud) = start(async |cloud: &GoogleCloud| in_bucket(cloud));

    for key in ["", "/x", "a/", "a//b", "a/../b", "a\nb"] {
        let error = storage.put(key, Bytes::new(), Precondition::Always).await.unwrap_err();

        assert!(matches!(error, StorageError::Refused { .. }), "{key:?}: {error}");
    }
    for prefix in ["/", "a//", "a", "../"] {
        let listed = storage.list(prefix, None, 1).await;

        assert!(matches!(listed, Err(StorageError::Refused { .. })), "{prefix}");
    }
}

#[tokio::test]
async fn an_address_names_bucket_and_key() {
    let (storage, _cloud) = start(async |cloud: &GoogleCloud| in_bucket(cloud));

    assert_eq!(storage.url("sessions/t/"), "gs://legwork-test/sessions/t/");
    assert_eq!(storage.url("a/b c"), "gs://legwork-test/a/b%20c");
}

#[tokio::test]
async fn without_credentials_there_are_no_signed_addresses() {
    let (storage, _cloud) = start(async |cloud: &GoogleCloud| in_bucket(cloud));

    let url = storage.signed_url("a/b", Duration::from_mins(5), "attachment").await.unwrap();

    assert_eq!(url, None);
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_unavailable() {
    let (storage, _cloud) = start(async |cloud: &GoogleCloud| storage(nobody(), cloud.bucket()));

    let error = storage.get("a/b").await.unwrap_err();

    assert!(error.is_transient(), "{error}");
}
