//! How long Google's clients try, and how often.

use std::time::Duration;

use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::{
    client_builder::ClientBuilder,
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    retry_policy::{Aip194Strict, RetryPolicy, RetryPolicyExt as _},
};

use crate::auth::GoogleAuth;

/// Connecting, and the answer to one try.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(8);
/// No try begins after this; below [`CALL`], so that the last error is told and not only that time is over.
pub(crate) const RETRYING: Duration = Duration::from_secs(15);
/// All tries of one call.
pub(crate) const CALL: Duration = Duration::from_secs(30);
pub(crate) const ATTEMPTS: u32 = 4;

/// Gives a client who it is, how long it tries, and where: at another endpoint than Google's, if one is named.
pub(crate) fn patient<F>(
    client: ClientBuilder<F, Credentials>,
    auth: &GoogleAuth,
    endpoint: Option<&str>,
) -> ClientBuilder<F, Credentials> {
    let client = client
        .with_credentials(auth.credentials())
        .with_retry_policy(retries())
        .with_backoff_policy(pauses())
        .with_attempt_timeout(ATTEMPT);
    match endpoint {
        Some(endpoint) => client.with_endpoint(endpoint),
        None => client,
    }
}

/// Retries what may be repeated and may pass by itself.
fn retries() -> impl RetryPolicy + 'static {
    Aip194Strict
        .continue_on_client_timeout()
        .continue_on_too_many_requests()
        .with_attempt_limit(ATTEMPTS)
        .with_time_limit(RETRYING)
}

/// Pauses that double, with jitter.
pub(crate) fn pauses() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(200))
        .with_maximum_delay(Duration::from_secs(3))
        .clamp()
}
