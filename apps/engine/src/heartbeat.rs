//! The marker that says that a process is responsible for an attempt now.

use std::time::Duration;

use bytes::Bytes;
use legwork_core::{
    id::{Attempt, TaskId},
    layout,
};
use legwork_ports::{clock::IdSourceExt as _, storage::Precondition};
use tokio_util::sync::CancellationToken;

use crate::Ports;

/// How often the marker changes.
const PERIOD: Duration = Duration::from_secs(15);

/// Overwrites the marker with fresh content, at once and then every 15 s, until stopped.
pub(crate) async fn keep(ports: Ports, id: TaskId, attempt: Attempt, stop: CancellationToken) {
    let key = layout::active(&id, attempt);
    while !stop.is_cancelled() {
        let mark = Bytes::from(ports.ids.token().as_str().to_owned());
        if let Err(error) = ports.storage.put(&key, mark, Precondition::Always).await {
            tracing::warn!(task.id = %id, error = %error, "the heartbeat could not be written");
        }
        tokio::select! {
            biased;
            // Dropping a sleep loses nothing.
            () = stop.cancelled() => {}
            () = ports.clock.sleep(PERIOD) => {}
        }
    }
}
