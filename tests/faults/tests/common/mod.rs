//! A service and its workers in one process, by tokio's time: everything real but the agent, the receiver,
//! the job service, and what goes wrong with the store.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "each program uses its part; helpers of tests fail the test"
)]

mod agent;
mod outside;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use legwork_adapters_local::memory::MemoryStorage;
use legwork_core::{id::TaskId, layout, record::Record, request::Route};
use legwork_engine::{Engine, Ports, Reconciler, RunEnd, Settings, WorkerJob, WorkerPorts, run_task};
use legwork_faults::{
    fakes::{BareGateway, BareKeys, BareWorkspace},
    fault::Faults,
    storage::FaultyStorage,
};
use legwork_ports::{clock::Clock, storage::Storage};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) use agent::LineAgent;
pub(crate) use outside::{Answer, Post, Receiver, SilentJobs};
use outside::{EvenIds, TokioClock};

/// A store, a service over it, and a receiver.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) began: Instant,
    pub(crate) store: Arc<dyn Storage>,
    pub(crate) receiver: Arc<Receiver>,
    /// The use cases over the store as it is.
    pub(crate) service: Engine,
}

/// Returns a clock by tokio's time, which tests may have stand still.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::new())
}

impl World {
    /// Everything over memory.
    pub(crate) fn new(receiver: Receiver, settings: Settings) -> Self {
        Self::over(Arc::new(MemoryStorage::new(clock())), receiver, settings)
    }

    pub(crate) fn over(store: Arc<dyn Storage>, receiver: Receiver, settings: Settings) -> Self {
        let receiver = Arc::new(receiver);
        let ports = Ports {
            storage: Arc::clone(&store),
            keys: Arc::new(BareKeys),
            jobs: Arc::new(SilentJobs::NoSlot),
            callbacks: Arc::<Receiver>::clone(&receiver),
            clock: clock(),
            ids: Arc::new(EvenIds::default()),
        };
        Self { began: Instant::now(), store, receiver, service: Engine::new(ports, settings) }
    }

    /// Returns the use cases of a process to which the store goes wrong like this.
    pub(crate) fn behind(&self, faults: Arc<dyn Faults>) -> Engine {
        let storage = Arc::new(FaultyStorage::new(Arc::clone(&self.store), faults));
        let ports = Ports { storage, ..self.service.ports().clone() };
        Engine::new(ports, self.service.settings().clone())
    }

    /// Submits a task with a receiver.
    pub(crate) async fn submit(&self, id: &str) -> TaskId {
        self.submit_for(id, Some("http://127.0.0.1:9/told")).await
    }

    pub(crate) async fn submit_for(&self, id: &str, receiver: Option<&str>) -> TaskId {
        let request = serde_json::json!({
            "taskId": id,
            "prompt": "p",
            "anthropicApiKey": "sk-ant-0123456789",
            "timeoutMinutes": 60,
            "callbackUrl": receiver,
        });
        let body = request.to_string();
        Box::pin(self.service.submit(body.as_bytes(), Route::RunAsync)).await.unwrap().task_id
    }

    /// Runs the pending attempt, callback attempts of the worker's included.
    pub(crate) async fn run(&self, id: &TaskId, agent: LineAgent) -> RunEnd {
        run(self.service.clone(), id.clone(), agent, CancellationToken::new()).await
    }

    /// Runs the pending attempt beside the test, until the set is dropped.
    pub(crate) fn run_beside(&self, id: &TaskId, agent: LineAgent) -> JoinSet<RunEnd> {
        let mut worker = JoinSet::new();
        worker.spawn(run(self.service.clone(), id.clone(), agent, CancellationToken::new()));
        worker
    }

    /// Lets a reconciler look, until the set is dropped.
    pub(crate) fn reconcile_beside(&self) -> JoinSet<()> {
        let mut looking = JoinSet::new();
        looking.spawn(Reconciler::new(self.service.clone(), None).run(CancellationToken::new()));
        looking
    }

    pub(crate) async fn record(&self, id: &TaskId) -> Record {
        self.service.record(id).await.unwrap()
    }

    /// Waits until the record is as asked for, at most this long.
    pub(crate) async fn until(
        &self,
        id: &TaskId,
        at_most: Duration,
        is_so: impl Fn(&Record) -> bool,
    ) -> Record {
        let waiting = async {
            loop {
                let record = self.record(id).await;
                if is_so(&record) {
                    return record;
                }
                self.store.changed(&layout::session(id), Duration::from_mins(1)).await;
            }
        };
        timeout(at_most, waiting).await.unwrap()
    }

    /// Returns the names of what is stored below a prefix.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let entries = self.store.list(prefix, None, 10_000).await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Returns the numbers of a task's log chunks.
    pub(crate) async fn chunks(&self, id: &TaskId) -> Vec<u32> {
        let keys = self.keys(&layout::session(id)).await;
        keys.iter().filter_map(|key| layout::parse_chunk(id, key)).collect()
    }

    /// Returns the lines of a task's log, as readers get them.
    pub(crate) async fn log(&self, id: &TaskId) -> Vec<Value> {
        let chunks: Vec<_> = self.service.log_lines(id).await.unwrap().collect().await;
        let mut lines = Vec::new();
        for chunk in chunks {
            let bytes = chunk.unwrap();
            let texts = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.extend(texts.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        lines
    }
}

/// Runs the pending attempt of a task in a process of these use cases.
pub(crate) async fn run(engine: Engine, id: TaskId, agent: LineAgent, stop: CancellationToken) -> RunEnd {
    let ports = WorkerPorts {
        agent: Arc::new(agent),
        workspace: Arc::new(BareWorkspace),
        gateway: Arc::new(BareGateway),
    };
    let job = WorkerJob { task_id: id, execution_name: "e1".to_owned(), worker_logs_url: None };
    // Boxed: it holds what every step of a run needs.
    Box::pin(run_task(&engine, &ports, job, stop)).await.unwrap()
}
