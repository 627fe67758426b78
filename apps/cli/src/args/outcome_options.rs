//! What becomes of the agent's work after the run.

use clap::builder::PossibleValuesParser;

use super::draft::Draft;
use crate::exit::UsageError;

/// Options that keep the work.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "After the run")]
pub(crate) struct OutcomeOptions {
    /// Commit all changes; without a message the service writes one.
    #[arg(long, value_name = "MESSAGE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    commit: Option<String>,

    /// Commit only what this glob matches; may be repeated. Implies --commit.
    #[arg(long, value_name = "GLOB")]
    commit_only: Vec<String>,

    /// Push, to the branch that was cloned or to another one. Implies --commit.
    #[arg(long, value_name = "BRANCH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    push: Option<String>,

    /// Where the remote rejects the push: auto rebases, else pushes a branch of its own; fail leaves it.
    #[arg(long, value_name = "STRATEGY", value_parser = PossibleValuesParser::new(["auto", "fail"]))]
    on_conflict: Option<String>,

    /// Keep the files that this glob matches, below the repository; may be repeated.
    #[arg(long, value_name = "GLOB")]
    upload: Vec<String>,

    /// Keep them below this folder of the task's files.
    #[arg(long, value_name = "FOLDER")]
    upload_prefix: Option<String>,

    /// Commit, push and upload also after failure, timeout and cancel.
    #[arg(long)]
    always: bool,
}

const GIT: &str = "git";
const UPLOAD: &str = "uploadFiles";
/// A spelling of `globPatterns` that the service takes, too.
const OTHER_GLOBS: &str = "glob Patterns";

impl OutcomeOptions {
    /// Puts the options over the draft; what they do not name of the file's actions stays.
    ///
    /// # Errors
    /// Where the file has something else than objects there.
    pub(super) fn add_to(&self, draft: &mut Draft) -> Result<(), UsageError> {
        let top = "postExecutionActions";
        let commits = self.commit.is_some() || self.push.is_some() || !self.commit_only.is_empty();
        draft.set_flag(&[top, GIT, "commit"], commits)?;
        draft.set_some(&[top, GIT, "commitMessage"], filled(self.commit.as_ref()))?;
        draft.set_list(&[top, GIT, "files"], &self.commit_only)?;
        draft.set_flag(&[top, GIT, "push"], self.push.is_some())?;
        draft.set_some(&[top, GIT, "branch"], filled(self.push.as_ref()))?;
        draft.set_some(&[top, GIT, "conflictStrategy"], self.on_conflict.as_ref())?;
        if !self.upload.is_empty() {
            draft.remove(&[top, UPLOAD], OTHER_GLOBS)?;
            draft.set_list(&[top, UPLOAD, "globPatterns"], &self.upload)?;
        }
        draft.set_some(&[top, UPLOAD, "gcsPrefix"], self.upload_prefix.as_ref())?;
        draft.set_some(&[top, "when"], self.always.then_some("always"))
    }
}

/// An option without its value is empty.
fn filled(value: Option<&String>) -> Option<&String> {
    value.filter(|value| !value.is_empty())
}
