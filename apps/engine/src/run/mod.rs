//! One run of one task, from the claim to its end.
//!
//! The worker claims the attempt, makes a workspace, opens the gateway to the model's API and runs
//! the agent; each line it writes is masked, understood and stored. When the agent has ended, for
//! whatever reason, nothing of it is left alive; its lines are stored, the workspace is removed, and
//! one swap ends the attempt and owes the callback, which is then delivered.

mod actions;
mod commands;
mod conversation;
mod interruption;
mod preparation;
mod push;
mod stage;
mod upload;

use std::time::Duration;

use legwork_core::{
    claude::verdict::Stopped,
    id::{TaskId, Token},
    record::{Event, Outcome, Record, Status, Verdict},
    time::Timestamp,
};
use legwork_ports::clock::IdSourceExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::stage::Stage;
use crate::{
    Engine, WorkerPorts,
    claim::ClaimedAttempt,
    heartbeat,
    oversight::{self, Orders},
    records::{Patience, Step, UpdateError},
};

/// What a worker was started for.
#[derive(Debug, Clone)]
pub struct WorkerJob {
    /// The task to run.
    pub task_id: TaskId,
    /// The execution that this worker is.
    pub execution_name: String,
    /// Where the worker's own log is.
    pub worker_logs_url: Option<String>,
}

/// How a worker's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The attempt ended like this, by this worker.
    Settled(Status),
    /// Another worker had it, it had ended, or it was taken away: nothing was written.
    NotOurs,
}

/// Why an attempt was left to others. Nothing of it lives here then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The record could not be read or written, however often it was tried.
    #[error("the task's record could not be changed")]
    Record {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something hangs that should long be over, by this process's own clock.
    #[error("the attempt has not ended within {} minutes", limit.as_secs() / 60)]
    Overdue {
        /// From the claim: the request's time limit and what may follow it.
        limit: Duration,
    },
}

impl From<UpdateError> for RunError {
    fn from(error: UpdateError) -> Self {
        Self::Record { source: Box::new(error) }
    }
}

/// How an attempt is to be closed.
pub(crate) enum Closing {
    /// With this outcome.
    End(Box<Outcome>),
    /// Not by this worker: the claim is lost.
    NotOurs,
}

/// Runs one attempt of a task to its end and tells its receiver. `stop` is the wish that this
/// worker ends now.
///
/// # Errors
/// [`RunError`]: the attempt is then left to others, and nothing of it lives here.
pub async fn run_task(
    engine: &Engine,
    worker: &WorkerPorts,
    job: WorkerJob,
    stop: CancellationToken,
) -> Result<RunEnd, RunError> {
    let Some(claimed) = engine.claim(&job).await? else {
        tracing::info!(task.id = %job.task_id, "nothing to do: the task is not pending here");
        return Ok(RunEnd::NotOurs);
    };
    tracing::info!(task.id = %job.task_id, attempt = %claimed.record.attempt, "task claimed");
    let watchers = Watchers::start(engine, &claimed);
    engine.after_claim(&claimed.record).await?;

    let stage = Stage::new(engine, worker, &claimed, watchers.orders.clone(), stop);
    // Boxed: it holds what every step of the run needs.
    let closing = tokio::select! {
        biased;
        closing = Box::pin(stage.play()) => closing,
        // What is dropped stops its processes. This process is to end: who finds it ended settles the task.
        () = engine.ports().clock.sleep(claimed.deadline) => {
            watchers.stop().await;
            return Err(RunError::Overdue { limit: claimed.deadline });
        }
    };
    let Closing::End(outcome) = closing else {
        watchers.stop().await;
        tracing::warn!(task.id = %job.task_id, "the attempt was taken over; nothing is written");
        return Ok(RunEnd::NotOurs);
    };
    let Some((record, token, moot)) = engine.end(&claimed, *outcome).await? else {
        watchers.stop().await;
        return Ok(RunEnd::NotOurs);
    };
    let status = record.status;
    let duration_ms = record.summary.as_ref().map(|summary| summary.duration_ms);
    tracing::info!(task.id = %job.task_id, status = status.as_str(), duration_ms, "task ended");
    let record = engine.deliver_first(record, token).await?;
    // The heartbeat stops before its marker is deleted: it would put it there again.
    watchers.stop().await;
    engine.put_down_what_is_owed(&record, moot, Patience::Long).await?;
    Ok(RunEnd::Settled(status))
}

