//! What an operator decides about the use cases.

use std::time::Duration;

use legwork_core::{request::RequestLimits, secret::Secret, signature::SigningSecrets};

/// A setting without which tasks cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingSetting {
    /// No bucket is named.
    Bucket,
    /// No secret signs callbacks.
    CallbackSecret,
}

impl MissingSetting {
    /// Returns the sentence that clients are answered.
    pub fn message(self) -> &'static str {
        match self {
            Self::Bucket => "Async task support not configured (missing GCS_LOGS_BUCKET)",
            Self::CallbackSecret => "Async task support not configured (missing CLOUDRUN_CALLBACK_SECRET)",
        }
    }
}

/// How logs are cut and bounded.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// A chunk is written at latest this long after its first line.
    pub flush_after: Duration,
    /// Lines of a chunk at most.
    pub chunk_lines: u32,
    /// Bytes of a task's log at most; lines past it are counted.
    pub max_log_bytes: u64,
    /// Bytes of a line at most; of longer ones the beginning is kept.
    pub max_line_bytes: usize,
}

/// Everything an operator decides about the use cases.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits and defaults of requests.
    pub request_limits: RequestLimits,
    /// Sign callbacks and, by derivation, recognise repeated requests.
    pub callback_secrets: Option<SigningSecrets>,
    /// What is missing to accept tasks.
    pub missing: Option<MissingSetting>,
    /// Tasks pending or running at once, at most.
    pub max_open_tasks: usize,
    /// Followers of logs in this process, at most.
    pub max_watchers: usize,
    /// How long the sealed request of a failed or cancelled task is kept for a retry; with zero it is
    /// deleted once a worker has claimed the task.
    pub payload_retention: Duration,
    /// After how long tasks that are over are removed; nothing where the store itself does that.
    pub retention: Option<Duration>,
    /// How logs are cut and bounded.
    pub log: LogSettings,
    /// No line for so long ends a run.
    pub idle_timeout: Option<Duration>,
    /// How long the agent may live on after its result.
    pub result_grace: Duration,
    /// The agent's program.
    pub agent_program: String,
    /// The agent's `PATH`.
    pub agent_path: String,
    /// Masked wherever text from outside is stored.
    pub service_secrets: Vec<Secret<String>>,
    /// Leave workspaces in place, for debugging.
    pub keep_workspace: bool,
}
