//! Committing what the task has changed: as the task's user, confined, without anything secret.

use bytes::Bytes;
use legwork_ports::workspace::{
    Cloned, Commit, CommitOrder, Committed, Folders, GitError, GitLimits, GitProblem,
};

use super::{
    checkout::in_workspace,
    locks::remove_locks,
    runner::{Bench, Call, Git},
};

pub(in crate::workspace) async fn commit(
    bench: &Bench,
    folders: &Folders,
    cloned: Option<&Cloned>,
    order: Option<&CommitOrder>,
    limits: &GitLimits,
) -> Result<Committed, GitError> {
    let mut work = Work { git: Git::new(bench, folders, limits) };
    let mut problems = Vec::new();
    if let Some(order) = order {
        remove_locks(&mut work.git).await?;
        problems = work.stage(order).await?;
        if work.has_staged().await? {
            work.commit(order).await?;
        }
    }
    let commit = work.newest(cloned).await?;
    Ok(Committed { commit, problems })
}

/// Git in the workspace, whose `.git` may be anything by now.
pub(super) struct Work<'a> {
    pub(super) git: Git<'a>,
}

impl Work<'_> {
    pub(super) fn call(&self, args: &[&str]) -> Call {
        in_workspace(self.git.folders, args)
    }

    async fn text(&mut self, args: &[&str]) -> Result<String, GitError> {
        let call = self.call(args);
        self.git.text(call).await
    }

    async fn has_staged(&mut self) -> Result<bool, GitError> {
        let call = self.call(&["diff", "--cached", "--quiet", "--no-ext-diff", "--no-textconv"]);
        let answer = self.git.answer(call).await?;
        match answer.code {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) | None => Err(answer.error(None)),
        }
    }

    async fn commit(&mut self, order: &CommitOrder) -> Result<(), GitError> {
        let name = self.identity("user.name", &order.default_name).await?;
        let email = self.identity("user.email", &order.default_email).await?;
        let args = ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace", "--file=-"];
        let call = self
            .call(&args)
            .env("GIT_AUTHOR_NAME", &name)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", &name)
            .env("GIT_COMMITTER_EMAIL", &email)
            .stdin(Bytes::from(order.message.clone()));
        self.git.text(call).await.map(drop)
    }

    /// What a file `.gitconfig` in the repository says, else the repository's own configuration.
    async fn identity(&mut self, name: &str, default: &str) -> Result<String, GitError> {
        let from_file = ["config", "--file", ".gitconfig", "--no-includes", "--get", name];
        for args in [from_file.as_slice(), &["config", "--get", name]] {
            let call = self.call(args);
            let answer = self.git.answer(call).await?;
            let value = answer.text();
            if answer.code == Some(0) && !value.is_empty() {
                return Ok(value);
            }
        }
        Ok(default.to_owned())
    }

    /// Returns the newest commit, unless the task has not made it.
    async fn newest(&mut self, cloned: Option<&Cloned>) -> Result<Option<Commit>, GitError> {
        let Some(sha) = self.head().await? else { return Ok(None) };
        if let Some(cloned) = cloned
            && self.is_part_of(&sha, &cloned.commit).await?
        {
            return Ok(None);
        }
        let message = self.text(&["log", "-1", "--no-show-signature", "--format=%B", &sha]).await?;
        let committer = self.text(&["log", "-1", "--no-show-signature", "--format=%cn%n%ce", &sha]).await?;
        let (name, email) = committer.split_once('\n').unwrap_or((&committer, ""));
        let committer = (name.to_owned(), email.to_owned());
        Ok(Some(Commit { sha, message, committer }))
    }

    /// Tells whether a commit is the one that was cloned, or one before it.
    async fn is_part_of(&mut self, head: &str, cloned: &str) -> Result<bool, GitError> {
        if head == cloned {
            return Ok(true);
        }
        let call = self.call(&["merge-base", "--is-ancestor", head, cloned]);
        // Where git cannot tell, what was cloned is not there any more: something else is.
        Ok(self.git.answer(call).await?.code == Some(0))
    }

    /// The commit that is checked out; nothing in a repository without one.
    pub(super) async fn head(&mut self) -> Result<Option<String>, GitError> {
        let call = self.call(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
        let answer = self.git.answer(call).await?;
        match answer.code {
            Some(0) => Ok(Some(answer.text())),
            Some(1) => Ok(None),
            Some(_) | None => {
                let GitError { words, .. } = answer.error(None);
                Err(GitError { problem: GitProblem::Broken, words })
            }
        }
    }
}
