//! Clients that leave the task they came with: it is cancelled. Whoever only follows a log leaves
//! nothing behind, and has none of this.

use legwork_core::id::TaskId;
use legwork_engine::{CancelError, Engine};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::routes::Api;

/// Cancels a task when dropped, unless its stream has ended before, or the service stops.
pub(crate) struct CancelOnLeave {
    engine: Engine,
    background: TaskTracker,
    /// A service that stops is no client that leaves: the task runs on.
    stop: CancellationToken,
    id: TaskId,
    stayed: bool,
}

impl CancelOnLeave {
    pub(crate) fn new(api: &Api, id: TaskId) -> Self {
        Self {
            engine: api.engine.clone(),
            background: api.background.clone(),
            stop: api.stop.clone(),
            id,
            stayed: false,
        }
    }

    pub(crate) fn task(&self) -> &TaskId {
        &self.id
    }

    /// Notes that it is the service that ends the stream. A cancel now might meet a later attempt.
    pub(crate) fn stayed(&mut self) {
        self.stayed = true;
    }
}

impl Drop for CancelOnLeave {
    fn drop(&mut self) {
        if self.stayed || self.stop.is_cancelled() {
            return;
        }
        let engine = self.engine.clone();
        let id = self.id.clone();
        self.background.spawn(async move {
            match engine.cancel(&id).await {
                Ok(_) | Err(CancelError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(task.id = %id, error = %error, "the task of a client that left runs on");
                }
            }
        });
    }
}
