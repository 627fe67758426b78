//! What a record or a callback says, read with tolerance: newer services may say more.

use serde::Deserialize;

use crate::client_error::ClientError;

/// The members of a record or a callback's body that are shown to people.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TaskFacts {
    pub(crate) task_id: String,
    pub(crate) status: String,
    pub(crate) attempt: Option<u32>,
    pub(crate) phase: Option<String>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) error_detail: Option<String>,
    pub(crate) result: Option<String>,
    pub(crate) summary: Option<SummaryFacts>,
    pub(crate) created_at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) completed_at: Option<String>,
    pub(crate) cancelled_at: Option<String>,
    pub(crate) cancel_requested_at: Option<String>,
    pub(crate) execution_name: Option<String>,
    pub(crate) worker_logs_url: Option<String>,
    pub(crate) callback_url: Option<String>,
    pub(crate) callback: Option<CallbackFacts>,
    pub(crate) uploaded_files: Vec<FileFacts>,
    pub(crate) uploaded_files_total: Option<u64>,
    pub(crate) git_commit: Option<CommitFacts>,
    pub(crate) action_errors: Vec<ActionErrorFacts>,
}

/// Durations and counts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SummaryFacts {
    pub(crate) duration_ms: u64,
    pub(crate) turns: u64,
    pub(crate) cost_usd: Option<f64>,
    pub(crate) permission_denials: Option<u64>,
}

/// How the callback fares.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallbackFacts {
    pub(crate) state: String,
    pub(crate) attempts: Vec<serde::de::IgnoredAny>,
    pub(crate) next_attempt_at: Option<String>,
}

/// An uploaded file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FileFacts {
    pub(crate) original_path: String,
    pub(crate) size_bytes: u64,
}

/// The commit made after the run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CommitFacts {
    pub(crate) sha: String,
    pub(crate) message: String,
    pub(crate) pushed: bool,
    pub(crate) branch: Option<String>,
}

/// Something that failed after the run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ActionErrorFacts {
    pub(crate) action: String,
    pub(crate) error: String,
}

impl TaskFacts {
    /// Reads a record or a callback's body.
    ///
    /// # Errors
    /// [`ClientError::Unexpected`] where it is neither.
    pub(crate) fn parse(json: &str) -> Result<Self, ClientError> {
        let parsed = serde_json::from_str::<Self>(json);
        match parsed {
            Ok(facts) if !facts.task_id.is_empty() && !facts.status.is_empty() => Ok(facts),
            Ok(_) => Err(unexpected("a member is missing")),
            Err(error) => Err(unexpected(&error.to_string())),
        }
    }

    /// Returns whether the task has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

fn unexpected(why: &str) -> ClientError {
    ClientError::Unexpected { what: format!("this is no task of a Legwork service: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_body_is_read_and_what_is_new_passed_over() {
        let task = TaskFacts::parse(
            r#"{"taskId":"a","status":"failed","exitCode":124,"logsPath":"x","error":"late","metadata":{},"new":[1],
                "summary":{"durationMs":5,"turns":2,"errors":0,"startedAt":null,"costUsd":0.5}}"#,
        )
        .unwrap();

        assert_eq!((task.task_id.as_str(), task.exit_code), ("a", Some(124)));
        assert!(task.has_ended());
        assert_eq!(task.summary.unwrap().turns, 2);
    }

    #[test]
    fn what_is_no_task_is_refused() {
        assert!(TaskFacts::parse("{}").is_err());
        assert!(TaskFacts::parse("<html>").is_err());
    }
}
