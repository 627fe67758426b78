//! The metadata address is closed to a task's user, in a network of the test's own with a stand-in server.
//!
//! Two threads have a network each: the server's has the address, the task's leads there.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "these are tests, their helpers too, and networks are set up by programs"
)]

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
};

use legwork_adapters_local::{
    agent::GuardedAgent,
    workspace::{LocalWorkspace, MetadataAccess, UidPolicy, WorkspaceConfig},
};
use legwork_core::id::{Attempt, TaskId};
use legwork_ports::workspace::{Folders, Workspace as _};
use nix::sched::{CloneFlags, unshare};

const ADDRESS: &str = "169.254.169.254";

/// Runs a program of the network's and returns what it says.
fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Tells whether a process of this user can connect to a port at the address.
fn connects(user: u32, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{ADDRESS}/{port}");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).uid(user).gid(user).current_dir("/");
    command.output().unwrap().status.success()
}

/// Runs `work` in a network from which the stand-in server can be reached at the metadata address, by its
/// web port and by that of names.
fn beside_a_metadata_server(work: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    let (connected, connects) = mpsc::channel::<()>();
    let (listens, listening) = mpsc::channel::<Vec<TcpListener>>();
    let server = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        connects.recv().unwrap();
        run("ip", &format!("addr add {ADDRESS}/16 dev server"));
        run("ip", "link set server up");
        let listen = |port| TcpListener::bind((ADDRESS, port)).unwrap();
        // The kernel takes connections by itself.
        listens.send(vec![listen(80), listen(53)]).unwrap();
    });
    let client = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let server = told.recv().unwrap();
        run("ip", &format!("link add client type veth peer name server netns {server}"));
        run("ip", "addr add 169.254.1.1/16 dev client");
        run("ip", "link set client up");
        connected.send(()).unwrap();
        let _server = listening.recv().unwrap();
        work();
    });
    for thread in [client, server] {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn workspace(base: &Path, metadata: MetadataAccess) -> LocalWorkspace {
    LocalWorkspace::new(WorkspaceConfig {
        base: base.join("base"),
        uids: UidPolicy::detect(),
        agent: GuardedAgent::new(PathBuf::from(env!("CARGO_BIN_EXE_legwork-helper"))),
        path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        network: BTreeMap::new(),
        hidden: Vec::new(),
        metadata,
    })
}

fn id() -> TaskId {
    "metadata".parse().unwrap()
}

fn word(workspace: &LocalWorkspace, folders: &Folders) -> Option<String> {
    let words = workspace.isolation(Some(folders));
    words.into_iter().find(|(name, _)| name == "metadata").map(|(_, word)| word)
}

/// Drives a future on this thread, whose network the threads of the runtime share.
fn drive<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    folder
}

#[test]
fn the_tasks_user_reaches_names_at_the_metadata_address_and_nothing_else() {
    if !is_root() {
        // Who may not make networks may not close addresses either, and a try says what is so.
        let folder = folder();
        let workspace = workspace(folder.path(), MetadataAccess::Closed);
        let folders = drive(workspace.prepare(&id(), Attempt::FIRST)).unwrap();

        assert!(word(&workspace, &folders).is_some());
        return;
    }
    beside_a_metadata_server(|| {
        let folder = folder();
        let workspace = workspace(folder.path(), MetadataAccess::Closed);
        let rules = run("ip", "rule");

        let folders = drive(workspace.prepare(&id(), Attempt::FIRST)).unwrap();
        let user = folders.user.unwrap();

        assert_eq!(word(&workspace, &folders).as_deref(), Some("blocked"));
        assert!(!connects(user, 80), "the address is open to the task");
        assert!(connects(user, 53), "names are closed to the task");
        assert!(connects(user + 1, 80), "the address is closed to others");
        assert!(connects(0, 80), "the address is closed to the service");

        drive(workspace.remove(&id(), Attempt::FIRST)).unwrap();

        assert_eq!(run("ip", "rule"), rules, "rules are left");
        assert!(connects(user, 80), "the next task of this user would find it closed");
    });
}

#[test]
fn where_it_cannot_be_closed_the_task_is_told_that_it_is_reachable() {
    if !is_root() {
        assert_eq!(UidPolicy::detect(), UidPolicy::Shared);
        return;
    }
    beside_a_metadata_server(|| {
        let folder = folder();
        let shared = LocalWorkspace::new(WorkspaceConfig {
            base: folder.path().join("base"),
            uids: UidPolicy::Shared,
            agent: GuardedAgent::new(PathBuf::from(env!("CARGO_BIN_EXE_legwork-helper"))),
            path: "/usr/bin:/bin".to_owned(),
            network: BTreeMap::new(),
            hidden: Vec::new(),
            metadata: MetadataAccess::Closed,
        });

        let folders = drive(shared.prepare(&id(), Attempt::FIRST)).unwrap();

        assert_eq!(word(&shared, &folders).as_deref(), Some("reachable"));
    });
}

#[test]
fn a_task_that_was_killed_leaves_nothing_in_the_way_of_the_next() {
    if !is_root() {
        assert_eq!(UidPolicy::detect(), UidPolicy::Shared);
        return;
    }
    beside_a_metadata_server(|| {
        let folder = folder();
        let killed = workspace(folder.path(), MetadataAccess::Closed);
        drive(killed.prepare(&id(), Attempt::FIRST)).unwrap();
        let rules = run("ip", "rule");
        drop(killed);

        let next = workspace(folder.path(), MetadataAccess::Closed);
        let folders = drive(next.prepare(&id(), Attempt::FIRST)).unwrap();

        assert_eq!(word(&next, &folders).as_deref(), Some("blocked"));
        let user = folders.user.unwrap();
        assert!(run("ip", "rule").matches(&format!("{user}-{user}")).count() <= 3, "{rules}");
    });
}

#[test]
fn on_this_machine_nothing_is_said_of_it() {
    let folder = folder();
    let workspace = workspace(folder.path(), MetadataAccess::Unguarded);

    let folders = drive(workspace.prepare(&id(), Attempt::FIRST)).unwrap();

    assert_eq!(word(&workspace, &folders), None);
    drive(workspace.remove(&id(), Attempt::FIRST)).unwrap();
}
