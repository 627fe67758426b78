//! Reading a task's log in order: chunk n + 1 only after chunk n.
//!
//! Several chunks may be written at once, so a listing can show a later one before an earlier one. A
//! missing number is passed over only where it belongs to an earlier attempt, or where the record is
//! terminal and a listing begun after that was read lacks it.

use std::collections::BTreeMap;

use bytes::Bytes;
use legwork_core::{id::TaskId, layout, record::Record};
use legwork_ports::storage::StorageError;

use crate::Ports;

/// Entries of one page of a listing.
const PAGE: usize = 1000;

/// One chunk of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogChunk {
    pub(crate) number: u32,
    pub(crate) lines: Bytes,
}

/// Where a reader of a log stands.
#[derive(Debug, Clone)]
pub(crate) struct ChunkReader {
    id: TaskId,
    next: u32,
}

impl ChunkReader {
    pub(crate) fn new(id: TaskId, next: u32) -> Self {
        Self { id, next: next.max(1) }
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Passes over chunks that somebody else has delivered.
    pub(crate) fn skip_past(&mut self, number: u32) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Returns the names of what may be read now, in order: one page of a listing that began after
    /// `record` was read, up to the first gap that has to be waited for. Empty: nothing new.
    pub(crate) async fn list(
        &self,
        ports: &Ports,
        record: &Record,
    ) -> Result<Vec<(u32, String)>, StorageError> {
        let after = layout::chunks_from(&self.id, self.next);
        let entries = ports.storage.list(&layout::session(&self.id), Some(&after), PAGE).await?;
        let listed: BTreeMap<u32, String> = entries
            .into_iter()
            .filter_map(|entry| layout::parse_chunk(&self.id, &entry.key).map(|number| (number, entry.key)))
            .collect();
        let mut expected = self.next;
        let mut readable = Vec::new();
        for (number, key) in listed {
            // What is missing of an earlier attempt is missing for good; of this one it may still come.
            let wanted = expected.max(record.first_chunk.min(number));
            if number != wanted && !record.is_terminal() {
                break;
            }
            expected = number.saturating_add(1);
            readable.push((number, key));
        }
        Ok(readable)
    }

    /// Reads one chunk that was listed and moves past it. One that is gone since is passed over.
    pub(crate) async fn read(
        &mut self,
        ports: &Ports,
        number: u32,
        key: &str,
    ) -> Result<Option<LogChunk>, StorageError> {
        let read = match ports.storage.get(key).await {
            Ok(object) => Some(LogChunk { number, lines: object.bytes }),
            Err(StorageError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        self.next = number.saturating_add(1);
        Ok(read)
    }
}
