//! What is done after the run: commit, push, uploads.
//!
//! Each begins only while the record has just shown that the attempt is still this worker's. What
//! fails is told and fails nothing else. When the time is up, what runs is cut short and told, too.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use legwork_core::{
    actions::{self, DEFAULT_EMAIL, DEFAULT_NAME},
    claude::log_line,
    record::{ActionError, GitCommit, Status, UploadedFile},
    request::{GitAction, TaskRequest},
};
use legwork_ports::workspace::{CommitOrder, Folders, GitError, GitLimits, GitProblem};
use tokio_util::sync::CancellationToken;

use super::{
    interruption::AFTER_STOP,
    push::Push,
    stage::{Found, Scene, Stage, chain},
};
use crate::logs::LineBatch;

/// How long actions may take in all.
const ACTIONS_DEADLINE: Duration = Duration::from_mins(10);
/// How long they may take after a cancel.
const CANCELLED_DEADLINE: Duration = Duration::from_mins(5);
/// What is kept of the time after a stop for ending what is cut short.
const RESERVE: Duration = Duration::from_secs(1);
/// How old the last look at the record may be when an action begins.
const FRESH: Duration = Duration::from_secs(5);
/// The pause before the record is looked at again that could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) uploaded_files: Vec<UploadedFile>,
    pub(super) git_commit: Option<GitCommit>,
    pub(super) errors: Vec<ActionError>,
}

/// An action that cannot go on: which one, and why.
pub(super) struct Failure {
    pub(super) action: &'static str,
    pub(super) error: String,
}

impl Stage<'_> {
    /// Takes the actions that are due; nothing where the claim is lost. A wish to cancel that came before
    /// them decides the verdict.
    pub(super) async fn act(&self, found: &mut Found, scene: &Scene) -> Option<Done> {
        let (Ok(request), Some(folders)) = (&self.claimed.request, &scene.folders) else {
            return Some(Done::default());
        };
        let is_whole = request.git.is_none() || scene.cloned.is_some();
        if !actions::are_due(&request.actions, found.verdict.status) || !is_whole {
            return Some(Done::default());
        }
        self.log.settle().await;
        let finishing =
            self.engine.begin_finishing(self.claimed, found.verdict.clone(), found.summary.clone());
        match finishing.await {
            Ok(Some(standing)) => found.verdict = standing,
            Ok(None) => return None,
            Err(error) => {
                let error = format!("nothing was done: {}", chain(&error));
                let errors = vec![ActionError { action: "actions".to_owned(), error }];
                return Some(Done { errors, ..Done::default() });
            }
        }
        if !actions::are_due(&request.actions, found.verdict.status) {
            return Some(Done::default());
        }
        let cut = CancellationToken::new();
        let actions =
            Actions { stage: self, request, folders, scene, cut: cut.clone(), looked_at: Mutex::new(None) };
        let mut acting = std::pin::pin!(actions.take());
        let done = tokio::select! {
            biased;
            done = &mut acting => done,
            () = self.overdue(found.verdict.status) => {
                cut.cancel();
                acting.await
            }
        };
        (!self.orders.lost.is_cancelled()).then_some(done)
    }

    /// Waits until actions may go on no more.
    async fn overdue(&self, status: Status) {
        let clock = &self.engine.ports().clock;
        let limit = if status == Status::Cancelled { CANCELLED_DEADLINE } else { ACTIONS_DEADLINE };
        let stopped = async {
            self.stop.cancelled().await;
            // The log knows since when: lines have as long.
            let until = self.log.gives_up_at().unwrap_or_default();
            let left = until.saturating_sub(clock.monotonic()).min(AFTER_STOP);
            clock.sleep(left.saturating_sub(RESERVE)).await;
        };
        tokio::select! {
            biased;
            () = clock.sleep(limit) => {}
            () = stopped => {}
            () = self.orders.lost.cancelled() => {}
        }
    }
}

/// The actions of one run.
pub(super) struct Actions<'a> {
    pub(super) stage: &'a Stage<'a>,
    request: &'a TaskRequest,
    pub(super) folders: &'a Folders,
    pub(super) scene: &'a Scene,
    pub(super) cut: CancellationToken,
    /// When the record last showed the claim.
    looked_at: Mutex<Option<Duration>>,
}

