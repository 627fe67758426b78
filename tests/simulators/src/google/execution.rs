//! An execution of the job: what it was started with, how it fares, and its process.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;
use tokio::sync::watch;

use super::time::now;

/// How an execution fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionState {
    /// It runs.
    Running,
    /// It was asked to end and has not yet.
    Cancelling,
    /// It ended well.
    Succeeded,
    /// It ended badly, or took too long.
    Failed,
    /// It ended because it was asked to.
    Cancelled,
}

impl ExecutionState {
    /// Returns whether nothing more happens.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// An execution as it is now.
#[derive(Debug, Clone)]
pub struct RunExecution {
    /// The full name, `projects/…/jobs/…/executions/…`.
    pub name: String,
    /// What the caller put into the environment, in order.
    pub environment: Vec<(String, String)>,
    /// The arguments that the caller put in place of the job's own; empty for none.
    pub arguments: Vec<String>,
    /// After how long it is ended as failed.
    pub timeout: Duration,
    /// How it fares.
    pub state: ExecutionState,
    /// The attempt that runs or ran last, from 0.
    pub attempt: u32,
    /// The process that runs, if one does.
    pub process_id: Option<u32>,
    /// How it ended, in words; empty before that and after success.
    pub reason: String,
    pub(super) created: Timestamp,
    pub(super) ended: Option<Timestamp>,
}

/// All executions, in the order in which they were started.
pub(super) type Board = watch::Sender<Vec<RunExecution>>;

/// Changes an execution, if there is one of this name.
pub(super) fn change(board: &Board, name: &str, change: impl FnOnce(&mut RunExecution)) {
    board.send_modify(|executions| {
        if let Some(execution) = executions.iter_mut().find(|execution| execution.name == name) {
            change(execution);
        }
    });
}

/// Ends an execution that has not ended, and returns whether it did.
pub(super) fn settle(board: &Board, name: &str, state: ExecutionState, reason: &str) -> bool {
    let mut settled = false;
    change(board, name, |execution| {
        if !execution.state.is_final() {
            execution.state = state;
            execution.process_id = None;
            reason.clone_into(&mut execution.reason);
            execution.ended = Some(now());
            settled = true;
        }
    });
    settled
}

/// What is started for each execution.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

/// A process to be run, as often as its failures allow.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) worker: Worker,
    /// Besides the attempt's number.
    pub(super) environment: Vec<(String, String)>,
    pub(super) arguments: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) grace: Duration,
    pub(super) retries: u32,
    /// Where the process writes to.
    pub(super) log: PathBuf,
}

/// How one attempt ended.
enum End {
    Succeeded,
    Failed(String),
    Cancelled,
}

/// Why a process is asked to end.
enum Stop {
    Cancel,
    Timeout,
}

/// Runs the process of an execution to its end, again after a failure if the job has retries.
pub(super) async fn carry_out(board: &Board, plan: Plan) {
    for attempt in 0..=plan.retries {
        let end = match run_once(board, &plan, attempt).await {
            Ok(end) => end,
            Err(error) => End::Failed(format!("the program could not be run: {error}")),
        };
        match end {
            End::Succeeded => {
                settle(board, &plan.name, ExecutionState::Succeeded, "");
                return;
            }
            End::Cancelled => {
                settle(board, &plan.name, ExecutionState::Cancelled, "the execution was cancelled");
                return;
            }
            End::Failed(reason) if attempt == plan.retries => {
                settle(board, &plan.name, ExecutionState::Failed, &reason);
            }
            End::Failed(_again) => {}
        }
    }
}

async fn run_once(board: &Board, plan: &Plan, attempt: u32) -> io::Result<End> {
    let log = File::options().create(true).append(true).open(&plan.log)?;
    // A container has a disk of its own, which goes with it. Other users get through to what is theirs.
    let disk = tempfile::Builder::new()
        .prefix("legwork-disk-")
        .permissions(Permissions::from_mode(0o711))
        .tempdir()?;
    let arguments = if plan.arguments.is_empty() { &plan.worker.arguments } else { &plan.arguments };
    let mut command = Command::new(&plan.worker.program);
    command.args(arguments).env_clear();
    command.envs(plan.worker.environment.iter().cloned());
    command.envs(plan.environment.iter().cloned());
    command.env("CLOUD_RUN_TASK_ATTEMPT", attempt.to_string());
    command.env("TMPDIR", disk.path());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    let process_id = child.id();
    let _container = Container { process_id };
    change(board, &plan.name, |execution| {
        execution.attempt = attempt;
        execution.process_id = process_id;
    });
    let stop = tokio::select! {
        // Dropping this wait loses nothing: the process is waited for again below.
        ended = child.wait() => return ended.map(end_of),
        // These two only watch.
        () = cancel_asked(board, &plan.name) => Stop::Cancel,
        () = tokio::time::sleep(plan.timeout) => Stop::Timeout,
    };
    signal(process_id, Signal::TERM);
    if tokio::time::timeout(plan.grace, child.wait()).await.is_err() {
        signal(process_id, Signal::KILL);
        child.wait().await?;
    }
    Ok(match stop {
        Stop::Cancel => End::Cancelled,
        Stop::Timeout => End::Failed("the configured timeout was reached".to_owned()),
    })
}

fn end_of(status: ExitStatus) -> End {
    match (status.success(), status.signal()) {
        (true, _) => End::Succeeded,
        (false, Some(signal)) => End::Failed(format!("terminated by signal {signal}")),
        (false, None) => End::Failed(format!("exit code {}", status.code().unwrap_or(-1))),
    }
}

async fn cancel_asked(board: &Board, name: &str) {
    let asked =
        |execution: &RunExecution| execution.name == name && execution.state == ExecutionState::Cancelling;
    let mut watching = board.subscribe();
    // The sender outlives the wait, which borrows it.
    drop(watching.wait_for(|executions| executions.iter().any(asked)).await);
}

/// Sends a signal to the first process of a container, as Cloud Run does.
pub(super) fn signal(process_id: Option<u32>, signal: Signal) {
    if let Some(process) = to_pid(process_id) {
        // One that has just ended needs no signal.
        kill_process(process, signal).ok();
    }
}

fn to_pid(process_id: Option<u32>) -> Option<Pid> {
    process_id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// When a container's first process has ended, no other goes on.
struct Container {
    process_id: Option<u32>,
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(group) = to_pid(self.process_id) {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}
