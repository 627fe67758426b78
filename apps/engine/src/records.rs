//! The record under compare-and-swap.
//!
//! Stores may apply a write and answer an error. So every change carries a fresh token in the very
//! thing it claims; after any doubt the record is read again and the token looked for, and a put
//! that is still undecided is repeated with the same precondition until it is decided.

use std::time::Duration;

use bytes::Bytes;
use legwork_core::{
    id::{Attempt, TaskId},
    layout,
    record::{Event, NotAllowed, Record},
    retry::{Backoff, RetryPolicy},
    time::Timestamp,
};
use legwork_ports::{
    clock::IdSourceExt as _,
    storage::{Precondition, StorageError, Version},
};

use crate::{Engine, Ports};

/// How long a swap is repeated while the store does not answer.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long somebody who waits for an answer lets it be repeated.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

/// What an update is to do with the record it was shown.
#[derive(Debug)]
pub(crate) enum Step {
    /// Swap to what the event makes of it, after putting `due/` entries at these times.
    Swap {
        /// What happens.
        event: Box<Event>,
        /// When something will be owed that this swap relies on.
        due: Vec<Timestamp>,
    },
    /// Leave it as it is.
    Leave,
}

impl Step {
    pub(crate) fn swap(event: Event) -> Self {
        Self::Swap { event: Box::new(event), due: Vec::new() }
    }

    pub(crate) fn swap_with(event: Event, due: Option<Timestamp>) -> Self {
        Self::Swap { event: Box::new(event), due: due.into_iter().collect() }
    }

    pub(crate) fn swap_after(due: Timestamp, event: Event) -> Self {
        Self::swap_with(event, Some(due))
    }
}

/// Why a record was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error("there is no such task")]
    Missing,
    #[error("the record does not allow it")]
    NotAllowed(#[from] NotAllowed),
    #[error("the store failed")]
    Store(#[from] StorageError),
    #[error("the stored record cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

/// How long to repeat what the store does not answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// A client waits.
    Short,
    /// A task's end depends on it.
    Long,
}

impl Patience {
    fn policy(self) -> RetryPolicy {
        let give_up_after = match self {
            Self::Short => SHORT_PATIENCE,
            Self::Long => PATIENCE,
        };
        let backoff = Backoff { first: Duration::from_millis(100), factor: 2, max: Duration::from_secs(10) };
        RetryPolicy { backoff, give_up_after }
    }
}

/// Pauses between tries, until the patience is over.
#[derive(Debug)]
pub(crate) struct Pauses<'a> {
    ports: &'a Ports,
    policy: RetryPolicy,
    began: Duration,
    failures: u32,
}

impl<'a> Pauses<'a> {
    pub(crate) fn new(ports: &'a Ports, patience: Patience) -> Self {
        Self { ports, policy: patience.policy(), began: ports.clock.monotonic(), failures: 0 }
    }

    /// Waits before the next try and returns true, or returns false where patience is over.
    pub(crate) async fn pause(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        let elapsed = self.ports.clock.monotonic().saturating_sub(self.began);
        let Some(pause) = self.policy.next(self.failures, elapsed, self.ports.ids.jitter()) else {
            return false;
        };
        self.ports.clock.sleep(pause).await;
        true
    }
}

/// Pauses between tries of the store.
#[derive(Debug)]
pub(crate) struct Retries<'a>(Pauses<'a>);

impl<'a> Retries<'a> {
    pub(crate) fn new(ports: &'a Ports, patience: Patience) -> Self {
        Self(Pauses::new(ports, patience))
    }

    /// Waits before the next try, or gives the error back where it will not heal or patience is over.
    pub(crate) async fn pause(&mut self, error: StorageError) -> Result<(), StorageError> {
        if error.is_transient() && self.0.pause().await {
            tracing::debug!(error = %error, "trying the store again");
            Ok(())
        } else {
            Err(error)
        }
    }
}

