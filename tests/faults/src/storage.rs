//! A store that fails on purpose.

use std::{fs::File, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_ports::storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version};
use tokio::time::sleep;

use crate::fault::{Call, Fault, Faults, unanswered};

/// A store, and what goes wrong with it.
#[derive(Debug, Clone)]
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    faults: Arc<dyn Faults>,
}

impl FaultyStorage {
    /// Lets a store go wrong.
    pub fn new(inner: Arc<dyn Storage>, faults: Arc<dyn Faults>) -> Self {
        Self { inner, faults }
    }

    /// Begins a call. Where it is to fail without being done, that is the error.
    async fn begin(&self, name: &'static str, key: &str) -> Result<Course, StorageError> {
        match self.faults.decide(&Call { name, on: key }) {
            Fault::None => Ok(Course::Answered),
            Fault::Delay(pause) => {
                sleep(pause).await;
                Ok(Course::Answered)
            }
            Fault::ApplyThenFail => Ok(Course::Unanswered),
            Fault::FailThenApply(pause) => Ok(Course::Late(pause)),
            Fault::Fail => Err(unavailable(key)),
            Fault::Full => Err(full(key)),
            Fault::Hang => std::future::pending().await,
        }
    }

    /// A call that changes nothing: failing before and after are the same.
    async fn read(&self, name: &'static str, key: &str) -> Result<(), StorageError> {
        match self.begin(name, key).await? {
            Course::Answered => Ok(()),
            Course::Unanswered | Course::Late(_) => Err(unavailable(key)),
        }
    }
}

/// How a call that is done goes on.
enum Course {
    Answered,
    /// Nobody hears of it.
    Unanswered,
    /// The same, and it is done later.
    Late(Duration),
}

fn unavailable(key: &str) -> StorageError {
    StorageError::Unavailable { key: key.to_owned(), source: unanswered() }
}

fn full(key: &str) -> StorageError {
    let source: Box<dyn std::error::Error + Send + Sync> =
        Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
    StorageError::Unavailable { key: key.to_owned(), source }
}

/// Does something later, whoever waits for it or not.
#[expect(clippy::disallowed_methods, reason = "what lands late outlives the call that was given up")]
fn later(pause: Duration, act: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(async move {
        sleep(pause).await;
        act.await;
    }));
}

#[async_trait]
impl Storage for FaultyStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.read("storage.get", key).await?;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.read("storage.get", key).await?;
        self.inner.get_range(key, offset, length).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        match self.begin("storage.put", key).await? {
            Course::Unanswered => {
                // Even a conflict is not told.
                let _untold = self.inner.put(key, bytes, precondition).await;
                Err(unavailable(key))
            }
            Course::Late(pause) => {
                let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
                later(pause, async move {
                    let _untold = inner.put(&name, bytes, precondition).await;
                });
                Err(unavailable(key))
            }
            Course::Answered => self.inner.put(key, bytes, precondition).await,
        }
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        match self.begin("storage.put_file", key).await? {
            Course::Unanswered | Course::Late(_) => {
                let _untold = self.inner.put_file(key, file, content_type).await;
                Err(unavailable(key))
            }
            Course::Answered => self.inner.put_file(key, file, content_type).await,
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read("storage.list", prefix).await?;
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        match self.begin("storage.delete", key).await? {
            Course::Unanswered => {
                let _untold = self.inner.delete(key).await;
                Err(unavailable(key))
            }
            Course::Late(pause) => {
                let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
                later(pause, async move {
                    let _untold = inner.delete(&name).await;
                });
                Err(unavailable(key))
            }
            Course::Answered => self.inner.delete(key).await,
        }
    }

    async fn signed_url(
        &self,
        key: &Key,
        valid_for: Duration,
        content_disposition: &str,
    ) -> Result<Option<String>, StorageError> {
        self.read("storage.signed_url", key).await?;
        self.inner.signed_url(key, valid_for, content_disposition).await
    }

    fn url(&self, key: &Key) -> String {
        self.inner.url(key)
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.inner.changed(prefix, at_most).await;
    }
}
