//! The port: what blocks is done by threads that may block.

use std::{fs::File, io, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_ports::storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version};

use super::{
    error::Failure,
    listing,
    news::News,
    objects::{self, Versions},
    place::Places,
};

/// Temporary files older than this were left by a process that died.
const LEFTOVER_AGE: Duration = Duration::from_hours(24);

/// A store in files. Clones share what they watch.
#[derive(Debug, Clone)]
pub struct FileStorage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Places>,
    news: News,
    versions: Versions,
}

impl FileStorage {
    /// Opens the store below a data folder, making what is missing.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let places = Arc::new(Places::make(&std::path::absolute(data_dir)?)?);
        places.remove_leftovers(LEFTOVER_AGE);
        let news = News::new(Arc::clone(&places));
        Ok(Self(Arc::new(Inner { places, news, versions: Versions::default() })))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        act: impl FnOnce(&Inner, &str) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let inner = Arc::clone(&self.0);
        let name = key.to_owned();
        let done = tokio::task::spawn_blocking(move || act(&inner, &name)).await;
        let result = done.unwrap_or_else(|error| Err(Failure::Io(io::Error::other(error))));
        result.map_err(|failure| failure.into_error(key, &self.0.places.data))
    }
}

#[async_trait]
impl Storage for FileStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.blocking(key, |inner, key| objects::get(&inner.places, key)).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.blocking(key, move |inner, key| {
            objects::get_range(&inner.places, &inner.versions, key, offset, length)
        })
        .await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        self.blocking(key, move |inner, key| {
            let put = objects::put(&inner.places, key, &bytes, &precondition);
            inner.news.tell(key);
            put
        })
        .await
    }

    async fn put_file(&self, key: &Key, file: File, _content_type: &str) -> Result<u64, StorageError> {
        self.blocking(key, move |inner, key| {
            let put = objects::put_file(&inner.places, key, file);
            inner.news.tell(key);
            put
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let after = after.map(str::to_owned);
        self.blocking(prefix, move |inner, prefix| {
            listing::list(&inner.places, prefix, after.as_deref(), limit)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.blocking(key, |inner, key| {
            let deleted = objects::delete(&inner.places, key);
            inner.news.tell(key);
            deleted
        })
        .await
    }

    async fn signed_url(&self, _: &Key, _: Duration, _: &str) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn url(&self, key: &Key) -> String {
        let path = self.0.places.objects.join(key);
        // The path is absolute, so there always is an address.
        let url = url::Url::from_file_path(&path).map_or_else(|()| path.display().to_string(), String::from);
        let folder = if key.ends_with('/') { "/" } else { "" };
        format!("{}{folder}", url.trim_end_matches('/'))
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.0.news.wait(prefix, at_most).await;
    }
}
