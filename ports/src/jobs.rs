//! Starting worker processes, and the slots that bound how many run at once.

use std::{fmt, fs::File, time::Duration};

use async_trait::async_trait;
use legwork_core::id::{Attempt, TaskId};

/// What a worker is started for.
#[derive(Debug)]
pub struct Job {
    /// The task to run.
    pub task_id: TaskId,
    /// The attempt that is expected to be claimed: for names and logs only.
    pub attempt: Attempt,
    /// Key of the sealed payload in the store (`ENCRYPTED_PAYLOAD_PATH`).
    pub payload_key: String,
    /// The slot that the worker is to hold for its life, where the platform has slots.
    pub slot: Option<Slot>,
}

/// A place to run in, held as long as the lock on `lock` is: until every process that
/// inherited the open file has ended.
#[derive(Debug)]
pub struct Slot {
    /// Which place, from 0.
    pub number: u32,
    /// The open, exclusively locked file.
    pub lock: File,
}

/// Names one execution of a job: what `cancel` and `status` take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The platform's name.
    pub name: String,
    /// Where a person reads the worker's own log.
    pub worker_logs_url: Option<String>,
}

/// What the job service knows of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// It is starting or running.
    Running,
    /// It has ended, in whatever way.
    Ended,
    /// The service does not know: neither running nor ended may be concluded.
    Unknown,
}

/// Who starts a pending task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPolicy {
    /// Its submitter, at once: the platform scales.
    AtOnce,
    /// Whoever holds a free slot, in order of arrival.
    WhenSlotFree,
}

/// Why a job could not be started, cancelled or asked about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobsError {
    /// No answer; the call may have been applied.
    #[error("the job service did not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It will not heal by itself; the text says what to do.
    #[error("the job service refuses: {advice}")]
    Refused {
        /// What a person can do about it.
        advice: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl JobsError {
    /// Returns whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Starts workers and tells how they fare.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Jobs: fmt::Debug + Send + Sync + 'static {
    /// Tells who starts pending tasks on this platform.
    fn start_policy(&self) -> StartPolicy;

    /// Tells whether [`Jobs::status`] sees the processes themselves: what it calls running or ended is so at
    /// that moment. There a worker keeps its deadline by its own clock, which stands still while the machine
    /// sleeps.
    fn is_exact(&self) -> bool;

    /// Takes a free slot, or nothing where all are taken. Platforms that start at once have none
    /// to give. Of many callers, in this process or others, one gets each slot.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn reserve(&self) -> Result<Option<Slot>, JobsError>;

    /// Waits until a slot may have become free, or until `at_most` has passed.
    async fn slot_freed(&self, at_most: Duration);

    /// Tells how many slots there are: with several services, the smallest number that one of them allows.
    /// Nothing where the platform starts at once, or where it cannot be told now.
    async fn capacity(&self) -> Option<usize> {
        None
    }

    /// Waits, some 10 s at most, until the executions whose end this process has asked for have ended, where it
    /// is this process that uses force: for one that is about to end itself.
    async fn see_off(&self) {}

    /// Starts a worker and returns the execution's name at once, not at its end. The worker
    /// outlives the process that started it.
    ///
    /// # Errors
    /// `Unavailable` (a worker may have been started), `Refused`.
    async fn start(&self, job: Job) -> Result<Execution, JobsError>;

    /// Asks an execution to end: first a signal that it can handle, then by force 10 s later.
    /// Returns once the asking is done. Cancelling one that has ended, or an unknown one, succeeds.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError>;

    /// Tells whether an execution has ended. One that this service never knew is `Unknown`.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError>;
}
