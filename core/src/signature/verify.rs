//! What a receiver checks before it trusts a callback. Comparisons take constant time.

use alloc::{string::String, vec::Vec};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::{Choice, ConstantTimeEq as _};

use super::sign::{
    OWN_SIGNATURE, OWN_TIMESTAMP, STANDARD_ID, STANDARD_SIGNATURE, STANDARD_TIMESTAMP, own_signature,
    standard_signature,
};
use crate::{hex, secret::Secret};

/// How far a signature's time may be from the verifier's, in seconds, as the receivers' handlers
/// and Standard Webhooks libraries have it.
pub const TOLERANCE_SECONDS: u64 = 300;

/// One way of signing a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `X-Webhook-Signature`.
    Own,
    /// `webhook-signature`, by the Standard Webhooks specification.
    StandardWebhooks,
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The schemes whose signature fits; one or two.
    pub schemes: Vec<Scheme>,
    /// When the callback was signed, in seconds since the epoch.
    pub signed_at: u64,
}

/// Why a callback is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Neither scheme's signature is there.
    #[error("there is neither an {OWN_SIGNATURE} nor a {STANDARD_SIGNATURE} header")]
    NoSignature,
    /// A header that a signature needs is not there.
    #[error("{signature} is there without {missing}")]
    MissingHeader {
        /// The signature's header.
        signature: &'static str,
        /// The one that it needs.
        missing: &'static str,
    },
    /// A header does not have its form.
    #[error("{header} is not {expected}")]
    Malformed {
        /// The header.
        header: &'static str,
        /// Its form.
        expected: &'static str,
    },
    /// The time is too far in the past: a replay, or a clock that is wrong.
    #[error("{header} is {seconds} s old, more than the {tolerance_seconds} s allowed")]
    TooOld {
        /// The header.
        header: &'static str,
        /// How old it is.
        seconds: u64,
        /// How old it may be.
        tolerance_seconds: u64,
    },
    /// The time is too far in the future: a clock is wrong.
    #[error("{header} is {seconds} s in the future, more than the {tolerance_seconds} s allowed")]
    InFuture {
        /// The header.
        header: &'static str,
        /// How far ahead it is.
        seconds: u64,
        /// How far it may be.
        tolerance_seconds: u64,
    },
    /// The signature belongs to other bytes or another secret.
    #[error("{header} does not fit: another secret, or the body's bytes are not those that were sent")]
    Mismatch {
        /// The header.
        header: &'static str,
    },
}

/// Checks every signature that a callback carries, one at least, at a time given in seconds since the epoch.
///
/// `header` returns the value of a header by its name; it has to disregard case. `body` is what was
/// received, byte for byte.
///
/// # Errors
/// [`VerifyError`] says which header is wrong, and how.
///
/// # Examples
/// ```
/// use legwork_core::{secret::Secret, signature::{SigningSecrets, VerifyError, verify}};
/// let headers = SigningSecrets::parse("s3cret").unwrap().headers("t1.1", 1_736_512_496, "{}");
/// let header = |name: &str| {
///     headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
/// };
/// let secret = Secret::new("s3cret".to_string());
/// assert!(verify(&secret, header, b"{}", 1_736_512_500, 300).is_ok());
/// assert_eq!(
///     verify(&secret, header, b"{ }", 1_736_512_500, 300),
///     Err(VerifyError::Mismatch { header: "X-Webhook-Signature" })
/// );
/// ```
pub fn verify<'h>(
    secret: &Secret<String>,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now_seconds: u64,
    tolerance_seconds: u64,
) -> Result<Verified, VerifyError> {
    let key = secret.expose().as_bytes();
    let clock = Tolerance { now_seconds, tolerance_seconds };
    let mut schemes = Vec::new();
    let mut signed_at = 0;
    if let Some(signature) = header(OWN_SIGNATURE) {
        let missing = VerifyError::MissingHeader { signature: OWN_SIGNATURE, missing: OWN_TIMESTAMP };
        let time = header(OWN_TIMESTAMP).ok_or(missing)?.trim();
        signed_at = clock.check(OWN_TIMESTAMP, time)?;
        check_own(signature.trim(), &own_signature(key, time, body))?;
        schemes.push(Scheme::Own);
    }
    if let Some(signatures) = header(STANDARD_SIGNATURE) {
        let missing = |missing| VerifyError::MissingHeader { signature: STANDARD_SIGNATURE, missing };
        let id = header(STANDARD_ID).ok_or_else(|| missing(STANDARD_ID))?;
        let time = header(STANDARD_TIMESTAMP).ok_or_else(|| missing(STANDARD_TIMESTAMP))?.trim();
        signed_at = clock.check(STANDARD_TIMESTAMP, time)?;
        check_standard(signatures, &standard_signature(key, id, time, body))?;
        schemes.push(Scheme::StandardWebhooks);
    }
    if schemes.is_empty() { Err(VerifyError::NoSignature) } else { Ok(Verified { schemes, signed_at }) }
}

