//! The port, over the client library.

use std::{borrow::Cow, fmt, fs::File, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use google_cloud_auth::signer::Signer;
use legwork_ports::{
    clock::{Clock, IdSource, IdSourceExt as _},
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, GetRange, GetResult, ObjectMeta,
    ObjectStore as _, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
    gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder},
    list::{PaginatedListOptions, PaginatedListStore as _},
    path::Path,
};
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use super::{
    object::{entry, object, path, version},
    sign::{self, Wanted},
    upload::{self, UploadError},
    wire::{Connector, StoredSum},
};
use crate::{
    auth::GoogleAuth,
    error::{Answer, Asked, ConnectError, Judgement, find, judge_store, store_failure, told},
    patience::{ATTEMPT, ATTEMPTS, CALL, RETRYING},
};

const GOOGLES: &str = "https://storage.googleapis.com";
/// One request of any kind: a part of 8 MiB takes that long at 1.1 Mbit/s.
const REQUEST: Duration = Duration::from_mins(1);
/// 5 TiB; see <https://cloud.google.com/storage/quotas#objects>.
const LARGEST_OBJECT_BYTES: u64 = 5 << 40;
/// Google gives no more at once.
const PAGE: usize = 1000;
/// Between two tries of a swap.
const SWAP_PAUSE: Duration = Duration::from_millis(250);
/// Names the mark of a writer in an object's metadata.
const MARK: Attribute = Attribute::Metadata(Cow::Borrowed("legwork-write"));

/// Which bucket, and how it is reached.
#[derive(Debug, Clone)]
pub struct GcsConfig {
    /// The bucket's name.
    pub bucket: String,
    /// Scheme and host of another endpoint than Google's.
    pub endpoint: Option<String>,
    /// The longest that [`Storage::changed`] waits: the store does not tell of changes, so that who waits
    /// has to look again. [`GcsStorage::LOOK_AGAIN`] where nothing asks for less.
    pub look_again: Duration,
}

/// A store in a bucket. Clones share connections.
#[derive(Clone)]
pub struct GcsStorage {
    store: GoogleCloudStorage,
    bucket: String,
    base: String,
    signer: Option<Signer>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    look_again: Duration,
}

impl fmt::Debug for GcsStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsStorage")
            .field("base", &self.base)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// What was read is not what is stored.
#[derive(Debug, thiserror::Error)]
#[error("the object was damaged on its way")]
struct Damaged;

impl GcsStorage {
    /// How long a wait for changes may be in use.
    pub const LOOK_AGAIN: Duration = Duration::from_secs(2);

