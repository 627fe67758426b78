//! The bytes of a callback.
//!
//! Handlers verify a signature over what JavaScript makes of the body when it parses and writes
//! it again, so the body is written as JavaScript would write it. Every string and list has a
//! limit, and the limits together leave room under the whole body's.

use alloc::string::String;

use super::bounded::{ObjectWriter, bounded_list, write_bounded};
use crate::{
    id::{Attempt, MAX_TASK_ID_BYTES, TaskId},
    json::{Document, Kind, normalise},
    record::{ActionError, ErrorCode, GitCommit, Record, Recovery, Status, Summary, UploadedFile, Usage},
};

/// Limit of a whole body: express's JSON parser takes 100 kB by default.
pub const BODY_BYTES: usize = 96 * 1024;
/// What metadata may always take; a request with more is refused.
pub const METADATA_BYTES: usize = 16 * 1024;

/// Limits of single values as they are written, quotes and brackets included.
const RESULT_BYTES: usize = 32 * 1024;
const ERROR_DETAIL_BYTES: usize = 4 * 1024;
const ERROR_BYTES: usize = 1024;
const UPLOADED_FILES_BYTES: usize = 24 * 1024;
const ACTION_ERRORS: usize = 10;
const ACTION_ERROR_BYTES: usize = 512;
const ACTION_NAME_BYTES: usize = 64;
const CONFLICT_FILES: usize = 50;
const CONFLICT_FILES_BYTES: usize = 6 * 1024;
const CONFLICT_FILE_BYTES: usize = 512;
const LOGS_PATH_BYTES: usize = 2 * 1024;
const COMMIT_MESSAGE_BYTES: usize = 2 * 1024;
const BRANCH_BYTES: usize = 512;
const NAME_BYTES: usize = 128;
/// Room for member names, numbers, times and words: 1 kB of names, 14 numbers, 3 times.
const REMAINDER_BYTES: usize = 2 * 1024;

/// Of `{"action":…,"error":…}` and a comma, what is not the two strings.
const ACTION_ERROR_FRAME: usize = r#"{"action":,"error":},"#.len();

const _: () = assert!(
    RESULT_BYTES
        + ERROR_DETAIL_BYTES
        + ERROR_BYTES
        + UPLOADED_FILES_BYTES
        + ACTION_ERRORS * ACTION_ERROR_BYTES
        + CONFLICT_FILES_BYTES
        + LOGS_PATH_BYTES
        + COMMIT_MESSAGE_BYTES
        + BRANCH_BYTES
        // Session, commit, recovery's method and commit.
        + 4 * NAME_BYTES
        + MAX_TASK_ID_BYTES
        + METADATA_BYTES
        + REMAINDER_BYTES
        <= BODY_BYTES,
    "the limits of the parts leave no room under the limit of the whole"
);

/// What a receiver is told of an attempt that has ended.
///
/// # Examples
/// ```
/// use legwork_core::{callback::CallbackBody, id::Attempt, record::Status};
/// let id = "t1".parse().unwrap();
/// let body = CallbackBody {
///     task_id: &id,
///     status: Status::Failed,
///     exit_code: Some(1),
///     logs_path: "gs://bucket/sessions/t1/",
///     summary: None,
///     error: Some("Worker lost"),
///     error_code: None,
///     error_detail: None,
///     result: None,
///     metadata: r#"{"b":1,"7":2.0}"#,
///     uploaded_files: &[],
///     git_commit: None,
///     action_errors: &[],
///     attempt: Attempt::FIRST,
/// };
/// assert_eq!(
///     body.to_json(),
///     concat!(
///         r#"{"taskId":"t1","status":"failed","exitCode":1,"logsPath":"gs://bucket/sessions/t1/","#,
///         r#""summary":{"durationMs":0,"turns":0,"errors":0,"startedAt":null,"completedAt":null},"#,
///         r#""error":"Worker lost","metadata":{"7":2,"b":1}}"#,
///     )
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CallbackBody<'a> {
    /// The task.
    pub task_id: &'a TaskId,
    /// How the attempt ended.
    pub status: Status,
    /// The agent's exit code, or the service's.
    pub exit_code: Option<i32>,
    /// Address of the folder that holds the log.
    pub logs_path: &'a str,
    /// Durations and counts; all zero where nothing ran.
    pub summary: Option<&'a Summary>,
    /// Why the attempt did not complete.
    pub error: Option<&'a str>,
    /// The same as a stable code.
    pub error_code: Option<ErrorCode>,
    /// The agent's own reason.
    pub error_detail: Option<&'a str>,
    /// The agent's final text.
    pub result: Option<&'a str>,
    /// The request's own metadata, the JSON text of an object. What is none, or has no room, is
    /// told as `{}`.
    pub metadata: &'a str,
    /// All files that were uploaded.
    pub uploaded_files: &'a [UploadedFile],
    /// The commit that was made.
    pub git_commit: Option<&'a GitCommit>,
    /// What failed after the run.
    pub action_errors: &'a [ActionError],
    /// The attempt; told from the second on.
    pub attempt: Attempt,
}

