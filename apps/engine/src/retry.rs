//! Running a failed or cancelled task again, while its sealed request is kept.
//!
//! The new attempt's marker and its entries stand before the swap that relies on them; what the swap
//! replaces moves into the record's history.

use legwork_core::{
    id::TaskId,
    layout,
    record::{Event, NotAllowed, Record},
};
use legwork_ports::{
    clock::IdSourceExt as _,
    jobs::{Job, StartPolicy},
    storage::StorageError,
};

use crate::{
    Accepted, Engine,
    records::{Patience, Step, UpdateError},
};

/// How many numbers of log chunks are left between two attempts: more than an attempt has in flight,
/// so that nothing that lands late can bear a number of the next one.
const CHUNKS_APART: u32 = 65;
/// How many objects of a task one listing returns.
const PAGE: usize = 1000;

/// Why a task was not run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// There is no such task.
    #[error("there is no task of this id")]
    NotFound,
    /// Its receiver is being told of the attempt that has ended.
    #[error("the callback of the last attempt is on its way; retry when its first attempt has an outcome")]
    CallbackPending,
    /// The sealed request is gone.
    #[error("the sealed request is not kept any more; send the task anew")]
    PayloadGone,
    /// It has not failed, nor was it cancelled.
    #[error("only a failed or cancelled task can be retried; this one is {status}")]
    NotRetryable {
        /// Where it stands.
        status: &'static str,
    },
    /// The store or the job service does not answer; the same retry may be sent again.
    #[error("the store does not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<UpdateError> for RetryError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Missing => Self::NotFound,
            UpdateError::NotAllowed(NotAllowed::CallbackPending) => Self::CallbackPending,
            UpdateError::NotAllowed(NotAllowed::PayloadGone) => Self::PayloadGone,
            UpdateError::NotAllowed(NotAllowed::State { status }) => {
                Self::NotRetryable { status: status.as_str() }
            }
            other @ (UpdateError::NotAllowed(_) | UpdateError::Store(_) | UpdateError::Unreadable(_)) => {
                Self::Unavailable { source: Box::new(other) }
            }
        }
    }
}

impl From<StorageError> for RetryError {
    fn from(error: StorageError) -> Self {
        UpdateError::from(error).into()
    }
}

impl Engine {
    /// Runs a failed or cancelled task again.
    ///
    /// # Errors
    /// [`RetryError`]; the task stands as it did.
    pub async fn retry(&self, id: &TaskId) -> Result<Accepted, RetryError> {
        let ports = self.ports();
        let (before, _) = ports.read_record(id).await?.ok_or(RetryError::NotFound)?;
        let at_once = ports.jobs.start_policy() == StartPolicy::AtOnce;
        let token = ports.ids.token();
        // An attempt of which nothing is stored yet may have written under its first names all the same.
        let before_first = before.first_chunk.saturating_sub(1);
        let first_chunk = self.highest_chunk(id).await?.max(before_first).saturating_add(CHUNKS_APART);
        let event =
            |now| Event::Retried { first_chunk, started_by_caller: at_once, token: token.clone(), now };
        // Refused before anything is written.
        let planned = before.apply(event(ports.clock.now())).map_err(UpdateError::from)?;
        if !self.has_payload(id).await? {
            return Err(RetryError::PayloadGone);
        }
        let (active, index) = futures_util::join!(self.put_active(&planned), self.put_index(&before));
        active.and(index)?;
        let attempt = before.attempt;
        let mut moot = Vec::new();
        let retried = ports
            .update(
                id,
                Patience::Short,
                |record| record.starts.token == token,
                |record| {
                    if record.attempt != attempt {
                        // Somebody else retries it at the same time.
                        return Err(NotAllowed::State { status: record.status });
                    }
                    moot = self.times_of_settled(record);
                    let event = event(ports.clock.now());
                    let due = record.apply(event.clone())?.starts.next_at;
                    Ok(Step::Swap { event: Box::new(event), due: vec![due] })
                },
            )
            .await?;
        let (record, _) = retried;
        tracing::info!(task.id = %id, attempt = %record.attempt, "task is retried");
        for at in moot {
            self.remove_moot(id, attempt, Some(at));
        }
        // What stood before the swap may have been taken for a stray one's and removed.
        match self.put_active(&record).await {
            Ok(()) => self.start_retried(&record, at_once).await,
            Err(error) => tracing::warn!(task.id = %id, error = %error, "the retried task is started later"),
        }
        Ok(self.accepted(&record, false))
    }

    /// A start that fails is made again when its entry is due.
    async fn start_retried(&self, record: &Record, at_once: bool) {
        if !at_once {
            return;
        }
        let id = &record.task_id;
        let job = Job {
            task_id: id.clone(),
            attempt: record.attempt,
            payload_key: layout::payload(id),
            slot: None,
        };
        if let Err(error) = self.ports().jobs.start(job).await {
            tracing::warn!(task.id = %id, error = %error, "the retried task is started later");
        }
    }

    async fn highest_chunk(&self, id: &TaskId) -> Result<u32, StorageError> {
        let prefix = layout::session(id);
        let mut after: Option<String> = None;
        let mut highest = 0;
        loop {
            let entries = self.ports().storage.list(&prefix, after.as_deref(), PAGE).await?;
            let numbers = entries.iter().filter_map(|entry| layout::parse_chunk(id, &entry.key));
            highest = numbers.fold(highest, u32::max);
            if entries.len() < PAGE {
                return Ok(highest);
            }
            after = entries.last().map(|entry| entry.key.clone());
        }
    }
}
