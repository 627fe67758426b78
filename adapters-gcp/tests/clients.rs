//! Clients without any network: making one asks nobody.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "common/world.rs"]
mod world;

use std::sync::{Arc, Once};

use legwork_adapters_gcp::{CloudRunJobs, GcsConfig, GcsStorage, GoogleAuth, KmsKeys};
use legwork_ports::{jobs::Jobs as _, storage::Storage as _};

use crate::world::{CountedIds, StillClock};

static PROVIDER: Once = Once::new();

fn anonymous() -> GoogleAuth {
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    GoogleAuth::anonymous()
}

#[test]
fn a_store_is_made_without_a_runtime() {
    let config = GcsConfig { bucket: "b".to_owned(), endpoint: None, look_again: GcsStorage::LOOK_AGAIN };

    let storage = GcsStorage::new(&anonymous(), config, Arc::new(StillClock), Arc::new(CountedIds)).unwrap();

    assert_eq!(storage.url("a"), "gs://b/a");
}

#[tokio::test]
async fn a_key_service_is_made_and_shows_nothing_but_its_key() {
    let keys = KmsKeys::connect(&anonymous(), None, "projects/p/k").await.unwrap();

    assert_eq!(format!("{keys:?}"), "KmsKeys { key: \"projects/p/k\", .. }");
}

#[tokio::test]
async fn a_job_is_made_and_names_that_cannot_be_executions_are_asked_of_nobody() {
    let jobs = CloudRunJobs::connect(&anonymous(), None, "projects/p/locations/l/jobs/j").await.unwrap();

    for name in
        ["", "..", "a/b", "projects/p/locations/l/jobs/j", "projects/p/locations/l/jobs/j/executions/.."]
    {
        jobs.cancel(name).await.unwrap();
    }

    assert_eq!(format!("{jobs:?}"), "CloudRunJobs { job: \"projects/p/locations/l/jobs/j\", .. }");
}
