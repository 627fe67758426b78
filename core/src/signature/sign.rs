//! What a sender computes: headers of callbacks, and digests by which it knows its requests again.

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{hex, secret::Secret};

/// What a callback says of its sender.
const USER_AGENT: &str = "cloudrun-claude-code/async-task";
/// Parts the derived key's purpose from others that may be derived later.
const DIGEST_INFO: &[u8] = b"request digest v1";

/// Headers of the service's own scheme, and of Standard Webhooks.
pub(super) const OWN_TIMESTAMP: &str = "X-Webhook-Timestamp";
pub(super) const OWN_SIGNATURE: &str = "X-Webhook-Signature";
pub(super) const STANDARD_ID: &str = "webhook-id";
pub(super) const STANDARD_TIMESTAMP: &str = "webhook-timestamp";
pub(super) const STANDARD_SIGNATURE: &str = "webhook-signature";

/// A list of secrets names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no signing secret: expected one or more, separated by commas")]
pub struct NoSecret;

/// The secrets that sign callbacks; the first is the current one, the others are being rotated.
///
/// # Examples
/// ```
/// use legwork_core::signature::SigningSecrets;
/// let secrets = SigningSecrets::parse("new, old,").unwrap();
/// assert_eq!(secrets.all().len(), 2);
/// assert!(SigningSecrets::parse(" , ").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct SigningSecrets(Vec<Secret<String>>);

impl SigningSecrets {
    /// Reads secrets separated by commas. Blanks around each are dropped, empty ones too.
    ///
    /// # Errors
    /// [`NoSecret`] where none is left.
    pub fn parse(text: &str) -> Result<Self, NoSecret> {
        let secrets: Vec<_> = text
            .split(',')
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .map(|secret| Secret::new(secret.to_string()))
            .collect();
        if secrets.is_empty() { Err(NoSecret) } else { Ok(Self(secrets)) }
    }

    /// Returns all secrets, the current one first; there is at least one.
    pub fn all(&self) -> &[Secret<String>] {
        &self.0
    }

    /// Returns the headers of a callback with this body, sent at this time. All but
    /// `webhook-signature` carry the first secret's signature, which carries one for each.
    pub fn headers(&self, webhook_id: &str, unix_seconds: u64, body: &str) -> Vec<(&'static str, String)> {
        let time = unix_seconds.to_string();
        let own = self.0.iter().take(1).map(|secret| {
            format!(
                "sha256={}",
                hex::encode(&own_signature(secret.expose().as_bytes(), &time, body.as_bytes()))
            )
        });
        let standard: Vec<_> = self
            .0
            .iter()
            .map(|secret| {
                let signature =
                    standard_signature(secret.expose().as_bytes(), webhook_id, &time, body.as_bytes());
                format!("v1,{}", STANDARD.encode(signature))
            })
            .collect();
        vec![
            ("Content-Type", "application/json".to_string()),
            ("User-Agent", USER_AGENT.to_string()),
            (OWN_TIMESTAMP, time.clone()),
            (OWN_SIGNATURE, own.collect()),
            (STANDARD_ID, webhook_id.to_string()),
            (STANDARD_TIMESTAMP, time),
            (STANDARD_SIGNATURE, standard.join(" ")),
        ]
    }

    /// Returns the digest of a request under each secret, the current one's first.
    pub fn request_digests(&self, route: &str, canonical: &str) -> Vec<String> {
        self.0.iter().map(|secret| request_digest(&request_digest_key(secret), route, canonical)).collect()
    }
}

/// Returns HMAC-SHA256 (RFC 2104, FIPS 198-1) of a message.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    hmac_of_parts(key, &[message])
}

