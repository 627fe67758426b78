//! Ending an attempt on behalf of whoever cannot.

use std::time::Duration;

use legwork_core::{
    id::Token,
    record::{Event, Record, Settlement, Status},
};
use legwork_ports::jobs::ExecutionStatus;

use super::{
    Reconciler,
    treat::{Delivery, Treated},
};
use crate::records::{Patience, Step, UpdateError};

/// How long what a lost worker has left may take to be removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(20);

impl Reconciler {
    /// Ends an attempt as it was read; nothing where it has changed since.
    pub(super) async fn settle(
        &self,
        record: &Record,
        settlement: Settlement,
        treated: &mut Treated,
    ) -> Result<Option<Box<Record>>, UpdateError> {
        if record.status == Status::Pending {
            self.engine.put_index(record).await?;
        }
        let (token, event) = self.settlement(settlement, self.engine.ports().clock.now());
        self.settle_by(record, event, token, treated).await
    }

    /// The same by an event that was made before.
    pub(super) async fn settle_by(
        &self,
        record: &Record,
        event: Event,
        token: Token,
        treated: &mut Treated,
    ) -> Result<Option<Box<Record>>, UpdateError> {
        if record.status == Status::Running {
            self.remove_leftovers(record).await;
        }
        let (ports, revision) = (self.engine.ports(), record.revision);
        let updated = ports
            .update(
                &record.task_id,
                Patience::Short,
                |record| record.end.as_ref() == Some(&token),
                |record| {
                    if record.revision != revision {
                        return Ok(Step::Leave);
                    }
                    let due = record.apply(event.clone())?.callback.next_attempt_at;
                    Ok(Step::swap_with(event.clone(), due))
                },
            )
            .await;
        let settled = match updated {
            Ok((settled, true)) => settled,
            Ok((_, false)) | Err(UpdateError::NotAllowed(_) | UpdateError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        tracing::warn!(
            task.id = %settled.task_id, attempt = %settled.attempt, status = settled.status.as_str(),
            error = settled.error, "an attempt was ended for its worker"
        );
        treated.report.settled = treated.report.settled.saturating_add(1);
        let mut moot = record.times_of_running();
        if record.status == Status::Pending {
            moot.push(record.starts.next_at);
        }
        let settled = Box::new(settled);
        treated.deliveries.push(Delivery::Claimed { record: settled.clone(), token, moot });
        Ok(Some(settled))
    }

    /// Ends an attempt whose deadline has passed, whatever its worker says. Where the job service sees the
    /// worker itself, the worker keeps the deadline by its own clock.
    pub(super) async fn end_overdue(
        &self,
        record: &Record,
        minutes: u64,
        treated: &mut Treated,
    ) -> Result<Option<Box<Record>>, UpdateError> {
        let jobs = &self.engine.ports().jobs;
        if let (true, Some(name)) = (jobs.is_exact(), &record.execution_name) {
            if !matches!(jobs.status(name).await, Ok(ExecutionStatus::Ended)) {
                return Ok(None);
            }
        } else if !self.cancel_execution(record, treated).await {
            return Ok(None);
        }
        self.settle(record, Settlement::DeadlinePassed { minutes }, treated).await
    }

    /// Ends what a lost worker's agent has left on this machine and removes its workspace, before anybody
    /// is told.
    async fn remove_leftovers(&self, record: &Record) {
        let Some(workspace) = &self.leftovers else { return };
        let removed = tokio::select! {
            biased;
            // A removal that hangs must not keep the receiver waiting; it goes on where it blocks.
            removed = workspace.remove(&record.task_id, record.attempt) => removed.map_err(|error| error.to_string()),
            () = self.engine.ports().clock.sleep(REMOVED_WITHIN) => Err("it takes too long".to_owned()),
        };
        if let Err(error) = removed {
            tracing::error!(task.id = %record.task_id, error, "a lost worker's workspace could not be removed");
        }
    }
}
