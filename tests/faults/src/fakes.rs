//! The ports that a life of a task needs besides the store, as small as they can be.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use legwork_core::{
    envelope::DataKey,
    id::{Attempt, TaskId},
    record::Usage,
    redact::Redactor,
    request::{Credential, PermissionMode, RequestLimits},
    secret::Secret,
    signature::SigningSecrets,
};
use legwork_engine::{LogSettings, Settings};
use legwork_ports::{
    agent::FileReach,
    gateway::{Gateway, GatewayError, OpenGateway},
    keys::{Keys, KeysError},
    workspace::{
        CloneOrder, Cloned, Commit, CommitOrder, Committed, ConfigFile, Folders, FoundFiles, GitError,
        GitLimits, GitProblem, Leak, Placed, PlacedFile, PushAnswer, Rebase, SigningAgent, Workspace,
        WorkspaceError,
    },
};

/// A workspace without files and without git: its folders are names.
#[derive(Debug, Clone, Copy)]
pub struct BareWorkspace;

fn no_git() -> GitError {
    GitError::new(GitProblem::Broken)
}

#[async_trait]
impl Workspace for BareWorkspace {
    async fn prepare(&self, id: &TaskId, attempt: Attempt) -> Result<Folders, WorkspaceError> {
        let path = PathBuf::from(format!("/nonexistent/{id}.{attempt}"));
        Ok(Folders {
            root: path.clone(),
            work: path.clone(),
            home: path.clone(),
            tmp: path.clone(),
            config: path.clone(),
            spool: path,
            user: None,
            runs_as_root: false,
            reach: FileReach::default(),
        })
    }

    async fn configure(&self, _: &Folders, _: Vec<ConfigFile>) -> Result<(), WorkspaceError> {
        Ok(())
    }

    async fn directory(&self, folders: &Folders, _: Option<&str>) -> Result<PathBuf, WorkspaceError> {
        Ok(folders.work.clone())
    }

    async fn clone_repository(&self, _: &Folders, _: &CloneOrder, _: &GitLimits) -> Result<Cloned, GitError> {
        Err(no_git())
    }

    async fn place(&self, _: &Folders, files: Vec<PlacedFile>) -> Result<Placed, WorkspaceError> {
        Ok(Placed { files, ..Placed::default() })
    }

    async fn renew(
        &self,
        _: &Folders,
        placed: &mut Placed,
        files: Vec<PlacedFile>,
    ) -> Result<Vec<String>, WorkspaceError> {
        placed.files.retain(|placed| files.iter().all(|file| file.path != placed.path));
        placed.files.extend(files);
        Ok(Vec::new())
    }

    async fn put_back(&self, _: &Folders, _: &Placed) -> Result<Vec<String>, WorkspaceError> {
        Ok(Vec::new())
    }

    async fn open_signing_agent(
        &self,
        _: &Folders,
        _: &Secret<String>,
    ) -> Result<Box<dyn SigningAgent>, GitError> {
        Err(no_git())
    }

    async fn commit(
        &self,
        _: &Folders,
        _: Option<&Cloned>,
        _: Option<&CommitOrder>,
        _: &GitLimits,
    ) -> Result<Committed, GitError> {
        Err(no_git())
    }

    async fn take_out(&self, _: &Folders, _: &Cloned, _: &str, _: &GitLimits) -> Result<(), GitError> {
        Err(no_git())
    }

    async fn find_leak(
        &self,
        _: &Folders,
        _: &[String],
        _: &str,
        _: &Arc<Redactor>,
        _: &Placed,
        _: &GitLimits,
    ) -> Result<Option<Leak>, GitError> {
        Err(no_git())
    }

    async fn push(
        &self,
        _: &Folders,
        _: &Cloned,
        _: &str,
        _: &str,
        _: &GitLimits,
    ) -> Result<PushAnswer, GitError> {
        Err(no_git())
    }

    async fn rebase(
        &self,
        _: &Folders,
        _: &Cloned,
        _: &Commit,
        _: &str,
        _: &GitLimits,
    ) -> Result<Rebase, GitError> {
        Err(no_git())
    }

    async fn find_files(&self, _: &Folders, _: &[String]) -> Result<FoundFiles, WorkspaceError> {
        Ok(FoundFiles::default())
    }

    async fn open_file(&self, _: &Folders, path: &str) -> Result<File, WorkspaceError> {
        let source = std::io::ErrorKind::NotFound.into();
        Err(WorkspaceError::Machine { action: "opening".to_owned(), path: path.to_owned(), source })
    }

    async fn remove(&self, _: &TaskId, _: Attempt) -> Result<(), WorkspaceError> {
        Ok(())
    }

    fn isolation(&self, _folders: Option<&Folders>) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// A way to the model's API that leads nowhere.
#[derive(Debug, Clone, Copy)]
pub struct BareGateway;

#[async_trait]
impl Gateway for BareGateway {
    async fn open(&self, _: &Credential, _: Secret<String>) -> Result<Box<dyn OpenGateway>, GatewayError> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl OpenGateway for BareGateway {
    fn url(&self) -> String {
        "http://127.0.0.1:1".to_owned()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    async fn close(&self) {}
}

/// A key service whose wrapping hides nothing, and which tells other bound data all the same.
#[derive(Debug, Clone, Copy)]
pub struct BareKeys;

#[async_trait]
impl Keys for BareKeys {
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError> {
        Ok([key.expose().as_slice(), bound].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError> {
        let (key, stands) = wrapped.split_at_checked(32).ok_or(KeysError::Rejected)?;
        match <[u8; 32]>::try_from(key) {
            Ok(key) if stands == bound => Ok(Secret::new(key)),
            _ => Err(KeysError::Rejected),
        }
    }
}

/// Returns settings under which tasks are accepted.
pub fn settings() -> Settings {
    Settings {
        request_limits: RequestLimits {
            max_timeout_minutes: 60,
            allowed_tools: Vec::new(),
            permission_mode: PermissionMode::AcceptEdits,
            dangerously_skip_permissions: false,
            callback_allow_private: true,
        },
        callback_secrets: SigningSecrets::parse("a secret of callbacks").ok(),
        missing: None,
        max_open_tasks: 1000,
        max_watchers: 1000,
        payload_retention: Duration::from_hours(24),
        retention: None,
        log: LogSettings {
            flush_after: Duration::from_millis(100),
            chunk_lines: 100,
            max_log_bytes: u64::MAX,
            max_line_bytes: 8 * 1024 * 1024,
        },
        idle_timeout: None,
        result_grace: Duration::from_secs(30),
        agent_program: "agent".to_owned(),
        agent_path: "/bin".to_owned(),
        service_secrets: Vec::new(),
        keep_workspace: false,
    }
}
