//! Cloud KMS: one symmetric key with versions, which really encrypts (AES-256-GCM).
//!
//! The wire is that of
//! <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys>.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::checksum::crc32c;
use super::json::{self, JsonError};
use super::wire::Call;

/// The only key.
pub(super) const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

/// Plain text and bound data may each be as long as this
/// (<https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt>).
const LIMIT_BYTES: usize = 64 * 1024;

const NONCE_BYTES: usize = 12;

/// The key with all its versions.
#[derive(Debug)]
pub(super) struct KeyService {
    versions: Mutex<Vec<KeyVersion>>,
}

#[derive(Debug)]
struct KeyVersion {
    key: [u8; 32],
    enabled: bool,
}

impl KeyVersion {
    fn fresh() -> Self {
        Self { key: random(), enabled: true }
    }

    /// 32 bytes are always a key.
    fn cipher(&self) -> Option<Aes256Gcm> {
        Aes256Gcm::new_from_slice(&self.key).ok()
    }
}

impl KeyService {
    /// Starts with version 1.
    pub(super) fn new() -> Self {
        Self { versions: Mutex::new(vec![KeyVersion::fresh()]) }
    }

    /// Adds a version that encrypts from now on, and returns its number.
    pub(super) fn rotate(&self) -> usize {
        let mut versions = self.versions();
        versions.push(KeyVersion::fresh());
        versions.len()
    }

    /// Makes a version refuse to work; an unknown one is left alone.
    pub(super) fn disable(&self, number: usize) {
        let Some(place) = number.checked_sub(1) else {
            return;
        };
        if let Some(version) = self.versions().get_mut(place) {
            version.enabled = false;
        }
    }

    pub(super) fn answer(&self, call: &Call) -> Response {
        self.try_answer(call).unwrap_or_else(IntoResponse::into_response)
    }

    fn try_answer(&self, call: &Call) -> Result<Response, JsonError> {
        let path = call.path.as_deref().unwrap_or_default();
        let name = path.strip_prefix("/v1/").ok_or_else(|| JsonError::not_found(path))?;
        json::only_system_parameters(call)?;
        let (key, verb) = match call.method.as_str() {
            "POST" => name.rsplit_once(':').ok_or_else(|| JsonError::not_found(path))?,
            "GET" => (name, "get"),
            _ => return Err(JsonError::not_found(path)),
        };
        if key != KEY {
            return Err(JsonError::new(404, format!("CryptoKey {key} not found.")));
        }
        let answer = match verb {
            "get" => self.describe(),
            "encrypt" => self.encrypt(call)?,
            "decrypt" => self.decrypt(call)?,
            _ => return Err(JsonError::not_found(path)),
        };
        Ok(json::answer(200, &answer))
    }

    fn describe(&self) -> Value {
        let versions = self.versions();
        let state =
            if versions.last().is_some_and(|version| version.enabled) { "ENABLED" } else { "DISABLED" };
        let primary = json!({"name": version_name(versions.len()), "state": state});
        json!({"name": KEY, "purpose": "ENCRYPT_DECRYPT", "primary": primary})
    }

    fn encrypt(&self, call: &Call) -> Result<Value, JsonError> {
        let body = json::members(
            call,
            &[
                "name",
                "plaintext",
                "additionalAuthenticatedData",
                "plaintextCrc32c",
                "additionalAuthenticatedDataCrc32c",
            ],
        )?;
        let plain = Sent::read(&body, "plaintext")?;
        let bound = Sent::read(&body, "additionalAuthenticatedData")?;
        let versions = self.versions();
        let number = versions.len();
        let version = versions.last().ok_or_else(|| JsonError::new(500, "The key has no version."))?;
        check_enabled(number, version)?;
        let nonce: [u8; NONCE_BYTES] = random();
        let payload = Payload { msg: &plain.bytes, aad: &bound.bytes };
        let sealed = version.cipher().and_then(|cipher| cipher.encrypt(&Nonce::from(nonce), payload).ok());
        let sealed = sealed.ok_or_else(|| JsonError::new(500, "The cipher refused."))?;
        let mut ciphertext = u32::try_from(number).unwrap_or_default().to_be_bytes().to_vec();
        ciphertext.extend_from_slice(&nonce);
        ciphertext.extend_from_slice(&sealed);
        Ok(json!({
            "name": version_name(number),
            "ciphertext": STANDARD.encode(&ciphertext),
            "ciphertextCrc32c": crc32c(&ciphertext).to_string(),
            "verifiedPlaintextCrc32c": plain.verified,
            "verifiedAdditionalAuthenticatedDataCrc32c": bound.verified,
            "protectionLevel": protection_level(call),
        }))
    }

