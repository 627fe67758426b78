//! The record of a task: what `metadata.json` holds, and how it may move.
//!
//! The record changes by compare-and-swap alone, and only by an [`Event`] applied to the version
//! that was read. [`Record::apply`] is the whole rule; nobody edits fields elsewhere.

mod callback;
mod event;
mod outcome;
mod transition;
mod view;

pub use callback::{AttemptOutcome, Callback, CallbackAttempt, CallbackState};
pub use event::{Claimed, CreateRecord, Event, NotAllowed, Settlement};
pub use outcome::{
    ActionError, ErrorCode, GitCommit, LogFacts, Outcome, Recovery, Status, Summary, UploadedFile, Usage,
    Verdict,
};
pub use view::{RecordView, TaskListing};

use alloc::{boxed::Box, string::String, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    id::{Attempt, TaskId, Token},
    time::Timestamp,
};

/// Pause after the first start until the next one is due; doubled with each further start.
pub const START_PAUSE: Duration = Duration::from_mins(2);
/// Starts after which a task that no worker claimed has failed.
pub const MAX_STARTS: u32 = 5;
/// Allowance after the agent's own time limit: 10 min for lines, 10 for actions, 3 for callbacks, and room.
pub const DEADLINE_ALLOWANCE: Duration = Duration::from_mins(30);
/// How long a finishing run may take: 10 min for lines, 5 for actions, 5 for clocks that differ.
pub const FINISH_ALLOWANCE: Duration = Duration::from_mins(20);
pub use crate::callback::schedule::CLAIM_TIMEOUT as CALLBACK_CLAIM;

/// How a task was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// By `POST /run`, with its client attached.
    Sync,
    /// By `POST /run-async`.
    Async,
}

/// How far a running attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The agent works.
    Running,
    /// The agent has ended and the verdict stands; lines, actions and clean-up remain.
    Finishing,
}

/// Whether the sealed request is still in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// It is, or is about to be.
    Stored,
    /// It was deleted for good.
    Deleted,
}

/// The starts of the current attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Starts {
    /// How many workers were started.
    pub count: u32,
    /// When the next one may be.
    pub next_at: Timestamp,
    /// Whose start it was.
    pub token: Token,
}

/// The worker that runs the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Made by the worker.
    pub token: Token,
    /// When it claimed, by its clock.
    pub at: Timestamp,
}

/// What an earlier attempt left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastAttempt {
    /// Its number.
    pub attempt: Attempt,
    /// How it ended.
    pub status: Status,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Its error.
    pub error: Option<String>,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended otherwise than by a cancel.
    pub completed_at: Option<Timestamp>,
    /// When it ended by a cancel.
    pub cancelled_at: Option<Timestamp>,
    /// How its callback fared.
    pub callback: Callback,
}

/// Everything that is known of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The task.
    pub task_id: TaskId,
    /// Where the current attempt stands.
    pub status: Status,
    /// How it was submitted.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The current attempt.
    pub attempt: Attempt,
    /// The callback address without userinfo and query values.
    pub callback_url: Option<String>,
    /// When the task was accepted.
    pub created_at: Timestamp,
    /// When a worker claimed the attempt.
    pub started_at: Option<Timestamp>,
    /// When the attempt ended otherwise than by a cancel.
    pub completed_at: Option<Timestamp>,
    /// When the attempt ended by a cancel.
    pub cancelled_at: Option<Timestamp>,
    /// The job execution that claimed the attempt.
    pub execution_name: Option<String>,
    /// Where the worker's own log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_logs_url: Option<String>,
    /// The agent's exit code, or the service's.
    pub exit_code: Option<i32>,
    /// Why the attempt did not complete.
    pub error: Option<String>,
    /// The same as a stable code.
    pub error_code: Option<ErrorCode>,
    /// The agent's own reason, or the end of what the failing program said.
    pub error_detail: Option<String>,
    /// Durations and counts.
    pub summary: Option<Summary>,
    /// The agent's final text.
    pub result: Option<String>,
    /// The request's own metadata, as JavaScript would write it.
    pub metadata: Box<RawValue>,
    /// Files that were uploaded.
    pub uploaded_files: Vec<UploadedFile>,
    /// The commit that was made.
    pub git_commit: Option<GitCommit>,
    /// What failed after the run.
    pub action_errors: Vec<ActionError>,
    /// What became of the log's lines.
    pub log: LogFacts,
    /// How the callback fares.
    pub callback: Callback,
    /// Earlier attempts, oldest first.
    pub history: Vec<PastAttempt>,

    /// Rises with each swap, so that each makes a new version.
    pub revision: u64,
    /// Made by the submitter whose put created the record.
    pub creation: Token,
    /// Recognises the same request sent again.
    pub request_digest: String,
    /// The whole callback address. Never shown.
    pub callback_target: Option<String>,
    /// The starts of the current attempt.
    pub starts: Starts,
    /// The worker that runs the attempt.
    pub claim: Option<Claim>,
    /// How far it has come.
    pub phase: Option<Phase>,
    /// What the run came to, once it is finishing.
    pub verdict: Option<Verdict>,
    /// Past it the attempt is ended, whatever its worker says.
    pub deadline_at: Option<Timestamp>,
    /// Past it a finishing worker may be ended.
    pub finish_by: Option<Timestamp>,
    /// When somebody wished the running attempt to be cancelled.
    pub cancel_requested_at: Option<Timestamp>,
    /// Whether the sealed request is still stored.
    pub payload: Payload,
    /// Number of the first log chunk of the current attempt.
    pub first_chunk: u32,
    /// Number of the last log chunk of the current attempt; set at its end.
    pub last_chunk: Option<u32>,
    /// When a receiver first took the current attempt's callback.
    pub delivered_at: Option<Timestamp>,
    /// Made by whoever ended the current attempt.
    pub end: Option<Token>,
}

impl Record {
    /// Reads `metadata.json`.
    ///
    /// # Errors
    /// Where the bytes are not a record.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Writes `metadata.json`.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and lists always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns whether the current attempt has ended.
    pub fn is_terminal(&self) -> bool {
        self.status.is_terminal()
    }

    /// Returns whether `token` is the claim under which the current attempt runs.
    pub fn is_claimed_by(&self, token: &Token) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.token == *token)
    }

    /// Returns the name under which receivers know the current attempt's callback.
    pub fn webhook_id(&self) -> String {
        alloc::format!("{}.{}", self.task_id, self.attempt)
    }
}
