//! Watching one's own record while the agent works: for a wish to cancel, and for the claim's loss.

use std::time::Duration;

use legwork_core::{
    id::{TaskId, Token},
    layout,
    record::{Record, Status},
};
use tokio_util::sync::CancellationToken;

use crate::Ports;

/// How often the record is read where the store does not tell of changes.
const PERIOD: Duration = Duration::from_secs(2);
/// Pause between two looks, however often the store tells of changes.
const BREATH: Duration = Duration::from_millis(100);

/// How long one look may take: the next one is better than one that hangs.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// What the record may tell a worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// Somebody wishes the task to be cancelled.
    pub(crate) cancel: CancellationToken,
    /// The attempt is not this worker's any more: stop, and write nothing.
    pub(crate) lost: CancellationToken,
}

/// Reads the record every 2 s, and at once where the store tells of changes, until stopped.
pub(crate) async fn watch(ports: Ports, id: TaskId, claim: Token, orders: Orders, stop: CancellationToken) {
    let prefix = layout::session(&id);
    while !stop.is_cancelled() && !orders.lost.is_cancelled() {
        let look = async {
            ports.storage.changed(&prefix, PERIOD).await;
            ports.clock.sleep(BREATH).await;
            ports.read_record(&id).await
        };
        let read = tokio::select! {
            biased;
            // Dropping a look loses nothing: it only reads.
            () = stop.cancelled() => return,
            read = look => read,
            () = ports.clock.sleep(LOOKED_WITHIN) => continue,
        };
        match read {
            Ok(Some((record, _))) if is_ours(&record, &claim) => {
                if record.cancel_requested_at.is_some() {
                    orders.cancel.cancel();
                }
            }
            Ok(_) => orders.lost.cancel(),
            Err(error) => tracing::debug!(task.id = %id, error = %error, "the record could not be read"),
        }
    }
}

fn is_ours(record: &Record, claim: &Token) -> bool {
    record.status == Status::Running && record.is_claimed_by(claim)
}