impl Ports {
    /// Reads a record, or nothing where there is none.
    pub(crate) async fn read_record(&self, id: &TaskId) -> Result<Option<(Record, Version)>, UpdateError> {
        match self.storage.get(&layout::record(id)).await {
            Ok(object) => Ok(Some((Record::from_json(&object.bytes)?, object.version))),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a record, trying again while the store does not answer.
    pub(crate) async fn read_patiently(
        &self,
        id: &TaskId,
        patience: Patience,
    ) -> Result<Option<(Record, Version)>, UpdateError> {
        let mut retries = Retries::new(self, patience);
        loop {
            match self.read_record(id).await {
                Err(UpdateError::Store(error)) => retries.pause(error).await?,
                read => return read,
            }
        }
    }

    /// Reads a record and when it was written, by the store's clock.
    pub(crate) async fn read_dated(&self, id: &TaskId) -> Result<Option<(Record, Timestamp)>, UpdateError> {
        match self.storage.get(&layout::record(id)).await {
            Ok(object) => Ok(Some((Record::from_json(&object.bytes)?, object.modified))),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a record: reads it, asks `decide`, puts what must stand before, swaps, and begins again
    /// where somebody else was faster. Returns the record as it then stands, and whether it was changed.
    ///
    /// `mine` recognises a record that an earlier try of this very call has made.
    pub(crate) async fn update(
        &self,
        id: &TaskId,
        patience: Patience,
        mine: impl Fn(&Record) -> bool + Send,
        mut decide: impl FnMut(&Record) -> Result<Step, NotAllowed> + Send,
    ) -> Result<(Record, bool), UpdateError> {
        let mut retries = Retries::new(self, patience);
        let mut undecided: Option<(Version, Bytes, Record)> = None;
        loop {
            let (record, version) = match self.read_record(id).await {
                Ok(Some(read)) => read,
                Ok(None) => return Err(UpdateError::Missing),
                Err(UpdateError::Store(error)) => {
                    retries.pause(error).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if undecided.is_some() && mine(&record) {
                return Ok((record, true));
            }
            let (bytes, next) = match undecided.take() {
                // The put may still land: nothing else is done while the version it needs stands.
                Some((before, bytes, next)) if before == version => (bytes, next),
                _ => {
                    let Step::Swap { event, due } = decide(&record)? else { return Ok((record, false)) };
                    let next = record.apply(*event)?;
                    for at in due {
                        self.put_due(id, &next, at, patience).await?;
                    }
                    (Bytes::from(next.to_json()), next)
                }
            };
            let key = layout::record(id);
            match self.storage.put(&key, bytes.clone(), Precondition::Unchanged(version.clone())).await {
                Ok(_) => return Ok((next, true)),
                Err(StorageError::Conflict { .. }) => undecided = Some((version, bytes, next)),
                Err(error) => {
                    retries.pause(error).await?;
                    undecided = Some((version, bytes, next));
                }
            }
        }
    }

    /// Puts an entry that something is owed for the record's attempt.
    pub(crate) async fn put_due(
        &self,
        id: &TaskId,
        record: &Record,
        at: Timestamp,
        patience: Patience,
    ) -> Result<(), StorageError> {
        // One that stands already is as good, and a store may bound how often an object is written.
        self.put_patiently(&layout::due(at, id, record.attempt), Bytes::new(), Precondition::Absent, patience)
            .await
    }

    /// Puts an object, trying again while the store does not answer. With `Absent`, an object that
    /// stands already is a success.
    pub(crate) async fn put_patiently(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        patience: Patience,
    ) -> Result<(), StorageError> {
        let mut retries = Retries::new(self, patience);
        loop {
            match self.storage.put(key, bytes.clone(), precondition.clone()).await {
                Ok(_) => return Ok(()),
                Err(StorageError::Conflict { .. }) if precondition == Precondition::Absent => return Ok(()),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    /// Deletes an object, trying again while the store does not answer.
    pub(crate) async fn delete_patiently(&self, key: &str, patience: Patience) -> Result<(), StorageError> {
        let mut retries = Retries::new(self, patience);
        loop {
            match self.storage.delete(key).await {
                Ok(()) => return Ok(()),
                Err(error) => retries.pause(error).await?,
            }
        }
    }
}

impl Engine {
    /// Deletes entries of the record's attempt that have become moot.
    pub(crate) async fn remove_entries(
        &self,
        record: &Record,
        times: Vec<Timestamp>,
        patience: Patience,
    ) -> Result<(), StorageError> {
        self.remove_entries_of(&record.task_id, record.attempt, times, patience).await
    }

    /// Deletes an entry that has become moot, beside what follows from that: one that stays is found again.
    pub(crate) fn remove_moot(&self, id: &TaskId, attempt: Attempt, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        let (engine, key) = (self.clone(), layout::due(at, id, attempt));
        self.inner.background.spawn(async move {
            if let Err(error) = engine.ports().delete_patiently(&key, Patience::Short).await {
                tracing::debug!(key, error = %error, "an entry is left to a reconciler");
            }
        });
    }

    /// Deletes entries of an attempt that have become moot.
    pub(crate) async fn remove_entries_of(
        &self,
        id: &TaskId,
        attempt: Attempt,
        times: Vec<Timestamp>,
        patience: Patience,
    ) -> Result<(), StorageError> {
        for at in times {
            self.ports().delete_patiently(&layout::due(at, id, attempt), patience).await?;
        }
        Ok(())
    }

    /// Returns the times at which a settled attempt has entries.
    pub(crate) fn times_of_settled(&self, record: &Record) -> Vec<Timestamp> {
        let kept_until = record.payload_kept_until(self.settings().payload_retention);
        record.callback.next_attempt_at.into_iter().chain(kept_until).collect()
    }
}
