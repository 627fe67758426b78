//! What is done after the run: commit, push, uploads.
//!
//! Each begins only while the record has just shown that the attempt is still this worker's. What
//! fails is told and fails nothing else. When the time is up, what runs is cut short and told, too.

use std::{
    io::{self, Read as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use legwork_core::{
    actions::{self, DEFAULT_EMAIL, DEFAULT_NAME, PushEvent, PushPlan, PushStep},
    claude::log_line,
    layout,
    record::{ActionError, GitCommit, Recovery, Status, UploadedFile},
    request::{GitAction, RelativePath, TaskRequest, UploadAction},
};
use legwork_ports::workspace::{
    Cloned, Commit, CommitOrder, Folders, FoundFile, GitError, GitLimits, GitProblem, Leak, PushAnswer,
    Rebase,
};
use tokio_util::sync::CancellationToken;

use super::{
    interruption::AFTER_STOP,
    stage::{Found, Scene, Stage, chain},
};
use crate::{logs::LineBatch, uploads::content_type};

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
/// Uploads at once.
const UPLOADS_AT_ONCE: usize = 8;
/// How often one upload is tried.
const UPLOAD_TRIES: u32 = 5;
/// Problems that are told of one search for files.
const MAX_PROBLEMS: usize = 20;
/// Conflicting files that are told.
const MAX_CONFLICTS: usize = 1000;
/// How much of a file is looked through at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) uploaded_files: Vec<UploadedFile>,
    pub(super) git_commit: Option<GitCommit>,
    pub(super) errors: Vec<ActionError>,
}

/// An action that cannot go on: which one, and why.
struct Failure {
    action: &'static str,
    error: String,
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
struct Actions<'a> {
    stage: &'a Stage<'a>,
    request: &'a TaskRequest,
    folders: &'a Folders,
    scene: &'a Scene,
    cut: CancellationToken,
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
    async fn note(&self, done: &mut Done, failure: Failure) {
        let error = self.stage.redactor.mask_text(&failure.error).into_owned();
        let now = self.stage.engine.ports().clock.now();
        let line = log_line::error(&format!("{}: {error}", failure.action), now);
        self.stage.log.write(LineBatch::one(&line)).await;
        tracing::warn!(task.id = %self.stage.claimed.record.task_id, action = failure.action, error, "an action failed");
        done.errors.push(ActionError { action: failure.action.to_owned(), error });
    }

    /// Makes sure that the attempt is still this worker's.
    async fn claim(&self, action: &'static str) -> Result<(), Failure> {
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

    fn cut_short(&self) -> String {
        let reason =
            if self.stage.stop.is_cancelled() { "the worker was stopped" } else { "its time was up" };
        format!("cut short: {reason}")
    }

    fn limits(&self) -> GitLimits {
        GitLimits { at_most: ACTIONS_DEADLINE, stop: self.cut.clone() }
    }

    fn git_failure(&self, action: &'static str, error: GitError) -> Failure {
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
            default_name: DEFAULT_NAME.to_owned(),
            default_email: DEFAULT_EMAIL.to_owned(),
        });
        self.claim("commit").await?;
        let commit = workspace.commit(self.folders, cloned, order.as_ref(), &self.limits()).await;
        let Some(commit) = commit.map_err(|error| self.git_failure("commit", error))? else {
            self.stage.log_git("git commit", "nothing to commit").await;
            return Ok(());
        };
        self.stage.log_git("git commit", &format!("committed {}", commit.sha)).await;
        let unpushed = done.git_commit.insert(GitCommit {
            sha: commit.sha.clone(),
            message: commit.message.clone(),
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

    async fn upload(&self, upload: &UploadAction, done: &mut Done) {
        if let Err(failure) = self.claim("upload").await {
            return self.note(done, failure).await;
        }
        let found = match self.stage.worker.workspace.find_files(self.folders, &upload.glob_patterns).await {
            Ok(found) => found,
            Err(error) => return self.note(done, Failure { action: "upload", error: chain(&error) }).await,
        };
        let left_out = found.problems.len().saturating_sub(MAX_PROBLEMS);
        for error in found.problems.into_iter().take(MAX_PROBLEMS) {
            self.note(done, Failure { action: "upload", error }).await;
        }
        if left_out > 0 {
            let error = format!("{left_out} more files could not be looked at");
            self.note(done, Failure { action: "upload", error }).await;
        }
        tracing::info!(task.id = %self.stage.claimed.record.task_id, files = found.files.len(), "uploading");
        let prefix = upload.prefix.as_ref();
        let mut uploads = stream::iter(found.files)
            .map(|file| self.upload_one(prefix, file))
            .buffer_unordered(UPLOADS_AT_ONCE);
        while let Some(uploaded) = uploads.next().await {
            match uploaded {
                Ok(file) => done.uploaded_files.push(file),
                Err(failure) => self.note(done, failure).await,
            }
        }
        done.uploaded_files.sort_by(|one, other| one.original_path.cmp(&other.original_path));
    }

    async fn upload_one(
        &self,
        prefix: Option<&RelativePath>,
        file: FoundFile,
    ) -> Result<UploadedFile, Failure> {
        let path = file.path;
        let failed = |error: String| Failure { action: "upload", error: format!("{path}: {error}") };
        let below = prefix.map_or_else(|| path.clone(), |prefix| format!("{}/{path}", prefix.as_str()));
        // What is uploaded can be fetched again: prefix and path together are one path of `/files`.
        let below: RelativePath =
            below.parse().map_err(|_| failed("it is no name for an upload, or too long".to_owned()))?;
        self.claim("upload").await.map_err(|failure| failed(failure.error))?;
        let uploading = async {
            if self.holds_secret(&path).await? {
                return Err("it holds a secret of the request; it was left out".to_owned());
            }
            let key = layout::upload(&self.stage.claimed.record.task_id, None, &below);
            let size_bytes = self.put(&key, &path).await?;
            let gcs_path = self.stage.engine.ports().storage.url(&key);
            Ok(UploadedFile { original_path: path.clone(), gcs_path, size_bytes })
        };
        let uploaded = tokio::select! {
            biased;
            uploaded = uploading => uploaded,
            // A put that is dropped leaves the object whole or not at all.
            () = self.cut.cancelled() => Err(self.cut_short()),
        };
        uploaded.map_err(failed)
    }

    /// Looks through a file for secrets.
    async fn holds_secret(&self, path: &str) -> Result<bool, String> {
        let opened = self.stage.worker.workspace.open_file(self.folders, path).await;
        let mut file = opened.map_err(|error| chain(&error))?;
        let (redactor, cut) = (Arc::clone(&self.stage.redactor), self.cut.clone());
        let looked = tokio::task::spawn_blocking(move || -> io::Result<bool> {
            let mut search = redactor.search();
            let mut piece = vec![0; PIECE_BYTES];
            while !cut.is_cancelled() {
                let length = file.read(&mut piece)?;
                if length == 0 {
                    return Ok(false);
                }
                if search.feed(piece.get(..length).unwrap_or_default()) {
                    return Ok(true);
                }
            }
            Err(io::ErrorKind::Interrupted.into())
        });
        looked.await.map_err(io::Error::other).flatten().map_err(|error| chain(&error))
    }

    async fn put(&self, key: &str, path: &str) -> Result<u64, String> {
        let ports = self.stage.engine.ports();
        let mut tries = 0_u32;
        loop {
            let opened = self.stage.worker.workspace.open_file(self.folders, path).await;
            let file = opened.map_err(|error| chain(&error))?;
            tries = tries.saturating_add(1);
            match ports.storage.put_file(key, file, content_type(path)).await {
                Ok(size_bytes) => return Ok(size_bytes),
                Err(error) if error.is_transient() && tries < UPLOAD_TRIES => {
                    ports.clock.sleep(PAUSE.saturating_mul(1 << tries.min(6))).await;
                }
                Err(error) => return Err(chain(&error)),
            }
        }
    }
}

/// A push and what it may take.
struct Push<'a> {
    actions: &'a Actions<'a>,
    git: &'a GitAction,
    cloned: &'a Cloned,
    commit: &'a Commit,
}

impl Push<'_> {
    /// Pushes, and returns what was pushed where.
    async fn push(&self) -> Result<GitCommit, Failure> {
        let Actions { stage, folders, .. } = *self.actions;
        let workspace = &stage.worker.workspace;
        self.actions.claim("push").await?;
        let taken = workspace.take_out(folders, self.cloned, &self.commit.sha, &self.actions.limits()).await;
        taken.map_err(|error| self.failure(error))?;

        let mut plan = PushPlan::new(self.git.conflict_strategy);
        let mut branch = self.git.branch.clone().unwrap_or_else(|| self.cloned.branch.clone());
        let mut sha = self.commit.sha.clone();
        let mut known = vec![self.cloned.commit.clone()];
        let mut recovery: Option<Recovery> = None;
        loop {
            let event = match plan.step() {
                PushStep::Push => self.push_to(&branch, &sha, &known).await?,
                PushStep::Rebase => {
                    let rebase = self.rebase(&branch).await?;
                    recovery = Some(recovered("rebase", &rebase));
                    known.push(rebase.remote_sha);
                    match rebase.commit {
                        Some(commit) => {
                            sha = commit;
                            PushEvent::Succeeded
                        }
                        None => PushEvent::InTheWay,
                    }
                }
                PushStep::OwnBranch => {
                    let record = &stage.claimed.record;
                    branch = actions::own_branch(&record.task_id, record.attempt);
                    sha.clone_from(&self.commit.sha);
                    if let Some(recovery) = &mut recovery {
                        "branch".clone_into(&mut recovery.method);
                    }
                    self.push_to(&branch, &sha, &known).await?
                }
                PushStep::GiveUp => {
                    let error =
                        format!("{branch} has commits that this task does not know; nothing was overwritten");
                    return Err(Failure { action: "push", error });
                }
                PushStep::Done => {
                    stage.log_git("git push", &format!("pushed {sha} to {branch}")).await;
                    let message = self.commit.message.clone();
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

    fn failure(&self, error: GitError) -> Failure {
        self.actions.git_failure("push", error)
    }
}

fn recovered(method: &str, rebase: &Rebase) -> Recovery {
    let files: Vec<String> = rebase.conflict_files.iter().take(MAX_CONFLICTS).cloned().collect();
    Recovery {
        method: method.to_owned(),
        remote_sha: rebase.remote_sha.clone(),
        conflict_files: Some(files).filter(|files| !files.is_empty()),
    }
}

/// Says where something was found that must not leave, and not what.
fn told(leak: &Leak) -> String {
    let path = leak.path.as_deref().map_or_else(String::new, |path| format!(" in {path}"));
    let commit = leak.commit.as_deref().map_or_else(String::new, |commit| format!(" of commit {commit}"));
    format!("nothing was pushed: a secret of the request, or a file of the service, is{path}{commit}")
}
