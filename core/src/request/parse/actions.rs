//! What is to be done after the run: `postExecutionActions`.

use alloc::{format, string::String, vec::Vec};

use super::{check_branch, path};
use crate::request::{
    ConflictStrategy, GitAction, PostExecutionActions, UploadAction, When,
    fields::{Fields, Problems},
    glob,
};

/// How many globs, and how long in bytes.
const MAX_GLOBS: usize = 100;
const MAX_GLOB_BYTES: usize = 256;
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// Returns what is done after the run; `cloned` is the branch that is cloned, where one is.
pub(super) fn actions(
    fields: Fields<'_>,
    cloned: Option<&str>,
    problems: &mut Problems,
) -> PostExecutionActions {
    let nothing = PostExecutionActions { git: None, upload: None, when: When::Success };
    let Some(node) = fields.object("postExecutionActions", problems) else { return nothing };
    let inner = Fields::new(node, "postExecutionActions.");
    inner.only(&["git", "uploadFiles", "when"], problems);
    let when = match inner.text("when", problems).as_deref() {
        None | Some("success") => When::Success,
        Some("always") => When::Always,
        Some(_) => {
            problems.value("postExecutionActions.when", "success or always");
            When::Success
        }
    };
    PostExecutionActions {
        git: git_action(inner, cloned, problems),
        upload: upload_action(inner, problems),
        when,
    }
}

fn git_action(fields: Fields<'_>, cloned: Option<&str>, problems: &mut Problems) -> Option<GitAction> {
    let node = fields.object("git", problems)?;
    let inner = Fields::new(node, "postExecutionActions.git.");
    inner.only(&["commit", "commitMessage", "push", "branch", "files", "conflictStrategy"], problems);
    let branch = inner.text("branch", problems);
    if let Some(branch) = &branch {
        check_branch("postExecutionActions.git.branch", branch, problems);
    }
    let conflict_strategy = match inner.text("conflictStrategy", problems).as_deref() {
        None | Some("auto") => ConflictStrategy::Auto,
        Some("fail") => ConflictStrategy::Fail,
        Some(_) => {
            problems.value("postExecutionActions.git.conflictStrategy", "auto or fail");
            ConflictStrategy::Auto
        }
    };
    if cloned.is_none() && fields.get("git").is_some() {
        problems.add(
            "postExecutionActions.git",
            "git_repo_required",
            "postExecutionActions.git needs a gitRepo",
        );
    }
    Some(GitAction {
        commit: inner.boolean("commit", problems).unwrap_or(false),
        commit_message: inner.short_text("commitMessage", MAX_MESSAGE_BYTES, problems),
        push: inner.boolean("push", problems).unwrap_or(false),
        branch: branch.or_else(|| cloned.map(String::from)),
        files: globs(inner, "files", problems),
        conflict_strategy,
    })
}

fn upload_action(fields: Fields<'_>, problems: &mut Problems) -> Option<UploadAction> {
    let node = fields.object("uploadFiles", problems)?;
    let inner = Fields::new(node, "postExecutionActions.uploadFiles.");
    inner.only(&["globPatterns", "glob Patterns", "gcsPrefix"], problems);
    // The guide spells it with a blank.
    let (ours, guides) = ("globPatterns", "glob Patterns");
    if inner.get(ours).is_some() && inner.get(guides).is_some() {
        let message = format!("{} may be given once: {ours} and \"{guides}\" are one", inner.path(ours));
        problems.add(&inner.path(ours), "given_twice", message);
    }
    let name = if inner.get(ours).is_some() { ours } else { guides };
    if inner.get(name).is_none() {
        problems.value(&inner.path(ours), "an array of strings");
    }
    Some(UploadAction {
        glob_patterns: globs(inner, name, problems),
        prefix: path(inner, "gcsPrefix", problems),
    })
}

fn globs(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Vec<String> {
    fields.texts_that(glob::check, name, MAX_GLOBS, MAX_GLOB_BYTES, problems)
}
