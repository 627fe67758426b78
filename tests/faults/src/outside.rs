//! A key service, a job service and receivers that fail on purpose.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use legwork_core::envelope::DataKey;
use legwork_ports::{
    callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks},
    jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy},
    keys::{Keys, KeysError},
};
use tokio::time::sleep;

use crate::fault::{Call, Fault, Faults, unanswered};

/// Waits as a fault says, and tells whether the call is done, and whether its answer arrives.
async fn undergo(fault: Fault) -> (bool, bool) {
    match fault {
        Fault::None => (true, true),
        Fault::Delay(pause) => {
            sleep(pause).await;
            (true, true)
        }
        Fault::Fail | Fault::Full => (false, false),
        Fault::ApplyThenFail | Fault::FailThenApply(_) => (true, false),
        Fault::Hang => std::future::pending().await,
    }
}

/// A key service, and what goes wrong with it.
#[derive(Debug, Clone)]
pub struct FaultyKeys {
    /// The key service.
    pub inner: Arc<dyn Keys>,
    /// What goes wrong.
    pub faults: Arc<dyn Faults>,
}

impl FaultyKeys {
    async fn begin(&self, name: &'static str) -> Result<(), KeysError> {
        match undergo(self.faults.decide(&Call { name, on: "" })).await {
            (true, true) => Ok(()),
            _ => Err(KeysError::Unavailable { source: unanswered() }),
        }
    }
}

#[async_trait]
impl Keys for FaultyKeys {
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError> {
        self.begin("keys.wrap").await?;
        self.inner.wrap(key, bound).await
    }

    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError> {
        self.begin("keys.unwrap").await?;
        self.inner.unwrap(wrapped, bound).await
    }
}

/// A job service, and what goes wrong with it.
#[derive(Debug, Clone)]
pub struct FaultyJobs {
    /// The job service.
    pub inner: Arc<dyn Jobs>,
    /// What goes wrong.
    pub faults: Arc<dyn Faults>,
}

fn no_jobs() -> JobsError {
    JobsError::Unavailable { source: unanswered() }
}

#[async_trait]
impl Jobs for FaultyJobs {
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
        let fault = self.faults.decide(&Call { name: "jobs.start", on: job.task_id.as_str() });
        match undergo(fault).await {
            (true, true) => self.inner.start(job).await,
            (true, false) => {
                let _untold = self.inner.start(job).await;
                Err(no_jobs())
            }
            (false, _) => Err(no_jobs()),
        }
    }

    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError> {
        match undergo(self.faults.decide(&Call { name: "jobs.cancel", on: execution_name })).await {
            (true, true) => self.inner.cancel(execution_name).await,
            (true, false) => {
                let _untold = self.inner.cancel(execution_name).await;
                Err(no_jobs())
            }
            (false, _) => Err(no_jobs()),
        }
    }

    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError> {
        match undergo(self.faults.decide(&Call { name: "jobs.status", on: execution_name })).await {
            (true, true) => self.inner.status(execution_name).await,
            _ => Err(no_jobs()),
        }
    }
}

/// A sender of callbacks, and what goes wrong with it.
#[derive(Debug, Clone)]
pub struct FaultyCallbacks {
    /// The sender.
    pub inner: Arc<dyn Callbacks>,
    /// What goes wrong.
    pub faults: Arc<dyn Faults>,
}

#[async_trait]
impl Callbacks for FaultyCallbacks {
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        let cut = || CallbackError::Connection { reason: "cut, on purpose".to_owned() };
        match undergo(self.faults.decide(&Call { name: "callbacks.post", on: &post.url })).await {
            (true, true) => self.inner.post(post).await,
            (true, false) => {
                let _untold = self.inner.post(post).await;
                Err(cut())
            }
            (false, _) => Err(cut()),
        }
    }
}
