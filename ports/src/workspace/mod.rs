//! The folder in which a task works: its files, its repository, and what leaves it.

mod files;
mod git;

pub use files::{FoundFile, FoundFiles, Placed, PlacedFile};
pub use git::{
    CloneOrder, Cloned, Commit, CommitOrder, Committed, GitError, GitLimits, GitProblem, Leak, PushAnswer,
    Rebase, Remote,
};

use std::{fmt, fs::File, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use legwork_core::{
    id::{Attempt, TaskId},
    redact::Redactor,
    secret::Secret,
};

use crate::agent::FileReach;

/// Where things of one attempt are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The task's folder: holds all others and is removed at the end.
    pub root: PathBuf,
    /// Where the agent works; its own.
    pub work: PathBuf,
    /// The agent's `HOME`; its own.
    pub home: PathBuf,
    /// The agent's `TMPDIR`; its own.
    pub tmp: PathBuf,
    /// Files that the agent reads and cannot change: settings, prompts.
    pub config: PathBuf,
    /// Closed to the agent: the files that its output goes through.
    pub spool: PathBuf,
    /// The unprivileged user the agent runs as; nothing where this process may not change users.
    pub user: Option<u32>,
    /// The agent runs as the machine's superuser: there is nobody else to become.
    pub runs_as_root: bool,
    /// What the agent may reach of this machine's files.
    pub reach: FileReach,
}

/// A file for the agent to read, below [`Folders::config`].
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// One path segment.
    pub name: String,
    /// Its whole content.
    pub contents: Vec<u8>,
}

