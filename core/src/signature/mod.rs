//! Signatures of callbacks, and digests by which a request is recognised.
//!
//! Each callback carries two signatures over the same body: the service's own
//! (`X-Webhook-Signature`) and that of the Standard Webhooks specification
//! (<https://github.com/standard-webhooks/standard-webhooks>).

mod sign;
mod verify;

pub use sign::{NoSecret, SigningSecrets, hmac_sha256, library_secret, request_digest, request_digest_key};
pub use verify::{Scheme, TOLERANCE_SECONDS, Verified, VerifyError, verify};
