//! Wrapping of data keys by a key service.

use std::fmt;

use async_trait::async_trait;
use legwork_core::envelope::DataKey;

/// Why the key service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The wrapped key was made for other bound data, under another key, or was changed.
    #[error("the wrapped data key does not open here")]
    Rejected,
    /// No answer; trying again may help.
    #[error("the key service did not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It will not heal by itself; the text says what to do.
    #[error("the key service refuses: {advice}")]
    Refused {
        /// What a person can do about it.
        advice: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl KeysError {
    /// Returns whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Wraps and unwraps 32-byte data keys with data bound to them.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Keys: fmt::Debug + Send + Sync + 'static {
    /// Returns the wrapped key; it opens only with the same `bound` bytes. Two calls with the same
    /// arguments return different bytes. After rotation, older wrapped keys still open.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError>;

    /// Returns the data key that was wrapped with these `bound` bytes.
    ///
    /// # Errors
    /// `Rejected` for other bound data, another service's key, or a single flipped bit;
    /// `Unavailable`, `Refused`.
    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError>;
}