impl<'a> CallbackBody<'a> {
    /// Returns the body for a record whose attempt has ended.
    pub fn of_record(record: &'a Record, logs_path: &'a str) -> Self {
        Self {
            task_id: &record.task_id,
            status: record.status,
            exit_code: record.exit_code,
            logs_path,
            summary: record.summary.as_ref(),
            error: record.error.as_deref(),
            error_code: record.error_code,
            error_detail: record.error_detail.as_deref(),
            result: record.result.as_deref(),
            metadata: record.metadata.get(),
            uploaded_files: &record.uploaded_files,
            git_commit: record.git_commit.as_ref(),
            action_errors: &record.action_errors,
            attempt: record.attempt,
        }
    }

    /// Returns the body: one line of JSON, at most [`BODY_BYTES`] of UTF-8, exactly as
    /// `JSON.stringify(JSON.parse(body))` returns it.
    pub fn to_json(&self) -> String {
        let body = self.with_metadata(&metadata(self.metadata));
        // All else fits beside the metadata of any request that is taken.
        if body.len() <= BODY_BYTES { body } else { self.with_metadata("{}") }
    }

    fn with_metadata(&self, metadata: &str) -> String {
        let mut body = ObjectWriter::new();
        body.string("taskId", self.task_id.as_str(), MAX_TASK_ID_BYTES.saturating_add(2));
        body.string("status", self.status.as_str(), NAME_BYTES);
        match self.exit_code {
            Some(code) => body.number("exitCode", code.into()),
            None => body.raw("exitCode", "null"),
        }
        body.string("logsPath", self.logs_path, LOGS_PATH_BYTES);
        body.raw("summary", &summary(self.summary.unwrap_or(&Summary::default())));
        match self.error {
            Some(error) => body.string("error", error, ERROR_BYTES),
            None => body.raw("error", "null"),
        }
        body.optional_string("errorCode", self.error_code.map(ErrorCode::as_str), NAME_BYTES);
        body.optional_string("errorDetail", self.error_detail, ERROR_DETAIL_BYTES);
        body.optional_string("result", self.result, RESULT_BYTES);
        body.raw("metadata", metadata);
        if !self.uploaded_files.is_empty() {
            let (files, count) =
                bounded_list(self.uploaded_files.iter().map(uploaded_file), UPLOADED_FILES_BYTES);
            body.raw("uploadedFiles", &files);
            if count < self.uploaded_files.len() {
                body.count(
                    "uploadedFilesTotal",
                    u64::try_from(self.uploaded_files.len()).unwrap_or(u64::MAX),
                );
            }
        }
        if let Some(commit) = self.git_commit {
            body.raw("gitCommit", &git_commit(commit));
        }
        if !self.action_errors.is_empty() {
            let errors = self.action_errors.iter().take(ACTION_ERRORS).map(action_error);
            body.raw("actionErrors", &bounded_list(errors, usize::MAX).0);
        }
        if self.attempt != Attempt::FIRST {
            body.count("attempt", self.attempt.number().into());
        }
        body.finish()
    }
}

