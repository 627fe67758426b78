//! Data keys wrapped by a key in Cloud KMS.
//!
//! Checksums go along both ways, as Google asks of its clients: a key damaged on its way would open
//! nothing that was sealed with it. What is bound to a key is KMS's additional authenticated data.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use google_cloud_gax::{
    error::{Error, rpc::Code},
    options::RequestOptionsBuilder as _,
};
use google_cloud_kms_v1::{
    client::KeyManagementService,
    model::{DecryptResponse, EncryptResponse},
};
use legwork_core::{envelope::DataKey, secret::Secret};
use legwork_ports::keys::{Keys, KeysError};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{
    auth::GoogleAuth,
    error::{ConnectError, Judgement, LOGIN, judge},
    patience::{CALL, patient},
};

/// What is called, and which role that takes.
#[derive(Debug, Clone, Copy)]
struct Call {
    name: &'static str,
    role: &'static str,
}

const WRAP: Call = Call { name: "wrap", role: "roles/cloudkms.cryptoKeyEncrypter" };
const UNWRAP: Call = Call { name: "unwrap", role: "roles/cloudkms.cryptoKeyDecrypter" };

/// A key in Cloud KMS. Clones share connections.
#[derive(Clone)]
pub struct KmsKeys {
    client: KeyManagementService,
    key: String,
}

impl fmt::Debug for KmsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKeys").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What was sent or answered was damaged on its way.
#[derive(Debug, thiserror::Error)]
#[error("the checksums of the call to Cloud KMS do not match")]
struct Damaged;

impl KmsKeys {
    /// Makes the client; nothing is asked of Google yet. `key` is the key's whole name:
    /// `projects/…/locations/…/keyRings/…/cryptoKeys/…`; `endpoint` another one than Google's.
    ///
    /// # Errors
    /// `Client` where the client library refuses the configuration.
    pub async fn connect(
        auth: &GoogleAuth,
        endpoint: Option<&str>,
        key: impl Into<String>,
    ) -> Result<Self, ConnectError> {
        let client = patient(KeyManagementService::builder(), auth, endpoint)
            .build()
            .await
            .map_err(|source| ConnectError::Client { service: "Cloud KMS", source: Box::new(source) })?;
        Ok(Self { client, key: key.into() })
    }

    async fn call<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, KeysError> {
        let span = tracing::debug_span!("keys", call = call.name);
        match timeout(CALL, work).instrument(span).await {
            Ok(done) => done.map_err(|error| self.told(call, error)),
            Err(late) => Err(KeysError::Unavailable { source: Box::new(late) }),
        }
    }

    fn told(&self, call: Call, error: Error) -> KeysError {
        let key = &self.key;
        let advice = match judge(&error) {
            Judgement::Transient => return KeysError::Unavailable { source: Box::new(error) },
            Judgement::Missing => format!(
                "there is no key {key}: run ./scripts/setup-project.sh, or see KMS_LOCATION, KMS_KEY_RING and \
                 KMS_KEY_NAME"
            ),
            Judgement::Denied => format!(
                "permission denied: grant {} on {key} by ./scripts/setup-service-account.sh",
                call.role
            ),
            Judgement::Stranger => LOGIN.to_owned(),
            Judgement::Conflict | Judgement::Wrong => format!(
                "the key {key} cannot be used: see that its purpose is encryption and that its versions are \
                 enabled (gcloud kms keys versions list)"
            ),
        };
        KeysError::Refused { advice, source: Box::new(error) }
    }
}

/// Returns the checksum in the form of the API.
fn sum(bytes: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(bytes))
}

/// Returns the checksum of what is bound; there is none of nothing.
fn sum_of_bound(bound: &[u8]) -> Option<i64> {
    (!bound.is_empty()).then(|| sum(bound))
}

fn is_whole(response: &EncryptResponse, bound: &[u8]) -> bool {
    response.verified_plaintext_crc32c
        && (bound.is_empty() || response.verified_additional_authenticated_data_crc32c)
        && response.ciphertext_crc32c == Some(sum(&response.ciphertext))
}