    /// Makes the client; nothing is asked of Google yet.
    ///
    /// # Errors
    /// `Client` where the client library refuses the configuration.
    pub fn new(
        auth: &GoogleAuth,
        config: GcsConfig,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, ConnectError> {
        let base = config.endpoint.as_deref().unwrap_or(GOOGLES).trim_end_matches('/').to_owned();
        let options = ClientOptions::new()
            .with_allow_http(base.starts_with("http://"))
            .with_connect_timeout(ATTEMPT)
            .with_timeout(REQUEST)
            .with_content_type_for_suffix("json", "application/json")
            .with_content_type_for_suffix("jsonl", "application/x-ndjson");
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(3),
            base: 2.0,
        };
        let max_retries = usize::try_from(ATTEMPTS).unwrap_or_default();
        let store = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&config.bucket)
            .with_base_url(&base)
            .with_credentials(auth.for_storage())
            .with_client_options(options)
            .with_retry(RetryConfig { backoff, max_retries, retry_timeout: RETRYING })
            .with_http_connector(Connector { ids: Arc::clone(&ids) })
            .build()
            .map_err(|source| ConnectError::Client { service: "Cloud Storage", source: Box::new(source) })?;
        let GcsConfig { bucket, look_again, .. } = config;
        Ok(Self { store, bucket, base, signer: auth.signer(), clock, ids, look_again })
    }

    /// Makes one call in its span, within its time.
    async fn call<T: Send>(
        &self,
        name: &'static str,
        key: &str,
        asked: Asked,
        work: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<T, StorageError> {
        let span = tracing::debug_span!("storage", call = name, key = key);
        match timeout(CALL, work).instrument(span).await {
            Ok(done) => done.map_err(|error| told(&self.bucket, key, asked, error)),
            Err(late) => Err(StorageError::Unavailable { key: key.to_owned(), source: Box::new(late) }),
        }
    }

    async fn read(&self, path: &Path, range: Option<GetRange>) -> object_store::Result<Object> {
        let options = GetOptions { range, ..GetOptions::default() };
        let got = self.store.get_opts(path, options).await?;
        let sum = got.extensions.get::<StoredSum>().copied();
        let meta = got.meta.clone();
        let bytes = got.bytes().await?;
        if sum.is_some_and(|StoredSum(sum)| sum != crc32c::crc32c(&bytes)) {
            return Err(store_failure(Damaged));
        }
        object(&meta, bytes)
    }

    async fn head(&self, path: &Path) -> object_store::Result<GetResult> {
        self.store.get_opts(path, GetOptions { head: true, ..GetOptions::default() }).await
    }

    async fn read_nothing(&self, path: &Path) -> object_store::Result<Object> {
        object(&self.head(path).await?.meta, Bytes::new())
    }

    async fn read_range(&self, path: &Path, offset: u64, length: u64) -> object_store::Result<Object> {
        let end = offset.saturating_add(length).min(LARGEST_OBJECT_BYTES);
        if offset >= end {
            return self.read_nothing(path).await;
        }
        let error = match self.read(path, Some(GetRange::Bounded(offset..end))).await {
            Ok(object) => return Ok(object),
            Err(error) => error,
        };
        // Past the end the store answers 416, or gives an object without bytes whole.
        let may_be_past = find::<Answer>(&error).is_none_or(|answer| answer.status == 416);
        if may_be_past
            && let Ok(head) = self.head(path).await
            && head.meta.size <= offset
        {
            return object(&head.meta, Bytes::new());
        }
        Err(error)
    }

    /// Writes where a precondition holds. After an answer that leaves it open whether the write was
    /// applied, the same write is tried again, which is harmless; if that meets a conflict, the mark tells
    /// whether it is with our own first try.
    async fn swap(&self, path: &Path, bytes: Bytes, mode: PutMode) -> object_store::Result<Version> {
        let mark = self.ids.token();
        let mut attributes = Attributes::new();
        attributes.insert(MARK, mark.as_str().to_owned().into());
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let mut doubts = 0;
        loop {
            let put = self.store.put_opts(path, PutPayload::from(bytes.clone()), options.clone()).await;
            let error = match put {
                Ok(result) => return version(result.version),
                Err(error) => error,
            };
            let judgement = judge_store(&error);
            if judgement == Judgement::Conflict && doubts > 0 {
                return self.written_with(path, mark.as_str()).await?.ok_or(error);
            }
            if judgement != Judgement::Transient || doubts == ATTEMPTS {
                return Err(error);
            }
            doubts += 1;
            sleep(SWAP_PAUSE.mul_f64(f64::from(doubts) + self.ids.jitter())).await;
        }
    }

    /// Returns the object's version where it was written with this mark.
    async fn written_with(&self, path: &Path, mark: &str) -> object_store::Result<Option<Version>> {
        let head = match self.head(path).await {
            Ok(head) => head,
            Err(error) if judge_store(&error) == Judgement::Missing => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_ours = head.attributes.get(&MARK).is_some_and(|value| **value == *mark);
        if is_ours { version(head.meta.version).map(Some) } else { Ok(None) }
    }

    async fn page(
        &self,
        prefix: &str,
        options: PaginatedListOptions,
    ) -> object_store::Result<(Vec<ObjectMeta>, Option<String>)> {
        let prefix = (!prefix.is_empty()).then_some(prefix);
        let page = self.store.list_paginated(prefix, options).await?;
        Ok((page.result.objects, page.page_token.filter(|token| !token.is_empty())))
    }
}

#[async_trait]
impl Storage for GcsStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        let path = path(key)?;
        self.call("get", key, Asked::Object, self.read(&path, None)).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        let path = path(key)?;
        self.call("get_range", key, Asked::Object, self.read_range(&path, offset, length)).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        let path = path(key)?;
        let mode = match precondition {
            Precondition::Always => {
                let work = async {
                    let put = self.store.put_opts(&path, PutPayload::from(bytes), PutOptions::default());
                    version(put.await?.version)
                };
                return self.call("put", key, Asked::Bucket, work).await;
            }
            Precondition::Absent => PutMode::Create,
            Precondition::Unchanged(version) => {
                let generation = Some(version.as_str().to_owned());
                PutMode::Update(UpdateVersion { e_tag: None, version: generation })
            }
        };
        self.call("swap", key, Asked::Bucket, self.swap(&path, bytes, mode)).await
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        let path = path(key)?;
        let span = tracing::debug_span!("storage", call = "put_file", key = key);
        // Without a limit as a whole: each of its requests has one.
        let stored = upload::store_file(&self.store, &path, file, content_type).instrument(span).await;
        stored.map_err(|error| match error {
            UploadError::Store(error) => told(&self.bucket, key, Asked::Bucket, error),
            UploadError::File(error) => unreadable(key, error),
        })
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        if !prefix.is_empty() {
            path(prefix.strip_suffix('/').unwrap_or_default())?;
        }
        let after = after.unwrap_or_default();
        let mut entries = Vec::new();
        let mut page_token = None;
        while entries.len() < limit {
            let options = PaginatedListOptions {
                offset: (!after.is_empty()).then(|| after.to_owned()),
                max_keys: Some((limit - entries.len()).min(PAGE)),
                page_token,
                ..PaginatedListOptions::default()
            };
            let (objects, next) =
                self.call("list", prefix, Asked::Bucket, self.page(prefix, options)).await?;
            // What Google's console makes for an empty folder is read as a key above the prefix.
            let below = objects
                .iter()
                .map(entry)
                .filter(|entry| entry.key.starts_with(prefix) && entry.key.as_str() > after);
            entries.extend(below);
            page_token = next;
            if page_token.is_none() {
                break;
            }
        }
        Ok(entries)
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        let path = path(key)?;
        let work = async {
            let one = stream::iter([Ok(path)]).boxed();
            self.store.delete_stream(one).next().await.map_or(Ok(()), |deleted| deleted.map(drop))
        };
        match self.call("delete", key, Asked::Object, work).await {
            Err(StorageError::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    async fn signed_url(
        &self,
        key: &Key,
        valid_for: Duration,
        content_disposition: &str,
    ) -> Result<Option<String>, StorageError> {
        path(key)?;
        let Some(signer) = &self.signer else { return Ok(None) };
        let (base, bucket, now) = (self.base.as_str(), self.bucket.as_str(), self.clock.now());
        let wanted = Wanted { base, bucket, key, now, valid_for, content_disposition };
        let span = tracing::debug_span!("storage", call = "signed_url", key = key);
        match timeout(CALL, wanted.sign(signer)).instrument(span).await {
            Ok(Ok(url)) => Ok(Some(url)),
            Ok(Err(error)) => {
                tracing::warn!(
                    %error,
                    "An address could not be signed, so the service passes the file on itself. Signing needs \
                     roles/iam.serviceAccountTokenCreator of the service account on itself: \
                     ./scripts/setup-service-account.sh"
                );
                Ok(None)
            }
            Err(late) => Err(StorageError::Unavailable { key: key.to_owned(), source: Box::new(late) }),
        }
    }

    fn url(&self, key: &Key) -> String {
        format!("gs://{}/{}", self.bucket, sign::encoded(key))
    }

    async fn changed(&self, _prefix: &str, at_most: Duration) {
        sleep(at_most.min(self.look_again)).await;
    }
}

fn unreadable(key: &Key, error: io::Error) -> StorageError {
    let advice = "give it a regular file that this user may read".to_owned();
    StorageError::Refused { key: key.to_owned(), advice, source: Box::new(error) }
}
