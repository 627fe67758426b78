//! Workspaces of this machine: the port's contract, with real git servers on the other side.
//!
//! As the superuser each test is run twice, once with a user of its own for the agent.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use legwork_adapters_local::{
    agent::{GuardedAgent, landlock_abi},
    workspace::{LocalWorkspace, MetadataAccess, UidPolicy, WorkspaceConfig},
};
use legwork_conformance::workspace::{Upstream, Way, WorkspaceBench};
use legwork_core::secret::Secret;
use legwork_ports::workspace::{Remote, Workspace};
use legwork_simulators::git_server::{BareRepositories, BareRepository, GitHttpServer, SshServer};
use tempfile::TempDir;
use tokio::{net::TcpSocket, sync::OnceCell};

/// What the repository is called.
const NAME: &str = "project";
const TOKEN: &str = "the-token-that-opens-the-repository";
/// How long a host is waited for that is to be asked something.
const PATIENCE: Duration = Duration::from_mins(1);

/// One for all tests, so that who ends what a lost guard has left spares the others' guards.
static AGENT: LazyLock<GuardedAgent> =
    LazyLock::new(|| GuardedAgent::new(PathBuf::from(env!("CARGO_BIN_EXE_legwork-helper"))));

mod as_own_user {
    legwork_conformance::workspace_suite!(super::own_user);
}

mod as_the_same_user {
    legwork_conformance::workspace_suite!(super::same_user);
}

async fn own_user() -> (WorkspaceBench, TempDir) {
    bench(UidPolicy::detect()).await
}

async fn same_user() -> (WorkspaceBench, TempDir) {
    bench(UidPolicy::Shared).await
}

async fn bench(uids: UidPolicy) -> (WorkspaceBench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    // The agent's user has to get through to its own folders.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let open = || -> Arc<dyn Workspace> {
        Arc::new(LocalWorkspace::new(WorkspaceConfig {
            base: folder.path().join("base"),
            uids: uids.clone(),
            agent: AGENT.clone(),
            path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
            network: BTreeMap::new(),
            hidden: Vec::new(),
            metadata: MetadataAccess::Unguarded,
        }))
    };
    let bench = WorkspaceBench {
        workspace: open(),
        other: open(),
        agent: Arc::new(AGENT.clone()),
        upstream: Arc::new(Forge::start().await),
        outside,
        can_hold: landlock_abi().is_some(),
    };
    (bench, folder)
}

/// A repository behind servers. Those that few tests need start when they are needed.
#[derive(Debug)]
struct Forge {
    repositories: BareRepositories,
    repository: BareRepository,
    http: GitHttpServer,
    silent: OnceCell<GitHttpServer>,
    ssh: OnceCell<SshServer>,
    /// Has an address and does not listen.
    closed: TcpSocket,
}

impl Forge {
    async fn start() -> Self {
        let repositories = BareRepositories::new();
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self {
            repository: repositories.repository(NAME),
            http: GitHttpServer::start(&repositories).await.with_token(TOKEN),
            silent: OnceCell::new(),
            ssh: OnceCell::new(),
            closed,
            repositories,
        }
    }

    async fn silent(&self) -> &GitHttpServer {
        self.silent.get_or_init(|| async { GitHttpServer::start(&self.repositories).await.hang() }).await
    }

    async fn ssh(&self) -> &SshServer {
        self.ssh.get_or_init(|| SshServer::start(&self.repositories)).await
    }
}

#[async_trait]
impl Upstream for Forge {
    async fn remote(&self, way: Way) -> Remote {
        let by_token = |url: String| Remote {
            url,
            ssh_key: None,
            user: None,
            token: Some(Secret::new(TOKEN.to_owned())),
        };
        match way {
            Way::Token => by_token(self.http.url(NAME)),
            Way::Key => {
                let server = self.ssh().await;
                let ssh_key = Some(Secret::new(server.client_key()));
                Remote { url: server.url(NAME), ssh_key, user: None, token: None }
            }
            Way::Closed => by_token(format!("http://{}/{NAME}.git", self.closed.local_addr().unwrap())),
            Way::Silent => by_token(self.silent().await.url(NAME)),
        }
    }

    async fn silent_host_was_asked(&self) {
        self.silent().await.wait_for(1, PATIENCE).await.unwrap();
    }

    fn fail_next_request(&self) {
        self.http.fail_next(1);
    }

    fn last_user(&self) -> Option<String> {
        self.http.users().pop()
    }

    fn commit(&self, branch: &str, message: &str, files: &[(&str, &str)]) -> String {
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, content)| (*path, content.as_bytes())).collect();
        self.repository.commit(branch, message, &files)
    }

    fn remove(&self, branch: &str, path: &str) -> String {
        self.repository.remove(branch, &[path])
    }

    fn link(&self, branch: &str, path: &str, commit: &str) -> String {
        self.repository.commit_gitlink(branch, path, commit)
    }

    fn refuse(&self, words: &str) {
        self.repository.set_hook("pre-receive", &format!("echo '{words}' >&2\nexit 1"));
    }

    fn head(&self, branch: &str) -> Option<String> {
        self.repository.head(branch)
    }

    fn messages(&self, branch: &str) -> Vec<String> {
        self.repository.shas(branch).iter().map(|sha| self.repository.message(sha)).collect()
    }

    fn file(&self, branch: &str, path: &str) -> Option<String> {
        self.repository.file(branch, path).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn linked(&self, branch: &str, path: &str) -> Option<String> {
        let name = self.repository.git(&["ls-tree", "--format=%(objectname)", branch, path]);
        Some(name).filter(|name| !name.is_empty())
    }
}
