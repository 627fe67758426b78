//! A store where no bucket is named: it refuses everything and says why.

use std::{fs::File, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_ports::storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version};

/// Refuses every call.
#[derive(Debug)]
pub(super) struct NoBucket;

/// No bucket is named.
#[derive(Debug, thiserror::Error)]
#[error("no bucket is named")]
struct NotNamed;

fn refused<T>(key: &str) -> Result<T, StorageError> {
    Err(StorageError::Refused {
        key: key.to_owned(),
        advice: "set GCS_LOGS_BUCKET to the bucket that ./scripts/setup-project.sh makes".to_owned(),
        source: Box::new(NotNamed),
    })
}

#[async_trait]
impl Storage for NoBucket {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        refused(key)
    }

    async fn get_range(&self, key: &Key, _offset: u64, _length: u64) -> Result<Object, StorageError> {
        refused(key)
    }

    async fn put(
        &self,
        key: &Key,
        _bytes: Bytes,
        _precondition: Precondition,
    ) -> Result<Version, StorageError> {
        refused(key)
    }

    async fn put_file(&self, key: &Key, _file: File, _content_type: &str) -> Result<u64, StorageError> {
        refused(key)
    }

    async fn list(
        &self,
        prefix: &str,
        _after: Option<&Key>,
        _limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        refused(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        refused(key)
    }

    async fn signed_url(
        &self,
        key: &Key,
        _valid_for: Duration,
        _content_disposition: &str,
    ) -> Result<Option<String>, StorageError> {
        refused(key)
    }

    fn url(&self, key: &Key) -> String {
        format!("gs://-/{key}")
    }

    async fn changed(&self, _prefix: &str, at_most: Duration) {
        tokio::time::sleep(at_most).await;
    }
}
