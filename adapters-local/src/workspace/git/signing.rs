//! Lets the agent sign with the task's key and never read it.
//!
//! The key is in the memory of an `ssh-agent` of the service's own user, which answers nobody else; what
//! the agent's user may speak to is a relay in front of it. Sockets have short names only, so they are
//! in a folder of their own beside the task's.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::{hex, secret::Secret};
use legwork_ports::{
    agent::{Agent as _, AgentCommand, AgentRun, FileReach, Stderr},
    workspace::{Folders, GitError, GitLimits, GitProblem, SigningAgent},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::agent::may_cover;

use super::{
    machine,
    runner::{Bench, Call, Git},
};

/// How long the helper may take to begin.
const AT_MOST: Duration = Duration::from_secs(20);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// How many may sign at once.
const MAX_CONNECTIONS: usize = 32;

/// Returns the folder of a task's sockets: its name is short, whatever the task is called.
pub(in crate::workspace) fn socket_folder(root: &Path) -> PathBuf {
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let short = hex::encode(digest.get(..6).unwrap_or(&digest));
    root.parent().unwrap_or(root).join(format!(".{short}"))
}

pub(in crate::workspace) async fn open_signing_agent(
    bench: &Bench,
    folders: &Folders,
    key: &Secret<String>,
) -> Result<Box<dyn SigningAgent>, GitError> {
    let folder = socket_folder(&folders.root);
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o711)))
        .map_err(|error| machine("making a folder", &folder, &error))?;
    if folders.user.is_some() && !folders.reach.covered.is_empty() && !may_cover() {
        tracing::warn!(
            "the task's user has no name on this machine: OpenSSH's client will refuse to run for it"
        );
    }
    let run = start(bench, folders, &folder).await?;
    let mut opened =
        Opened { folder: folder.clone(), socket: folder.join("a"), run: Some(run), relay: JoinSet::new() };
    let behind = folder.join("k");
    await_socket(&behind).await?;
    add_key(bench, folders, &behind, key).await?;
    opened.listen(behind, folders.user).map_err(|error| machine("opening a socket", &folder, &error))?;
    Ok(Box::new(opened))
}

/// The helper and its relay. Dropping it stops both.
#[derive(Debug)]
struct Opened {
    folder: PathBuf,
    socket: PathBuf,
    run: Option<Box<dyn AgentRun>>,
    relay: JoinSet<()>,
}

impl Opened {
    fn listen(&mut self, behind: PathBuf, user: Option<u32>) -> io::Result<()> {
        let listener = UnixListener::bind(&self.socket)?;
        fs::set_permissions(&self.socket, Permissions::from_mode(0o600))?;
        lchown(&self.socket, user, user)?;
        self.relay.spawn(relay(listener, behind));
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // What stays goes with the task.
        fs::remove_dir_all(&self.folder).ok();
    }
}

#[async_trait]
impl SigningAgent for Opened {
    fn socket(&self) -> &Path {
        &self.socket
    }

    async fn close(mut self: Box<Self>) {
        self.relay.abort_all();
        if let Some(mut run) = self.run.take() {
            run.stop();
            if let Err(error) = run.finish().await {
                tracing::warn!(error = %error, "the helper that signs could not be ended");
            }
        }
    }
}

/// Passes bytes between whoever connects and the helper.
async fn relay(listener: UnixListener, behind: PathBuf) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let behind = behind.clone();
        connections.spawn(async move {
            if let Ok(mut to) = UnixStream::connect(&behind).await {
                // Whoever hangs up first ends it.
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            }
            drop(permit);
        });
    }
}

async fn start(bench: &Bench, folders: &Folders, folder: &Path) -> Result<Box<dyn AgentRun>, GitError> {
    let socket = folder.join("k").to_string_lossy().into_owned();
    let command = AgentCommand {
        program: "ssh-agent".to_owned(),
        args: vec!["-D".to_owned(), "-a".to_owned(), socket],
        env: [("PATH".to_owned(), Secret::new(bench.path.clone()))].into(),
        stdin: Bytes::new(),
        directory: folder.to_path_buf(),
        spool: folders.spool.clone(),
        user: None,
        reach: FileReach::default(),
        stderr: Stderr::Tail,
    };
    bench
        .agent
        .start(command)
        .await
        .map_err(|_no_such_program| GitError::new(GitProblem::Missing { program: "ssh-agent".to_owned() }))
}

async fn await_socket(socket: &Path) -> Result<(), GitError> {
    let appears = async {
        while UnixStream::connect(socket).await.is_err() {
            sleep(LOOK).await;
        }
    };
    tokio::time::timeout(AT_MOST, appears)
        .await
        .map_err(|_elapsed| GitError::new(GitProblem::TimedOut { after: AT_MOST }))
}

async fn add_key(
    bench: &Bench,
    folders: &Folders,
    socket: &Path,
    key: &Secret<String>,
) -> Result<(), GitError> {
    let limits = GitLimits { at_most: AT_MOST, stop: CancellationToken::new() };
    let mut add = Call::service(folders.root.clone(), &[]).stdin(Bytes::from(key.expose().clone()));
    add.program = "ssh-add";
    add.args = ["-q", "-"].map(str::to_owned).to_vec();
    let add = add
        .env("SSH_AUTH_SOCK", socket.to_string_lossy())
        // A key with a passphrase is asked for nowhere.
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("SSH_ASKPASS", "/bin/false");
    let answer = Git::new(bench, folders, &limits).answer(add).await?;
    if answer.code == Some(0) {
        return Ok(());
    }
    Err(GitError { problem: GitProblem::KeyRefused, words: answer.stderr.trim().to_owned() })
}
