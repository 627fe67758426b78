//! The job service: starts workers, now and then twice or never, and tells how they fare, late.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use legwork_ports::jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{gate::Gate, plan::Platform, process, world::World};
use crate::fault::unanswered;

/// How long a worker that is told to end has.
const GRACE: Duration = Duration::from_secs(10);
/// How late a cloud's job service knows of an end.
const KNOWS_LATE: Duration = Duration::from_secs(20);

/// A worker that was started.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) gate: Arc<Gate>,
    pub(super) stop: CancellationToken,
    pub(super) ended_at: Arc<std::sync::Mutex<Option<Instant>>>,
}

impl Worker {
    pub(super) fn end(&self) {
        let mut ended_at = self.ended_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ended_at.get_or_insert(Instant::now());
    }

    pub(super) fn ended_at(&self) -> Option<Instant> {
        *self.ended_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One process's way to the job service.
#[derive(Debug)]
pub(super) struct SimJobs {
    pub(super) gate: Arc<Gate>,
    pub(super) world: Arc<World>,
}

fn unavailable() -> JobsError {
    JobsError::Unavailable { source: unanswered() }
}

#[async_trait]
impl Jobs for SimJobs {
    fn start_policy(&self) -> StartPolicy {
        match self.world.plan.platform {
            Platform::Cloud { .. } => StartPolicy::AtOnce,
            Platform::Machine => StartPolicy::WhenSlotFree,
        }
    }

    fn is_exact(&self) -> bool {
        self.world.plan.platform == Platform::Machine
    }

    async fn reserve(&self) -> Result<Option<Slot>, JobsError> {
        self.gate.open().await;
        if self.world.running_workers() >= 2 {
            return Ok(None);
        }
        let lock = self
            .world
            .lock
            .try_clone()
            .map_err(|error| JobsError::Unavailable { source: Box::new(error) })?;
        Ok(Some(Slot { number: 0, lock }))
    }

    async fn slot_freed(&self, at_most: Duration) {
        sleep(at_most).await;
        self.gate.open().await;
    }

    async fn start(&self, job: Job) -> Result<Execution, JobsError> {
        self.gate.before().await;
        sleep(self.world.latency()).await;
        let odd = self.world.has_odd_start();
        let fails = odd && self.world.below(3) == 0;
        let copies = if odd { self.world.below(3) } else { 1 };
        let mut name = String::new();
        for _ in 0..copies {
            name = process::spawn_worker(&self.world, &job.task_id);
        }
        self.gate.after().await;
        if fails || name.is_empty() {
            return Err(unavailable());
        }
        Ok(Execution { name, worker_logs_url: None })
    }

    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError> {
        self.gate.before().await;
        sleep(self.world.latency()).await;
        if let Some(worker) = self.world.worker(execution_name) {
            let at_once = matches!(self.world.plan.platform, Platform::Cloud { kills_at_once: true, .. });
            process::end_worker(worker, if at_once { Duration::ZERO } else { GRACE });
        }
        self.gate.after().await;
        Ok(())
    }

    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError> {
        self.gate.before().await;
        let Some(worker) = self.world.worker(execution_name) else { return Ok(ExecutionStatus::Unknown) };
        let ended_at = worker.ended_at();
        let status = match self.world.plan.platform {
            Platform::Machine if ended_at.is_some() => ExecutionStatus::Ended,
            Platform::Machine => ExecutionStatus::Running,
            Platform::Cloud { is_silent: true, .. } => ExecutionStatus::Unknown,
            Platform::Cloud { .. } if self.world.is_troubled() && self.world.below(20) == 0 => {
                return Err(unavailable());
            }
            Platform::Cloud { .. } => match ended_at {
                Some(at) if at.elapsed() >= KNOWS_LATE => ExecutionStatus::Ended,
                Some(_) | None => ExecutionStatus::Running,
            },
        };
        self.gate.after().await;
        Ok(status)
    }
}
