//! Pushing the task's work: onto the branch, on top of what the branch has by now, or onto a branch of
//! its own.

use legwork_core::{
    actions::{self, PushEvent, PushPlan, PushStep},
    record::{GitCommit, Recovery},
    request::GitAction,
};
use legwork_ports::workspace::{Cloned, Commit, GitError, Leak, PushAnswer, Rebase};

use super::actions::{Actions, Failure};

/// Conflicting files that are told.
const MAX_CONFLICTS: usize = 1000;

/// A push and what it may take.
pub(super) struct Push<'a> {
    pub(super) actions: &'a Actions<'a>,
    pub(super) git: &'a GitAction,
    pub(super) cloned: &'a Cloned,
    pub(super) commit: &'a Commit,
}

impl Push<'_> {
    /// Pushes, and returns what was pushed where.
    pub(super) async fn push(&self) -> Result<GitCommit, Failure> {
        let Actions { stage, folders, .. } = *self.actions;
        let workspace = &stage.worker.workspace;
        self.actions.claim("push").await?;
        let taken = workspace.take_out(folders, self.cloned, &self.commit.sha, &self.actions.limits()).await;
        taken.map_err(|error| self.failure(error))?;

        let mut plan = PushPlan::new(self.git.conflict_strategy);
        let mut branch = self.git.branch.clone().unwrap_or_else(|| self.cloned.branch.clone());
        let mut work = self.commit.clone();
        let mut known = self.cloned.known.clone();
        let mut recovery: Option<Recovery> = None;
        loop {
            let event = match plan.step() {
                PushStep::Push => self.push_to(&branch, &work.sha, &known).await?,
                PushStep::Rebase => {
                    let rebase = self.rebase(&branch).await?;
                    recovery = Some(self.recovered("rebase", &rebase));
                    known.push(rebase.remote_sha.clone());
                    match rebase.commit {
                        Some(commit) if commit.sha == rebase.remote_sha => {
                            let error = format!("{branch} has the same changes already; nothing was pushed");
                            return Err(Failure { action: "push", error });
                        }
                        Some(commit) => {
                            work = commit;
                            PushEvent::Succeeded
                        }
                        None => PushEvent::InTheWay,
                    }
                }
                PushStep::OwnBranch => {
                    let record = &stage.claimed.record;
                    branch = actions::own_branch(&record.task_id, record.attempt);
                    work.clone_from(self.commit);
                    if let Some(recovery) = &mut recovery {
                        "branch".clone_into(&mut recovery.method);
                    }
                    self.push_to(&branch, &work.sha, &known).await?
                }
                PushStep::GiveUp => {
                    let error =
                        format!("{branch} has commits that this task does not know; nothing was overwritten");
                    return Err(Failure { action: "push", error });
                }
                PushStep::Done => {
                    let Commit { sha, message, .. } = work;
                    stage.log_git("git push", &format!("pushed {sha} to {branch}")).await;
                    let message = self.actions.masked(&message);
                    return Ok(GitCommit { sha, message, pushed: true, branch: Some(branch), recovery });
                }
            };
            plan.note(event);
        }
    }

    /// Pushes, unless something would leave that must not.
    async fn push_to(&self, branch: &str, sha: &str, known: &[String]) -> Result<PushEvent, Failure> {
        let Actions { stage, folders, scene, .. } = *self.actions;
        let workspace = &stage.worker.workspace;
        let limits = self.actions.limits();
        self.actions.claim("push").await?;
        let leak = workspace.find_leak(folders, known, sha, &stage.redactor, &scene.placed, &limits).await;
        if let Some(leak) = leak.map_err(|error| self.failure(error))? {
            return Err(Failure { action: "push", error: told(&leak) });
        }
        self.actions.claim("push").await?;
        let answer = workspace.push(folders, self.cloned, sha, branch, &limits).await;
        match answer.map_err(|error| self.failure(error))? {
            PushAnswer::Pushed => Ok(PushEvent::Succeeded),
            PushAnswer::Behind => {
                stage.log_git("git push", &format!("{branch} has moved on")).await;
                Ok(PushEvent::InTheWay)
            }
            PushAnswer::Refused { words } => {
                Err(Failure { action: "push", error: format!("the remote refused it: {words}") })
            }
        }
    }

    async fn rebase(&self, branch: &str) -> Result<Rebase, Failure> {
        let Actions { stage, folders, .. } = *self.actions;
        self.actions.claim("push").await?;
        let limits = self.actions.limits();
        let rebase = stage.worker.workspace.rebase(folders, self.cloned, self.commit, branch, &limits).await;
        rebase.map_err(|error| self.failure(error))
    }

    fn recovered(&self, method: &str, rebase: &Rebase) -> Recovery {
        let files = rebase.conflict_files.iter().take(MAX_CONFLICTS);
        let files: Vec<String> = files.map(|file| self.actions.masked(file)).collect();
        Recovery {
            method: method.to_owned(),
            remote_sha: rebase.remote_sha.clone(),
            conflict_files: Some(files).filter(|files| !files.is_empty()),
        }
    }

    fn failure(&self, error: GitError) -> Failure {
        self.actions.git_failure("push", error)
    }
}

/// Says where something was found that must not leave, and not what.
fn told(leak: &Leak) -> String {
    let place = match (leak.path.as_deref(), leak.commit.as_deref()) {
        (Some(path), Some(commit)) => format!("{path} of commit {commit}"),
        (Some(path), None) => path.to_owned(),
        (None, Some(commit)) => format!("commit {commit}"),
        (None, None) => "the name of a file".to_owned(),
    };
    format!("nothing was pushed: a secret of the request, or a file of the service, is in {place}")
}
