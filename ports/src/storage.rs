//! Objects under ordered names, with compare-and-swap: the only truth of the service.

use std::{fmt, fs::File, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::time::Timestamp;

/// A name of one object: `/`-separated segments, no leading or trailing `/`.
///
/// No key may be a segment-wise prefix of another one (`a` and `a/b`): file systems cannot hold both.
pub type Key = str;

/// Names one state of one object. Opaque: only equality counts, and only for the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// Returns a version from the adapter's own text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the adapter's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What must hold for a put to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Replace whatever is there.
    Always,
    /// There is no object of this name.
    Absent,
    /// The object is still in this state.
    Unchanged(Version),
}

/// One object as read.
#[derive(Debug, Clone)]
pub struct Object {
    /// The whole content, or the range asked for.
    pub bytes: Bytes,
    /// The state that was read.
    pub version: Version,
    /// When that state was written, by the store's clock.
    pub modified: Timestamp,
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// Content length in bytes.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// Differs after each write of different content. Opaque.
    pub change_mark: String,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no such object.
    #[error("no object {key}")]
    NotFound {
        /// The key asked for.
        key: String,
    },
    /// The precondition did not hold, or may have been met by an earlier try of this very put:
    /// read again and look for your own token.
    #[error("the object {key} is not in the expected state")]
    Conflict {
        /// The key of the put.
        key: String,
    },
    /// The store may or may not have applied the call; trying again may help.
    #[error("the store did not answer for {key}")]
    Unavailable {
        /// The key of the call.
        key: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It will not heal by itself; the text says what to do.
    #[error("the store refuses {key}: {advice}")]
    Refused {
        /// The key of the call.
        key: String,
        /// What a person can do about it.
        advice: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    /// Returns whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Holds objects under ordered names.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Returns a whole object.
    ///
    /// # Errors
    /// `NotFound` for a missing key; `Unavailable`, `Refused`.
    async fn get(&self, key: &Key) -> Result<Object, StorageError>;

    /// Returns `length` bytes from `offset`, fewer at the end of the object, none past it.
    ///
    /// # Errors
    /// As [`Storage::get`].
    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError>;

    /// Writes an object whole. The write is atomic (no reader sees a part) and durable when it
    /// returns. Of many puts with the same precondition other than `Always`, one wins.
    ///
    /// # Errors
    /// `Conflict` where the precondition does not hold; `Unavailable` (the write may have been
    /// applied, or may still be), `Refused`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the write applied or not, never in part.
    async fn put(&self, key: &Key, bytes: Bytes, precondition: Precondition)
    -> Result<Version, StorageError>;

    /// Writes an object from an open regular file of any size in bounded memory, from where it is read
    /// next to its end, replacing what is there; the object appears whole or not at all. Returns its
    /// size in bytes.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`; also where the file cannot be read.
    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError>;

    /// Returns up to `limit` entries below `prefix` (whole segments, ending in `/`, or empty),
    /// in ascending byte order of their keys, strictly after `after`. Sees every put that
    /// returned before the call. Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`. A prefix without objects is an empty list.
    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize)
    -> Result<Vec<Entry>, StorageError>;

    /// Removes an object. Removing a missing one succeeds.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn delete(&self, key: &Key) -> Result<(), StorageError>;

    /// Returns an address from which a browser can fetch the object for `valid_for`, answering
    /// with this `Content-Disposition`; nothing where the store has no such addresses.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn signed_url(
        &self,
        key: &Key,
        valid_for: Duration,
        content_disposition: &str,
    ) -> Result<Option<String>, StorageError>;

    /// Returns the object's name for people and other programs: `gs://…`, `file:///…`.
    fn url(&self, key: &Key) -> String;

    /// Waits until something below `prefix` may have changed since this call began, or until
    /// `at_most` has passed. It may return early, and it may miss nothing: a change between a
    /// listing and this call is the caller's to see by listing again after `at_most`.
    async fn changed(&self, prefix: &str, at_most: Duration);
}
