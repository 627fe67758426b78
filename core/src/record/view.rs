//! The record as clients see it: without tokens, digests and the whole callback address.

use alloc::{string::String, vec::Vec};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ActionError, Callback, CallbackAttempt, CallbackState, ErrorCode, GitCommit, LogFacts, PastAttempt,
    Phase, Record, Status, Summary, TaskKind, UploadedFile,
};
use crate::{
    id::{Attempt, TaskId},
    time::Timestamp,
};

/// Shows a record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordView<'a> {
    task_id: &'a TaskId,
    status: Status,
    #[serde(rename = "type")]
    kind: TaskKind,
    attempt: Attempt,
    callback_url: Option<&'a str>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    execution_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_logs_url: Option<&'a str>,
    exit_code: Option<i32>,
    error: Option<&'a str>,
    error_code: Option<ErrorCode>,
    error_detail: Option<&'a str>,
    summary: Option<&'a Summary>,
    result: Option<&'a str>,
    metadata: &'a RawValue,
    uploaded_files: &'a [UploadedFile],
    git_commit: Option<&'a GitCommit>,
    action_errors: &'a [ActionError],
    log: LogFacts,
    callback: CallbackView<'a>,
    history: Vec<PastView<'a>>,
    phase: Option<Phase>,
    deadline_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallbackView<'a> {
    state: CallbackState,
    attempts: Vec<AttemptView<'a>>,
    next_attempt_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptView<'a> {
    n: u32,
    at: Timestamp,
    outcome: super::AttemptOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PastView<'a> {
    attempt: Attempt,
    status: Status,
    exit_code: Option<i32>,
    error: Option<&'a str>,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    callback: CallbackView<'a>,
}

/// One row of the open tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskListing {
    /// The task.
    pub task_id: TaskId,
    /// How it was submitted.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The job execution that runs it.
    pub execution_name: Option<String>,
    /// When a worker claimed it.
    pub started_at: Option<Timestamp>,
    /// Whether a cancel was asked for.
    pub cancelling: bool,
}

impl Record {
    /// Shows the record without what nobody outside needs.
    pub fn view(&self) -> RecordView<'_> {
        RecordView {
            task_id: &self.task_id,
            status: self.status,
            kind: self.kind,
            attempt: self.attempt,
            callback_url: self.callback_url.as_deref(),
            created_at: self.created_at,
            started_at: self.started_at,
            completed_at: self.completed_at,
            cancelled_at: self.cancelled_at,
            execution_name: self.execution_name.as_deref(),
            worker_logs_url: self.worker_logs_url.as_deref(),
            exit_code: self.exit_code,
            error: self.error.as_deref(),
            error_code: self.error_code,
            error_detail: self.error_detail.as_deref(),
            summary: self.summary.as_ref(),
            result: self.result.as_deref(),
            metadata: &self.metadata,
            uploaded_files: &self.uploaded_files,
            git_commit: self.git_commit.as_ref(),
            action_errors: &self.action_errors,
            log: self.log,
            callback: callback_view(&self.callback),
            history: self.history.iter().map(past_view).collect(),
            phase: self.phase,
            deadline_at: self.deadline_at,
            cancel_requested_at: self.cancel_requested_at,
        }
    }

    /// Shows the record as JSON.
    pub fn view_json(&self) -> String {
        // Strings, numbers and lists always serialise.
        serde_json::to_string(&self.view()).unwrap_or_default()
    }

    /// Shows the record as a row of the open tasks.
    pub fn listing(&self) -> TaskListing {
        TaskListing {
            task_id: self.task_id.clone(),
            kind: self.kind,
            execution_name: self.execution_name.clone(),
            started_at: self.started_at,
            cancelling: self.cancel_requested_at.is_some() && !self.is_terminal(),
        }
    }
}

fn callback_view(callback: &Callback) -> CallbackView<'_> {
    CallbackView {
        state: callback.state,
        attempts: callback.attempts.iter().map(attempt_view).collect(),
        next_attempt_at: callback.next_attempt_at,
    }
}

fn attempt_view(attempt: &CallbackAttempt) -> AttemptView<'_> {
    AttemptView {
        n: attempt.n,
        at: attempt.at,
        outcome: attempt.outcome,
        status: attempt.status,
        error: attempt.error.as_deref(),
        duration_ms: attempt.duration_ms,
    }
}

fn past_view(past: &PastAttempt) -> PastView<'_> {
    PastView {
        attempt: past.attempt,
        status: past.status,
        exit_code: past.exit_code,
        error: past.error.as_deref(),
        started_at: past.started_at,
        completed_at: past.completed_at,
        cancelled_at: past.cancelled_at,
        callback: callback_view(&past.callback),
    }
}
