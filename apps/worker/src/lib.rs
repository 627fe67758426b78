//! The worker program: one run of one task, and the signals that end it early.

use std::process::ExitCode;

use legwork_core::{id::TaskId, layout};
use legwork_engine::{RunEnd, WorkerJob, run_task};
use legwork_wiring::{config::Config, names, platform, values::Values};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Why a worker could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// What it is to run is not said.
    #[error("{name} {reason}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The adapters could not be made.
    #[error("the platform could not be opened")]
    Platform(#[from] platform::PlatformError),
    /// Signals cannot be heard.
    #[error("signals cannot be heard")]
    Signals(#[from] std::io::Error),
    /// The task was left to others.
    #[error("the task was left to others")]
    Run(#[from] legwork_engine::RunError),
}

/// Runs the task that the environment names and returns once it is settled or somebody else's.
///
/// # Errors
/// [`WorkerError`].
pub async fn run(config: &Config, values: &Values) -> Result<ExitCode, WorkerError> {
    let task_id: TaskId = required(values, names::TASK_ID)?
        .parse()
        .map_err(|error: legwork_core::id::InvalidTaskId| wrong(names::TASK_ID, &error.to_string()))?;
    let payload = required(values, names::PAYLOAD_PATH)?;
    if !payload.ends_with(&layout::payload(&task_id)) {
        return Err(wrong(names::PAYLOAD_PATH, "is not the sealed request of TASK_ID"));
    }
    let stop = stop_on_signals()?;
    let worker = platform::worker(config, values.get(names::EXECUTION)).await?;
    let execution_name = worker.execution.unwrap_or_else(|| format!("by-hand-{}", std::process::id()));
    let job = WorkerJob { task_id, worker_logs_url: worker.logs_url, execution_name };
    // Boxed: it holds what every step of the run needs.
    let span = tracing::info_span!("task", task.id = %job.task_id);
    let end = Box::pin(run_task(&worker.engine, &worker.ports, job, stop).instrument(span)).await?;
    tracing::debug!(settled = matches!(end, RunEnd::Settled(_)), "worker ends");
    Ok(ExitCode::SUCCESS)
}

fn required<'v>(values: &'v Values, name: &'static str) -> Result<&'v str, WorkerError> {
    values
        .get(name)
        .ok_or_else(|| wrong(name, "is not set: a worker is started with the task that it is to run"))
}

fn wrong(name: &'static str, reason: &str) -> WorkerError {
    WorkerError::Environment { name, reason: reason.to_owned() }
}

/// Returns a token that is cancelled by SIGTERM or SIGINT.
fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal that closes is no reason to end a task.
    let mut hang_up = signal(SignalKind::hangup())?;
    let told = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "hears signals for as long as the process lives")]
    drop(tokio::spawn(async move {
        loop {
            tokio::select! {
                // Signals are kept by their streams.
                _ = terminate.recv() => told.cancel(),
                _ = interrupt.recv() => told.cancel(),
                _ = hang_up.recv() => {}
            }
        }
    }));
    Ok(stop)
}
