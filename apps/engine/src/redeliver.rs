//! Telling a receiver once more, because somebody asks for it.

use std::time::Duration;

use legwork_core::{
    id::TaskId,
    record::{CallbackState, Event, NotAllowed, Record},
    time::Timestamp,
};

use crate::{
    Engine,
    records::{Patience, Step, UpdateError},
};

/// Why a callback is not delivered again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedeliverError {
    /// There is no such task.
    #[error("there is no task of this id")]
    NotFound,
    /// The task has not ended.
    #[error("the task has not ended; it is {status}")]
    NotTerminal {
        /// Where it stands.
        status: &'static str,
    },
    /// It was submitted without a receiver.
    #[error("the task has no callbackUrl")]
    NoReceiver,
    /// It is being delivered already.
    #[error("the callback is being delivered already")]
    Pending,
    /// The store does not answer; the same call may be made again.
    #[error("the store does not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<UpdateError> for RedeliverError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Missing => Self::NotFound,
            UpdateError::NotAllowed(NotAllowed::NoReceiver) => Self::NoReceiver,
            UpdateError::NotAllowed(NotAllowed::CallbackPending) => Self::Pending,
            UpdateError::NotAllowed(NotAllowed::State { status }) => {
                Self::NotTerminal { status: status.as_str() }
            }
            other @ (UpdateError::NotAllowed(_) | UpdateError::Store(_) | UpdateError::Unreadable(_)) => {
                Self::Unavailable { source: Box::new(other) }
            }
        }
    }
}

impl Engine {
    /// Begins a fresh schedule of attempts at the same callback, under the same id, and makes the first at
    /// once. Returns the record.
    ///
    /// # Errors
    /// [`RedeliverError`]; the callback stands as it did.
    pub async fn redeliver(&self, id: &TaskId) -> Result<Record, RedeliverError> {
        let ports = self.ports();
        // Each try has an entry of a name of its own, so that no late delete can hit it.
        let mut last = None;
        let (record, _) = ports
            .update(
                id,
                Patience::Short,
                // Somebody else's is as good: the schedule has begun.
                |record| record.callback.state == CallbackState::Pending,
                |_| {
                    let after_the_last = last.map(|last: Timestamp| last.plus(Duration::from_millis(1)));
                    let next_at = after_the_last.map_or(ports.clock.now(), |at| at.max(ports.clock.now()));
                    last = Some(next_at);
                    Ok(Step::swap_after(next_at, Event::Redelivered { next_at }))
                },
            )
            .await?;
        tracing::info!(task.id = %id, "callback is delivered again");
        let (engine, id) = (self.clone(), id.clone());
        self.inner.background.spawn(async move {
            if let Err(error) = engine.deliver_due(&id).await {
                tracing::warn!(task.id = %id, error = %error, "a callback is left to the reconciler");
            }
        });
        Ok(record)
    }
}
