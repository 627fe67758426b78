//! What the suite works with, and what an agent does in a workspace.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use legwork_core::{
    id::{Attempt, TaskId},
    secret::Secret,
};
use legwork_ports::{
    agent::{Agent, AgentCommand, AgentExit, ExitKind, FileReach, Stderr},
    workspace::{
        CloneOrder, Cloned, Commit, CommitOrder, Committed, Folders, GitError, GitLimits, PlacedFile,
        PushAnswer, Remote, Workspace,
    },
};
use tokio_util::sync::CancellationToken;

use super::{Upstream, Way};
use crate::agent::{finish, read_all};

/// How long anything may take that has no limit of its own: a machine may be very busy.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// What placed files hold.
pub(super) const OURS: &str = "placed by the service\n";
/// Whom the agent commits as.
pub(super) const AGENT: (&str, &str) = ("Agent", "agent@example.com");
/// Whom the service has commit where nobody is named.
pub(super) const SERVICE: (&str, &str) = ("Service", "service@example.com");
/// Where programs are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Workspaces to be tried.
#[derive(Debug, Clone)]
pub struct WorkspaceBench {
    /// What is tested.
    pub workspace: Arc<dyn Workspace>,
    /// The same workspaces as another process would have them.
    pub other: Arc<dyn Workspace>,
    /// Runs lines of shell in the folders.
    pub agent: Arc<dyn Agent>,
    /// The repository elsewhere.
    pub upstream: Arc<dyn Upstream>,
    /// A folder of this machine that is in no workspace; empty.
    pub outside: PathBuf,
    /// Whether this machine can hold a command of the worker's own user to
    /// [`FileReach`].
    pub can_hold: bool,
}

/// A clone, and the folders that it is in.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) folders: Folders,
    pub(super) cloned: Cloned,
}

impl WorkspaceBench {
    /// Makes the folders of the first attempt.
    pub(super) async fn folders(&self) -> Folders {
        self.folders_of(Attempt::FIRST).await
    }

    pub(super) async fn folders_of(&self, attempt: Attempt) -> Folders {
        self.workspace.prepare(&id(), attempt).await.expect("folders are made")
    }

    /// Tells whether the agent is held to what it may reach: by its user, or by this machine.
    pub(super) fn is_held(&self, folders: &Folders) -> bool {
        folders.user.is_some() || self.can_hold
    }

    /// Runs a line of shell as the agent, which has to succeed, and returns what it wrote.
    pub(super) async fn shell(&self, folders: &Folders, line: &str) -> String {
        let (output, exit) = self.run(shell_of_agent(folders, line)).await;
        assert_eq!(exit.kind, ExitKind::Code(0), "{line}: {output}{}", exit.stderr_tail);
        output
    }

    /// Tells whether the agent succeeds with a line of shell.
    pub(super) async fn succeeds(&self, folders: &Folders, line: &str) -> bool {
        let (_, exit) = self.run(shell_of_agent(folders, line)).await;
        exit.kind == ExitKind::Code(0)
    }

    /// Makes a key for ssh that nobody knows.
    pub(super) async fn key(&self, folders: &Folders, passphrase: &str) -> Secret<String> {
        let line =
            format!("ssh-keygen -q -t ed25519 -C '' -N '{passphrase}' -f key && cat key && rm key key.pub");
        // By the service itself: it is not the agent's.
        let command = AgentCommand {
            directory: self.outside.clone(),
            user: None,
            reach: FileReach::default(),
            ..shell_of_agent(folders, &line)
        };
        let (output, exit) = self.run(command).await;
        assert_eq!(exit.kind, ExitKind::Code(0), "{}", exit.stderr_tail);
        Secret::new(output)
    }

    async fn run(&self, command: AgentCommand) -> (String, AgentExit) {
        let mut run = self.agent.start(command).await.expect("the shell starts");
        let output = read_all(run.as_mut()).await;
        (output, finish(run.as_mut()).await)
    }

    /// Tries to clone into the empty folders of the first attempt.
    pub(super) async fn try_clone(
        &self,
        order: &CloneOrder,
        limits: &GitLimits,
    ) -> (Folders, Result<Cloned, GitError>) {
        let folders = self.folders().await;
        let cloned = self.workspace.clone_repository(&folders, order, limits).await;
        (folders, cloned)
    }

    /// Clones `main` by one of the ways.
    pub(super) async fn clone_by(&self, way: Way) -> Work {
        let order = order(self.upstream.remote(way).await, "main");
        let (folders, cloned) = self.try_clone(&order, &limits()).await;
        Work { folders, cloned: cloned.expect("a clone") }
    }

    /// Commits two files to `main` elsewhere, and clones it.
    pub(super) async fn work(&self) -> Work {
        let files = [("README.md", "hello\n"), ("shared.txt", "one\ntwo\nthree\n")];
        self.upstream.commit("main", "first", &files);
        self.clone_by(Way::Token).await
    }

