//! Opening the sealed request and claiming its attempt: one worker wins.

use std::time::Duration;

use legwork_core::{
    envelope::{self, Envelope, EnvelopeError},
    id::{TaskId, Token},
    layout,
    record::{Claimed, DEADLINE_ALLOWANCE, Event, NotAllowed, Record, Status},
    request::TaskRequest,
};
use legwork_ports::{clock::IdSourceExt as _, keys::KeysError, storage::StorageError};

use crate::{
    Engine, WorkerJob,
    records::{Patience, Pauses, Retries, Step, UpdateError},
};

/// Time limit of an attempt whose request cannot be opened.
const UNREADABLE_TIMEOUT: Duration = Duration::from_mins(1);

/// An attempt that is this worker's to run.
#[derive(Debug)]
pub(crate) struct ClaimedAttempt {
    pub(crate) record: Record,
    pub(crate) token: Token,
    /// The request, or why it cannot be opened.
    pub(crate) request: Result<TaskRequest, OpenError>,
    /// When it was claimed, by this process's own clock.
    pub(crate) claimed_at: Duration,
    /// From then on, how long it may take in all.
    pub(crate) deadline: Duration,
}

/// Why a sealed request cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the sealed request cannot be opened")]
    Envelope(#[from] EnvelopeError),
    #[error("the sealed request cannot be opened")]
    Keys(#[from] KeysError),
    #[error("the sealed request cannot be read")]
    Request(#[from] legwork_core::request::StoredRequestError),
}

impl Engine {
    /// Claims the task's pending attempt, or returns nothing where another worker has it, it has
    /// ended, or there is nothing to run yet.
    pub(crate) async fn claim(&self, job: &WorkerJob) -> Result<Option<ClaimedAttempt>, UpdateError> {
        let ports = self.ports();
        let id = &job.task_id;
        let Some(record) = self.read_patiently(id).await? else { return Ok(None) };
        if record.status != Status::Pending {
            return Ok(None);
        }
        let Some(sealed) = self.read_payload(id).await? else { return Ok(None) };
        let request = self.open(id, &sealed).await;
        let timeout = request.as_ref().map_or(UNREADABLE_TIMEOUT, |request| {
            Duration::from_secs(u64::from(request.timeout_minutes) * 60)
        });

        let token = ports.ids.token();
        let claimed = ports
            .update(
                id,
                Patience::Long,
                |record| record.is_claimed_by(&token),
                |_| {
                    let now = ports.clock.now();
                    let event = Event::Claimed(Claimed {
                        token: token.clone(),
                        now,
                        execution_name: job.execution_name.clone(),
                        worker_logs_url: job.worker_logs_url.clone(),
                        timeout,
                    });
                    Ok(Step::swap_after(now.plus(timeout).plus(DEADLINE_ALLOWANCE), event))
                },
            )
            .await;
        match claimed {
            Ok((record, _)) => {
                let deadline = timeout.saturating_add(DEADLINE_ALLOWANCE);
                let claimed_at = ports.clock.monotonic();
                Ok(Some(ClaimedAttempt { record, token, request, claimed_at, deadline }))
            }
            Err(UpdateError::NotAllowed(NotAllowed::State { .. }) | UpdateError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_patiently(&self, id: &TaskId) -> Result<Option<Record>, UpdateError> {
        let mut retries = Retries::new(self.ports(), Patience::Long);
        loop {
            match self.ports().read_record(id).await {
                Ok(read) => return Ok(read.map(|(record, _)| record)),
                Err(UpdateError::Store(error)) => retries.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn read_payload(&self, id: &TaskId) -> Result<Option<bytes::Bytes>, StorageError> {
        let mut retries = Retries::new(self.ports(), Patience::Long);
        loop {
            match self.ports().storage.get(&layout::payload(id)).await {
                Ok(object) => return Ok(Some(object.bytes)),
                Err(StorageError::NotFound { .. }) => return Ok(None),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    async fn open(&self, id: &TaskId, sealed: &[u8]) -> Result<TaskRequest, OpenError> {
        let envelope = Envelope::parse(sealed)?;
        let wrapped = envelope.wrapped_key()?;
        let mut pauses = Pauses::new(self.ports(), Patience::Long);
        let key = loop {
            match self.ports().keys.unwrap(&wrapped, envelope::bound_data(id)).await {
                Ok(key) => break key,
                Err(error) if error.is_transient() && pauses.pause().await => {}
                Err(error) => return Err(error.into()),
            }
        };
        let plain = envelope.open(&key, id)?;
        Ok(TaskRequest::from_json(&plain)?)
    }
}
