//! The folder in which a task works.

use std::{fmt, path::PathBuf};

use async_trait::async_trait;
use legwork_core::id::{Attempt, TaskId};

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

/// Makes and removes the folders in which tasks work.
#[async_trait]
pub trait Workspace: fmt::Debug + Send + Sync + 'static {
    /// Makes empty folders for this attempt, removing what an earlier process of the same attempt
    /// left, and writes `config` into the folder of that name, readable by the agent's user alone.
    ///
    /// # Errors
    /// `Machine`.
    async fn prepare(&self, id: &TaskId, attempt: Attempt) -> Result<Folders, WorkspaceError>;

    /// Writes files that the agent may read and not change into [`Folders::config`].
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

    /// Removes everything of this attempt. Removing what is not there succeeds. Nothing outside
    /// the folder is touched, whatever links the agent made in it.
    ///
    /// # Errors
    /// `Machine`.
    async fn remove(&self, id: &TaskId, attempt: Attempt) -> Result<(), WorkspaceError>;

    /// Tells in what isolation the agent runs, for the task's log: short words by name.
    fn isolation(&self) -> Vec<(String, String)>;
}
