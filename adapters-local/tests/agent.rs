//! Commands under a guard: the port's contract, and what is peculiar to this adapter.
//!
//! As the superuser each test is run twice, once with a user of its own for the command.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use legwork_adapters_local::{
    agent::{GuardedAgent, tree::become_subreaper},
    workspace::{LocalWorkspace, UidPolicy, WorkspaceConfig},
};
use legwork_conformance::agent::{self as conformance, AgentBench};
use legwork_core::id::Attempt;
use legwork_ports::{agent::ExitKind, workspace::Workspace as _};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, geteuid, kill_process},
};
use tempfile::TempDir;

/// One for all tests, so that who ends what a lost guard has left spares the others' guards.
static AGENT: LazyLock<GuardedAgent> =
    LazyLock::new(|| GuardedAgent::new(PathBuf::from(env!("CARGO_BIN_EXE_legwork-helper"))));

/// A bench with its folders, which are removed with it.
struct Fixture {
    bench: AgentBench,
    _workspace: LocalWorkspace,
    _folder: TempDir,
}

async fn fixture(uids: UidPolicy) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    // The command's user has to get through to its own folder.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    let workspace = LocalWorkspace::new(WorkspaceConfig {
        base: folder.path().join("base"),
        uids,
        agent: AGENT.clone(),
        path: String::new(),
        network: BTreeMap::new(),
        hidden: Vec::new(),
    });
    let folders = workspace.prepare(&"task".parse().unwrap(), Attempt::FIRST).await.unwrap();
    let bench = AgentBench {
        agent: Arc::new(AGENT.clone()),
        directory: folders.work,
        spool: folders.spool,
        user: folders.user,
    };
    Fixture { bench, _workspace: workspace, _folder: folder }
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
