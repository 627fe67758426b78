//! Cancelling: a pending task ends at once; a running one is wished to end, and its worker sees to it.

use legwork_core::{
    duty::WISH_ALLOWANCE,
    id::{TaskId, Token},
    record::{Event, NotAllowed, Record, Settlement, Status},
    time::Timestamp,
};
use legwork_ports::clock::IdSourceExt as _;

use crate::{
    Engine,
    records::{Patience, Step, UpdateError},
};

/// How far a cancel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    /// The task has ended as cancelled.
    Cancelled,
    /// Its worker is told to stop it.
    Cancelling,
}

/// Why a task could not be cancelled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// It is unknown, has ended otherwise, or is past its run and only finishing.
    #[error("{reason}")]
    NotFound {
        /// Which of these, as a sentence.
        reason: String,
    },
    /// The store does not answer; the same cancel sent again is safe.
    #[error("the store does not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Engine {
    /// Cancels a task wherever it is; cancelling twice is the same as once.
    ///
    /// # Errors
    /// [`CancelError`].
    pub async fn cancel(&self, id: &TaskId) -> Result<CancelAnswer, CancelError> {
        let ports = self.ports();
        let token = ports.ids.token();
        let mut moot = None;
        let updated = ports
            .update(
                id,
                Patience::Short,
                |record| record.end.as_ref() == Some(&token),
                |record| {
                    let now = ports.clock.now();
                    moot = None;
                    match record.status {
                        Status::Cancelled => Ok(Step::Leave),
                        Status::Pending => {
                            moot = Some(record.starts.next_at);
                            let event = Event::Settled {
                                settlement: Settlement::CancelledPending,
                                token: token.clone(),
                                now,
                            };
                            let due = record.apply(event.clone())?.callback.next_attempt_at;
                            Ok(Step::swap_with(event, due))
                        }
                        Status::Running if is_being_cancelled(record) => Ok(Step::Leave),
                        Status::Running => {
                            Ok(Step::swap_after(now.plus(WISH_ALLOWANCE), Event::CancelRequested { now }))
                        }
                        Status::Completed | Status::Failed => {
                            Err(NotAllowed::State { status: record.status })
                        }
                    }
                },
            )
            .await;
        let (record, changed) = updated.map_err(cancel_error)?;
        if record.status == Status::Running {
            tracing::info!(task.id = %id, "cancel requested");
            return Ok(CancelAnswer::Cancelling);
        }
        if changed && record.end.as_ref() == Some(&token) {
            tracing::info!(task.id = %id, "task cancelled before a worker claimed it");
            // Who swapped delivers. The client need not wait for the receiver.
            self.deliver_in_background(record, token, moot.into_iter().collect());
        }
        Ok(CancelAnswer::Cancelled)
    }

    /// Delivers on behalf of this process; what it does not come to stands in `due/`.
    fn deliver_in_background(&self, record: Record, token: Token, moot: Vec<Timestamp>) {
        let engine = self.clone();
        self.inner.background.spawn(async move {
            let id = record.task_id.clone();
            let delivered = async {
                let record = engine.deliver_first(record, token).await?;
                engine.put_down_what_is_owed(&record, moot, Patience::Long).await
            };
            if let Err(error) = delivered.await {
                tracing::warn!(task.id = %id, error = %error, "a callback is left to the reconciler");
            }
        });
    }
}

/// Whether a wish was heard, or will be.
fn is_being_cancelled(record: &Record) -> bool {
    let verdict = record.verdict.as_ref().map(|verdict| verdict.status);
    record.cancel_requested_at.is_some() && verdict.is_none_or(|status| status == Status::Cancelled)
}

fn cancel_error(error: UpdateError) -> CancelError {
    match error {
        UpdateError::Missing => CancelError::NotFound { reason: "There is no task of this id".to_owned() },
        UpdateError::NotAllowed(NotAllowed::Finishing) => {
            CancelError::NotFound { reason: "The task is past its run and only finishing".to_owned() }
        }
        UpdateError::NotAllowed(NotAllowed::State { status }) => {
            CancelError::NotFound { reason: format!("The task has already ended as {}", status.as_str()) }
        }
        UpdateError::NotAllowed(other) => CancelError::NotFound { reason: other.to_string() },
        UpdateError::Store(source) => CancelError::Unavailable { source: Box::new(source) },
        UpdateError::Unreadable(source) => CancelError::Unavailable { source: Box::new(source) },
    }
}