/// Returns HMAC-SHA256 of the parts' concatenation.
fn hmac_of_parts(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(super) fn own_signature(key: &[u8], time: &str, body: &[u8]) -> [u8; 32] {
    hmac_of_parts(key, &[time.as_bytes(), b".", body])
}

pub(super) fn standard_signature(key: &[u8], id: &str, time: &str, body: &[u8]) -> [u8; 32] {
    hmac_of_parts(key, &[id.as_bytes(), b".", time.as_bytes(), b".", body])
}

/// Returns a secret as Standard Webhooks libraries take it: `whsec_` and the base64 of its bytes.
///
/// # Examples
/// ```
/// assert_eq!(legwork_core::signature::library_secret("abc"), "whsec_YWJj");
/// ```
pub fn library_secret(secret: &str) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// Returns the key of request digests that belongs to a signing secret (HKDF-SHA256, RFC 5869).
pub fn request_digest_key(secret: &Secret<String>) -> Secret<[u8; 32]> {
    Secret::new(derived_key(secret.expose().as_bytes(), DIGEST_INFO))
}

fn derived_key(secret: &[u8], info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    #[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes")]
    Hkdf::<Sha256>::new(None, secret).expand(info, &mut key).expect("32 bytes are fewer than HKDF gives");
    key
}

/// Returns the digest of a request in hex: the same for the same route and canonical text only, and
/// telling nothing of them without the key. A route holds no line break.
pub fn request_digest(key: &Secret<[u8; 32]>, route: &str, canonical: &str) -> String {
    hex::encode(&hmac_of_parts(key.expose(), &[route.as_bytes(), b"\n", canonical.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_736_512_496;
    const BODY: &str = r#"{"taskId":"t1"}"#;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.into())
    }

    /// RFC 4231, section 4, test cases 1, 2, 3, 4, 6 and 7.
    #[test]
    fn hmac_follows_rfc_4231() {
        let cases: [(Vec<u8>, Vec<u8>, &str); 6] = [
            (
                vec![0x0b; 20],
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 20],
                vec![0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                (1..=25).collect(),
                vec![0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                vec![0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."
                    .to_vec(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];

        for (key, message, wanted) in cases {
            assert_eq!(hex::encode(&hmac_sha256(&key, &message)), wanted);
        }
    }

    /// The example that Svix, where Standard Webhooks comes from, publishes for checking implementations:
    /// <https://docs.svix.com/receiving/verifying-payloads/how-manual>.
    #[test]
    fn standard_signatures_follow_the_published_example() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();

        let signature = standard_signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );

        assert_eq!(STANDARD.encode(signature), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn headers_carry_both_schemes_in_order() {
        let headers = SigningSecrets::parse("k").unwrap().headers("t1.1", NOW, BODY);

        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "Content-Type",
                "User-Agent",
                "X-Webhook-Timestamp",
                "X-Webhook-Signature",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature"
            ]
        );
        let own = hmac_sha256(b"k", format!("{NOW}.{BODY}").as_bytes());
        assert_eq!(headers[3].1, format!("sha256={}", hex::encode(&own)));
        let standard = hmac_sha256(b"k", format!("t1.1.{NOW}.{BODY}").as_bytes());
        assert_eq!(headers[6].1, format!("v1,{}", STANDARD.encode(standard)));
    }

    #[test]
    fn request_digests_tell_routes_requests_and_secrets_apart() {
        let secrets = SigningSecrets::parse("a,b").unwrap();

        let digests = secrets.request_digests("/run", "{}");

        assert_eq!(digests, secrets.request_digests("/run", "{}"));
        assert_eq!(digests.len(), 2);
        assert_ne!(digests[0], digests[1]);
        assert_ne!(digests, secrets.request_digests("/run-async", "{}"));
        assert_ne!(digests, secrets.request_digests("/run", "{ }"));
        assert!(digests.iter().all(|digest| hex::decode(digest).is_some_and(|bytes| bytes.len() == 32)));
    }

    /// HKDF written out by RFC 5869: extract with a salt of zeros, expand by one block.
    #[test]
    fn the_digest_key_is_hkdf_of_the_secret() {
        let extracted = hmac_sha256(&[0; 32], b"k");
        let expanded = hmac_sha256(&extracted, b"request digest v1\x01");

        assert_eq!(request_digest_key(&secret("k")).expose(), &expanded);
    }
}
