//! What simulated lives have found once, each on its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use legwork_core::{
    id::{Attempt, TaskId},
    layout,
    record::{CallbackState, Record, Status},
};
use legwork_engine::{Engine, Ports, Reconciler};
use legwork_faults::{
    fakes,
    fault::{Fault, Scripted},
};
use legwork_ports::storage::Precondition;
use tokio::time::sleep;

use common::{Answer, LineAgent, Receiver, SilentJobs, World};

fn world() -> World {
    World::new(Receiver::new([], Answer::Status(200)), fakes::settings())
}

/// A submitter that dies after its payload stands and before the marker does.
#[tokio::test(start_paused = true)]
async fn a_task_that_somebody_else_starts_has_a_marker_and_is_listed() {
    let world = world();
    let ports = Ports { jobs: Arc::new(SilentJobs::Starting), ..world.service.ports().clone() };
    let service = Engine::new(ports, fakes::settings());
    let id = world.submit("t").await;
    let marks = [world.keys(layout::ACTIVE).await, world.keys(layout::INDEX).await].concat();
    for mark in &marks {
        world.store.delete(mark).await.unwrap();
    }

    let started = Box::pin(Reconciler::pass(service, None)).await.unwrap().started;

    assert_eq!(started, 1);
    assert_eq!([world.keys(layout::ACTIVE).await, world.keys(layout::INDEX).await].concat(), marks);
    assert_eq!(world.record(&id).await.status, Status::Pending);
}

/// Of the attempt before, chunks may still be on their way although none is stored.
#[tokio::test(start_paused = true)]
async fn the_chunks_of_a_retry_are_numbered_past_those_that_an_empty_attempt_may_have() {
    let world = world();
    let told = |record: &Record| record.callback.state == CallbackState::Delivered;
    let id = world.submit("t").await;
    world.run(&id, LineAgent::failing()).await;
    world.until(&id, Duration::from_mins(5), told).await;
    let highest = world.chunks(&id).await.into_iter().max().unwrap();

    let mut first_chunks = Vec::new();
    for _ in 0..2 {
        world.service.retry(&id).await.unwrap();
        first_chunks.push(world.record(&id).await.first_chunk);
        world.service.cancel(&id).await.unwrap();
        world.until(&id, Duration::from_mins(5), told).await;
    }

    // 64 may be on their way at once.
    assert_eq!(first_chunks, [highest + 65, highest + 65 + 64]);
}

/// The entry of a redelivery stands before the record asks for it.
#[tokio::test(start_paused = true)]
async fn a_redelivery_keeps_its_entry_though_somebody_looks_between_its_put_and_its_swap() {
    let world = world();
    let id: TaskId = world.submit("t").await;
    world.run(&id, LineAgent::brief()).await;
    world
        .until(&id, Duration::from_mins(5), |record| record.callback.state == CallbackState::Delivered)
        .await;
    // The swap takes its time, and whoever redelivers dies after it: nobody makes the attempt.
    let slow = Scripted::new(
        "storage.put",
        "metadata.json",
        [Fault::Delay(Duration::from_mins(1)), Fault::None, Fault::Hang],
    );
    let redelivering = world.behind(Arc::new(slow));
    let asked = id.clone();
    let mut asking = tokio::task::JoinSet::new();
    asking.spawn(async move { redelivering.redeliver(&asked).await.map(drop) });
    sleep(Duration::from_secs(10)).await;
    let before = world.keys(layout::DUE).await;

    Box::pin(Reconciler::pass(world.service.clone(), None)).await.unwrap();
    asking.join_next().await.unwrap().unwrap().unwrap();

    let record = world.record(&id).await;
    let owed = layout::due(record.callback.next_attempt_at.unwrap(), &id, record.attempt);
    assert!(world.keys(layout::DUE).await.contains(&owed), "{owed} is not there");
    assert!(!before.contains(&owed), "a late delete of {before:?} would hit it");
}

