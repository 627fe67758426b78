//! Removing tasks that are long over, where the store does not do that itself.

use legwork_core::{
    id::TaskId,
    layout,
    record::{CallbackState, Payload},
    time::Timestamp,
};
use legwork_ports::storage::StorageError;

use super::PassReport;
use crate::{
    Engine,
    records::{Patience, UpdateError},
};

/// How many objects one listing returns.
const PAGE: usize = 1000;

impl Engine {
    /// Removes tasks that ended longer ago than they are kept. What fails is left for next time.
    pub(super) async fn remove_old_tasks(&self) -> PassReport {
        let mut report = PassReport::default();
        let Some(retention) = self.settings().retention else { return report };
        let now = self.ports().clock.now();
        let Some(cutoff) =
            now.unix_ms().checked_sub(u64::try_from(retention.as_millis()).unwrap_or(u64::MAX))
        else {
            return report;
        };
        match self.remove_tasks_before(Timestamp::from_unix_ms(cutoff)).await {
            Ok(removed) => report.tasks_removed = removed,
            Err(error) => {
                tracing::warn!(error = %error, "old tasks are left for later");
                report.errors = 1;
            }
        }
        report
    }

    /// Removes all tasks that were over by `cutoff`, and returns how many.
    async fn remove_tasks_before(&self, cutoff: Timestamp) -> Result<u64, UpdateError> {
        // The list is newest first: what was made before is behind this name.
        let beyond = layout::index_before(cutoff);
        let mut after = beyond;
        let mut removed = 0_u64;
        loop {
            let entries = self.ports().storage.list(layout::INDEX, Some(&after), PAGE).await?;
            for entry in &entries {
                let Some(id) = layout::parse_index(&entry.key) else { continue };
                if self.remove_task_before(&id, &entry.key, cutoff).await? {
                    removed = removed.saturating_add(1);
                }
            }
            match entries.last() {
                Some(last) if entries.len() == PAGE => after.clone_from(&last.key),
                Some(_) | None => return Ok(removed),
            }
        }
    }

    async fn remove_task_before(
        &self,
        id: &TaskId,
        index_key: &str,
        cutoff: Timestamp,
    ) -> Result<bool, UpdateError> {
        let read = match self.ports().read_record(id).await {
            Err(UpdateError::Unreadable(error)) => {
                tracing::warn!(task.id = %id, error = %error, "a stored record cannot be read, and is kept");
                return Ok(false);
            }
            read => read?,
        };
        if let Some((record, _)) = read {
            let ended = record.completed_at.or(record.cancelled_at).filter(|_| record.is_terminal());
            let is_told = record.callback.state != CallbackState::Pending;
            if !is_told || ended.is_none_or(|ended| ended > cutoff) {
                return Ok(false);
            }
            if record.payload == Payload::Stored {
                // By a swap, after which nobody can begin another attempt.
                self.delete_payload(&record, Patience::Short).await?;
                let again = self.ports().read_record(id).await?;
                if again.is_some_and(|(again, _)| again.attempt != record.attempt) {
                    return Ok(false);
                }
            }
            self.remove_session(id).await?;
        }
        // Last: as long as it stands, what is left of the task is found.
        self.ports().delete_patiently(index_key, Patience::Short).await?;
        Ok(true)
    }

    /// Removes everything of a task, its record last.
    async fn remove_session(&self, id: &TaskId) -> Result<(), StorageError> {
        let (prefix, record) = (layout::session(id), layout::record(id));
        loop {
            let entries = self.ports().storage.list(&prefix, None, PAGE).await?;
            let keys = entries.into_iter().map(|entry| entry.key);
            let others: Vec<String> = keys.filter(|key| *key != record).collect();
            if others.is_empty() {
                return self.ports().delete_patiently(&record, Patience::Short).await;
            }
            for key in others {
                self.ports().delete_patiently(&key, Patience::Short).await?;
            }
        }
    }
}