fn opened(response: &DecryptResponse) -> Result<DataKey, KeysError> {
    if response.plaintext_crc32c != Some(sum(&response.plaintext)) {
        return Err(KeysError::Unavailable { source: Box::new(Damaged) });
    }
    // Another length was never wrapped by this service.
    let key = <[u8; 32]>::try_from(response.plaintext.as_ref()).ok();
    key.map(Secret::new).ok_or(KeysError::Rejected)
}

#[async_trait]
impl Keys for KmsKeys {
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError> {
        let request = self
            .client
            .encrypt()
            .set_name(&self.key)
            .set_plaintext(Bytes::copy_from_slice(key.expose()))
            .set_plaintext_crc32c(sum(key.expose()))
            .set_additional_authenticated_data(Bytes::copy_from_slice(bound))
            .set_or_clear_additional_authenticated_data_crc32c(sum_of_bound(bound))
            .with_idempotency(true);
        let response = self.call(WRAP, request.send()).await?;
        if !is_whole(&response, bound) {
            return Err(KeysError::Unavailable { source: Box::new(Damaged) });
        }
        Ok(response.ciphertext.to_vec())
    }

    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError> {
        if wrapped.is_empty() {
            return Err(KeysError::Rejected);
        }
        let request = self
            .client
            .decrypt()
            .set_name(&self.key)
            .set_ciphertext(Bytes::copy_from_slice(wrapped))
            .set_ciphertext_crc32c(sum(wrapped))
            .set_additional_authenticated_data(Bytes::copy_from_slice(bound))
            .set_or_clear_additional_authenticated_data_crc32c(sum_of_bound(bound))
            .with_idempotency(true);
        let work = async {
            match request.send().await {
                // What Cloud KMS says of another key's, other bound data and changed bytes alike.
                Err(error) if error.status().is_some_and(|status| status.code == Code::InvalidArgument) => {
                    Ok(None)
                }
                answered => answered.map(Some),
            }
        };
        let response = self.call(UNWRAP, work).await?.ok_or(KeysError::Rejected)?;
        opened(&response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: &[u8] = b"task-1";

    fn wrapped() -> EncryptResponse {
        EncryptResponse::new()
            .set_ciphertext(Bytes::from_static(b"wrapped"))
            .set_ciphertext_crc32c(sum(b"wrapped"))
            .set_verified_plaintext_crc32c(true)
            .set_verified_additional_authenticated_data_crc32c(true)
    }

    #[test]
    fn an_answer_whose_checksums_match_is_whole() {
        assert!(is_whole(&wrapped(), BOUND));
    }

    #[test]
    fn an_answer_damaged_on_either_way_is_not_whole() {
        let damaged = [
            wrapped().set_ciphertext(Bytes::from_static(b"Wrapped")),
            wrapped().set_or_clear_ciphertext_crc32c(None::<i64>),
            wrapped().set_verified_plaintext_crc32c(false),
            wrapped().set_verified_additional_authenticated_data_crc32c(false),
        ];

        for answer in damaged {
            assert!(!is_whole(&answer, BOUND), "{answer:?}");
        }
    }

    #[test]
    fn an_opened_key_has_its_checksum_and_32_bytes() {
        let answer = |plain: &[u8]| {
            DecryptResponse::new()
                .set_plaintext(Bytes::copy_from_slice(plain))
                .set_plaintext_crc32c(sum(&[7; 32]))
        };
        let short = DecryptResponse::new()
            .set_plaintext(Bytes::from_static(b"short"))
            .set_plaintext_crc32c(sum(b"short"));

        assert_eq!(opened(&answer(&[7; 32])).unwrap(), Secret::new([7; 32]));
        assert!(opened(&answer(&[8; 32])).unwrap_err().is_transient());
        assert!(matches!(opened(&short), Err(KeysError::Rejected)));
    }
}
