//! Commands under a guard: the port's contract, and what is peculiar to this adapter.
//!
//! As the superuser each test is run twice, once with a user of its own for the command.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use legwork_adapters_local::{
    agent::{GuardedAgent, landlock_abi, tree::become_subreaper},
    workspace::{LocalWorkspace, MetadataAccess, UidPolicy, WorkspaceConfig},
};
use legwork_conformance::agent::{self as conformance, AgentBench};
use legwork_core::{id::Attempt, secret::Secret};
use legwork_ports::{
    agent::{AgentCommand, ExitKind},
    workspace::{Folders, Workspace as _},
};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, geteuid, kill_process},
    thread::{CapabilitySet, capabilities},
};
use tempfile::{NamedTempFile, TempDir};

/// One for all tests, so that who ends what a lost guard has left spares the others' guards.
static AGENT: LazyLock<GuardedAgent> =
    LazyLock::new(|| GuardedAgent::new(PathBuf::from(env!("CARGO_BIN_EXE_legwork-helper"))));

/// A bench with its folders, which are removed with it.
struct Fixture {
    bench: AgentBench,
    folders: Folders,
    workspace: LocalWorkspace,
    folder: TempDir,
}

impl Fixture {
    /// Whether commands get shared memory and temporary folders of their own here.
    fn has_own_mounts(&self) -> bool {
        let held = capabilities(None).unwrap().effective;
        self.bench.user.is_some() && held.contains(CapabilitySet::SYS_ADMIN)
    }

    /// Runs a line of shell with what a task's agent may reach, and returns what it wrote.
    async fn run(&self, line: &str) -> String {
        self.run_as(AgentCommand { reach: self.folders.reach.clone(), ..self.bench.shell(line) }).await
    }

    /// Runs a line of shell as the service itself.
    async fn run_as_service(&self, line: &str) -> String {
        let directory = self.folder.path().to_path_buf();
        self.run_as(AgentCommand { user: None, directory, ..self.bench.shell(line) }).await
    }

    async fn run_as(&self, command: AgentCommand) -> String {
        let mut run = self.bench.start(command).await;
        let output = conformance::read_all(run.as_mut()).await;
        conformance::finish(run.as_mut()).await;
        output
    }

    /// Returns a name that nothing has in a folder that all tests share.
    fn unique_name(&self) -> String {
        let name = self.folder.path().file_name().unwrap().to_str().unwrap();
        format!("legwork-test-{}", name.trim_start_matches('.'))
    }
}

/// Puts a file where everybody may, for everybody to read.
fn left_in(folder: &str, text: &str) -> NamedTempFile {
    let file = tempfile::Builder::new().prefix("legwork-test-").tempfile_in(folder).unwrap();
    fs::write(file.path(), text).unwrap();
    fs::set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
    file
}

async fn fixture(uids: UidPolicy) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    // The command's user has to get through to its own folder.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    let workspace = LocalWorkspace::new(WorkspaceConfig {
        base: folder.path().join("base"),
        uids,
        agent: AGENT.clone(),
        path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        network: BTreeMap::new(),
        hidden: Vec::new(),
        metadata: MetadataAccess::Unguarded,
    });
    let folders = workspace.prepare(&"task".parse().unwrap(), Attempt::FIRST).await.unwrap();
    let bench = AgentBench {
        agent: Arc::new(AGENT.clone()),
        directory: folders.work.clone(),
        spool: folders.spool.clone(),
        user: folders.user,
    };
    Fixture { bench, folders, workspace, folder }
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        mod as_own_user {
            $(#[tokio::test]
            async fn $name() {
                let fixture = super::fixture(super::UidPolicy::detect()).await;
                super::conformance::$name(&fixture.bench).await;
            })*
        }
        mod as_the_same_user {
            $(#[tokio::test]
            async fn $name() {
                let fixture = super::fixture(super::UidPolicy::Shared).await;
                super::conformance::$name(&fixture.bench).await;
            })*
        }
    };
}

