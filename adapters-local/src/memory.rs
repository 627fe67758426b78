//! Objects in this process's memory: for tests, and for programs that want no disk.

use std::{
    collections::BTreeMap,
    fs::File,
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::time::Timestamp;
use legwork_ports::{
    clock::Clock,
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};
use tokio::{io::AsyncReadExt as _, sync::watch};

use crate::clock::SystemClock;

/// A store in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryStorage {
    objects: Arc<Mutex<BTreeMap<String, Stored>>>,
    writes: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    generation: u64,
    modified: Timestamp,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::new()))
    }
}

impl MemoryStorage {
    /// Returns an empty store whose times are this clock's.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { objects: Arc::default(), writes: watch::Sender::new(0), clock }
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Stored>) -> T) -> T {
        act(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, key: &str, bytes: Bytes, precondition: &Precondition) -> Result<Version, StorageError> {
        let modified = self.clock.now();
        let written = self.with(|objects| {
            let stands = objects.get(key);
            let fits = match precondition {
                Precondition::Always => true,
                Precondition::Absent => stands.is_none(),
                Precondition::Unchanged(version) => {
                    stands.is_some_and(|object| version_of(object) == *version)
                }
            };
            if !fits {
                return Err(StorageError::Conflict { key: key.to_owned() });
            }
            let mut generation = 0;
            self.writes.send_modify(|writes| {
                *writes = writes.saturating_add(1);
                generation = *writes;
            });
            let stored = Stored { bytes, generation, modified };
            let version = version_of(&stored);
            objects.insert(key.to_owned(), stored);
            Ok(version)
        })?;
        Ok(written)
    }
}

fn version_of(object: &Stored) -> Version {
    Version::new(object.generation.to_string())
}

fn not_found(key: &str) -> StorageError {
    StorageError::NotFound { key: key.to_owned() }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        let found = self.with(|objects| objects.get(key).cloned()).ok_or_else(|| not_found(key))?;
        Ok(Object { version: version_of(&found), bytes: found.bytes, modified: found.modified })
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        let mut object = self.get(key).await?;
        let size = object.bytes.len();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(size);
        object.bytes = object.bytes.slice(start..end);
        Ok(object)
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        self.write(key, bytes, &precondition)
    }

    async fn put_file(&self, key: &Key, file: File, _content_type: &str) -> Result<u64, StorageError> {
        let mut bytes = Vec::new();
        tokio::fs::File::from_std(file)
            .read_to_end(&mut bytes)
            .await
            .map_err(|source| StorageError::Unavailable { key: key.to_owned(), source: Box::new(source) })?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.write(key, Bytes::from(bytes), &Precondition::Always)?;
        Ok(size)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.with(|objects| {
            let first = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                Some(_) | None => Bound::Included(prefix),
            };
            objects
                .range::<str, _>((first, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .map(|(key, object)| Entry {
                    key: key.clone(),
                    size_bytes: u64::try_from(object.bytes.len()).unwrap_or(u64::MAX),
                    modified: object.modified,
                    change_mark: object.generation.to_string(),
                })
                .collect()
        }))
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.with(|objects| objects.remove(key));
        self.writes.send_modify(|writes| *writes = writes.saturating_add(1));
        Ok(())
    }

    async fn signed_url(&self, _: &Key, _: Duration, _: &str) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn url(&self, key: &Key) -> String {
        // A file's path has all its odd characters written as an address has them.
        let path = Path::new("/").join(key);
        let url = url::Url::from_file_path(&path).map_or_else(|()| key.to_owned(), String::from);
        url.replacen("file:", "memory:", 1)
    }

    async fn changed(&self, _prefix: &str, at_most: Duration) {
        let mut writes = self.writes.subscribe();
        tokio::select! {
            // Dropping either wait loses nothing: the caller looks again.
            _ = writes.changed() => {}
            () = self.clock.sleep(at_most) => {}
        }
    }
}
