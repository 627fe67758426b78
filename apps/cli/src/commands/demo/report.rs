//! What the demo prints: a step a line while it goes on, and at the end where to look.

use std::{mem, path::Path};

use legwork_core::id::TaskId;

use super::{agent::DemoAgent, data_folder};
use crate::{
    output::{self, OutputError},
    receiver::Delivery,
    style::{BOLD, DIM, paint},
    task_facts::{ActionErrorFacts, CommitFacts, FileFacts, TaskFacts},
    task_view::size,
    terminal::escape,
};

/// How much of a commit's name is shown: what git shows of one in a small repository.
const SHORT_NAME: usize = 7;

/// Says what this is and who works.
pub(super) fn announce(agent: &DemoAgent) -> Result<(), OutputError> {
    output::human(&format!("{}\n{}\n", paint(BOLD, "Legwork demo"), agent.introduction()))
}

/// Says that one thing has happened.
pub(super) fn step(what: &str, text: &str) -> Result<(), OutputError> {
    output::human(&format!("{} {}", paint(DIM, &format!("{:>10}", escape(what))), escape(text)))
}

/// What was kept of the task's work.
#[derive(Debug, Default)]
pub(super) struct Kept {
    commit: Option<CommitFacts>,
    files: Vec<FileFacts>,
    failures: Vec<ActionErrorFacts>,
}

impl Kept {
    /// Takes it out of the task's facts, so that it is told once.
    pub(super) fn take_from(facts: &mut TaskFacts) -> Self {
        facts.uploaded_files_total = None;
        Self {
            commit: facts.git_commit.take(),
            files: mem::take(&mut facts.uploaded_files),
            failures: mem::take(&mut facts.action_errors),
        }
    }

    /// Says it, and returns whether that is all that was asked for.
    pub(super) fn tell(&self) -> Result<bool, OutputError> {
        for (what, text) in self.steps() {
            step(&what, &text)?;
        }
        Ok(self.is_whole())
    }

    fn steps(&self) -> Vec<(String, String)> {
        let commit = self.commit.as_ref().map_or_else(|| "none was made".to_owned(), told);
        let commit = ("commit".to_owned(), commit);
        let files = self
            .files
            .iter()
            .map(|file| ("upload".to_owned(), format!("{} ({})", file.original_path, size(file.size_bytes))));
        let failures = self.failures.iter().map(|failed| (failed.action.clone(), failed.error.clone()));
        std::iter::once(commit).chain(files).chain(failures).collect()
    }

    fn is_whole(&self) -> bool {
        let is_pushed = self.commit.as_ref().is_some_and(|commit| commit.pushed);
        is_pushed && !self.files.is_empty() && self.failures.is_empty()
    }
}

fn told(commit: &CommitFacts) -> String {
    let name: String = commit.sha.chars().take(SHORT_NAME).collect();
    let branch = commit.branch.as_deref().map(|branch| format!(" on {branch}")).unwrap_or_default();
    let subject = commit.message.lines().next().unwrap_or_default();
    let pushed = if commit.pushed { "pushed" } else { "not pushed" };
    format!("{name}{branch}: {subject} ({pushed})")
}

/// Says what came of the callback, and returns whether it came and is genuine.
pub(super) fn callback(delivery: Option<Delivery>) -> Result<bool, OutputError> {
    let Some(delivery) = delivery else {
        step("callback", "none came; the worker's log says why")?;
        return Ok(false);
    };
    let id = delivery.webhook_id.as_deref().unwrap_or("without id");
    match delivery.verified {
        Ok(_) => {
            step("callback", &format!("{id}, {} bytes, signature verified", delivery.body.len()))?;
            Ok(true)
        }
        Err(error) => {
            step("callback", &format!("{id}, not verified: {error}"))?;
            Ok(false)
        }
    }
}

/// Shows what the repository itself says.
pub(super) fn history(said: &str) -> Result<(), OutputError> {
    let asked = paint(DIM, "git log --stat, asked in the repository that was pushed to");
    let said = escape(said.trim_end()).replace('\n', "\n  ");
    output::human(&format!("\n{}   {asked}\n  {said}", paint(BOLD, "The proof")))
}

/// Says where everything is, and what to do next.
pub(super) fn where_to_look(folder: &Path, repository: &Path, task: &TaskId) -> Result<(), OutputError> {
    let data = data_folder(folder);
    let session = data.join("objects/sessions").join(task.as_str());
    let lines = [
        String::new(),
        paint(BOLD, "Look at"),
        format!("  the commit   git -C {} show main", repository.display()),
        format!("  the task     {}/", session.display()),
        format!("  its worker   {}/", data.join("worker-logs").display()),
        String::new(),
        paint(BOLD, "Try next"),
        "  legwork serve                            a service of your own on this machine".to_owned(),
        "  legwork run 'What is in this folder?'    a task on it, followed to its end".to_owned(),
        "  legwork listen                           a receiver that verifies callbacks".to_owned(),
        format!("  rm -r {}       {}", folder.display(), paint(DIM, "removes all of this")),
    ];
    output::human(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: &str = r#"{"taskId":"a-1","status":"completed","exitCode":0,
        "gitCommit":{"sha":"0123456789abcdef","message":"Sign it\n\nLong.","pushed":true,"branch":"main"},
        "uploadedFiles":[{"originalPath":"hello.md","gcsPath":"file:///x","sizeBytes":158}],
        "uploadedFilesTotal":1,"actionErrors":[]}"#;

    fn kept(json: &str) -> (TaskFacts, Kept) {
        let mut facts = TaskFacts::parse(json).unwrap();
        let kept = Kept::take_from(&mut facts);
        (facts, kept)
    }

    #[test]
    fn commit_and_uploads_are_steps() {
        let (_, kept) = kept(ENDED);

        let steps: Vec<String> = kept.steps().iter().map(|(what, text)| format!("{what} {text}")).collect();

        assert_eq!(steps, ["commit 0123456 on main: Sign it (pushed)", "upload hello.md (158 B)"]);
        assert!(kept.is_whole());
    }

    #[test]
    fn what_the_steps_tell_is_not_told_below_the_end_again() {
        let (facts, _) = kept(ENDED);

        let ending = anstream::adapter::strip_str(&crate::task_view::ending(&facts)).to_string();

        assert_eq!(ending, "✔ completed · exit 0");
    }

    #[test]
    fn work_that_was_not_kept_is_not_whole_and_says_why() {
        let (_, kept) = kept(
            r#"{"taskId":"a-1","status":"completed","gitCommit":null,
                "actionErrors":[{"action":"push","error":"the remote refused it"}]}"#,
        );

        let steps = kept.steps();

        assert_eq!(steps.first().unwrap().1, "none was made");
        assert_eq!(steps.last().unwrap(), &("push".to_owned(), "the remote refused it".to_owned()));
        assert!(!kept.is_whole());
    }
}