    fn decrypt(&self, call: &Call) -> Result<Value, JsonError> {
        let body = json::members(
            call,
            &[
                "name",
                "ciphertext",
                "additionalAuthenticatedData",
                "ciphertextCrc32c",
                "additionalAuthenticatedDataCrc32c",
            ],
        )?;
        let sealed = Sent::read(&body, "ciphertext")?;
        let bound = Sent::read(&body, "additionalAuthenticatedData")?;
        let invalid = || JsonError::invalid("Decryption failed: the ciphertext is invalid.");
        let (number, rest) = sealed.bytes.split_first_chunk::<4>().ok_or_else(invalid)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(invalid)?;
        let number = usize::try_from(u32::from_be_bytes(*number)).unwrap_or_default();
        let versions = self.versions();
        let version = number.checked_sub(1).and_then(|place| versions.get(place)).ok_or_else(invalid)?;
        check_enabled(number, version)?;
        let payload = Payload { msg: sealed, aad: &bound.bytes };
        let plain = version.cipher().and_then(|cipher| cipher.decrypt(&Nonce::from(*nonce), payload).ok());
        let plain = plain.ok_or_else(invalid)?;
        Ok(json!({
            "plaintext": STANDARD.encode(&plain),
            "plaintextCrc32c": crc32c(&plain).to_string(),
            "usedPrimary": number == versions.len(),
            "protectionLevel": protection_level(call),
        }))
    }

    fn versions(&self) -> MutexGuard<'_, Vec<KeyVersion>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a request, and whether they came with a checksum.
struct Sent {
    bytes: Vec<u8>,
    verified: bool,
}

impl Sent {
    /// A member that is missing is empty, as it is in Google's JSON.
    fn read(body: &Map<String, Value>, name: &str) -> Result<Self, JsonError> {
        let invalid = || JsonError::invalid(format!("Invalid value at '{name}' (TYPE_BYTES)"));
        let bytes = match body.get(name) {
            None => Vec::new(),
            Some(value) => {
                let text = value.as_str().ok_or_else(invalid)?;
                STANDARD.decode(text).ok().ok_or_else(invalid)?
            }
        };
        // The nonce, the tag and the version make a ciphertext longer than what it holds.
        let limit = if name == "ciphertext" { 2 * LIMIT_BYTES } else { LIMIT_BYTES };
        if bytes.len() > limit {
            return Err(JsonError::invalid(format!("{name} is longer than {limit} bytes.")));
        }
        let member = format!("{name}Crc32c");
        let verified = match body.get(&member) {
            None => false,
            Some(sent) => {
                let text = sent.as_str().map_or_else(|| sent.to_string(), str::to_owned);
                if text != crc32c(&bytes).to_string() {
                    return Err(JsonError::invalid(format!(
                        "The checksum in field {member} did not match the data in field {name}."
                    )));
                }
                true
            }
        };
        Ok(Self { bytes, verified })
    }
}

fn check_enabled(number: usize, version: &KeyVersion) -> Result<(), JsonError> {
    if version.enabled {
        return Ok(());
    }
    let name = version_name(number);
    Err(JsonError::precondition(format!("{name} is not enabled, current state is: DISABLED.")))
}

fn version_name(number: usize) -> String {
    format!("{KEY}/cryptoKeyVersions/{number}")
}

/// `SOFTWARE`, as a number where the client asks for numbers.
fn protection_level(call: &Call) -> Value {
    if call.parameter("$alt").is_some_and(|format| format.contains("enum-encoding=int")) {
        json!(1)
    } else {
        json!("SOFTWARE")
    }
}

#[expect(clippy::expect_used, reason = "a test without randomness cannot go on")]
fn random<const SIZE: usize>() -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google::GoogleCloud;
    use crate::google::client::{Answer, ask, post};

    async fn encrypt(cloud: &GoogleCloud, bound: &str) -> Answer {
        let body = json!({
            "plaintext": STANDARD.encode("dek"),
            "additionalAuthenticatedData": STANDARD.encode(bound),
            "plaintextCrc32c": crc32c(b"dek").to_string(),
            "additionalAuthenticatedDataCrc32c": crc32c(bound.as_bytes()).to_string(),
        });
        let target = format!("/v1/{KEY}:encrypt?%24alt=json%3Benum-encoding%3Dint");
        post(&cloud.kms_endpoint(), &target, &body).await
    }