/// Submits a task that fails, and leaves the marker of a retry whose process died before its swap. Long
/// ago, so that it may be removed.
async fn with_stray_marker() -> (World, TaskId, String) {
    let world = world();
    let id = world.submit("t").await;
    world.run(&id, LineAgent::failing()).await;
    let told = |record: &Record| record.callback.state == CallbackState::Delivered;
    let record = world.until(&id, Duration::from_mins(5), told).await;
    let stray = layout::active(&id, record.attempt.next());
    world.store.put(&stray, Bytes::from_static(b"stray"), Precondition::Absent).await.unwrap();
    sleep(Duration::from_mins(11)).await;
    (world, id, stray)
}

/// A marker that was judged stray is that of an attempt once it is deleted.
#[tokio::test(start_paused = true)]
async fn a_retry_between_the_judgement_of_a_stray_marker_and_its_deletion_has_its_marker() {
    let (world, id, stray) = with_stray_marker().await;
    let slow = Arc::new(Scripted::new("storage.delete", &stray, [Fault::Delay(Duration::from_secs(20))]));
    let remover = world.behind(Arc::<Scripted>::clone(&slow));
    let mut removing = tokio::task::JoinSet::new();
    removing.spawn(async move { Box::pin(Reconciler::pass(remover, None)).await.map(drop) });
    sleep(Duration::from_secs(10)).await;

    world.service.retry(&id).await.unwrap();
    removing.join_next().await.unwrap().unwrap().unwrap();

    assert_eq!((slow.left(), world.record(&id).await.status), (0, Status::Pending));
    assert!(world.keys(layout::ACTIVE).await.contains(&stray));
}

/// The same, where the retry's swap comes after the deletion.
#[tokio::test(start_paused = true)]
async fn a_retry_whose_marker_was_removed_as_a_stray_ones_before_its_swap_has_its_marker() {
    let (world, id, stray) = with_stray_marker().await;
    let slow = Scripted::new("storage.put", "metadata.json", [Fault::Delay(Duration::from_secs(5))]);
    let (retrying, asked) = (world.behind(Arc::new(slow)), id.clone());
    let mut asking = tokio::task::JoinSet::new();
    asking.spawn(async move { retrying.retry(&asked).await.map(drop) });
    sleep(Duration::from_secs(1)).await;

    Box::pin(Reconciler::pass(world.service.clone(), None)).await.unwrap();
    let after_removal = world.keys(layout::ACTIVE).await;
    asking.join_next().await.unwrap().unwrap().unwrap();

    assert!(!after_removal.contains(&stray), "{after_removal:?}");
    assert_eq!(world.record(&id).await.status, Status::Pending);
    assert!(world.keys(layout::ACTIVE).await.contains(&stray));
}

/// The same, where there was no task at all when the marker was judged.
#[tokio::test(start_paused = true)]
async fn a_submission_between_the_judgement_of_a_marker_without_record_and_its_deletion_has_its_marker() {
    let world = world();
    let stray = layout::active(&"t".parse().unwrap(), Attempt::try_new(1).unwrap());
    world.store.put(&stray, Bytes::from_static(b"stray"), Precondition::Absent).await.unwrap();
    sleep(Duration::from_mins(11)).await;
    let slow = Arc::new(Scripted::new("storage.delete", &stray, [Fault::Delay(Duration::from_secs(20))]));
    let remover = world.behind(Arc::<Scripted>::clone(&slow));
    let mut removing = tokio::task::JoinSet::new();
    removing.spawn(async move { Box::pin(Reconciler::pass(remover, None)).await.map(drop) });
    sleep(Duration::from_secs(10)).await;

    world.submit("t").await;
    removing.join_next().await.unwrap().unwrap().unwrap();

    assert_eq!(slow.left(), 0);
    assert!(world.keys(layout::ACTIVE).await.contains(&stray));
}