/// The heartbeat and the look at the own record, for as long as the attempt is this worker's.
struct Watchers {
    orders: Orders,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Watchers {
    fn start(engine: &Engine, claimed: &ClaimedAttempt) -> Self {
        let orders = Orders::default();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let id = claimed.record.task_id.clone();
        let ports = engine.ports();
        tasks.spawn(heartbeat::keep(ports.clone(), id.clone(), claimed.record.attempt, stop.clone()));
        tasks.spawn(oversight::watch(ports.clone(), id, claimed.token.clone(), orders.clone(), stop.clone()));
        Self { orders, stop, tasks }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Engine {
    /// What a claim makes moot: the entry of the next start, and the payload where none is kept.
    async fn after_claim(&self, record: &Record) -> Result<(), UpdateError> {
        self.remove_moot(&record.task_id, record.attempt, Some(record.starts.next_at));
        if self.settings().payload_retention == Duration::ZERO {
            self.delete_payload(record, Patience::Long).await?;
        }
        Ok(())
    }

    /// The one swap that ends an attempt and owes its callback; nothing where the claim was lost. The times
    /// are those of entries that it makes moot.
    async fn end(
        &self,
        claimed: &ClaimedAttempt,
        outcome: Outcome,
    ) -> Result<Option<(Record, Token, Vec<Timestamp>)>, UpdateError> {
        let ports = self.ports();
        let token = ports.ids.token();
        let mut moot = Vec::new();
        let ended = ports
            .update(
                &claimed.record.task_id,
                Patience::Long,
                |record| record.end.as_ref() == Some(&token),
                |record| {
                    moot = record.times_of_running();
                    let verdict = in_effect(record, &outcome.verdict);
                    let event = Event::Ended {
                        claim: claimed.token.clone(),
                        outcome: Box::new(Outcome { verdict, ..outcome.clone() }),
                        token: token.clone(),
                        now: ports.clock.now(),
                    };
                    let due = record.apply(event.clone())?.callback.next_attempt_at;
                    Ok(Step::swap_with(event, due))
                },
            )
            .await;
        let record = match ended {
            Ok((record, _)) => record,
            Err(UpdateError::NotAllowed(_) | UpdateError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some((record, token, moot)))
    }

    /// Before a cancelled tree is stopped, and before actions: the verdict stands, so that nobody kills this
    /// worker while it finishes. Returns the verdict in effect, or nothing where the claim is lost.
    pub(crate) async fn begin_finishing(
        &self,
        claimed: &ClaimedAttempt,
        verdict: Verdict,
        summary: legwork_core::record::Summary,
    ) -> Result<Option<Verdict>, UpdateError> {
        let ports = self.ports();
        let finish_by = ports.clock.now().plus(legwork_core::record::FINISH_ALLOWANCE);
        let swapped = ports
            .update(
                &claimed.record.task_id,
                Patience::Long,
                |record| record.is_claimed_by(&claimed.token) && record.verdict.is_some(),
                |record| {
                    if record.is_claimed_by(&claimed.token) && record.verdict.is_some() {
                        // It stands since the run was stopped.
                        return Ok(Step::Leave);
                    }
                    Ok(Step::swap_after(
                        finish_by,
                        Event::Finishing {
                            claim: claimed.token.clone(),
                            verdict: in_effect(record, &verdict),
                            summary: summary.clone(),
                            finish_by,
                        },
                    ))
                },
            )
            .await;
        match swapped {
            Ok((record, _)) => Ok(Some(record.verdict.unwrap_or(verdict))),
            Err(UpdateError::NotAllowed(_) | UpdateError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the verdict over a run in view of its record: whoever was told that the task is being cancelled
/// is not told otherwise because the agent ended at that moment.
fn in_effect(record: &Record, found: &Verdict) -> Verdict {
    match &record.verdict {
        Some(standing) => standing.clone(),
        None if record.cancel_requested_at.is_some() && found.status != Status::Cancelled => {
            interruption::stopped(Stopped::Cancelled)
        }
        None => found.clone(),
    }
}
