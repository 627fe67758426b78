//! Signed addresses (V4): whether all that belongs to one is there, and whether it is still valid.
//!
//! The signature itself is not verified.

use std::time::Duration;

use jiff::Timestamp;

use super::gcs_xml::XmlError;
use super::wire::Call;

/// The query parameters of a signed address
/// (<https://cloud.google.com/storage/docs/authentication/signatures>).
const PARAMETERS: [&str; 6] = [
    "X-Goog-Algorithm",
    "X-Goog-Credential",
    "X-Goog-Date",
    "X-Goog-Expires",
    "X-Goog-SignedHeaders",
    "X-Goog-Signature",
];

/// A signed address is valid for seven days at most.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Returns whether a query parameter belongs to a signature.
pub(super) fn is_of_a_signature(name: &str) -> bool {
    PARAMETERS.contains(&name)
}

/// Refuses a signed address that is incomplete or no longer valid; others pass.
pub(super) fn check(call: &Call, now: Timestamp) -> Result<(), XmlError> {
    if !call.query.iter().any(|(name, _)| is_of_a_signature(name)) {
        return Ok(());
    }
    if let Some(missing) = PARAMETERS.iter().find(|name| call.parameter(name).is_none()) {
        return Err(XmlError::invalid(format!("{missing} is missing")));
    }
    if call.parameter("X-Goog-Algorithm") != Some("GOOG4-RSA-SHA256") {
        return Err(XmlError::invalid("X-Goog-Algorithm is not GOOG4-RSA-SHA256".to_owned()));
    }
    let date = call.parameter("X-Goog-Date").unwrap_or_default();
    let Ok(signed) = Timestamp::strptime("%Y%m%dT%H%M%SZ%z", format!("{date}+0000")) else {
        return Err(XmlError::invalid(format!("{date} is no X-Goog-Date")));
    };
    let expires = call.parameter("X-Goog-Expires").unwrap_or_default();
    let valid_for = expires.parse::<u64>().map(Duration::from_secs).unwrap_or_default();
    if valid_for.is_zero() || valid_for > LONGEST {
        return Err(XmlError::invalid(format!("{expires} is no X-Goog-Expires")));
    }
    let age = now.duration_since(signed);
    if Duration::try_from(age).is_ok_and(|age| age > valid_for) {
        return Err(XmlError::new(400, "ExpiredToken", "The provided token has expired."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn outcome(query: &str) -> Result<(), XmlError> {
        let request = Request::builder().uri(format!("/b/k?{query}")).body(()).unwrap();
        let (head, ()) = request.into_parts();
        let now = "2026-01-02T00:10:00Z".parse().unwrap();
        check(&Call::read(head, Bytes::new()), now)
    }

    fn signed(date: &str, expires: u64) -> String {
        format!(
            "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=me&X-Goog-Date={date}\
             &X-Goog-Expires={expires}&X-Goog-SignedHeaders=host&X-Goog-Signature=00"
        )
    }

    #[test]
    fn an_address_is_valid_for_as_long_as_it_says() {
        let expired = XmlError::new(400, "ExpiredToken", "The provided token has expired.");

        assert_eq!(outcome(&signed("20260102T000000Z", 600)), Ok(()));
        assert_eq!(outcome(&signed("20260102T000000Z", 599)), Err(expired));
        assert_eq!(outcome("prefix=a"), Ok(()));
    }

    #[test]
    fn an_address_that_lacks_something_or_lives_too_long_is_refused() {
        let incomplete = signed("20260102T000000Z", 600).replace("&X-Goog-Signature=00", "");

        assert!(outcome(&incomplete).is_err());
        assert!(outcome(&signed("20260102", 600)).is_err());
        assert!(outcome(&signed("20260102T000000Z", 604_801)).is_err());
    }
}
