//! Questions about tasks, answered from the store, so that every instance answers alike.

use futures_util::future::join_all;
use legwork_core::{
    id::TaskId,
    layout,
    record::{Record, Status, TaskListing},
};
use legwork_ports::{keys::KeysError, storage::StorageError};

use crate::{Engine, records::UpdateError};

/// How many tasks one call examines at most.
const EXAMINED: usize = 500;
/// How many records are read at once.
const AT_ONCE: usize = 50;

/// A page of tasks, newest first.
#[derive(Debug)]
pub struct TaskPage {
    /// Their records.
    pub tasks: Vec<Record>,
    /// Where the next page begins; nothing at the end.
    pub next_cursor: Option<String>,
}

/// The tasks that are pending or running.
#[derive(Debug)]
pub struct OpenTasks {
    /// How many of them run.
    pub active: usize,
    /// How many may run at once.
    pub max: usize,
    /// The running ones.
    pub tasks: Vec<TaskListing>,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no such task.
    #[error("there is no such task")]
    NotFound,
    /// The cursor is not one that this service gave out.
    #[error("cursor is not one that this service gave out")]
    BadCursor,
    /// The store does not answer.
    #[error("the store does not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses, or holds what cannot be read.
    #[error("{advice}")]
    Refused {
        /// What to do.
        advice: String,
    },
}

impl From<StorageError> for QueryError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound { .. } => Self::NotFound,
            StorageError::Refused { advice, .. } => {
                Self::Refused { advice: format!("The store refuses: {advice}") }
            }
            other @ (StorageError::Conflict { .. } | StorageError::Unavailable { .. } | _) => {
                Self::Unavailable { source: Box::new(other) }
            }
        }
    }
}

impl From<UpdateError> for QueryError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Store(error) => error.into(),
            UpdateError::Missing => Self::NotFound,
            other @ (UpdateError::NotAllowed(_) | UpdateError::Unreadable(_)) => {
                Self::Unavailable { source: Box::new(other) }
            }
        }
    }
}

impl Engine {
    /// Returns a task's record.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn record(&self, id: &TaskId) -> Result<Record, QueryError> {
        self.ports().read_record(id).await?.map(|(record, _)| record).ok_or(QueryError::NotFound)
    }

    /// Returns up to `limit` tasks, newest first, of one status or all. One call examines at most
    /// 500 tasks: it may return fewer than `limit`, or none, with a cursor to go on from.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn list(
        &self,
        status: Option<Status>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<TaskPage, QueryError> {
        let after = cursor.map(|name| format!("{}{name}", layout::INDEX));
        if after.as_deref().is_some_and(|key| layout::parse_index(key).is_none()) {
            return Err(QueryError::BadCursor);
        }
        // Without a filter every entry counts: nothing past the limit need be read.
        let wanted = if status.is_some() { EXAMINED } else { limit.min(EXAMINED) };
        let entries = self.ports().storage.list(layout::INDEX, after.as_deref(), wanted).await?;
        let more = entries.len() == wanted;
        let listed: Vec<(String, TaskId)> = entries
            .into_iter()
            .filter_map(|entry| layout::parse_index(&entry.key).map(|id| (entry.key, id)))
            .collect();
        let mut tasks = Vec::new();
        let mut last = 0_usize;
        for group in listed.chunks(AT_ONCE) {
            let reads = join_all(group.iter().map(|(_, id)| self.record(id))).await;
            for read in reads {
                if tasks.len() == limit {
                    break;
                }
                last = last.saturating_add(1);
                match read {
                    Ok(record) if status.is_none_or(|wanted| wanted == record.status) => tasks.push(record),
                    // An index entry may outlive its record.
                    Ok(_) | Err(QueryError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let next_cursor = last
            .checked_sub(1)
            .filter(|_| more || last < listed.len())
            .and_then(|index| listed.get(index))
            .and_then(|(key, _)| key.strip_prefix(layout::INDEX))
            .map(str::to_owned);
        Ok(TaskPage { tasks, next_cursor })
    }

    /// Returns the tasks that are running.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn open_tasks(&self) -> Result<OpenTasks, QueryError> {
        let entries = self.ports().storage.list(layout::ACTIVE, None, self.settings().max_open_tasks).await?;
        let mut tasks = Vec::new();
        for group in entries.chunks(AT_ONCE) {
            let markers = group.iter().filter_map(|entry| layout::parse_active(&entry.key));
            let reads = join_all(
                markers.map(|marker| async move { (marker.attempt, self.record(&marker.id).await) }),
            );
            for (attempt, read) in reads.await {
                match read {
                    Ok(record) if record.status == Status::Running && record.attempt == attempt => {
                        tasks.push(record.listing());
                    }
                    Ok(_) | Err(QueryError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let max = self.ports().jobs.capacity().await.unwrap_or(self.settings().max_open_tasks);
        Ok(OpenTasks { active: tasks.len(), max, tasks })
    }

    /// Tells whether the store and the key service answer.
    ///
    /// # Errors
    /// A sentence that names the one that does not.
    pub async fn ready(&self) -> Result<(), String> {
        let ports = self.ports();
        ports.storage.list(layout::ACTIVE, None, 1).await.map_err(|error| error.to_string())?;
        let key = legwork_core::secret::Secret::new([0; 32]);
        let wrapped = ports.keys.wrap(&key, b"ready").await;
        wrapped.map(drop).map_err(|error: KeysError| error.to_string())
    }
}