/// The verifier's time, and how far others may be from it.
#[derive(Clone, Copy)]
struct Tolerance {
    now_seconds: u64,
    tolerance_seconds: u64,
}

impl Tolerance {
    fn check(self, header: &'static str, time: &str) -> Result<u64, VerifyError> {
        let Self { now_seconds, tolerance_seconds } = self;
        let signed_at = Some(time)
            .filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|time| time.parse::<u64>().ok())
            .ok_or(VerifyError::Malformed { header, expected: "a time in whole seconds" })?;
        let age = now_seconds.saturating_sub(signed_at);
        let ahead = signed_at.saturating_sub(now_seconds);
        if age > tolerance_seconds {
            Err(VerifyError::TooOld { header, seconds: age, tolerance_seconds })
        } else if ahead > tolerance_seconds {
            Err(VerifyError::InFuture { header, seconds: ahead, tolerance_seconds })
        } else {
            Ok(signed_at)
        }
    }
}

fn check_own(signature: &str, wanted: &[u8; 32]) -> Result<(), VerifyError> {
    let malformed = VerifyError::Malformed { header: OWN_SIGNATURE, expected: "sha256= and 64 hex digits" };
    let given = signature
        .strip_prefix("sha256=")
        .and_then(hex::decode)
        .filter(|given| given.len() == wanted.len())
        .ok_or(malformed)?;
    let fits: bool = wanted.as_slice().ct_eq(&given).into();
    if fits { Ok(()) } else { Err(VerifyError::Mismatch { header: OWN_SIGNATURE }) }
}