    async fn decrypt(cloud: &GoogleCloud, ciphertext: &Value, bound: &str) -> Answer {
        let bound = STANDARD.encode(bound);
        let body = json!({"ciphertext": ciphertext, "additionalAuthenticatedData": bound});
        post(&cloud.kms_endpoint(), &format!("/v1/{KEY}:decrypt"), &body).await
    }

    #[tokio::test]
    async fn what_was_encrypted_is_decrypted_and_every_checksum_fits() {
        let cloud = GoogleCloud::start().await;

        let sealed = encrypt(&cloud, "task-1").await.json();
        let opened = decrypt(&cloud, &sealed["ciphertext"], "task-1").await.json();

        let bytes = STANDARD.decode(sealed["ciphertext"].as_str().unwrap()).unwrap();
        assert_eq!(sealed["name"], format!("{KEY}/cryptoKeyVersions/1"));
        assert_eq!(sealed["ciphertextCrc32c"], crc32c(&bytes).to_string());
        assert_eq!(sealed["verifiedPlaintextCrc32c"], true);
        assert_eq!(sealed["verifiedAdditionalAuthenticatedDataCrc32c"], true);
        assert_eq!(sealed["protectionLevel"], 1);
        assert_eq!(opened["plaintext"], STANDARD.encode("dek"));
        // The CRC32C of "dek".
        assert_eq!(opened["plaintextCrc32c"], "4250966105");
        assert_eq!(opened["usedPrimary"], true);
        assert!(!bytes.windows(3).any(|part| part == b"dek"));
    }

    #[tokio::test]
    async fn bound_data_that_differs_refuses_the_ciphertext() {
        let cloud = GoogleCloud::start().await;
        let sealed = encrypt(&cloud, "task-1").await.json();

        let refused = decrypt(&cloud, &sealed["ciphertext"], "task-2").await;

        assert_eq!(refused.status, 400);
        assert_eq!(refused.json()["error"]["status"], "INVALID_ARGUMENT");
    }

    #[tokio::test]
    async fn a_checksum_that_does_not_fit_is_refused() {
        let cloud = GoogleCloud::start().await;

        let body = json!({"plaintext": STANDARD.encode("dek"), "plaintextCrc32c": "1"});
        let refused = post(&cloud.kms_endpoint(), &format!("/v1/{KEY}:encrypt"), &body).await;

        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("plaintextCrc32c"), "{}", refused.text());
    }

    #[tokio::test]
    async fn after_a_rotation_old_versions_still_decrypt() {
        let cloud = GoogleCloud::start().await;
        let old = encrypt(&cloud, "a").await.json();

        let number = cloud.rotate_key();

        let new = encrypt(&cloud, "a").await.json();
        let opened = decrypt(&cloud, &old["ciphertext"], "a").await.json();
        assert_eq!(number, 2);
        assert_eq!(new["name"], format!("{KEY}/cryptoKeyVersions/2"));
        assert_eq!(opened["plaintext"], STANDARD.encode("dek"));
        assert_eq!(opened["usedPrimary"], false);
    }

    #[tokio::test]
    async fn a_disabled_version_neither_encrypts_nor_decrypts() {
        let cloud = GoogleCloud::start().await;
        let sealed = encrypt(&cloud, "a").await.json();
        cloud.disable_key_version(1);

        let answers = [encrypt(&cloud, "a").await, decrypt(&cloud, &sealed["ciphertext"], "a").await];

        for answer in answers {
            assert_eq!(answer.status, 400);
            assert_eq!(answer.json()["error"]["status"], "FAILED_PRECONDITION");
        }
    }

    #[tokio::test]
    async fn unknown_keys_members_and_types_are_refused() {
        let cloud = GoogleCloud::start().await;
        let endpoint = cloud.kms_endpoint();

        let key =
            post(&endpoint, "/v1/projects/p/locations/l/keyRings/r/cryptoKeys/x:encrypt", &json!({})).await;
        let member = post(&endpoint, &format!("/v1/{KEY}:encrypt"), &json!({"text": ""})).await;
        let kind = ask(&endpoint, "POST", &format!("/v1/{KEY}:encrypt"), &[], b"{}").await;
        let known = ask(&endpoint, "GET", &format!("/v1/{KEY}"), &[], b"").await;

        assert_eq!([key.status, member.status, kind.status, known.status], [404, 400, 400, 200]);
        assert_eq!(key.json()["error"]["status"], "NOT_FOUND");
        assert!(member.text().contains("Unknown name"), "{}", member.text());
    }
}
