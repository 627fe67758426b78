//! The store as one process sees it: over a gate, with faults and outages, and what is planted.

use std::{fs::File, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_adapters_local::memory::MemoryStorage;
use legwork_core::{layout, record::Record};
use legwork_ports::{
    clock::Clock,
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};
use tokio::time::sleep;

use super::{gate::Gate, plan::Plant, world::World};
use crate::fault::unanswered;

/// The store that everybody shares, watched.
#[derive(Debug)]
pub(super) struct WatchedStore {
    pub(super) inner: MemoryStorage,
    pub(super) world: Arc<World>,
}

/// One process's way to the store.
#[derive(Debug)]
pub(super) struct GatedStore {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) world: Arc<World>,
}

impl WatchedStore {
    fn is_record(key: &str) -> bool {
        key.ends_with("/metadata.json")
    }

    /// Plants the mistake that this life is to find.
    fn planted(&self, key: &str, precondition: Precondition) -> (String, Precondition) {
        let precondition = match (self.world.plant, precondition) {
            (Plant::SwapWithoutRereading, Precondition::Unchanged(_)) => Precondition::Always,
            (_, precondition) => precondition,
        };
        (self.planted_key(key), precondition)
    }

    fn planted_key(&self, key: &str) -> String {
        match layout::parse_active(key) {
            Some(marker) if self.world.plant == Plant::MarkerWithoutAttempt => {
                layout::active(&marker.id, legwork_core::id::Attempt::FIRST)
            }
            _ => key.to_owned(),
        }
    }
}

/// What a write begins with, of which a record's shows where it stands.
fn beginning(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).chars().take(70).collect()
}

#[async_trait]
impl Storage for WatchedStore {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.inner.get(&self.planted_key(key)).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.inner.get_range(key, offset, length).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        let (key, precondition) = self.planted(key, precondition);
        self.world.note_write(|| format!("put {key} {precondition:?} {}", beginning(&bytes)));
        if self.world.plant == Plant::SwapWithoutEntry && key.starts_with(layout::DUE) {
            return Ok(Version::new("never put"));
        }
        if !Self::is_record(&key) {
            return self.inner.put(&key, bytes, precondition).await;
        }
        let next = Record::from_json(&bytes).ok();
        if let (Plant::DeliverBeforeSwap, Some(next)) = (self.world.plant, &next)
            && next.is_terminal()
            && next.callback.open_attempt().is_some_and(|attempt| attempt.n == 1)
        {
            self.world.told_early(next).await;
        }
        let before = self.inner.get(&key).await.ok().and_then(|object| Record::from_json(&object.bytes).ok());
        let put = self.inner.put(&key, bytes, precondition).await;
        if let (Ok(_), Some(next)) = (&put, &next) {
            self.world.note_swap(before.as_ref(), next);
        }
        put
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        self.inner.put_file(key, file, content_type).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.world.note_write(|| format!("delete {key}"));
        self.inner.delete(&self.planted_key(key)).await
    }

    async fn signed_url(&self, _: &Key, _: Duration, _: &str) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn url(&self, key: &Key) -> String {
        self.inner.url(key)
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.inner.changed(prefix, at_most).await;
    }
}

impl GatedStore {
    /// Passes the gate and takes the time that a call takes. In an outage nobody answers.
    async fn begin(&self, key: &str) -> Result<(), StorageError> {
        self.gate.before().await;
        sleep(self.world.latency()).await;
        if self.world.is_out() {
            sleep(Duration::from_secs(2)).await;
            self.gate.open().await;
            return Err(StorageError::Unavailable { key: key.to_owned(), source: unanswered() });
        }
        Ok(())
    }
}

#[async_trait]
impl Storage for GatedStore {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.begin(key).await?;
        let got = self.inner.get(key).await;
        self.gate.after().await;
        got
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.begin(key).await?;
        let got = self.inner.get_range(key, offset, length).await;
        self.gate.after().await;
        got
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        self.begin(key).await?;
        let put = self.inner.put(key, bytes, precondition).await;
        self.gate.after().await;
        put
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        self.begin(key).await?;
        let put = self.inner.put_file(key, file, content_type).await;
        self.gate.after().await;
        put
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.begin(prefix).await?;
        let listed = self.inner.list(prefix, after, limit).await;
        self.gate.after().await;
        listed
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.begin(key).await?;
        let deleted = self.inner.delete(key).await;
        self.gate.after().await;
        deleted
    }

    async fn signed_url(&self, _: &Key, _: Duration, _: &str) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn url(&self, key: &Key) -> String {
        self.inner.url(key)
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        if self.world.tells_of_changes() {
            self.inner.changed(prefix, at_most).await;
        } else {
            self.clock.sleep(at_most).await;
        }
        self.gate.open().await;
    }
}
