//! Committing what the task has changed: as the task's user, confined, without anything secret.

use bytes::Bytes;
use legwork_ports::workspace::{Cloned, Commit, CommitOrder, Folders, GitError, GitLimits, GitProblem};

use super::runner::{Bench, Call, Git};

pub(in crate::workspace) async fn commit(
    bench: &Bench,
    folders: &Folders,
    cloned: Option<&Cloned>,
    order: Option<&CommitOrder>,
    limits: &GitLimits,
) -> Result<Option<Commit>, GitError> {
    let mut work = Work { git: Git::new(bench, folders, limits) };
    if let Some(order) = order {
        work.remove_locks().await?;
        work.stage(&order.files).await?;
        if work.has_staged().await? {
            work.commit(order).await?;
        }
    }
    let Some(head) = work.head().await? else { return Ok(None) };
    if let Some(cloned) = cloned
        && work.is_part_of(&head, &cloned.commit).await?
    {
        return Ok(None);
    }
    let message = work.text(&["log", "-1", "--no-show-signature", "--format=%B", &head]).await?;
    let committer = work.text(&["log", "-1", "--no-show-signature", "--format=%cn%n%ce", &head]).await?;
    let (name, email) = committer.split_once('\n').unwrap_or((&committer, ""));
    let committer = (name.to_owned(), email.to_owned());
    Ok(Some(Commit { sha: head, message, committer }))
}

/// Git in the workspace, whose `.git` may be anything by now.
struct Work<'a> {
    git: Git<'a>,
}

impl Work<'_> {
    fn call(&self, args: &[&str]) -> Call {
        let work = self.git.folders.work.clone();
        let text = work.to_string_lossy().into_owned();
        // Whatever its configuration says about where its files are.
        Call::agent(work, args).env("GIT_DIR", format!("{text}/.git")).env("GIT_WORK_TREE", text)
    }

    async fn text(&mut self, args: &[&str]) -> Result<String, GitError> {
        let call = self.call(args);
        self.git.text(call).await
    }

    /// Locks that an agent left which was ended in the middle of something.
    async fn remove_locks(&mut self) -> Result<(), GitError> {
        let mut call = self.call(&[]);
        call.program = "rm";
        call.args = ["-f", "--", ".git/index.lock", ".git/HEAD.lock"].map(str::to_owned).to_vec();
        self.git.answer(call).await.map(drop)
    }

    async fn stage(&mut self, globs: &[String]) -> Result<(), GitError> {
        if globs.is_empty() {
            return self.text(&["add", "--all"]).await.map(drop);
        }
        // What the agent has staged is not asked for.
        let reset = self.call(&["read-tree", "HEAD"]);
        self.git.answer(reset).await?;
        let pathspecs: Vec<String> = globs.iter().map(|glob| format!(":(top,glob){glob}")).collect();
        let mut args = vec![
            "ls-files",
            "-z",
            "--modified",
            "--deleted",
            "--others",
            "--exclude-standard",
            "--deduplicate",
            "--",
        ];
        args.extend(pathspecs.iter().map(String::as_str));
        let call = self.call(&args);
        let changed = self.git.answer(call).await?;
        if changed.code != Some(0) {
            return Err(changed.error(None));
        }
        if changed.stdout.is_empty() {
            return Ok(());
        }
        let add = ["--literal-pathspecs", "add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul"];
        let call = self.call(&add).stdin(Bytes::from(changed.stdout));
        self.git.text(call).await.map(drop)
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
    async fn head(&mut self) -> Result<Option<String>, GitError> {
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
