//! Why nothing was reached, in plain words and without the address, whose path and query may hold secrets.

use std::{error::Error, io, io::ErrorKind};

use rustls::CertificateError;

use super::resolve::Unresolved;

/// What the commonest failures are called.
const KINDS: [(ErrorKind, &str); 9] = [
    (ErrorKind::ConnectionRefused, "the connection was refused"),
    (ErrorKind::ConnectionReset, "the connection was cut"),
    (ErrorKind::ConnectionAborted, "the connection was cut"),
    (ErrorKind::BrokenPipe, "the connection was cut"),
    (ErrorKind::UnexpectedEof, "the connection was cut"),
    (ErrorKind::TimedOut, "the connection was not answered"),
    (ErrorKind::HostUnreachable, "there is no way to the host"),
    (ErrorKind::NetworkUnreachable, "there is no way to the network"),
    (ErrorKind::AddrNotAvailable, "there is no way to the network"),
];

/// Returns what led to the error, from the outside in; not the error itself, which may show the address.
pub(super) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// Returns the innermost cause: the one that a person can do something about.
pub(super) fn plain_words(error: &reqwest::Error) -> String {
    if let Some(unresolved) = causes(error).find_map(|cause| cause.downcast_ref::<Unresolved>()) {
        return unresolved.to_string();
    }
    match causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) => io_words(error),
        None => causes(error).last().map_or_else(|| "the request failed".to_owned(), ToString::to_string),
    }
}

fn io_words(error: &io::Error) -> String {
    // An error that was made into one of this kind is not among its causes.
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return io_words(inner);
    }
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_words(tls);
    }
    let known = KINDS.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

fn tls_words(error: &rustls::Error) -> String {
    if let rustls::Error::InvalidCertificate(reason) = error {
        return format!("the TLS certificate is not accepted: {}", certificate_words(reason));
    }
    format!("TLS failed: {error}")
}

fn certificate_words(reason: &CertificateError) -> String {
    use CertificateError::{Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer};
    if matches!(reason, Expired | ExpiredContext { .. }) {
        return "it has expired".to_owned();
    }
    if matches!(reason, UnknownIssuer) {
        return "its issuer is not known here".to_owned();
    }
    if matches!(reason, NotValidForName | NotValidForNameContext { .. }) {
        return "it is for another host".to_owned();
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &io::Error, expected: &str) {
        assert_eq!(io_words(error), expected);
    }

    #[test]
    fn failures_are_told_in_plain_words() {
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);

        check(&ErrorKind::ConnectionRefused.into(), "the connection was refused");
        check(&ErrorKind::UnexpectedEof.into(), "the connection was cut");
        check(&io::Error::other("strange"), "strange");
        check(
            &io::Error::new(ErrorKind::InvalidData, expired),
            "the TLS certificate is not accepted: it has expired",
        );
        check(
            &io::Error::new(ErrorKind::InvalidData, rustls::Error::DecryptError),
            "TLS failed: cannot decrypt peer's message",
        );
    }
}