impl Actions<'_> {
    async fn take(&self) -> Done {
        let mut done = Done::default();
        match self.stage.worker.workspace.put_back(self.folders, &self.scene.placed).await {
            Ok(changed) => {
                for path in changed {
                    let warning = format!(
                        "what was written to {path} during the run is not kept: the service had covered it"
                    );
                    self.stage.warn(&warning).await;
                }
            }
            Err(error) => {
                // With the service's files still there nothing may leave.
                self.note(&mut done, Failure { action: "workspace", error: chain(&error) }).await;
                return done;
            }
        }
        if let Some(git) = &self.request.actions.git
            && let Err(failure) = self.git(git, &mut done).await
        {
            self.note(&mut done, failure).await;
        }
        if let Some(upload) = &self.request.actions.upload {
            self.upload(upload, &mut done).await;
        }
        done
    }

    /// Tells a failure, in the log as in the result.
    pub(super) async fn note(&self, done: &mut Done, failure: Failure) {
        let error = self.masked(&failure.error);
        let now = self.stage.engine.ports().clock.now();
        let line = log_line::error(&format!("{}: {error}", failure.action), now);
        self.stage.log.write(LineBatch::one(&line)).await;
        tracing::warn!(task.id = %self.stage.claimed.record.task_id, action = failure.action, error, "an action failed");
        done.errors.push(ActionError { action: failure.action.to_owned(), error });
    }

    /// Makes sure that the attempt is still this worker's.
    pub(super) async fn claim(&self, action: &'static str) -> Result<(), Failure> {
        let ports = self.stage.engine.ports();
        let claimed = self.stage.claimed;
        loop {
            if self.cut.is_cancelled() {
                return Err(Failure { action, error: self.cut_short() });
            }
            let now = ports.clock.monotonic();
            let is_fresh = |at: Duration| now.saturating_sub(at) < FRESH;
            if self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(is_fresh) {
                return Ok(());
            }
            match ports.read_record(&claimed.record.task_id).await {
                Ok(Some((record, _)))
                    if record.is_claimed_by(&claimed.token) && !record.status.is_terminal() =>
                {
                    // The time before the read counts.
                    *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                }
                Ok(_) => {
                    self.stage.orders.lost.cancel();
                    return Err(Failure {
                        action,
                        error: "the attempt is not this worker's any more".to_owned(),
                    });
                }
                Err(_) => ports.clock.sleep(PAUSE).await,
            }
        }
    }

    pub(super) fn cut_short(&self) -> String {
        let reason =
            if self.stage.stop.is_cancelled() { "the worker was stopped" } else { "its time was up" };
        format!("cut short: {reason}")
    }

    pub(super) fn limits(&self) -> GitLimits {
        GitLimits { at_most: ACTIONS_DEADLINE, stop: self.cut.clone() }
    }

    /// Returns a text as it may be told.
    pub(super) fn masked(&self, text: &str) -> String {
        self.stage.redactor.mask_text(text).into_owned()
    }

    pub(super) fn git_failure(&self, action: &'static str, error: GitError) -> Failure {
        let GitError { problem, words } = error;
        let error = if problem == GitProblem::Stopped {
            self.cut_short()
        } else if words.is_empty() {
            problem.to_string()
        } else {
            format!("{problem}: {words}")
        };
        Failure { action, error }
    }

    async fn git(&self, git: &GitAction, done: &mut Done) -> Result<(), Failure> {
        let workspace = &self.stage.worker.workspace;
        let cloned = self.scene.cloned.as_ref();
        if !git.commit && !git.push {
            return Ok(());
        }
        let task_id = &self.stage.claimed.record.task_id;
        let order = git.commit.then(|| CommitOrder {
            message: git.commit_message.clone().unwrap_or_else(|| actions::default_message(task_id)),
            files: git.files.clone(),
            except: self.scene.placed.paths(),
            default_name: DEFAULT_NAME.to_owned(),
            default_email: DEFAULT_EMAIL.to_owned(),
        });
        self.claim("commit").await?;
        let committed = workspace.commit(self.folders, cloned, order.as_ref(), &self.limits()).await;
        let committed = committed.map_err(|error| self.git_failure("commit", error))?;
        for error in committed.problems {
            self.note(done, Failure { action: "commit", error }).await;
        }
        let Some(commit) = committed.commit else {
            self.stage.log_git("git commit", "nothing to commit").await;
            return Ok(());
        };
        self.stage.log_git("git commit", &format!("committed {}", commit.sha)).await;
        let unpushed = done.git_commit.insert(GitCommit {
            sha: commit.sha.clone(),
            message: self.masked(&commit.message),
            pushed: false,
            branch: None,
            recovery: None,
        });
        if !git.push {
            return Ok(());
        }
        let Some(cloned) = cloned else {
            let error = "there is nowhere to push to: the request has no gitRepo".to_owned();
            return Err(Failure { action: "push", error });
        };
        let pushed = Push { actions: self, git, cloned, commit: &commit }.push().await?;
        *unpushed = pushed;
        Ok(())
    }
}
