//! What a look of the reconciler costs, in calls of the store: it grows with what is open, never with what
//! is over; and for how long it trusts what it has read before.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::{
    fs::File,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{Answer, LineAgent, Receiver, World, clock};
use legwork_adapters_local::memory::MemoryStorage;
use legwork_core::{
    id::{TaskId, Token},
    layout,
    record::{Claimed, Event, Record, Status},
    time::Timestamp,
};
use legwork_engine::{Reconciler, Settings};
use legwork_faults::fakes;
use legwork_ports::storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version};
use tokio::time::sleep;

/// Tasks that are open: half of them wait, half of them run.
const OPEN: u64 = 50;
/// Tasks that are over.
const OVER: u64 = 100_000;

/// How often a store was called.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Calls {
    gets: u64,
    puts: u64,
    lists: u64,
    /// Entries that were returned by lists.
    listed: usize,
    deletes: u64,
}

/// A store in memory that counts its calls.
#[derive(Debug)]
struct CountedStorage {
    inner: MemoryStorage,
    calls: Mutex<Calls>,
}

impl CountedStorage {
    fn count(&self, note: impl FnOnce(&mut Calls)) {
        note(&mut self.calls.lock().unwrap());
    }

    /// Returns what was counted since this was asked last.
    fn take(&self) -> Calls {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

#[async_trait]
impl Storage for CountedStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.count(|calls| calls.gets += 1);
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.count(|calls| calls.gets += 1);
        self.inner.get_range(key, offset, length).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        self.count(|calls| calls.puts += 1);
        self.inner.put(key, bytes, precondition).await
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        self.count(|calls| calls.puts += 1);
        self.inner.put_file(key, file, content_type).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let entries = self.inner.list(prefix, after, limit).await?;
        self.count(|calls| {
            calls.lists += 1;
            calls.listed += entries.len();
        });
        Ok(entries)
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.count(|calls| calls.deletes += 1);
        self.inner.delete(key).await
    }

    async fn signed_url(&self, _: &Key, _: Duration, _: &str) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn url(&self, key: &Key) -> String {
        self.inner.url(key)
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.inner.changed(prefix, at_most).await;
    }
}

/// A service that removes old tasks itself, with open tasks and so many that are over.
async fn service(over: u64) -> (World, Arc<CountedStorage>) {
    let store = Arc::new(CountedStorage { inner: MemoryStorage::new(clock()), calls: Mutex::default() });
    let settings = Settings { retention: Some(Duration::from_hours(30 * 24)), ..fakes::settings() };
    let receiver = Receiver::new([], Answer::Status(200));
    let world = World::over(Arc::<CountedStorage>::clone(&store), receiver, settings);

    let template = world.submit("over").await;
    world.run(&template, LineAgent::brief()).await;
    // The sealed request is deleted once more twenty minutes later, and then nothing is owed.
    sleep(Duration::from_mins(21)).await;
    Box::pin(Reconciler::pass(world.service.clone(), None)).await.unwrap();
    assert!(world.keys(layout::DUE).await.is_empty(), "something is owed by what is over");
    let finished = world.record(&template).await;
    add_finished(&store.inner, &finished, over).await;

    for number in 0..OPEN {
        let id = world.submit(&format!("open{number}")).await;
        if number.is_multiple_of(2) {
            claim(&world, &id).await;
        }
    }
    store.take();
    (world, store)
}

/// Adds tasks that are over, all with the same record.
async fn add_finished(store: &MemoryStorage, finished: &Record, count: u64) {
    let json = Bytes::from(finished.to_json());
    let last = finished.created_at.unix_ms();
    for number in 0..count {
        let id: TaskId = format!("over{number}").parse().unwrap();
        let created_at = Timestamp::from_unix_ms(last.saturating_sub(number));
        store.put(&layout::record(&id), json.clone(), Precondition::Always).await.unwrap();
        store.put(&layout::index(created_at, &id), Bytes::new(), Precondition::Always).await.unwrap();
    }
}

/// Lets a worker claim a task, as its record and its entries tell.
async fn claim(world: &World, id: &TaskId) {
    let pending = world.record(id).await;
    let claimed = Claimed {
        token: Token::from_random([7; 16]),
        now: world.service.ports().clock.now(),
        execution_name: format!("e-{id}"),
        worker_logs_url: None,
        timeout: Duration::from_hours(1),
    };
    let running = pending.apply(Event::Claimed(claimed)).unwrap();
    let start = layout::due(pending.starts.next_at, id, pending.attempt);
    let deadline = layout::due(running.deadline_at.unwrap(), id, running.attempt);
    let record = Bytes::from(running.to_json());
    world.store.put(&deadline, Bytes::new(), Precondition::Always).await.unwrap();
    world.store.put(&layout::record(id), record, Precondition::Always).await.unwrap();
    world.store.delete(&start).await.unwrap();
}

/// Returns what the first two looks of somebody who stays cost.
async fn cost_of_looks(over: u64) -> [Calls; 2] {
    let (world, store) = service(over).await;
    let mut reconciler = Reconciler::new(world.service.clone(), None);

    reconciler.look().await.unwrap();
    let first = store.take();
    sleep(Duration::from_secs(10)).await;
    reconciler.look().await.unwrap();
    [first, store.take()]
}

/// Returns what a pass of somebody who begins anew costs, old tasks included.
async fn cost_of_a_pass(over: u64) -> Calls {
    let (world, store) = service(over).await;

    let report = Box::pin(Reconciler::pass(world.service.clone(), None)).await.unwrap();

    assert_eq!((report.tasks_removed, report.settled, report.errors), (0, 0, 0));
    store.take()
}

#[tokio::test(start_paused = true)]
async fn a_look_costs_the_same_whatever_is_over() {
    let [first, second] = cost_of_looks(0).await;
    let after_many = cost_of_looks(OVER).await;

    assert_eq!(after_many, [first, second]);
    // Each record once, for the half that waits its sealed request, and two lists.
    assert!((OPEN..=2 * OPEN).contains(&first.gets), "{first:?}");
    assert_eq!(first.lists, 2);
    // What is known and well is not read again.
    assert!(second.gets < first.gets, "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pass_costs_the_same_whatever_is_over() {
    let before = cost_of_a_pass(0).await;
    let after_many = cost_of_a_pass(OVER).await;

    assert_eq!(after_many, before);
    assert!(before.gets >= OPEN, "{before:?}");
}

/// No marker of the worker's tells that the task does not wait any more.
#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_right_after_its_claim_is_missed_although_its_task_was_seen_to_wait() {
    let world = World::new(Receiver::new([], Answer::Status(200)), fakes::settings());
    let id = world.submit("t").await;
    let _looking = world.reconcile_beside();
    sleep(Duration::from_secs(1)).await;

    claim(&world, &id).await;

    // 30 s until the claim is read, twice 90 s of silence, and looks are 10 s apart.
    let ended = world.until(&id, Duration::from_secs(250), Record::is_terminal).await;
    assert_eq!(ended.status, Status::Failed);
}
