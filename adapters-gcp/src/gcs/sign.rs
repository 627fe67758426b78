//! Signed addresses: version 4, made here because the client library writes names with `?`, `#` or `%`
//! into them as they are.
//!
//! See <https://cloud.google.com/storage/docs/authentication/canonical-requests>.

use std::{fmt::Write as _, time::Duration};

use google_cloud_auth::signer::{Signer, SigningError};
use legwork_core::{hex, time::Timestamp};
use sha2::{Digest as _, Sha256};

/// Seven days; see <https://cloud.google.com/storage/docs/access-control/signed-urls>.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// An address that is to be signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Scheme and host of the store, without a trailing `/`.
    pub(super) base: &'a str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) now: Timestamp,
    pub(super) valid_for: Duration,
    pub(super) content_disposition: &'a str,
}

impl Wanted<'_> {
    /// Returns the address with its signature.
    pub(super) async fn sign(&self, signer: &Signer) -> Result<String, SigningError> {
        let email = signer.client_email().await?;
        let (address, text) = self.unsigned(&email);
        let signature = signer.sign(text.as_bytes()).await?;
        Ok(format!("{address}&X-Goog-Signature={}", hex::encode(&signature)))
    }

    /// Returns the address without its signature, and the text to sign.
    fn unsigned(&self, email: &str) -> (String, String) {
        let compact = self.now.compact();
        let (date, time) = compact.split_once('-').unwrap_or_default();
        let stamp = format!("{date}T{time}Z");
        let scope = format!("{date}/auto/storage/goog4_request");
        let host = self.base.split_once("://").map_or(self.base, |(_, host)| host);
        let path = format!("/{}/{}", encoded(self.bucket), encoded(self.key));
        // In the order of their names.
        let query = format!(
            "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={}&X-Goog-Date={stamp}&X-Goog-Expires={}\
             &X-Goog-SignedHeaders=host&response-content-disposition={}",
            encoded(&format!("{email}/{scope}")).replace('/', "%2F"),
            self.valid_for.min(LONGEST).as_secs(),
            encoded(self.content_disposition).replace('/', "%2F"),
        );
        let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let digest = hex::encode(&Sha256::digest(request.as_bytes()));
        let text = format!("GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{digest}");
        (format!("{}{path}?{query}", self.base), text)
    }
}

/// Writes what RFC 3986 does not leave as it is, `/` aside, as `%` and two digits.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use google_cloud_auth::signer::SigningProvider;

    use super::*;

    /// Signs with the text itself.
    #[derive(Debug)]
    struct Plain;

    impl SigningProvider for Plain {
        async fn client_email(&self) -> Result<String, SigningError> {
            Ok("api@p.iam.gserviceaccount.com".to_owned())
        }

        async fn sign(&self, content: &[u8]) -> Result<bytes::Bytes, SigningError> {
            Ok(bytes::Bytes::copy_from_slice(content))
        }
    }

    fn wanted(key: &str) -> Wanted<'_> {
        Wanted {
            base: "https://storage.googleapis.com",
            bucket: "b",
            key,
            now: Timestamp::from_unix_ms(1_736_512_496_789),
            valid_for: Duration::from_mins(5),
            content_disposition: "attachment; filename=\"a b\"",
        }
    }

    #[tokio::test]
    async fn an_address_tells_who_signed_what_and_for_how_long() {
        let url = wanted("sessions/t/a b?#%.txt").sign(&Signer::from(Plain)).await.unwrap();

        let (address, signature) = url.split_once("&X-Goog-Signature=").unwrap();
        assert_eq!(
            address,
            "https://storage.googleapis.com/b/sessions/t/a%20b%3F%23%25.txt\
             ?X-Goog-Algorithm=GOOG4-RSA-SHA256\
             &X-Goog-Credential=api%40p.iam.gserviceaccount.com%2F20250110%2Fauto%2Fstorage%2Fgoog4_request\
             &X-Goog-Date=20250110T123456Z&X-Goog-Expires=300&X-Goog-SignedHeaders=host\
             &response-content-disposition=attachment%3B%20filename%3D%22a%20b%22"
        );
        let signed = String::from_utf8(hex::decode(signature).unwrap()).unwrap();
        assert!(
            signed.starts_with("GOOG4-RSA-SHA256\n20250110T123456Z\n20250110/auto/storage/goog4_request\n"),
            "{signed}"
        );
    }

    #[test]
    fn another_name_needs_another_signature() {
        let (one, other) = (wanted("a").unsigned("x").1, wanted("b").unsigned("x").1);

        assert_ne!(one, other);
    }

    #[test]
    fn no_address_is_valid_for_more_than_seven_days() {
        let long = Wanted { valid_for: Duration::from_hours(24 * 30), ..wanted("a") };

        assert!(long.unsigned("x").0.contains("X-Goog-Expires=604800&"));
    }
}
