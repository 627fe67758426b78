//! Workers as processes of this machine: the port's contract, and what is peculiar to this adapter.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    fs::{self, File},
    num::NonZeroU32,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use legwork_adapters_local::subprocess_jobs::{SubprocessConfig, SubprocessJobs};
use legwork_conformance::jobs::{JobsBench, WORKER, job, status, until_ended};
use legwork_ports::jobs::{Execution, ExecutionStatus, Job, Jobs as _, JobsError};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const SLOTS: u32 = 3;
/// Set for the process that plays a service which is killed.
const FOLDER_OF_THE_LOST: &str = "LEGWORK_TEST_FOLDER";

fn config(data_dir: &Path, slots: u32) -> SubprocessConfig {
    let marks = data_dir.join("marks");
    fs::create_dir_all(&marks).unwrap();
    SubprocessConfig {
        executable: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), WORKER.into()],
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()), ("MARKS".into(), marks.into())],
        data_dir: data_dir.to_owned(),
        slots: NonZeroU32::new(slots).unwrap(),
    }
}

fn service(folder: &TempDir, slots: u32) -> SubprocessJobs {
    SubprocessJobs::new(config(folder.path(), slots)).unwrap()
}

fn bench_in(folder: &TempDir) -> JobsBench {
    JobsBench {
        jobs: Arc::new(service(folder, SLOTS)),
        other: Arc::new(service(folder, SLOTS)),
        slots: Some(SLOTS),
        marks: folder.path().join("marks"),
    }
}

/// Starts what runs this line of shell.
async fn shell(folder: &TempDir, line: &str) -> (SubprocessJobs, Execution) {
    let args = vec!["-c".into(), line.into()];
    let jobs = SubprocessJobs::new(SubprocessConfig { args, ..config(folder.path(), SLOTS) }).unwrap();
    let execution = jobs.start(job("shell")).await.unwrap();
    (jobs, execution)
}

fn lock_of(folder: &TempDir, execution: &Execution) -> PathBuf {
    folder.path().join("executions").join(format!("{}.lock", execution.name))
}

fn log_of(folder: &TempDir, execution: &Execution) -> PathBuf {
    folder.path().join("worker-logs").join(format!("{}.log", execution.name))
}

fn description(folder: &TempDir, execution: &Execution) -> Value {
    serde_json::from_slice(&fs::read(lock_of(folder, execution)).unwrap()).unwrap()
}

fn pid(folder: &TempDir, execution: &Execution) -> Pid {
    let pid = description(folder, execution).get("pid").and_then(Value::as_i64).unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn bench() -> (JobsBench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (bench_in(&folder), folder)
}

legwork_conformance::jobs_suite!(bench);

#[tokio::test]
async fn a_worker_gets_its_environment_and_no_other() {
    let folder = tempfile::tempdir().unwrap();

    let (jobs, execution) = shell(&folder, "env > \"$MARKS/env\"; pwd > \"$MARKS/pwd\"").await;
    until_ended(&jobs, &execution).await;

    let marks = folder.path().join("marks");
    let env = fs::read_to_string(marks.join("env")).unwrap();
    let shells_own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let mut lines: Vec<&str> =
        env.lines().filter(|line| !shells_own.contains(&line.split('=').next().unwrap())).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "ENCRYPTED_PAYLOAD_PATH=sessions/shell/encrypted-payload.bin",
            &format!("LEGWORK_EXECUTION={}", execution.name),
            &format!("MARKS={}", marks.display()),
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "TASK_ID=shell",
        ]
    );
    assert_eq!(fs::read_to_string(marks.join("pwd")).unwrap(), "/\n");
}

#[tokio::test]
async fn what_a_worker_says_is_in_a_log_that_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();

    let (jobs, execution) = shell(&folder, "echo hello >&2").await;
    until_ended(&jobs, &execution).await;

    let log = log_of(&folder, &execution);
    assert_eq!(fs::read_to_string(&log).unwrap(), "hello\n");
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(execution.worker_logs_url, Some(format!("file://{}", log.display())));
}

#[tokio::test]
async fn a_lock_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_in(&folder);

    let execution = bench.start(job("runs")).await;
    let description = description(&folder, &execution);
    bench.end(&execution).await;

    assert_eq!(description["taskId"], "runs");
    assert_eq!(description["attempt"], 1);
    assert!(description["pid"].as_u64().unwrap() > 1 && description["startTicks"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_worker_is_out_of_reach_of_the_services_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_in(&folder);

    let execution = bench.start(job("runs")).await;
    let worker = pid(&folder, &execution);
    let group = rustix::process::getpgid(Some(worker)).unwrap();
    bench.end(&execution).await;

    assert_eq!(group, worker, "it leads a process group of its own");
}

#[tokio::test]
async fn a_killed_worker_has_ended_and_freed_its_slot() {
    let folder = tempfile::tempdir().unwrap();
    let bench = JobsBench { jobs: Arc::new(service(&folder, 1)), ..bench_in(&folder) };
    let slot = bench.jobs.reserve().await.unwrap();
    let execution = bench.start(Job { slot, ..job("stubborn") }).await;
    assert!(bench.jobs.reserve().await.unwrap().is_none(), "the worker holds the slot");

    kill_process(pid(&folder, &execution), Signal::KILL).unwrap();
    until_ended(bench.other.as_ref(), &execution).await;

    assert!(bench.jobs.reserve().await.unwrap().is_some(), "the slot is free");
}

#[tokio::test]
async fn a_process_that_was_given_the_pid_is_never_signalled() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = service(&folder, SLOTS);
    let mut bystander = tokio::process::Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
    let execution = Execution { name: "local-reused".to_owned(), worker_logs_url: None };
    let lock = File::create(lock_of(&folder, &execution)).unwrap();
    lock.lock().unwrap();
    let description =
        serde_json::json!({"pid": bystander.id(), "startTicks": 1, "taskId": "other", "attempt": 1});
    fs::write(lock_of(&folder, &execution), description.to_string()).unwrap();

    let answer = jobs.cancel(&execution.name).await;

    assert!(matches!(answer, Err(JobsError::Unavailable { .. })), "it runs, and cannot be told: {answer:?}");
    let ended = tokio::time::timeout(Duration::from_millis(300), bystander.wait()).await;
    assert!(ended.is_err(), "the bystander was signalled: {ended:?}");
}