conforms!(
    everything_written_arrives_in_order,
    what_was_written_before_a_kill_arrives,
    what_is_written_while_stopping_arrives,
    output_arrives_while_the_command_runs,
    slow_reading_loses_nothing,
    a_read_that_is_dropped_loses_nothing,
    the_environment_is_exactly_the_given_one,
    stdin_is_what_was_given,
    arguments_and_folder_are_the_given_ones,
    the_end_tells_code_or_signal,
    the_end_has_the_last_of_stderr,
    the_whole_of_stderr_arrives_where_it_is_wanted,
    a_program_that_cannot_be_run_is_missing,
    a_folder_that_is_missing_is_not_taken_for_the_program,
    no_descendant_outlives_a_success,
    no_stubborn_descendant_outlives_the_command,
    a_stubborn_tree_is_gone_five_seconds_after_stop,
    a_tree_that_never_stands_still_is_gone_five_seconds_after_stop,
    stopping_what_has_ended_does_nothing,
    the_end_needs_no_reader,
    dropping_a_run_stops_its_tree,
    two_commands_at_once_keep_apart,
);

#[tokio::test]
async fn the_command_is_confined() {
    let fixture = fixture(UidPolicy::detect()).await;

    let (output, _) = fixture
        .bench
        .run("id -u; id -g; id -G; grep NoNewPrivs /proc/self/status | tr -d '\\t'; ulimit -c; umask")
        .await;

    let user = fixture.bench.user.unwrap_or(geteuid().as_raw());
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], user.to_string());
    if fixture.bench.user.is_some() {
        assert_eq!((lines[1], lines[2]), (lines[0], lines[0]), "no group of the worker's");
    }
    assert_eq!(lines[3..], ["NoNewPrivs:1", "0", "0022"]);
}

#[tokio::test]
async fn files_that_the_worker_has_open_do_not_reach_the_command() {
    let fixture = fixture(UidPolicy::detect()).await;
    let lock = File::create(fixture.bench.spool.join("held.lock")).unwrap();
    fcntl_setfd(&lock, FdFlags::empty()).unwrap();

    let (output, _) = fixture.bench.run("ls -l /proc/$$/fd").await;

    assert!(output.contains("0 -> "), "{output}");
    assert!(!output.contains("held.lock"), "{output}");
}

#[tokio::test]
async fn the_guards_command_line_and_environment_tell_nothing() {
    let fixture = fixture(UidPolicy::detect()).await;
    let mut run = fixture
        .bench
        .start(fixture.bench.shell("echo $PPID; : hidden; until [ -e go ]; do sleep 0.02; done"))
        .await;

    let guard = conformance::read_until(run.as_mut(), "\n").await;
    let guard = guard.trim();

    let command_line = fs::read_to_string(format!("/proc/{guard}/cmdline")).unwrap();
    assert!(command_line.ends_with("\0__guard\0"), "{command_line:?}");
    if let Ok(environment) = fs::read_to_string(format!("/proc/{guard}/environ")) {
        assert_eq!(environment, "");
    }
    run.stop();
    conformance::finish(run.as_mut()).await;
}