/// Returns metadata as JavaScript writes it; the record's should be already.
fn metadata(text: &str) -> String {
    match Document::parse(text) {
        Ok(document) if document.root().kind() == Kind::Object => normalise(document.root()),
        Ok(_) | Err(_) => String::from("{}"),
    }
}

fn summary(summary: &Summary) -> String {
    let time = |time: Option<crate::time::Timestamp>| time.map(|time| alloc::format!("\"{time}\""));
    let mut object = ObjectWriter::new();
    object.count("durationMs", summary.duration_ms);
    object.count("turns", summary.turns);
    object.count("errors", summary.errors);
    object.raw("startedAt", time(summary.started_at).as_deref().unwrap_or("null"));
    object.raw("completedAt", time(summary.completed_at).as_deref().unwrap_or("null"));
    if let Some(cancelled_at) = time(summary.cancelled_at) {
        object.raw("cancelledAt", &cancelled_at);
    }
    if let Some(cost) = summary.cost_usd.and_then(rounded_cost) {
        object.number("costUsd", cost);
    }
    if let Some(usage) = &summary.usage {
        object.raw("usage", &tokens(usage));
    }
    if let Some(denials) = summary.permission_denials {
        object.count("permissionDenials", denials);
    }
    object.optional_string("sessionId", summary.session_id.as_deref(), NAME_BYTES);
    object.finish()
}

/// Rounds to 4 decimals, so that a cost is written alike by JavaScript and Python; nothing for what
/// is no amount.
fn rounded_cost(cost: f64) -> Option<f64> {
    alloc::format!("{cost:.4}").parse().ok().filter(|rounded: &f64| rounded.is_finite())
}

fn tokens(usage: &Usage) -> String {
    let mut object = ObjectWriter::new();
    object.count("inputTokens", usage.input_tokens);
    object.count("outputTokens", usage.output_tokens);
    object.count("cacheReadTokens", usage.cache_read_tokens);
    object.count("cacheCreationTokens", usage.cache_creation_tokens);
    object.finish()
}

/// Paths of files stay whole: half an address leads nowhere. The list has the limit.
fn uploaded_file(file: &UploadedFile) -> String {
    let mut object = ObjectWriter::new();
    object.string("originalPath", &file.original_path, usize::MAX);
    object.string("gcsPath", &file.gcs_path, usize::MAX);
    object.count("sizeBytes", file.size_bytes);
    object.finish()
}

fn git_commit(commit: &GitCommit) -> String {
    let mut object = ObjectWriter::new();
    object.string("sha", &commit.sha, NAME_BYTES);
    object.string("message", &commit.message, COMMIT_MESSAGE_BYTES);
    object.raw("pushed", if commit.pushed { "true" } else { "false" });
    object.optional_string("branch", commit.branch.as_deref(), BRANCH_BYTES);
    if let Some(recovery) = &commit.recovery {
        object.raw("recovery", &recovered(recovery));
    }
    object.finish()
}

fn recovered(recovery: &Recovery) -> String {
    let mut object = ObjectWriter::new();
    object.string("method", &recovery.method, NAME_BYTES);
    object.string("remoteSha", &recovery.remote_sha, NAME_BYTES);
    if let Some(files) = &recovery.conflict_files {
        let files = files.iter().take(CONFLICT_FILES).map(|file| {
            let mut out = String::new();
            write_bounded(&mut out, file, CONFLICT_FILE_BYTES);
            out
        });
        object.raw("conflictFiles", &bounded_list(files, CONFLICT_FILES_BYTES).0);
    }
    object.finish()
}

fn action_error(error: &ActionError) -> String {
    let mut name = String::new();
    write_bounded(&mut name, &error.action, ACTION_NAME_BYTES);
    let room = ACTION_ERROR_BYTES.saturating_sub(ACTION_ERROR_FRAME).saturating_sub(name.len());
    let mut object = ObjectWriter::new();
    object.raw("action", &name);
    object.string("error", &error.error, room);
    object.finish()
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
