//! What an attempt came to: values of the record and of the callback.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted; no worker has claimed it.
    Pending,
    /// A worker has claimed it.
    Running,
    /// The agent succeeded.
    Completed,
    /// It did not.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// Returns whether the attempt has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// Why an attempt did not complete, as a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The repository could not be cloned.
    CloneFailed,
    /// A preExecutionCommand failed.
    CommandFailed,
    /// The model's API refused the credential.
    AuthFailed,
    /// The agent's program cannot be run here.
    AgentMissing,
    /// The agent ended without success.
    AgentFailed,
    /// The agent reached its limit of turns.
    MaxTurns,
    /// The agent reached its budget.
    Budget,
    /// The time limit passed.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
    /// The worker disappeared.
    WorkerLost,
    /// The worker was told to stop.
    WorkerStopped,
    /// No worker could be started.
    StartFailed,
    /// The service itself failed.
    Internal,
}

impl ErrorCode {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CloneFailed => "clone_failed",
            Self::CommandFailed => "command_failed",
            Self::AuthFailed => "auth_failed",
            Self::AgentMissing => "agent_missing",
            Self::AgentFailed => "agent_failed",
            Self::MaxTurns => "max_turns",
            Self::Budget => "budget",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::WorkerLost => "worker_lost",
            Self::WorkerStopped => "worker_stopped",
            Self::StartFailed => "start_failed",
            Self::Internal => "internal",
        }
    }
}

/// Tokens that the model read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Read, not from a cache.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Read from a cache.
    pub cache_read_tokens: u64,
    /// Put into a cache.
    pub cache_creation_tokens: u64,
}

/// Durations and counts of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// From the claim to the end, in milliseconds.
    pub duration_ms: u64,
    /// Turns of the conversation, as the agent counts them.
    pub turns: u64,
    /// Tool calls that failed, and a failed result.
    pub errors: u64,
    /// When the attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When the attempt ended.
    pub completed_at: Option<Timestamp>,
    /// When it ended by a cancel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// What the agent says it cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Tokens that the model read and wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Tool calls that were denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_denials: Option<u64>,
    /// The agent's own session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// A file that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadedFile {
    /// Relative to the workspace.
    pub original_path: String,
    /// The object's address.
    pub gcs_path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// How a rejected push was mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// `rebase` or `branch`.
    pub method: String,
    /// The remote's head that stood in the way.
    pub remote_sha: String,
    /// Files that both sides had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_files: Option<Vec<String>>,
}

/// The commit that was made after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitCommit {
    /// Its name.
    pub sha: String,
    /// Its message.
    pub message: String,
    /// Whether a remote has it.
    pub pushed: bool,
    /// On which branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// How a rejected push was mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// An action after the run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionError {
    /// Which one.
    pub action: String,
    /// Why.
    pub error: String,
}

/// What became of the lines of an attempt's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogFacts {
    /// Lines in the store.
    pub lines_stored: u64,
    /// Lines that could not be stored in time.
    pub lines_lost: u64,
    /// Lines of which only the beginning is stored.
    pub lines_truncated: u64,
    /// Lines that were not stored because the log had reached its limit.
    pub lines_over_limit: u64,
}

/// Whether a run succeeded, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// `completed`, `failed` or `cancelled`.
    pub status: Status,
    /// The exit code to tell.
    pub exit_code: i32,
    /// Why it did not complete.
    pub error: Option<String>,
    /// The same as a stable code.
    pub error_code: Option<ErrorCode>,
    /// The agent's own reason.
    pub error_detail: Option<String>,
    /// The agent's final text.
    pub result: Option<String>,
}

/// Everything that ends an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether it succeeded.
    pub verdict: Verdict,
    /// Durations and counts; times are filled in by the transition.
    pub summary: Summary,
    /// Files that were uploaded.
    pub uploaded_files: Vec<UploadedFile>,
    /// The commit that was made.
    pub git_commit: Option<GitCommit>,
    /// What failed after the run.
    pub action_errors: Vec<ActionError>,
    /// What became of the log's lines.
    pub log: LogFacts,
    /// Number of the last log chunk; nothing where none was written or it is unknown.
    pub last_chunk: Option<u32>,
}