#[tokio::test]
async fn a_tree_whose_guard_is_killed_ends_all_the_same() {
    for uids in [UidPolicy::detect(), UidPolicy::Shared] {
        become_subreaper().unwrap();
        let fixture = fixture(uids).await;
        let line = "echo guard $PPID; echo pid $$; sleep 600 & echo pid $!; \
            setsid sh -c 'trap \"\" INT TERM; echo pid $$; echo ready; exec sleep 600'";
        let mut run = fixture.bench.start(fixture.bench.shell(line)).await;
        let output = conformance::read_until(run.as_mut(), "ready\n").await;
        let guard = output.lines().find_map(|line| line.strip_prefix("guard ")).unwrap();

        kill_process(Pid::from_raw(guard.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        let exit = conformance::finish(run.as_mut()).await;

        assert_eq!(exit.kind, ExitKind::Signal(9));
        let pids = conformance::pids(&output);
        assert_eq!(pids.len(), 3, "{output}");
        assert_eq!(pids.into_iter().filter(|pid| conformance::lives(*pid)).count(), 0);
    }
}

#[tokio::test]
async fn a_tree_whose_guard_is_held_ends_all_the_same() {
    become_subreaper().unwrap();
    let fixture = fixture(UidPolicy::detect()).await;
    let line = "echo guard $PPID; echo pid $$; setsid sleep 600 & echo pid $!; echo ready; wait";
    let mut run = fixture.bench.start(fixture.bench.shell(line)).await;
    let output = conformance::read_until(run.as_mut(), "ready\n").await;
    let guard = output.lines().find_map(|line| line.strip_prefix("guard ")).unwrap();

    kill_process(Pid::from_raw(guard.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
    run.stop();
    conformance::finish(run.as_mut()).await;

    assert_eq!(conformance::pids(&output).into_iter().filter(|pid| conformance::lives(*pid)).count(), 0);
}

#[tokio::test]
async fn output_that_is_cut_by_the_same_user_is_noticed() {
    let fixture = fixture(UidPolicy::Shared).await;
    let line = "echo before; until [ -e go ]; do sleep 0.02; done; : > /dev/stdout; echo after";
    let mut run = fixture.bench.start(fixture.bench.shell(line)).await;
    conformance::read_until(run.as_mut(), "before\n").await;

    fs::write(fixture.bench.directory.join("go"), "").unwrap();
    conformance::read_all(run.as_mut()).await;

    assert!(conformance::finish(run.as_mut()).await.altered);
}

#[tokio::test]
async fn output_cannot_be_opened_anew_by_another_user() {
    let fixture = fixture(UidPolicy::detect()).await;
    if fixture.bench.user.is_none() {
        // Only the superuser has other users; the test above tells what holds for the rest.
        return;
    }

    let (output, exit) =
        fixture.bench.run("echo before; (: > /dev/stdout) 2>/dev/null || echo refused").await;

    assert_eq!(output, "before\nrefused\n");
    assert!(!exit.altered);
}

#[tokio::test]
async fn nothing_of_a_command_stays_in_the_spool() {
    let fixture = fixture(UidPolicy::detect()).await;

    fixture.bench.run("echo out; echo err >&2").await;

    assert_eq!(fs::read_dir(&fixture.bench.spool).unwrap().count(), 0);
}

#[tokio::test]
async fn a_user_of_its_own_cannot_take_all_of_the_machines_processes() {
    let fixture = fixture(UidPolicy::detect()).await;
    let limit = |limits: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max processes")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX)
    };
    let ours = limit(&fs::read_to_string("/proc/self/limits").unwrap());

    let (output, _) = fixture.bench.run("cat /proc/self/limits").await;

    let expected = if fixture.bench.user.is_some() { ours.min(4096) } else { ours };
    assert_eq!(limit(&output), expected);
}

#[tokio::test]
async fn a_user_of_its_own_shares_no_memory_with_the_machine() {
    for uids in [UidPolicy::detect(), UidPolicy::Shared] {
        let fixture = fixture(uids).await;
        let left = left_in("/dev/shm", "left\n");
        let name = fixture.unique_name();
        let line = format!(
            "readlink /proc/self/ns/ipc; cat {} 2>/dev/null || echo nothing; cd /dev/shm && echo shared > {name} && \
             cat {name} && rm {name}",
            left.path().display()
        );

        let (output, _) = fixture.bench.run(&line).await;

        let lines: Vec<&str> = output.lines().collect();
        let machines = fs::read_link("/proc/self/ns/ipc").unwrap();
        let is_own = fixture.has_own_mounts();
        assert_eq!(Path::new(lines[0]) != machines, is_own, "{output}");
        assert_eq!(lines[1..], [if is_own { "nothing" } else { "left" }, "shared"]);
    }
}

#[tokio::test]
async fn a_task_with_a_user_of_its_own_finds_nothing_in_shared_memory() {
    let fixture = fixture(UidPolicy::detect()).await;
    let left = left_in("/dev/shm", "left\n");

    let output = fixture.run(&format!("cat {} || echo nothing", left.path().display())).await;

    let is_closed = fixture.has_own_mounts() || (fixture.bench.user.is_some() && landlock_abi().is_some());
    assert_eq!(output, if is_closed { "nothing\n" } else { "left\n" });
}

#[tokio::test]
async fn a_task_has_temporary_folders_of_its_own_for_all_of_its_commands() {
    let fixture = fixture(UidPolicy::detect()).await;
    let name = fixture.unique_name();

    fixture.run(&format!("echo kept > /tmp/{name}")).await;
    let is_on_machine = Path::new("/tmp").join(&name).exists();
    let output = fixture.run(&format!("cat /tmp/{name}; cat /var/tmp/{name}; rm -f /tmp/{name}")).await;

    let expected = if fixture.has_own_mounts() {
        ("kept\nkept\n", false)
    } else if landlock_abi().is_some() {
        ("", false)
    } else {
        ("kept\n", true)
    };
    assert_eq!((output.as_str(), is_on_machine), expected);
}

#[tokio::test]
async fn what_others_have_in_temporary_folders_is_not_seen_and_what_is_the_tasks_stays_in_its_place() {
    let fixture = fixture(UidPolicy::detect()).await;
    let left = left_in("/tmp", "left\n");
    let line = format!(
        "cat {} || echo nothing; pwd -P; echo x > file && mv file $HOME/file && cat $HOME/file; ls -A $TMPDIR",
        left.path().display()
    );
    let mut command = AgentCommand { reach: fixture.folders.reach.clone(), ..fixture.bench.shell(&line) };
    for (name, folder) in [("HOME", &fixture.folders.home), ("TMPDIR", &fixture.folders.tmp)] {
        command.env.insert(name.to_owned(), Secret::new(folder.display().to_string()));
    }

    let output = fixture.run_as(command).await;

    let is_closed = fixture.has_own_mounts() || landlock_abi().is_some();
    let (seen, work) = (if is_closed { "nothing" } else { "left" }, fixture.folders.work.display());
    assert_eq!(output, format!("{seen}\n{work}\nx\n"));
}

#[tokio::test]
async fn nothing_in_a_tasks_temporary_folder_stands_in_the_way_of_its_next_command() {
    let fixture = fixture(UidPolicy::detect()).await;
    let machines = fs::read_link("/proc/self/ns/mnt").unwrap();
    // Where the folder is the machine's, it is left alone.
    let line = format!(
        "[ \"$(readlink /proc/self/ns/mnt)\" = '{}' ] || {{ mv {folder} /tmp/moved; ln -s /etc {folder}; }}",
        machines.display(),
        folder = fixture.folder.path().display(),
    );

    fixture.run(&line).await;
    let output = fixture.run("echo x > file && cat file").await;

    assert_eq!(output, "x\n");
}

#[tokio::test]
async fn a_signing_agent_neither_loses_its_key_nor_takes_another_nor_loads_anything() {
    for uids in [UidPolicy::detect(), UidPolicy::Shared] {
        let fixture = fixture(uids).await;
        let make = "ssh-keygen -q -t ed25519 -C '' -N '' -f key && cat key && rm key key.pub";
        let key = Secret::new(fixture.run_as_service(make).await);

        let signing = fixture.workspace.open_signing_agent(&fixture.folders, &key).await.unwrap();
        let line = format!(
            "export SSH_AUTH_SOCK='{}'; ssh-keygen -q -t ed25519 -C '' -N '' -f other; ssh-add -D && echo removed; \
             ssh-add other && echo added; ssh-add -s /lib/x.so && echo loaded; \
             ssh-add -L > keys; wc -l < keys; ssh-add -T keys && echo signed",
            signing.socket().display()
        );
        let output = fixture.run(&line).await;
        let around = signing.socket().parent().unwrap();
        let sockets: Vec<_> = fs::read_dir(around).unwrap().map(|entry| entry.unwrap().path()).collect();

        assert_eq!(output.lines().map(str::trim).collect::<Vec<_>>(), ["1", "signed"]);
        assert_eq!(sockets, [signing.socket()], "nobody speaks to the helper behind it");
        signing.close().await;
    }
}