/// Accepts the list where one of its signatures fits; versions other than `v1` are passed over.
fn check_standard(signatures: &str, wanted: &[u8; 32]) -> Result<(), VerifyError> {
    let given: Vec<_> = signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .collect();
    if given.is_empty() {
        return Err(VerifyError::Malformed {
            header: STANDARD_SIGNATURE,
            expected: "a list of v1, and base64",
        });
    }
    let fits: bool = given
        .iter()
        .fold(Choice::from(0), |fits, given| fits | wanted.as_slice().ct_eq(given.as_slice()))
        .into();
    if fits { Ok(()) } else { Err(VerifyError::Mismatch { header: STANDARD_SIGNATURE }) }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, vec};

    use proptest::prelude::*;

    use super::*;
    use crate::signature::SigningSecrets;

    const NOW: u64 = 1_736_512_496;
    const BODY: &str = r#"{"taskId":"t1"}"#;

    type Headers = Vec<(&'static str, String)>;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.into())
    }

    fn signed(secrets: &str) -> Headers {
        SigningSecrets::parse(secrets).unwrap().headers("t1.1", NOW, BODY)
    }

    fn without(headers: &Headers, name: &str) -> Headers {
        headers.iter().filter(|(known, _)| *known != name).cloned().collect()
    }

    fn with(headers: &Headers, name: &'static str, value: &str) -> Headers {
        let mut changed = without(headers, name);
        changed.push((name, value.into()));
        changed
    }

    fn verdict(headers: &Headers, key: &str, body: &str, now: u64) -> Result<Verified, VerifyError> {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
        };
        verify(&secret(key), header, body.as_bytes(), now, TOLERANCE_SECONDS)
    }

    #[track_caller]
    fn check_refused(headers: &Headers, wanted: &str) {
        assert_eq!(verdict(headers, "k", BODY, NOW).unwrap_err().to_string(), wanted);
    }

    #[test]
    fn during_rotation_the_first_secret_signs_both_ways_and_others_one() {
        let headers = signed(" new ,, old ");

        let verified = Verified { schemes: vec![Scheme::Own, Scheme::StandardWebhooks], signed_at: NOW };
        assert_eq!(verdict(&headers, "new", BODY, NOW), Ok(verified));
        let standard_only = without(&headers, OWN_SIGNATURE);
        let verified = Verified { schemes: vec![Scheme::StandardWebhooks], signed_at: NOW };
        assert_eq!(verdict(&standard_only, "old", BODY, NOW), Ok(verified));
        assert_eq!(
            verdict(&headers, "old", BODY, NOW),
            Err(VerifyError::Mismatch { header: OWN_SIGNATURE }),
            "every scheme that is there must fit"
        );
    }

    #[test]
    fn either_scheme_is_enough() {
        let headers = signed("k");

        let own = verdict(&without(&headers, STANDARD_SIGNATURE), "k", BODY, NOW).unwrap();
        let standard = verdict(&without(&headers, OWN_SIGNATURE), "k", BODY, NOW).unwrap();

        assert_eq!(own.schemes, [Scheme::Own]);
        assert_eq!(standard.schemes, [Scheme::StandardWebhooks]);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let headers = signed("k");
        let other = signed("other");
        let other_of = |name| other.iter().find(|(known, _)| *known == name).unwrap().1.clone();

        check_refused(&vec![], "there is neither an X-Webhook-Signature nor a webhook-signature header");
        check_refused(
            &without(&headers, OWN_TIMESTAMP),
            "X-Webhook-Signature is there without X-Webhook-Timestamp",
        );
        check_refused(&without(&headers, STANDARD_ID), "webhook-signature is there without webhook-id");
        check_refused(
            &without(&headers, STANDARD_TIMESTAMP),
            "webhook-signature is there without webhook-timestamp",
        );
        for time in ["", "soon", "+1736512496", "-1", "1736512496.5", "99999999999999999999"] {
            check_refused(
                &with(&headers, OWN_TIMESTAMP, time),
                "X-Webhook-Timestamp is not a time in whole seconds",
            );
        }
        for signature in ["", "sha256=", "sha256=00", "sha1=00", &"0".repeat(64)] {
            check_refused(
                &with(&headers, OWN_SIGNATURE, signature),
                "X-Webhook-Signature is not sha256= and 64 hex digits",
            );
        }
        for signature in ["", "v1,!", "v2,AAAA", "AAAA"] {
            check_refused(
                &with(&headers, STANDARD_SIGNATURE, signature),
                "webhook-signature is not a list of v1, and base64",
            );
        }
        check_refused(
            &with(&headers, STANDARD_SIGNATURE, "v1,AAAA"),
            "webhook-signature does not fit: another secret, or the body's bytes are not those that were sent",
        );
        check_refused(
            &with(&headers, OWN_SIGNATURE, &other_of(OWN_SIGNATURE)),
            "X-Webhook-Signature does not fit: another secret, or the body's bytes are not those that were sent",
        );
    }

    #[test]
    fn old_and_early_signatures_are_refused() {
        let headers = signed("k");

        assert!(verdict(&headers, "k", BODY, NOW + 300).is_ok());
        assert!(verdict(&headers, "k", BODY, NOW - 300).is_ok());
        assert_eq!(
            verdict(&headers, "k", BODY, NOW + 301).unwrap_err().to_string(),
            "X-Webhook-Timestamp is 301 s old, more than the 300 s allowed"
        );
        assert_eq!(
            verdict(&without(&headers, OWN_SIGNATURE), "k", BODY, NOW - 301).unwrap_err().to_string(),
            "webhook-timestamp is 301 s in the future, more than the 300 s allowed"
        );
    }

    proptest! {
        #[test]
        fn a_changed_byte_breaks_both_signatures(body in ".{1,40}", place: prop::sample::Index, flip in 1..=255_u8) {
            let headers = SigningSecrets::parse("k").unwrap().headers("t1.1", NOW, &body);
            let mut changed = body.clone().into_bytes();
            changed[place.index(body.len())] ^= flip;

            for scheme in [OWN_SIGNATURE, STANDARD_SIGNATURE] {
                let one = without(&headers, scheme);
                let header = |name: &str| {
                    one.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
                };
                prop_assert!(verify(&secret("k"), header, body.as_bytes(), NOW, 0).is_ok());
                let refused = matches!(verify(&secret("k"), header, &changed, NOW, 0), Err(VerifyError::Mismatch { .. }));
                prop_assert!(refused);
            }
        }

        #[test]
        fn another_id_or_time_breaks_the_standard_signature(id in "[a-z0-9.]{1,9}", time in any::<u32>()) {
            prop_assume!((id.as_str(), u64::from(time)) != ("t1.1", NOW));
            let headers = without(&signed("k"), OWN_SIGNATURE);
            let headers = with(&with(&headers, STANDARD_ID, &id), STANDARD_TIMESTAMP, &time.to_string());

            prop_assert!(verdict(&headers, "k", BODY, time.into()).is_err());
        }
    }
}
