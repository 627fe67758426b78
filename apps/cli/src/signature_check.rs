//! Checks a callback's signatures against the secrets at hand.

use std::time::Duration;

use legwork_core::{
    signature::{SigningSecrets, Verified, VerifyError, verify},
    time::Timestamp,
};

/// Accepts a callback that any one of the secrets signed; while secrets are rotated there are several.
///
/// `headers` are names of any case and values; the first of a name counts.
///
/// # Errors
/// What the first secret meets.
pub(crate) fn check(
    secrets: &SigningSecrets,
    headers: &[(String, String)],
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<Verified, VerifyError> {
    let header = |name: &str| {
        let mut named = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    };
    let verdicts = secrets
        .all()
        .iter()
        .map(|secret| verify(secret, header, body, now.unix_seconds(), tolerance.as_secs()));
    let mut first_error = None;
    for verdict in verdicts {
        match verdict {
            Ok(verified) => return Ok(verified),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(VerifyError::NoSignature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(by: &str, body: &str) -> Vec<(String, String)> {
        let headers = SigningSecrets::parse(by).unwrap().headers("a.1", 1_000, body);
        headers.into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect()
    }

    fn is_accepted(known: &str, by: &str, at_ms: u64) -> bool {
        let secrets = SigningSecrets::parse(known).unwrap();
        let now = Timestamp::from_unix_ms(at_ms);
        check(&secrets, &signed(by, "{}"), b"{}", now, Duration::from_mins(5)).is_ok()
    }

    #[test]
    fn any_one_secret_at_hand_is_enough() {
        assert!(is_accepted("a", "a", 1_000_000));
        assert!(is_accepted("b,a", "a", 1_000_000));
        assert!(!is_accepted("b,c", "a", 1_000_000));
    }

    #[test]
    fn an_old_signature_is_refused() {
        assert!(is_accepted("a", "a", 1_300_000));
        assert!(!is_accepted("a", "a", 1_301_000));
    }
}
