//! What may happen to a record.

use alloc::{boxed::Box, string::String};
use core::time::Duration;

use serde_json::value::RawValue;

use super::{Outcome, Status, TaskKind, Verdict};
use crate::{
    id::{TaskId, Token},
    time::Timestamp,
};

/// What a submitter knows when it creates a record.
#[derive(Debug)]
pub struct CreateRecord {
    /// The task.
    pub task_id: TaskId,
    /// How it is submitted.
    pub kind: TaskKind,
    /// The callback address to show.
    pub callback_url: Option<String>,
    /// The whole callback address.
    pub callback_target: Option<String>,
    /// Now, by the submitter's clock.
    pub now: Timestamp,
    /// The request's own metadata.
    pub metadata: Box<RawValue>,
    /// Recognises the same request sent again.
    pub request_digest: String,
    /// Whether the submitter starts the worker itself.
    pub started_by_submitter: bool,
    /// The submitter's own.
    pub token: Token,
}

/// Facts of a claim.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Made by the worker.
    pub token: Token,
    /// Now, by the worker's clock.
    pub now: Timestamp,
    /// The job execution that the worker is.
    pub execution_name: String,
    /// Where its own log is.
    pub worker_logs_url: Option<String>,
    /// From the claim to the agent's end.
    pub timeout: Duration,
}

/// An end that somebody else than the attempt's worker decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Cancelled before any worker claimed it.
    CancelledPending,
    /// No worker came after the last start.
    StartFailed,
    /// The submitter died before it had stored the payload.
    SubmissionInterrupted,
    /// The worker disappeared.
    WorkerLost,
    /// The deadline passed; the time limit in minutes.
    DeadlinePassed {
        /// The request's time limit.
        minutes: u64,
    },
}

/// Something that happens to a record.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody starts a worker for a pending task.
    Started {
        /// The starter's own.
        token: Token,
        /// Now.
        now: Timestamp,
    },
    /// A worker claims the attempt.
    Claimed(Claimed),
    /// Somebody wishes a running attempt to be cancelled.
    CancelRequested {
        /// Now.
        now: Timestamp,
    },
    /// The agent has ended; lines and actions remain.
    Finishing {
        /// The worker's claim.
        claim: Token,
        /// What the run came to.
        verdict: Verdict,
        /// What is known of it by now.
        summary: super::Summary,
        /// Until when the worker may take.
        finish_by: Timestamp,
    },
    /// The worker ends its attempt and, where there is a receiver, takes the first callback attempt.
    Ended {
        /// The worker's claim.
        claim: Token,
        /// Everything that ends the attempt.
        outcome: Box<Outcome>,
        /// The end's own, and the first callback attempt's.
        token: Token,
        /// Now.
        now: Timestamp,
    },
    /// Somebody else ends the attempt and takes the first callback attempt.
    Settled {
        /// How.
        settlement: Settlement,
        /// The end's own, and the first callback attempt's.
        token: Token,
        /// Now.
        now: Timestamp,
    },
    /// Somebody takes the next callback attempt.
    CallbackClaimed {
        /// The attempt's own.
        token: Token,
        /// Now.
        now: Timestamp,
    },
    /// A callback attempt was taken by its receiver.
    CallbackDelivered {
        /// The attempt's own.
        token: Token,
        /// The receiver's status.
        status: u16,
        /// How long it took.
        duration: Duration,
        /// Now.
        now: Timestamp,
    },
    /// A callback attempt failed, or its maker gave no outcome in time.
    CallbackFailed {
        /// The attempt's own.
        token: Token,
        /// The receiver's status, if it answered.
        status: Option<u16>,
        /// Why it failed, if it did not.
        error: Option<String>,
        /// How long it took.
        duration: Option<Duration>,
        /// When the next one is due; nothing: give up.
        next_at: Option<Timestamp>,
    },
    /// Somebody asks for the callback once more.
    Redelivered {
        /// When the first attempt is due.
        next_at: Timestamp,
    },
    /// The sealed request is about to be deleted for good.
    PayloadDeleted,
    /// A failed or cancelled task is to run again.
    Retried {
        /// Number of the first log chunk of the new attempt.
        first_chunk: u32,
        /// Whether the caller starts the worker itself.
        started_by_caller: bool,
        /// The caller's own.
        token: Token,
        /// Now.
        now: Timestamp,
    },
    /// Nothing but a new version, so that a slower process loses its swap.
    Touched,
}

/// The record does not allow the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllowed {
    /// The attempt is in another state.
    #[error("the task is {}", status.as_str())]
    State {
        /// Its state.
        status: Status,
    },
    /// The claim is not the one under which the attempt runs.
    #[error("the attempt is claimed by another worker")]
    NotTheClaim,
    /// The run has ended already and is only finishing.
    #[error("the task is past its run and only finishing")]
    Finishing,
    /// The starts are used up, or the next one is not due.
    #[error("no start is due")]
    NoStartDue,
    /// There is no receiver.
    #[error("the task has no callbackUrl")]
    NoReceiver,
    /// The callback is under way.
    #[error("the callback is pending")]
    CallbackPending,
    /// The callback attempt was counted before, or is unknown.
    #[error("the callback attempt is not open")]
    NotTheAttempt,
    /// The sealed request is gone.
    #[error("the payload is gone")]
    PayloadGone,
}
