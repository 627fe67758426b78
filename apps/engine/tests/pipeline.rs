//! The log pipeline over a slow store, and a submission that a job service refuses.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use common::{LineAgent, NoJobs, REQUEST, SlowStorage, engine, worker};
use futures_util::StreamExt as _;
use legwork_adapters_local::memory::MemoryStorage;
use legwork_core::{record::Status, request::Route};
use legwork_engine::{Position, RunEnd, SubmitError, WatchItem, WorkerJob, run_task};
use legwork_ports::jobs::{JobsError, MockJobs, StartPolicy};
use tokio_util::sync::CancellationToken;

fn job() -> WorkerJob {
    WorkerJob { task_id: "t1".parse().unwrap(), execution_name: "e1".to_owned(), worker_logs_url: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_loses_nothing_and_readers_see_lines_in_order() {
    const LINES: u64 = 20_000;
    let storage = SlowStorage::new(Duration::from_millis(50));
    let (engine, _keep) = engine(Arc::<SlowStorage>::clone(&storage), Arc::new(NoJobs));
    let id = engine.submit(REQUEST, Route::RunAsync).await.unwrap().task_id;
    let watched = engine.watch(&id, Position::START).await.unwrap();

    let worker = worker(LineAgent { lines: LINES, line_bytes: 200 });
    let (end, items) = tokio::join!(
        run_task(&engine, &worker, job(), CancellationToken::new()),
        watched.collect::<Vec<_>>(),
    );

    assert_eq!(end.unwrap(), RunEnd::Settled(Status::Completed));
    let numbers: Vec<u64> = items
        .iter()
        .filter_map(|item| match item {
            WatchItem::Line { json, .. } => {
                serde_json::from_slice::<serde_json::Value>(json).unwrap()["n"].as_u64()
            }
            WatchItem::End(_) | WatchItem::Broken(_) => None,
        })
        .collect();
    assert_eq!(numbers, (0..LINES).collect::<Vec<_>>());
    assert!(matches!(items.last(), Some(WatchItem::End(record)) if record.log.lines_lost == 0));
    let most = storage.most_writing.load(Ordering::SeqCst);
    assert!(most > 3, "{most} writes at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_finds_the_attempt_claimed_and_writes_nothing() {
    let storage = Arc::new(MemoryStorage::default());
    let (engine, _keep) = engine(Arc::<MemoryStorage>::clone(&storage), Arc::new(NoJobs));
    engine.submit(REQUEST, Route::RunAsync).await.unwrap();
    let agent = || worker(LineAgent { lines: 10, line_bytes: 100 });

    let (one, two) = (agent(), agent());
    let (first, second) = tokio::join!(
        run_task(&engine, &one, job(), CancellationToken::new()),
        run_task(&engine, &two, job(), CancellationToken::new()),
    );

    let ends = [first.unwrap(), second.unwrap()];
    assert!(
        ends.contains(&RunEnd::NotOurs) && ends.contains(&RunEnd::Settled(Status::Completed)),
        "{ends:?}"
    );
}

#[tokio::test]
async fn a_task_that_the_job_service_refused_is_resumed_by_the_same_request() {
    let mut jobs = MockJobs::new();
    jobs.expect_start_policy().return_const(StartPolicy::AtOnce);
    jobs.expect_start().times(1).returning(|_| Err(JobsError::Unavailable { source: "no answer".into() }));
    let (engine, _keep) = engine(Arc::new(MemoryStorage::default()), Arc::new(jobs));

    let refused = engine.submit(REQUEST, Route::RunAsync).await.unwrap_err();
    let resumed = engine.submit(REQUEST, Route::RunAsync).await.unwrap();
    let other = REQUEST.to_vec();
    let other = String::from_utf8(other).unwrap().replace("\"p\"", "\"q\"");
    let conflict = engine.submit(other.as_bytes(), Route::RunAsync).await.unwrap_err();

    assert!(matches!(refused, SubmitError::Unavailable { .. }), "{refused}");
    // The next start is not due yet: a worker may have been started all the same.
    assert_eq!((resumed.status, resumed.existed), (Status::Pending, true));
    assert!(matches!(conflict, SubmitError::Exists), "{conflict}");
}

#[tokio::test]
async fn a_log_past_its_limit_says_how_much_is_missing() {
    let storage = Arc::new(MemoryStorage::default());
    let (engine, _keep) = engine(Arc::<MemoryStorage>::clone(&storage), Arc::new(NoJobs));
    let mut settings = engine.settings().clone();
    settings.log.max_log_bytes = 10_000;
    let engine = legwork_engine::Engine::new(engine.ports().clone(), settings);
    let id = engine.submit(REQUEST, Route::RunAsync).await.unwrap().task_id;

    let agent = worker(LineAgent { lines: 1000, line_bytes: 200 });
    Box::pin(run_task(&engine, &agent, job(), CancellationToken::new())).await.unwrap();
    let record = engine.record(&id).await.unwrap();
    let chunks: Vec<_> = engine.log_lines(&id).await.unwrap().collect().await;
    let last = chunks.last().unwrap().as_ref().unwrap().clone();

    assert_eq!(record.status, Status::Completed);
    assert!(record.log.lines_over_limit > 900, "{:?}", record.log);
    assert!(String::from_utf8_lossy(&last).contains("lines past the log's limit"), "{last:?}");
}
