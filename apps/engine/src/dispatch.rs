//! Starting pending tasks as slots free, in order of arrival: for platforms that bound how many
//! run at once.
//!
//! Any number of services may do this over one store: who holds a slot swaps the task's `starts`,
//! and only the winner starts a worker.

use std::time::Duration;

use legwork_core::{
    id::TaskId,
    layout,
    record::{Event, Payload, Record, Status},
    time::Timestamp,
};
use legwork_ports::{
    clock::IdSourceExt as _,
    jobs::{Job, Slot},
    storage::StorageError,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    records::{Patience, Step, UpdateError},
};

/// How long to wait for news at most: a start that falls due is seen this late.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The first pause before a task is looked at again whose submission is about to be complete.
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(20);
/// How many entries one look reads at most.
const PAGE: usize = 1000;

/// What one look at the pending tasks came to.
enum Look {
    /// A worker was started; there may be more to start.
    Started,
    /// Nothing can be started now.
    Idle,
    /// The same, but something is about to be there.
    Soon,
}

/// Whether a task can be started.
enum Startable {
    Now(Box<Record>),
    /// Its submission is not complete.
    Soon,
    Not,
}

impl Engine {
    /// Starts pending tasks as slots free, until stopped.
    pub async fn dispatch(&self, stop: CancellationToken) {
        let mut slot = None;
        let mut soon = LOOK_AGAIN_SOON;
        while !stop.is_cancelled() {
            let mut look_again = LOOK_AGAIN;
            match self.dispatch_one(&mut slot).await {
                Ok(Look::Started) => continue,
                Ok(Look::Idle) => soon = LOOK_AGAIN_SOON,
                Ok(Look::Soon) => {
                    // A submission that broke off is not looked at for ever.
                    look_again = soon;
                    soon = soon.saturating_mul(2).min(LOOK_AGAIN);
                }
                Err(error) => tracing::warn!(error = %error, "pending tasks could not be looked through"),
            }
            // The slot is given back while nothing waits for it, so that other services may have it.
            let waiting_for_task = slot.take().is_some();
            let ports = self.ports();
            tokio::select! {
                biased;
                // Dropping a wait loses nothing: the next look lists again.
                () = stop.cancelled() => {}
                () = ports.storage.changed(layout::DUE, look_again), if waiting_for_task => {}
                () = ports.jobs.slot_freed(LOOK_AGAIN), if !waiting_for_task => {}
            }
        }
    }

    async fn dispatch_one(&self, slot: &mut Option<Slot>) -> Result<Look, UpdateError> {
        if slot.is_none() {
            *slot = self.ports().jobs.reserve().await.unwrap_or_else(|error| {
                tracing::warn!(error = %error, "no slot could be taken");
                None
            });
        }
        if slot.is_none() {
            return Ok(Look::Idle);
        }
        let (startable, is_incomplete) = self.startable().await?;
        for record in startable {
            match self.take_start(&record).await {
                Ok(record) => {
                    self.start_in(slot.take(), &record).await;
                    return Ok(Look::Started);
                }
                Err(UpdateError::NotAllowed(_) | UpdateError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(if is_incomplete { Look::Soon } else { Look::Idle })
    }

    /// Returns the pending tasks whose start is due, oldest first, and whether there are others that lack
    /// something.
    async fn startable(&self) -> Result<(Vec<Record>, bool), UpdateError> {
        let ports = self.ports();
        let now = ports.clock.now();
        let mut found = Vec::new();
        let mut is_incomplete = false;
        let mut seen = std::collections::BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let entries = ports.storage.list(layout::DUE, after.as_deref(), PAGE).await?;
            let full = entries.len() == PAGE;
            after = entries.last().map(|entry| entry.key.clone());
            for marker in entries.iter().filter_map(|entry| layout::parse_due(&entry.key)) {
                if marker.at.is_some_and(|at| at > now) {
                    return Ok((in_order(found), is_incomplete));
                }
                if !seen.insert(marker.id.clone()) {
                    continue;
                }
                match self.startable_record(&marker.id, now).await? {
                    Startable::Now(record) => found.push(*record),
                    Startable::Soon => is_incomplete = true,
                    Startable::Not => {}
                }
            }
            if !full {
                return Ok((in_order(found), is_incomplete));
            }
        }
    }

    async fn startable_record(&self, id: &TaskId, now: Timestamp) -> Result<Startable, UpdateError> {
        let record = match self.ports().read_record(id).await {
            Ok(Some((record, _))) => record,
            Ok(None) => return Ok(Startable::Soon),
            Err(UpdateError::Unreadable(error)) => {
                // It keeps nobody else waiting.
                tracing::warn!(task.id = %id, error = %error, "a stored record cannot be read");
                return Ok(Startable::Not);
            }
            Err(error) => return Err(error),
        };
        let due = record.status == Status::Pending
            && record.payload == Payload::Stored
            && record.starts.next_at <= now
            && record.starts.count < legwork_core::record::MAX_STARTS;
        // The record is stored before its payload: until that is there, nothing can be started.
        if !due {
            Ok(Startable::Not)
        } else if self.has_payload(id).await? {
            Ok(Startable::Now(Box::new(record)))
        } else {
            Ok(Startable::Soon)
        }
    }

    pub(crate) async fn has_payload(&self, id: &TaskId) -> Result<bool, StorageError> {
        match self.ports().storage.get_range(&layout::payload(id), 0, 1).await {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Counts one more start of a pending task, if it is due; who wins the swap starts the worker. Whoever
    /// submitted it may have died before it was listed and marked: without a marker nobody would miss its worker.
    pub(crate) async fn take_start(&self, pending: &Record) -> Result<Record, UpdateError> {
        let ports = self.ports();
        let id = &pending.task_id;
        let (index, active) = futures_util::join!(self.put_index(pending), self.put_active(pending));
        index.and(active)?;
        let token = ports.ids.token();
        let now = ports.clock.now();
        let mut moot = None;
        let (record, _) = ports
            .update(
                id,
                Patience::Short,
                |record| record.starts.token == token,
                |record| {
                    let event = Event::Started { token: token.clone(), now };
                    let due = record.apply(event.clone())?.starts.next_at;
                    moot = Some(record.starts.next_at);
                    Ok(Step::swap_after(due, event))
                },
            )
            .await?;
        self.remove_moot(id, record.attempt, moot);
        Ok(record)
    }

    pub(crate) async fn start_in(&self, slot: Option<Slot>, record: &Record) {
        let id = &record.task_id;
        let job =
            Job { task_id: id.clone(), attempt: record.attempt, payload_key: layout::payload(id), slot };
        match self.ports().jobs.start(job).await {
            Ok(execution) => tracing::info!(task.id = %id, execution = %execution.name, "worker started"),
            // The start counts: it is tried again when the next one is due.
            Err(error) => tracing::warn!(task.id = %id, error = %error, "worker could not be started"),
        }
    }
}

fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| (a.created_at, &a.task_id).cmp(&(b.created_at, &b.task_id)));
    records
}
