//! Seeing every step that a process takes outside of itself: before it, and after it was done.
//!
//! A process that dies at a step leaves the world as it stands there. Reads leave nothing, so that
//! dying before or after one is dying after the step before it: they are no steps.

use std::{fmt, fs::File, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::{envelope::DataKey, layout};
use legwork_engine::Ports;
use legwork_ports::{
    callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks},
    jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy},
    keys::{Keys, KeysError},
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};

/// One step: what is done, and to what kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Which port and which of its functions: `storage.put`.
    pub call: &'static str,
    /// The kind of thing: `record`, `payload`, `chunk`, `upload`, `active`, `due`, `index`; empty for none.
    pub on: &'static str,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, self.on)
    }
}

/// Sees steps.
pub trait Steps: fmt::Debug + Send + Sync + 'static {
    /// A step is about to be taken.
    fn before(&self, step: &Step);
    /// It was taken.
    fn after(&self, step: &Step);
}

/// Lets somebody see the steps of all ports.
pub fn stepped(ports: Ports, steps: Arc<dyn Steps>) -> Ports {
    Ports {
        storage: Arc::new(Stepped { inner: ports.storage, steps: Arc::clone(&steps) }),
        keys: Arc::new(Stepped { inner: ports.keys, steps: Arc::clone(&steps) }),
        jobs: Arc::new(Stepped { inner: ports.jobs, steps: Arc::clone(&steps) }),
        callbacks: Arc::new(Stepped { inner: ports.callbacks, steps }),
        clock: ports.clock,
        ids: ports.ids,
    }
}

/// A port whose steps are seen.
#[derive(Debug)]
struct Stepped<P: ?Sized> {
    steps: Arc<dyn Steps>,
    inner: Arc<P>,
}

impl<P: ?Sized> Stepped<P> {
    async fn take<T>(&self, call: &'static str, on: &'static str, act: impl Future<Output = T>) -> T {
        let step = Step { call, on };
        self.steps.before(&step);
        let done = act.await;
        self.steps.after(&step);
        done
    }
}

/// Returns the kind of an object.
fn kind(key: &str) -> &'static str {
    if key.starts_with(layout::ACTIVE) {
        "active"
    } else if key.starts_with(layout::DUE) {
        "due"
    } else if key.starts_with(layout::INDEX) {
        "index"
    } else if key.ends_with("/metadata.json") {
        "record"
    } else if key.ends_with("/encrypted-payload.bin") {
        "payload"
    } else if key.contains("/uploads/") {
        "upload"
    } else {
        "chunk"
    }
}

#[async_trait]
impl Storage for Stepped<dyn Storage> {
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
        self.take("storage.put", kind(key), self.inner.put(key, bytes, precondition)).await
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        self.take("storage.put_file", kind(key), self.inner.put_file(key, file, content_type)).await
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
        self.take("storage.delete", kind(key), self.inner.delete(key)).await
    }

    async fn signed_url(
        &self,
        key: &Key,
        valid_for: Duration,
        content_disposition: &str,
    ) -> Result<Option<String>, StorageError> {
        self.inner.signed_url(key, valid_for, content_disposition).await
    }

    fn url(&self, key: &Key) -> String {
        self.inner.url(key)
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.inner.changed(prefix, at_most).await;
    }
}

#[async_trait]
impl Keys for Stepped<dyn Keys> {
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError> {
        self.take("keys.wrap", "", self.inner.wrap(key, bound)).await
    }

    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError> {
        self.take("keys.unwrap", "", self.inner.unwrap(wrapped, bound)).await
    }
}

#[async_trait]
impl Jobs for Stepped<dyn Jobs> {
    fn start_policy(&self) -> StartPolicy {
        self.inner.start_policy()
    }

    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }

    async fn reserve(&self) -> Result<Option<Slot>, JobsError> {
        self.inner.reserve().await
    }

    async fn slot_freed(&self, at_most: Duration) {
        self.inner.slot_freed(at_most).await;
    }

    async fn capacity(&self) -> Option<usize> {
        self.inner.capacity().await
    }

    async fn see_off(&self) {
        self.inner.see_off().await;
    }

    async fn start(&self, job: Job) -> Result<Execution, JobsError> {
        self.take("jobs.start", "", self.inner.start(job)).await
    }

    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError> {
        self.take("jobs.cancel", "", self.inner.cancel(execution_name)).await
    }

    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError> {
        self.inner.status(execution_name).await
    }
}

#[async_trait]
impl Callbacks for Stepped<dyn Callbacks> {
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        self.take("callbacks.post", "", self.inner.post(post)).await
    }
}