/// Why a workspace could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// Something on this machine failed.
    #[error("{action} failed for {path}")]
    Machine {
        /// What was tried.
        action: String,
        /// On what.
        path: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

/// A helper that signs with a task's SSH key for the agent. Dropping it ends it, too.
#[async_trait]
pub trait SigningAgent: fmt::Debug + Send + Sync {
    /// Returns the path of its socket, for `SSH_AUTH_SOCK`.
    fn socket(&self) -> &std::path::Path;

    /// Ends it. Nothing of it is left afterwards.
    async fn close(self: Box<Self>);
}

/// Makes and removes the folders in which tasks work, and does in them what is the service's.
///
/// What is done after the agent is done while nothing of the task runs. Credentials are files only
/// as long as the service's own git runs, in a folder that the agent cannot reach, and never meet
/// configuration that the agent could write.
#[async_trait]
pub trait Workspace: fmt::Debug + Send + Sync + 'static {
    /// Makes the folders of this attempt, removing what an earlier process of the same attempt left.
    /// They are empty, but for what a user without a name on this machine needs in [`Folders::config`].
    ///
    /// # Errors
    /// `Machine`.
    async fn prepare(&self, id: &TaskId, attempt: Attempt) -> Result<Folders, WorkspaceError>;

    /// Writes files that the agent may read and not change into [`Folders::config`]. Nobody but the
    /// agent's user reads them.
    ///
    /// # Errors
    /// `Machine`.
    async fn configure(&self, folders: &Folders, files: Vec<ConfigFile>) -> Result<(), WorkspaceError>;

    /// Returns the folder in which the agent is to start: [`Folders::work`], or one below it, made where
    /// it is missing. `relative` is `/`-separated segments, none `.` or `..`; links that leave the
    /// workspace are refused.
    ///
    /// # Errors
    /// `Machine`.
    async fn directory(&self, folders: &Folders, relative: Option<&str>) -> Result<PathBuf, WorkspaceError>;

    /// Clones into [`Folders::work`], which is empty, and checks the branch out as the agent's own
    /// repository, whose `origin` is the address without credentials, and in which whoever names nobody
    /// commits as the order says. Tries again where only the network failed. Nothing can ask a person for
    /// anything.
    ///
    /// # Errors
    /// What stands against it; nothing of it runs then.
    async fn clone_repository(
        &self,
        folders: &Folders,
        order: &CloneOrder,
        limits: &GitLimits,
    ) -> Result<Cloned, GitError>;

    /// Puts files below [`Folders::work`] for the time of the run, moving away what is there, links
    /// included: nothing is written through a link. In a repository they are kept out of commits. Paths
    /// that are given twice, or that are above another one, are refused before anything is done.
    ///
    /// # Errors
    /// `Machine`; some files may have been put there.
    async fn place(&self, folders: &Folders, files: Vec<PlacedFile>) -> Result<Placed, WorkspaceError>;

    /// Puts files there as [`Workspace::place`] does, and adds to what was placed. One that is there as it
    /// is stays. Where the task has put something else in the place of a placed file, that is moved away,
    /// to be put back in place of what was moved away before. Returns the paths where something was. The
    /// state of a repository is no matter.
    ///
    /// # Errors
    /// `Machine`; what was put there until then has been added.
    async fn renew(
        &self,
        folders: &Folders,
        placed: &mut Placed,
        files: Vec<PlacedFile>,
    ) -> Result<Vec<String>, WorkspaceError>;

    /// Takes away what was put there, and puts back what was moved away for it. Returns the paths
    /// where the agent had written something of its own, which is gone. The state of a repository is no
    /// matter.
    ///
    /// # Errors
    /// `Machine`.
    async fn put_back(&self, folders: &Folders, placed: &Placed) -> Result<Vec<String>, WorkspaceError>;

    /// Starts a helper that signs with the key, whose socket the agent's user may use.
    ///
    /// # Errors
    /// What stands against it.
    async fn open_signing_agent(
        &self,
        folders: &Folders,
        key: &Secret<String>,
    ) -> Result<Box<dyn SigningAgent>, GitError>;

    /// Commits what the task has changed, as the agent's user and without credentials, and returns
    /// the newest commit of the task's, whoever made it; nothing where there is none. Repositories that the
    /// task has made below the workspace are left out, and told. Locks that a git has left which was ended
    /// halfway are removed.
    ///
    /// # Errors
    /// What stands against it.
    async fn commit(
        &self,
        folders: &Folders,
        cloned: Option<&Cloned>,
        order: Option<&CommitOrder>,
        limits: &GitLimits,
    ) -> Result<Committed, GitError>;

    /// Takes a commit and everything it needs out of the workspace, to where it can be pushed from.
    ///
    /// # Errors
    /// What stands against it.
    async fn take_out(
        &self,
        folders: &Folders,
        cloned: &Cloned,
        commit: &str,
        limits: &GitLimits,
    ) -> Result<(), GitError>;

    /// Looks through everything that a push of `commit` would send: commits, names and contents, for
    /// secrets and for files that were put there: at their paths, and private ones by their content
    /// elsewhere, too ([`PlacedFile::is_known_by_content`]). `known` are commits that the remote has.
    ///
    /// # Errors
    /// What stands against it.
    async fn find_leak(
        &self,
        folders: &Folders,
        known: &[String],
        commit: &str,
        secrets: &Arc<Redactor>,
        placed: &Placed,
        limits: &GitLimits,
    ) -> Result<Option<Leak>, GitError>;

    /// Pushes a commit that was taken out. Never by force.
    ///
    /// # Errors
    /// What stands against it, other than an answer about this branch.
    async fn push(
        &self,
        folders: &Folders,
        cloned: &Cloned,
        commit: &str,
        branch: &str,
        limits: &GitLimits,
    ) -> Result<PushAnswer, GitError>;

    /// Fetches the branch and puts the work since the clone on top of it; where both sides changed
    /// the same lines, the task's stand, and of what the branch has already nothing is left. The result
    /// has been taken out.
    ///
    /// # Errors
    /// What stands against it, other than the work itself.
    async fn rebase(
        &self,
        folders: &Folders,
        cloned: &Cloned,
        commit: &Commit,
        branch: &str,
        limits: &GitLimits,
    ) -> Result<Rebase, GitError>;

    /// Finds the regular files that globs match, relative to [`Folders::work`]. `*` stays in a
    /// folder, `**` does not; names with a leading dot match; a folder's own name is everything in it.
    /// `.git` and `node_modules` are never entered, nor are links followed.
    ///
    /// # Errors
    /// `Machine`.
    async fn find_files(&self, folders: &Folders, globs: &[String]) -> Result<FoundFiles, WorkspaceError>;

    /// Opens a regular file below [`Folders::work`] for reading, through no link, without waiting.
    ///
    /// # Errors
    /// `Machine`; also for what is no regular file.
    async fn open_file(&self, folders: &Folders, path: &str) -> Result<File, WorkspaceError>;

    /// Removes everything of this attempt. Removing what is not there succeeds. Nothing outside
    /// the folder is touched, whatever links the agent made in it.
    ///
    /// # Errors
    /// `Machine`.
    async fn remove(&self, id: &TaskId, attempt: Attempt) -> Result<(), WorkspaceError>;

    /// Tells in what isolation the agent runs in these folders, for the task's log: short words by name. Of
    /// none it tells what is known beforehand.
    fn isolation(&self, folders: Option<&Folders>) -> Vec<(String, String)>;
}
