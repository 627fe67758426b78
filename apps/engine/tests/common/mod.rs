//! A service in one process over memory: everything real but the agent, the store's speed, and the jobs.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each program uses its part; helpers of tests fail the test"
)]

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_adapters_local::{
    clock::{SystemClock, SystemIds},
    key_file::FileKeys,
    memory::MemoryStorage,
};
use legwork_engine::{Engine, Ports, WorkerPorts};
use legwork_faults::fakes::{self, BareGateway, BareWorkspace};
use legwork_ports::{
    agent::{Agent, AgentCommand, AgentError, AgentExit, AgentRun, ExitKind},
    callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks},
    jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy},
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};

/// A store that takes its time to write, and counts how many writes are under way at once.
#[derive(Debug)]
pub(crate) struct SlowStorage {
    pub(crate) inner: MemoryStorage,
    pub(crate) write_takes: Duration,
    pub(crate) writing: AtomicUsize,
    pub(crate) most_writing: AtomicUsize,
}

impl SlowStorage {
    pub(crate) fn new(write_takes: Duration) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStorage::default(),
            write_takes,
            writing: AtomicUsize::new(0),
            most_writing: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Storage for SlowStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.inner.get_range(key, offset, length).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        let writing = self.writing.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_writing.fetch_max(writing, Ordering::SeqCst);
        if !self.write_takes.is_zero() {
            tokio::time::sleep(self.write_takes).await;
        }
        let put = self.inner.put(key, bytes, precondition).await;
        self.writing.fetch_sub(1, Ordering::SeqCst);
        put
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        self.inner.put_file(key, file, content_type).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
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

/// Jobs that are started by nobody: the test runs the worker itself.
#[derive(Debug)]
pub(crate) struct NoJobs;

#[async_trait]
impl Jobs for NoJobs {
    fn start_policy(&self) -> StartPolicy {
        StartPolicy::WhenSlotFree
    }

    fn is_exact(&self) -> bool {
        false
    }

    async fn reserve(&self) -> Result<Option<Slot>, JobsError> {
        Ok(None)
    }

    async fn slot_freed(&self, at_most: Duration) {
        tokio::time::sleep(at_most).await;
    }

    async fn start(&self, _: Job) -> Result<Execution, JobsError> {
        Err(JobsError::Unavailable { source: "nobody starts jobs here".into() })
    }

    async fn cancel(&self, _: &str) -> Result<(), JobsError> {
        Ok(())
    }

    async fn status(&self, _: &str) -> Result<ExecutionStatus, JobsError> {
        Ok(ExecutionStatus::Unknown)
    }
}

#[derive(Debug)]
struct NoCallbacks;

#[async_trait]
impl Callbacks for NoCallbacks {
    async fn post(&self, _: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        Ok(CallbackAnswer { status: 200, retry_after: None })
    }
}

/// An agent that writes numbered lines from memory, as fast as they are read.
#[derive(Debug)]
pub(crate) struct LineAgent {
    pub(crate) lines: u64,
    pub(crate) line_bytes: usize,
}

#[derive(Debug)]
struct LineRun {
    next: u64,
    lines: u64,
    pad: String,
    told: bool,
}

#[async_trait]
impl Agent for LineAgent {
    async fn start(&self, _: AgentCommand) -> Result<Box<dyn AgentRun>, AgentError> {
        let pad = "x".repeat(self.line_bytes.saturating_sub(40));
        Ok(Box::new(LineRun { next: 0, lines: self.lines, pad, told: false }))
    }
}

#[async_trait]
impl AgentRun for LineRun {
    async fn read(&mut self) -> Result<Option<Bytes>, AgentError> {
        let mut block = String::new();
        if self.next == 0 {
            block.push_str("{\"type\":\"system\",\"subtype\":\"init\"}\n");
        }
        while self.next < self.lines && block.len() < 200 * 1024 {
            let (n, pad) = (self.next, &self.pad);
            block.extend(["{\"type\":\"noise\",\"n\":", &n.to_string(), ",\"pad\":\"", pad, "\"}\n"]);
            self.next += 1;
        }
        if self.next == self.lines && !self.told {
            self.told = true;
            block.push_str("{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"ok\",\"num_turns\":1}\n");
        }
        Ok(Some(Bytes::from(block)).filter(|block| !block.is_empty()))
    }

    async fn read_stderr(&mut self) -> Result<Option<Bytes>, AgentError> {
        Ok(None)
    }

    fn has_ended(&self) -> bool {
        self.told
    }

    fn stop(&mut self) {
        self.next = self.lines;
        self.told = true;
    }

    async fn finish(&mut self) -> Result<AgentExit, AgentError> {
        Ok(AgentExit { kind: ExitKind::Code(0), stderr_tail: String::new(), altered: false })
    }
}

/// Returns the service's use cases over this store and these jobs, and a folder that holds its keys.
pub(crate) fn engine(storage: Arc<dyn Storage>, jobs: Arc<dyn Jobs>) -> (Engine, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports {
        storage,
        keys: Arc::new(FileKeys::open(&folder.path().join("keys.json")).unwrap()),
        jobs,
        callbacks: Arc::new(NoCallbacks),
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(SystemIds),
    };
    let settings = fakes::settings();
    (Engine::new(ports, settings), folder)
}

/// Returns what a worker runs this agent with.
pub(crate) fn worker(agent: LineAgent) -> WorkerPorts {
    WorkerPorts { agent: Arc::new(agent), workspace: Arc::new(BareWorkspace), gateway: Arc::new(BareGateway) }
}

/// A request that is taken.
pub(crate) const REQUEST: &[u8] =
    br#"{"taskId":"t1","prompt":"p","anthropicApiKey":"sk-ant-0123456789","callbackUrl":null}"#;
