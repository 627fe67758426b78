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
/// How long a write may take: the next one is better than one that hangs.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// The pause after a write that failed: six beats missed are a worker taken for lost.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// Overwrites the marker with fresh content, at once and then every 15 s, until stopped.
pub(crate) async fn keep(ports: Ports, id: TaskId, attempt: Attempt, stop: CancellationToken) {
    let key = layout::active(&id, attempt);
    while !stop.is_cancelled() {
        let mark = Bytes::from(ports.ids.token().as_str().to_owned());
        let written = tokio::select! {
            biased;
            // Dropping a put leaves it applied or not: the next one replaces it.
            put = ports.storage.put(&key, mark, Precondition::Always) => put.map(drop).map_err(|error| error.to_string()),
            () = ports.clock.sleep(WRITTEN_WITHIN) => Err("no answer in time".to_owned()),
        };
        let pause = match written {
            Ok(()) => PERIOD,
            Err(error) => {
                tracing::warn!(task.id = %id, error, "the heartbeat could not be written");
                TRY_AGAIN
            }
        };
        tokio::select! {
            biased;
            // Dropping a sleep loses nothing.
            () = stop.cancelled() => {}
            () = ports.clock.sleep(pause) => {}
        }
    }
}