    pub(super) async fn try_commit(
        &self,
        folders: &Folders,
        cloned: Option<&Cloned>,
        order: Option<&CommitOrder>,
    ) -> Result<Committed, GitError> {
        self.workspace.commit(folders, cloned, order, &limits()).await
    }

    /// Commits what an order asks for.
    pub(super) async fn commit(&self, work: &Work, order: Option<&CommitOrder>) -> Option<Commit> {
        let committed = self.try_commit(&work.folders, Some(&work.cloned), order).await;
        committed.expect("it is committed").commit
    }

    /// Lets the agent do something and commit everything itself, and takes that out.
    pub(super) async fn outgoing(&self, work: &Work, line: &str, message: &str) -> Commit {
        let line = format!(
            "{line} && git add --all && git commit --quiet --cleanup=verbatim --message='{message}' && git rev-parse HEAD"
        );
        let sha = self.shell(&work.folders, &line).await.trim_end().to_owned();
        self.take_out(work, &sha).await.expect("it is taken out");
        let (name, email) = AGENT;
        Commit { sha, message: message.to_owned(), committer: (name.to_owned(), email.to_owned()) }
    }

    pub(super) async fn take_out(&self, work: &Work, sha: &str) -> Result<(), GitError> {
        self.workspace.take_out(&work.folders, &work.cloned, sha, &limits()).await
    }

    pub(super) async fn push(&self, work: &Work, sha: &str, branch: &str) -> Result<PushAnswer, GitError> {
        self.workspace.push(&work.folders, &work.cloned, sha, branch, &limits()).await
    }
}

pub(super) fn id() -> TaskId {
    "nightly-42".parse().expect("an id")
}

pub(super) fn limits() -> GitLimits {
    GitLimits { at_most: PATIENCE, stop: CancellationToken::new() }
}

/// An order for the newest commit of a branch.
pub(super) fn order(remote: Remote, branch: &str) -> CloneOrder {
    let (default_name, default_email) = SERVICE;
    CloneOrder {
        remote,
        branch: branch.to_owned(),
        depth: 1,
        default_name: default_name.to_owned(),
        default_email: default_email.to_owned(),
    }
}

/// An order to commit what globs match.
pub(super) fn commit_of(globs: &[&str]) -> CommitOrder {
    CommitOrder {
        message: "the task's work".to_owned(),
        files: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        except: Vec::new(),
        default_name: SERVICE.0.to_owned(),
        default_email: SERVICE.1.to_owned(),
    }
}

pub(super) fn private_file(path: &str) -> PlacedFile {
    PlacedFile { path: path.to_owned(), contents: OURS.into(), is_private: true }
}

fn shell_of_agent(folders: &Folders, line: &str) -> AgentCommand {
    let (home, tmp) = (folders.home.display().to_string(), folders.tmp.display().to_string());
    let env = [
        ("PATH", PATH),
        ("HOME", home.as_str()),
        ("TMPDIR", tmp.as_str()),
        ("LC_ALL", "C.UTF-8"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", AGENT.0),
        ("GIT_AUTHOR_EMAIL", AGENT.1),
        ("GIT_COMMITTER_NAME", AGENT.0),
        ("GIT_COMMITTER_EMAIL", AGENT.1),
    ];
    AgentCommand {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), line.to_owned()],
        env: env.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned()))).into(),
        stdin: Bytes::new(),
        directory: folders.work.clone(),
        spool: folders.spool.clone(),
        user: folders.user,
        reach: folders.reach.clone(),
        stderr: Stderr::Tail,
    }
}

/// Spells a path for the shell.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// Returns the line of a secret that tells most.
pub(super) fn telling(secret: &Secret<String>) -> &str {
    secret.expose().lines().max_by_key(|line| line.len()).expect("a line")
}

/// Returns everything below a folder: for each path what a file holds or where a link points to.
pub(super) fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let (path, kind) = (entry.path(), entry.file_type().expect("its kind"));
            let holds = if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                format!("-> {}", target.display()).into_bytes()
            } else if kind.is_file() {
                fs::read(&path).expect("a file")
            } else {
                Vec::new()
            };
            if kind.is_dir() {
                open.push(path.clone());
            }
            rows.insert(path, holds);
        }
    }
    rows
}

/// Returns the files below a folder that hold a text.
pub(super) fn holders(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut rows = tree(folder);
    rows.retain(|_, bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()));
    rows.into_keys().collect()
}

/// Returns the processes that have a path among their arguments or in their environment.
pub(super) fn processes_with(path: &Path) -> Vec<u32> {
    let path = path.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        ["cmdline", "environ"].iter().any(|name| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            bytes.windows(path.len()).any(|part| part == path)
        })
    })
    .collect()
}
