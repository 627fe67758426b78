//! Names and states of objects, between the port and the client library.

use bytes::Bytes;
use legwork_core::time::Timestamp;
use legwork_ports::storage::{Entry, Key, Object, StorageError, Version};
use object_store::{ObjectMeta, path::Path};

use crate::error::store_failure;

/// See <https://cloud.google.com/storage/quotas#objects>.
const LONGEST_KEY_BYTES: usize = 1024;

/// No object of Cloud Storage has this name.
#[derive(Debug, thiserror::Error)]
#[error(
    "a key is up to 1,024 bytes in segments with / between them, none empty, . or .. or with control characters"
)]
struct InvalidKey;

/// An answer lacks the object's generation.
#[derive(Debug, thiserror::Error)]
#[error("the answer names no generation")]
struct NoGeneration;

/// Reads a key as the client library has it; only what it leaves as it is.
pub(super) fn path(key: &Key) -> Result<Path, StorageError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| StorageError::Refused {
        key: key.to_owned(),
        advice: "use another name".to_owned(),
        source,
    };
    let path = Path::parse(key).map_err(|error| refused(Box::new(error)))?;
    let is_key = !key.is_empty() && path.as_ref() == key && key.len() <= LONGEST_KEY_BYTES;
    if is_key { Ok(path) } else { Err(refused(Box::new(InvalidKey))) }
}

pub(super) fn version(generation: Option<String>) -> object_store::Result<Version> {
    generation.map(Version::new).ok_or_else(|| store_failure(NoGeneration))
}

/// To the second, as an object's own time is told when it is read; listings have it finer.
fn modified(meta: &ObjectMeta) -> Timestamp {
    let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
    Timestamp::from_unix_ms(seconds.saturating_mul(1000))
}

pub(super) fn object(meta: &ObjectMeta, bytes: Bytes) -> object_store::Result<Object> {
    Ok(Object { bytes, version: version(meta.version.clone())?, modified: modified(meta) })
}

pub(super) fn entry(meta: &ObjectMeta) -> Entry {
    let e_tag = meta.e_tag.as_deref().unwrap_or_default();
    Entry {
        key: meta.location.as_ref().to_owned(),
        size_bytes: meta.size,
        modified: modified(meta),
        change_mark: format!("{e_tag} {}", meta.last_modified.timestamp_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_client_would_change_or_the_store_not_take_is_refused() {
        let long = "x".repeat(1025);

        for key in ["", "/x", "a/", "a//b", "../x", "a/./b", "a\0b", "a\nb", &long] {
            assert!(matches!(path(key), Err(StorageError::Refused { .. })), "{key:?}");
        }
    }

    #[test]
    fn a_name_is_taken_as_it_is() {
        for key in ["a", "a/b c", "a/b%20c", "a/é#?", "active/t.1", "a/~x", "x/\\"] {
            assert_eq!(path(key).unwrap().as_ref(), key);
        }
    }
}
