//! Filling the workspace before the agent: the repository, the request's files, the service's covers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use legwork_core::{
    actions::{DEFAULT_EMAIL, DEFAULT_NAME},
    claude::{
        files::{EMPTY_SETTINGS, covered_settings, prompt_files, undefined_variables},
        log_line::{self, OutputStream},
    },
    dotenv,
    record::{ErrorCode, Summary},
    request::{GitSource, RelativePath, TaskRequest},
};
use legwork_ports::workspace::{
    CloneOrder, Cloned, Folders, GitError, GitLimits, Placed, PlacedFile, Remote, SigningAgent,
};
use tokio_util::sync::CancellationToken;

use super::{
    interruption::Interruptions,
    stage::{Ended, Stage, Unplayable, internal},
};
use crate::logs::LineBatch;

/// How long a clone may take, as far as the task has that long.
const CLONE_TIMEOUT: Duration = Duration::from_mins(10);

impl Stage<'_> {
    /// Clones the repository, unless something ends the run meanwhile.
    pub(super) async fn clone_repository(
        &self,
        source: &GitSource,
        folders: &Folders,
        interruptions: &Interruptions<'_>,
    ) -> Result<Cloned, Ended> {
        let order = CloneOrder {
            remote: remote(source),
            branch: source.branch.clone(),
            depth: source.depth,
            default_name: DEFAULT_NAME.to_owned(),
            default_email: DEFAULT_EMAIL.to_owned(),
        };
        let stop = CancellationToken::new();
        // Past the task's own time it is the task that is late.
        let limits = GitLimits { at_most: CLONE_TIMEOUT, stop: stop.clone() };
        tracing::info!(task.id = %self.claimed.record.task_id, url = order.remote.url, branch = order.branch, "cloning");
        let cloning = self.worker.workspace.clone_repository(folders, &order, &limits);
        let mut cloning = std::pin::pin!(cloning);
        let cloned = tokio::select! {
            biased;
            cloned = &mut cloning => cloned,
            trigger = interruptions.next() => {
                let reason = interruptions.end_early(trigger, Summary::default(), || stop.cancel()).await;
                // It ends at once, and nothing of it is to be left.
                drop(cloning.await);
                return Err(Ended::Stopped(reason));
            }
        };
        match cloned {
            Ok(cloned) => {
                self.log_git("git clone", &cloned.messages).await;
                tracing::info!(task.id = %self.claimed.record.task_id, commit = cloned.commit, "cloned");
                Ok(cloned)
            }
            Err(GitError { problem, words }) => {
                self.log_git("git clone", &words).await;
                let error = format!("The repository could not be cloned: {problem}");
                let detail = Some(words).filter(|words| !words.is_empty());
                Err(Unplayable { code: ErrorCode::CloneFailed, error, detail }.into())
            }
        }
    }

    /// Writes what git said into the log.
    pub(super) async fn log_git(&self, command: &str, words: &str) {
        let now = self.engine.ports().clock.now();
        let mut batch = LineBatch::default();
        for line in self.redactor.mask_text(words).lines() {
            batch.push(log_line::command_output(command, OutputStream::Stderr, line, now).as_bytes());
        }
        self.log.write(batch).await;
    }

    /// Returns where the agent starts.
    pub(super) async fn directory(
        &self,
        request: &TaskRequest,
        folders: &Folders,
    ) -> Result<PathBuf, Unplayable> {
        let relative = request.cwd_relative.as_ref().map(RelativePath::as_str);
        let directory = self.worker.workspace.directory(folders, relative).await;
        directory.map_err(|error| internal("The working directory could not be made", &error))
    }

    /// Returns the path below the workspace of where the agent starts: links inside the repository have been
    /// followed. Nothing: it starts at the top.
    async fn below_work(
        &self,
        folders: &Folders,
        directory: &Path,
    ) -> Result<Option<RelativePath>, Unplayable> {
        let top = self.worker.workspace.directory(folders, None).await;
        let top = top.map_err(|error| internal("The workspace could not be looked at", &error))?;
        let below = directory.strip_prefix(&top).unwrap_or(directory);
        if below.as_os_str().is_empty() {
            return Ok(None);
        }
        // Where settings cannot be covered the agent does not start.
        let named = below.to_str().and_then(|below| below.parse().ok());
        named.map(Some).ok_or_else(|| Unplayable {
            code: ErrorCode::Internal,
            error: "The working directory has a name that cannot be used".to_owned(),
            detail: Some(below.display().to_string()),
        })
    }

    /// Puts the request's files where the agent finds them, and covers what must not steer it.
    pub(super) async fn place_files(
        &self,
        request: &TaskRequest,
        folders: &Folders,
        directory: &Path,
        placed: &mut Placed,
    ) -> Result<(), Unplayable> {
        let cwd = self.below_work(folders, directory).await?;
        let mut files = covers(request, cwd.as_ref());
        files.extend(prompt_files(request, cwd.as_ref()).into_iter().map(|file| PlacedFile {
            path: file.path,
            contents: file.contents.into_bytes(),
            is_private: true,
        }));
        files.extend(self.dotenv(request).await);
        if !files.is_empty() {
            // Wherever it fails: what may be there has to be taken away.
            placed.files.clone_from(&files);
            let put = self.worker.workspace.place(folders, files).await;
            *placed = put.map_err(|error| internal("The request's files could not be written", &error))?;
        }
        Ok(())
    }

    /// Covers once more what must not steer the agent: the request's own commands may have brought other
    /// settings, or led the working directory elsewhere. Returns where the agent starts now.
    pub(super) async fn cover_again(
        &self,
        request: &TaskRequest,
        folders: &Folders,
        placed: &mut Placed,
    ) -> Result<PathBuf, Unplayable> {
        let directory = self.directory(request, folders).await?;
        let files = covers(request, self.below_work(folders, &directory).await?.as_ref());
        if files.is_empty() {
            return Ok(directory);
        }
        let renewed = self.worker.workspace.renew(folders, placed, files).await;
        let found = renewed.map_err(|error| internal("The settings could not be covered", &error))?;
        for path in found {
            self.warn(&format!(
                "{path}, as preExecutionCommands left it, is covered: it does not steer the agent"
            ))
            .await;
        }
        Ok(directory)
    }

    /// The environment secrets as a file at the root.
    async fn dotenv(&self, request: &TaskRequest) -> Option<PlacedFile> {
        let secrets = &request.environment_secrets;
        let written =
            dotenv::write(secrets.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())));
        if !written.inexact.is_empty() {
            let names = written.inexact.join(", ");
            self.warn(&format!(
                ".env cannot hold {names} exactly for every reader: too many kinds of quotes; the environment does"
            ))
            .await;
        }
        let contents = written.text.into_bytes();
        (!secrets.is_empty()).then(|| PlacedFile { path: ".env".to_owned(), contents, is_private: true })
    }

    /// Servers of tools may name variables that nothing defines.
    pub(super) async fn warn_of_variables(&self, request: &TaskRequest, env: &BTreeMap<String, String>) {
        let config = request.mcp_config.as_deref().unwrap_or_default();
        let undefined = undefined_variables(config, |name| env.contains_key(name));
        if !undefined.is_empty() {
            self.warn(&format!(
                "mcpConfig names variables that are not defined: {}; give them in environmentSecrets",
                undefined.join(", ")
            ))
            .await;
        }
    }

    /// Says in the log what the reader should know.
    pub(super) async fn warn(&self, warning: &str) {
        let now = self.engine.ports().clock.now();
        let warning = self.redactor.mask_text(warning);
        self.log.write(LineBatch::one(&log_line::warning(&warning, now))).await;
    }

    /// Lets the agent sign with the SSH key, where the request says so.
    pub(super) async fn open_signing_agent(
        &self,
        request: &TaskRequest,
        folders: &Folders,
    ) -> Result<Option<Box<dyn SigningAgent>>, Unplayable> {
        let git = request.git.as_ref().filter(|git| git.agent_may_use_ssh_key);
        let Some(key) = git.and_then(|git| git.ssh_key.as_ref()) else { return Ok(None) };
        let opened = self.worker.workspace.open_signing_agent(folders, key).await;
        opened.map(Some).map_err(|GitError { problem, words }| Unplayable {
            code: ErrorCode::Internal,
            error: format!("The helper that signs for the agent could not be started: {problem}"),
            detail: Some(words).filter(|words| !words.is_empty()),
        })
    }
}

/// What lets the agent's ssh sign, without a question to anybody.
pub(super) fn signing_env(signing: &dyn SigningAgent) -> [(String, String); 2] {
    let ssh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new";
    [
        ("SSH_AUTH_SOCK".to_owned(), signing.socket().to_string_lossy().into_owned()),
        ("GIT_SSH_COMMAND".to_owned(), ssh.to_owned()),
    ]
}

fn remote(source: &GitSource) -> Remote {
    Remote {
        url: source.url.clone_url(source.ssh_key.is_some()),
        ssh_key: source.ssh_key.clone(),
        user: source.user.clone(),
        token: source.token.clone(),
    }
}

/// Returns empty settings for all places in which a repository's would steer the agent.
fn covers(request: &TaskRequest, cwd: Option<&RelativePath>) -> Vec<PlacedFile> {
    let paths = if request.git.is_some() { covered_settings(cwd) } else { Vec::new() };
    let cover = |path| PlacedFile { path, contents: EMPTY_SETTINGS.into(), is_private: false };
    paths.into_iter().map(cover).collect()
}