#[tokio::test]
async fn the_smallest_number_of_slots_that_a_living_service_announces_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (large, small) = (service(&folder, 5), service(&folder, 2));
    let count = || async {
        let mut slots = Vec::new();
        while let Some(slot) = large.reserve().await.unwrap() {
            slots.push(slot);
        }
        slots.len()
    };

    let nobody_announces = count().await;
    large.announce().unwrap();
    small.announce().unwrap();
    let both_announce = count().await;
    drop(small);
    let one_is_left = count().await;

    assert_eq!((nobody_announces, both_announce, one_is_left), (5, 2, 5));
    let announced = fs::read_dir(folder.path().join("services")).unwrap().count();
    assert_eq!(announced, 1, "what the ended service announced is removed");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let executable = folder.path().join("missing");
    let config = SubprocessConfig { executable: executable.clone(), ..config(folder.path(), 1) };
    let jobs = SubprocessJobs::new(config).unwrap();
    let slot = jobs.reserve().await.unwrap();

    let error = jobs.start(Job { slot, ..job("runs") }).await.unwrap_err();

    assert!(!error.is_transient());
    assert!(error.to_string().contains(executable.to_str().unwrap()), "{error}");
    for left in ["executions", "worker-logs"] {
        assert_eq!(fs::read_dir(folder.path().join(left)).unwrap().count(), 0, "{left}");
    }
    assert!(jobs.reserve().await.unwrap().is_some(), "the slot is free again");
}

#[tokio::test]
async fn only_what_has_ended_and_is_old_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_in(&folder);
    let sweeper = service(&folder, SLOTS);
    let ended = bench.start(job("ends")).await;
    let runs = bench.start(job("runs")).await;
    until_ended(bench.jobs.as_ref(), &ended).await;

    let young = sweeper.sweep(Duration::from_hours(1)).unwrap();
    let old = sweeper.sweep(Duration::ZERO).unwrap();

    assert_eq!((young, old), (0, 2), "a lock and a log");
    assert_eq!(status(&sweeper, &ended).await, ExecutionStatus::Unknown);
    assert_eq!(status(&sweeper, &runs).await, ExecutionStatus::Running);
    assert!(log_of(&folder, &runs).exists());
    bench.end(&runs).await;
}

#[tokio::test]
async fn values_of_the_environment_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), 1);
    config.env.push(("API_TOKEN".into(), "hunter2".into()));

    let shown = format!("{:?}", SubprocessJobs::new(config).unwrap());

    assert!(shown.contains("API_TOKEN") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_worker_survives_its_starter() {
    let folder = tempfile::tempdir().unwrap();
    let mut starter = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "starter_that_is_killed", "--nocapture"])
        .env(FOLDER_OF_THE_LOST, folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let name = folder.path().join("name");
    let jobs = service(&folder, SLOTS);
    let named = async {
        while !name.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), named).await.unwrap();

    starter.kill().await.unwrap();
    let execution = Execution { name: fs::read_to_string(name).unwrap(), worker_logs_url: None };
    let after_its_death = status(&jobs, &execution).await;
    let free = jobs.reserve().await.unwrap().map(|slot| slot.number);
    jobs.cancel(&execution.name).await.unwrap();
    until_ended(&jobs, &execution).await;

    assert_eq!(after_its_death, ExecutionStatus::Running);
    assert_eq!(free, Some(1), "the worker, not its starter, holds slot 0");
    assert_eq!(jobs.reserve().await.unwrap().map(|slot| slot.number), Some(0));
}

#[tokio::test]
#[ignore = "needs a_worker_survives_its_starter, which runs it as a process of its own"]
#[expect(clippy::disallowed_methods, reason = "it is told by the test that starts it")]
async fn starter_that_is_killed() {
    let data_dir = PathBuf::from(std::env::var_os(FOLDER_OF_THE_LOST).unwrap());
    let jobs = SubprocessJobs::new(config(&data_dir, SLOTS)).unwrap();
    let slot = jobs.reserve().await.unwrap();
    let execution = jobs.start(Job { slot, ..job("runs") }).await.unwrap();

    // The name appears whole or not at all.
    fs::write(data_dir.join("name.new"), execution.name).unwrap();
    fs::rename(data_dir.join("name.new"), data_dir.join("name")).unwrap();
    std::future::pending::<()>().await;
}
