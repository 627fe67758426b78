//! The sealed request: a JSON envelope around AES-256-GCM under a data key of its own.
//!
//! The data key is made for one envelope and wrapped by a key service; the task's id is bound to
//! both, so that no payload opens as another task's. This module seals and opens under a given data
//! key; wrapping is the key service's.

use alloc::{string::String, vec::Vec};

use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce, Tag, aead::AeadInOut as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{id::TaskId, secret::Secret};

/// The only version there is.
const VERSION: u32 = 1;
/// Length of the authentication tag in bytes (NIST SP 800-38D).
const TAG_BYTES: usize = 16;

/// A 256-bit key for one envelope.
pub type DataKey = Secret<[u8; 32]>;

/// Why an envelope does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It is not an envelope of a known version.
    #[error("not a sealed request: {reason}")]
    Malformed {
        /// What does not fit.
        reason: String,
    },
    /// Other key, other task, or changed bytes.
    #[error("the sealed request does not open with this key for this task")]
    Rejected,
}

/// A sealed request as it is stored.
///
/// # Examples
/// ```
/// use legwork_core::{envelope::Envelope, secret::Secret};
/// let id = "t1".parse().unwrap();
/// let key = Secret::new([7; 32]);
/// let sealed = Envelope::seal(b"hello", &key, b"wrapped key".to_vec(), [1; 12], &id);
/// let read = Envelope::parse(sealed.to_json().as_bytes()).unwrap();
/// assert_eq!(*read.open(&key, &id).unwrap(), b"hello");
/// assert!(read.open(&key, &"t2".parse().unwrap()).is_err());
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    version: u32,
    encrypted_dek: String,
    iv: String,
    auth_tag: String,
    encrypted_data: String,
}

/// Returns the bytes that are bound to a task's data key and payload: its id.
pub fn bound_data(id: &TaskId) -> &[u8] {
    id.as_str().as_bytes()
}

impl Envelope {
    /// Seals `plain` under `key`. `iv` must never be used twice with one key.
    ///
    /// # Panics
    /// Never for less than 64 GiB, the limit of AES-GCM.
    pub fn seal(plain: &[u8], key: &DataKey, wrapped_key: Vec<u8>, iv: [u8; 12], id: &TaskId) -> Self {
        let mut data = plain.to_vec();
        let cipher = Aes256Gcm::new(key.expose().into());
        #[expect(
            clippy::expect_used,
            reason = "AES-GCM refuses only more than 64 GiB, and a request has a limit"
        )]
        let tag = cipher
            .encrypt_inout_detached(&Nonce::from(iv), bound_data(id), data.as_mut_slice().into())
            .expect("a request is shorter than 64 GiB");
        Self {
            version: VERSION,
            encrypted_dek: STANDARD.encode(wrapped_key),
            iv: STANDARD.encode(iv),
            auth_tag: STANDARD.encode(tag),
            encrypted_data: STANDARD.encode(data),
        }
    }

    /// Reads an envelope from its JSON.
    ///
    /// # Errors
    /// `Malformed` where it is none.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self =
            serde_json::from_slice(json).map_err(|e| malformed(alloc::string::ToString::to_string(&e)))?;
        if envelope.version == VERSION { Ok(envelope) } else { Err(malformed("unknown version".into())) }
    }

    /// Writes the envelope as JSON.
    pub fn to_json(&self) -> String {
        // Strings and an integer always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the wrapped data key, to be unwrapped by the key service.
    ///
    /// # Errors
    /// `Malformed` where it is not base64.
    pub fn wrapped_key(&self) -> Result<Vec<u8>, EnvelopeError> {
        decode(&self.encrypted_dek, "encryptedDek")
    }

    /// Returns what was sealed.
    ///
    /// # Errors
    /// `Malformed`, and `Rejected` for another key, another task or changed bytes.
    pub fn open(&self, key: &DataKey, id: &TaskId) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let iv: [u8; 12] =
            decode(&self.iv, "iv")?.try_into().map_err(|_| malformed("iv is not 12 bytes".into()))?;
        let tag: [u8; TAG_BYTES] = decode(&self.auth_tag, "authTag")?
            .try_into()
            .map_err(|_| malformed("authTag is not 16 bytes".into()))?;
        let mut data = Zeroizing::new(decode(&self.encrypted_data, "encryptedData")?);
        Aes256Gcm::new(key.expose().into())
            .decrypt_inout_detached(
                &Nonce::from(iv),
                bound_data(id),
                data.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| EnvelopeError::Rejected)?;
        Ok(data)
    }
}

fn malformed(reason: String) -> EnvelopeError {
    EnvelopeError::Malformed { reason }
}

fn decode(text: &str, member: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| malformed(alloc::format!("{member} is not base64")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_a_changed_byte_does_not(
            plain in proptest::collection::vec(any::<u8>(), 0..300),
            key: [u8; 32],
            iv: [u8; 12],
            at: proptest::sample::Index,
        ) {
            let id: TaskId = "t1".parse().unwrap();
            let key = Secret::new(key);

            let sealed = Envelope::seal(&plain, &key, Vec::new(), iv, &id);
            let mut data = STANDARD.decode(&sealed.encrypted_data).unwrap();
            let opened = sealed.open(&key, &id).unwrap();

            prop_assert_eq!(opened.as_slice(), plain.as_slice());
            if !data.is_empty() {
                let index = at.index(data.len());
                data[index] ^= 1;
                let changed = Envelope { encrypted_data: STANDARD.encode(&data), ..sealed };
                prop_assert_eq!(changed.open(&key, &id).unwrap_err(), EnvelopeError::Rejected);
            }
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for text in
            ["", "{}", "[]", r#"{"version":2,"encryptedDek":"","iv":"","authTag":"","encryptedData":""}"#]
        {
            assert!(
                matches!(Envelope::parse(text.as_bytes()), Err(EnvelopeError::Malformed { .. })),
                "{text}"
            );
        }
    }
}
