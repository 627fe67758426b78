//! Swaps whose answers are lost: what was applied is known to have been, and by whom.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;
#[path = "common/world.rs"]
mod world;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use legwork_adapters_gcp::{GcsConfig, GcsStorage, GoogleAuth};
use legwork_ports::storage::{Precondition, Storage as _, StorageError};
use legwork_simulators::google::{Fault, GoogleCloud, GoogleService};
use tokio::task::JoinSet;

use crate::{
    common::{Cloud, start},
    world::{CountedIds, StillClock},
};

const SWAPPERS: usize = 50;

/// A store that loses an answer to every so manieth write of this object.
fn losing(key: &'static str, one_in: usize) -> (Arc<GcsStorage>, Cloud) {
    start(async move |cloud: &GoogleCloud| {
        let fault = Fault::of(GoogleService::Storage).method("PUT").path(key);
        cloud.faults().add(fault.always().one_in(one_in).lost(503));
        let config = GcsConfig {
            bucket: cloud.bucket().to_owned(),
            endpoint: Some(cloud.gcs_endpoint()),
            look_again: GcsStorage::LOOK_AGAIN,
        };
        let made =
            GcsStorage::new(&GoogleAuth::anonymous(), config, Arc::new(StillClock), Arc::new(CountedIds));
        Arc::new(made.unwrap())
    })
}

#[tokio::test]
async fn a_swap_whose_answer_is_lost_has_won() {
    let (storage, _cloud) = losing("a/b", 2);
    let first = storage.put("a/b", Bytes::from_static(b"1"), Precondition::Absent).await.unwrap();

    let second = storage.put("a/b", Bytes::from_static(b"2"), Precondition::Unchanged(first)).await.unwrap();

    let read = storage.get("a/b").await.unwrap();
    assert_eq!((read.bytes.as_ref(), read.version), (b"2".as_slice(), second));
}

#[tokio::test]
async fn no_update_is_lost_among_many_swappers_whose_answers_are() {
    let (storage, _cloud) = losing("count", 10);
    storage.put("count", Bytes::from_static(b"0"), Precondition::Always).await.unwrap();
    let mut swappers = JoinSet::new();
    for _ in 0..SWAPPERS {
        let storage = Arc::clone(&storage);
        swappers.spawn(async move {
            loop {
                let read = storage.get("count").await.unwrap();
                let count: usize = std::str::from_utf8(&read.bytes).unwrap().parse().unwrap();
                let next = Bytes::from((count + 1).to_string());
                match storage.put("count", next, Precondition::Unchanged(read.version)).await {
                    Ok(_) => return count,
                    Err(StorageError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    let won: BTreeSet<usize> = swappers.join_all().await.into_iter().collect();

    // Who was overwritten before it could look for its mark counts once more, and never twice the same.
    let last: usize = {
        let read = storage.get("count").await.unwrap();
        std::str::from_utf8(&read.bytes).unwrap().parse().unwrap()
    };
    assert_eq!(won.len(), SWAPPERS);
    assert!(last >= SWAPPERS && won.iter().all(|count| *count < last), "{last}");
}
