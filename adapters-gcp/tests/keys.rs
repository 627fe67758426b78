//! The key in Cloud KMS: the port's contract, and what is peculiar to the service.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use std::{net::TcpListener, sync::Arc};

use legwork_adapters_gcp::{GoogleAuth, KmsKeys};
use legwork_conformance::keys::KeysBench;
use legwork_core::secret::Secret;
use legwork_ports::keys::{Keys as _, KeysError};
use legwork_simulators::google::{Fault, GoogleCloud, GoogleService};

use crate::common::{Cloud, start};

async fn keys_at(endpoint: &str, key: &str) -> KmsKeys {
    KmsKeys::connect(&GoogleAuth::anonymous(), Some(endpoint), key).await.unwrap()
}

async fn keys(cloud: &GoogleCloud, key: &str) -> KmsKeys {
    keys_at(&cloud.kms_endpoint(), key).await
}

/// Returns an address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn bench() -> (KeysBench, [Cloud; 2]) {
    let ((one, other), cloud) = start(async |cloud: &GoogleCloud| {
        (keys(cloud, cloud.kms_key()).await, keys(cloud, cloud.kms_key()).await)
    });
    let (stranger, elsewhere) = start(async |cloud: &GoogleCloud| keys(cloud, cloud.kms_key()).await);
    let bench = KeysBench { one: Arc::new(one), other: Arc::new(other), stranger: Arc::new(stranger) };
    (bench, [cloud, elsewhere])
}

legwork_conformance::keys_suite!(bench);

#[tokio::test]
async fn a_missing_key_is_told_with_what_makes_it() {
    let (keys, _cloud) =
        start(async |cloud: &GoogleCloud| keys(cloud, &format!("{}-x", cloud.kms_key())).await);

    let errors = [
        keys.wrap(&Secret::new([7; 32]), b"task-1").await.unwrap_err(),
        keys.unwrap(b"wrapped", b"task-1").await.unwrap_err(),
    ];

    for error in errors {
        assert!(
            matches!(&error, KeysError::Refused { advice, .. }
                if advice.contains("there is no key") && advice.contains("./scripts/setup-project.sh")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_key_service_that_cannot_be_reached_is_unavailable() {
    let (keys, _cloud) = start(async |cloud: &GoogleCloud| keys_at(&nobody(), cloud.kms_key()).await);

    let error = keys.wrap(&Secret::new([7; 32]), b"task-1").await.unwrap_err();

    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn after_rotation_older_wrapped_keys_still_open() {
    let ((keys, before), _cloud) = start(async |cloud: &GoogleCloud| {
        let keys = keys(cloud, cloud.kms_key()).await;
        let before = keys.wrap(&Secret::new([7; 32]), b"task-1").await.unwrap();
        cloud.rotate_key();
        (keys, before)
    });

    let after = keys.wrap(&Secret::new([7; 32]), b"task-1").await.unwrap();

    for wrapped in [before, after] {
        assert_eq!(keys.unwrap(&wrapped, b"task-1").await.unwrap(), Secret::new([7; 32]));
    }
}

#[tokio::test]
async fn a_key_is_wrapped_although_answers_are_lost() {
    let (keys, _cloud) = start(async |cloud: &GoogleCloud| {
        cloud.faults().add(Fault::of(GoogleService::Kms).times(2).lost(503));
        keys(cloud, cloud.kms_key()).await
    });

    let wrapped = keys.wrap(&Secret::new([7; 32]), b"task-1").await.unwrap();

    assert_eq!(keys.unwrap(&wrapped, b"task-1").await.unwrap(), Secret::new([7; 32]));
}
