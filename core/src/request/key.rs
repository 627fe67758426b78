//! Private keys as text: recognised, and mended where transport broke their line ends.
//!
//! Only so much of a key is read as tells that it is one, and that no passphrase locks it: nobody is
//! there to type it. Whether it opens anything is for the server to say.

use alloc::{string::String, vec::Vec};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Longest accepted key in bytes: far more than RSA with 16,384 bits needs.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// How OpenSSH's own format begins (PROTOCOL.key in its sources).
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// DER's tag of a sequence (X.690, section 8.9).
const SEQUENCE: u8 = 0x30;

/// How the version begins, which is the first thing in keys of PKCS #1, SEC 1 and PKCS #8: an integer of
/// one byte.
const VERSION: [u8; 2] = [0x02, 0x01];

/// Why a text is no key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidKey {
    #[error("an OpenSSH or PEM private key")]
    NotAKey,
    #[error("an OpenSSH or PEM private key without a passphrase")]
    Locked,
}

/// Returns the key with `\n` line ends and a final one.
pub(super) fn mend(text: &str) -> Result<String, InvalidKey> {
    if text.len() > MAX_KEY_BYTES {
        return Err(InvalidKey::NotAKey);
    }
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    let [first, inner @ .., last] = lines.as_slice() else { return Err(InvalidKey::NotAKey) };
    let label = label(first, "-----BEGIN ").filter(|begun| label(last, "-----END ") == Some(*begun));
    let format = label.and_then(|label| label.strip_suffix("PRIVATE KEY")).ok_or(InvalidKey::NotAKey)?;
    let (headers, body) = parted(inner);
    if inner.iter().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")) {
        return Err(InvalidKey::Locked);
    }
    let Ok(bytes) = STANDARD.decode(body.concat()) else { return Err(InvalidKey::NotAKey) };
    let bytes = Zeroizing::new(bytes);
    match format {
        "OPENSSH " if headers.is_empty() => match openssh_is_locked(&bytes) {
            Some(false) => {}
            Some(true) => return Err(InvalidKey::Locked),
            None => return Err(InvalidKey::NotAKey),
        },
        // The last one is PKCS #8.
        "RSA " | "EC " | "DSA " | "" if is_der_key(&bytes) => {}
        "ENCRYPTED " => return Err(InvalidKey::Locked),
        _ => return Err(InvalidKey::NotAKey),
    }
    let blank = (!headers.is_empty()).then_some("");
    let mended = [*first].into_iter().chain(headers.iter().copied()).chain(blank).chain(body).chain([*last]);
    Ok(mended.flat_map(|line| [line, "\n"]).collect())
}

/// Returns what a line at the edge of a key calls it.
fn label<'l>(line: &'l str, edge: &str) -> Option<&'l str> {
    line.strip_prefix(edge)?.strip_suffix("-----")
}

/// Parts the headers that old PEM keys may have, up to a blank line, from what is encoded.
fn parted<'l, 't>(inner: &'l [&'t str]) -> (&'l [&'t str], Vec<&'t str>) {
    let blank = inner.iter().position(|line| line.is_empty());
    let (headers, body) = match blank.and_then(|at| inner.split_at_checked(at)) {
        Some((headers, body)) if headers.iter().any(|line| line.contains(':')) => (headers, body),
        Some(_) | None => (<&[&str]>::default(), inner),
    };
    (headers, body.iter().copied().filter(|line| !line.is_empty()).collect())
}

/// Returns whether a passphrase locks a key of OpenSSH's own format; nothing where it is none.
fn openssh_is_locked(bytes: &[u8]) -> Option<bool> {
    let (cipher, rest) = string(bytes.strip_prefix(OPENSSH_MAGIC)?)?;
    let (_kdf, rest) = string(rest)?;
    let (_kdf_options, rest) = string(rest)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (_public, rest) = string(rest)?;
    let (private, _) = string(rest)?;
    if u32::from_be_bytes(*count) != 1 {
        return None;
    }
    if cipher != b"none" {
        return Some(true);
    }
    // The same number twice, so that a wrong passphrase is noticed.
    let (one, other) = private.first_chunk::<8>()?.split_at(4);
    (one == other).then_some(false)
}

/// Reads a string behind its length, and returns it with what follows (RFC 4251, section 5).
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Returns whether the bytes are one sequence that begins with a version.
fn is_der_key(bytes: &[u8]) -> bool {
    sequence(bytes).is_some_and(|inside| inside.starts_with(&VERSION))
}

/// Returns what is in a DER sequence that is all of the bytes (X.690, section 8.1.3).
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = bytes.split_first()?;
    let (begin, rest) = rest.split_first()?;
    let (length, inside) = match *begin {
        short @ 0..=0x7f => (usize::from(short), rest),
        // The length follows, in so many bytes.
        long @ 0x81..=0x84 => {
            let (digits, inside) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |length: usize, digit| (length << 8) | usize::from(*digit)), inside)
        }
        _ => return None,
    };
    (*tag == SEQUENCE && length == inside.len()).then_some(inside)
}

/// A key that `ssh-keygen -t ed25519` has written, and that opens nothing.
#[cfg(test)]
pub(super) const ED25519: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACCCFFcoXNdgYMuf3jJxAN/sMFUt5YDjyQCA8K1vNvoiHgAAAIgGHnxLBh58
SwAAAAtzc2gtZWQyNTUxOQAAACCCFFcoXNdgYMuf3jJxAN/sMFUt5YDjyQCA8K1vNvoiHg
AAAECLO5r6vNEUG7U9BbOH30yZj5qhjQnMjNFsMsGaGdts+4IUVyhc12Bgy5/eMnEA3+ww
VS3lgOPJAIDwrW82+iIeAAAAAAECAwQF
-----END OPENSSH PRIVATE KEY-----
";

#[cfg(test)]
mod tests {
    use std::{format, string::ToString as _, vec};

    use proptest::prelude::*;

    use super::*;

    /// A key of P-256 that `openssl ecparam` has written, and that opens nothing.
    const EC: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIAxv2RTq0l4ARKOJifzFqQfPN6ykcyyv82YJQsz+h3xFoAoGCCqGSM49
AwEHoUQDQgAEBvCw8Gg/WyHneFbRlxJAelYeFaLdMWgt4m1FfVBZVDumC6sbEQwI
7mB9zH/KQQ/gQBYSuxcYYKQ2UMxOobGiwg==
-----END EC PRIVATE KEY-----
";

    fn pem(label: &str, bytes: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(bytes))
    }

    /// A key in OpenSSH's format, of which nothing but the form is right.
    fn openssh(cipher: &str, count: u32, private: &[u8]) -> String {
        let string = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).unwrap();
            [&length.to_be_bytes()[..], bytes].concat()
        };
        let parts = [
            OPENSSH_MAGIC.to_vec(),
            string(cipher.as_bytes()),
            string(b"none"),
            string(b""),
            count.to_be_bytes().to_vec(),
            string(b"public"),
            string(private),
        ];
        pem("OPENSSH PRIVATE KEY", &parts.concat())
    }

    #[track_caller]
    fn check_refused(text: &str, error: InvalidKey) {
        assert_eq!(mend(text), Err(error), "{text}");
    }

    #[test]
    fn keys_as_programs_write_them_stay_as_they_are() {
        let pkcs8 = pem("PRIVATE KEY", &[0x30, 0x05, 0x02, 0x01, 0x00, 0x30, 0x00]);
        let rsa = pem("RSA PRIVATE KEY", &[&[0x30_u8, 0x81, 0x80, 0x02, 0x01][..], &[0; 126]].concat());

        for key in [ED25519, EC, &pkcs8, &rsa] {
            assert_eq!(mend(key).as_deref(), Ok(key));
        }
    }

    #[test]
    fn line_ends_and_blanks_are_mended() {
        let indented = ED25519.replace('\n', " \n\t");
        let parted = ED25519.replace('\n', "\n\n");
        for broken in [ED25519.trim_end(), &ED25519.replace('\n', "\r\n"), &indented, &parted] {
            assert_eq!(mend(broken).as_deref(), Ok(ED25519), "{broken:?}");
        }
    }

    #[test]
    fn headers_stand_before_the_first_blank_line_only() {
        let body = EC.lines().nth(1).unwrap();
        let with_header = EC.replace(body, &format!("Comment: mine\n\n{body}"));

        assert_eq!(mend(&with_header.replace('\n', "\r\n")), Ok(with_header.clone()));
        check_refused(&with_header.replace("\n\n", "\n"), InvalidKey::NotAKey);
        check_refused(&EC.replace(body, &format!("{body}\n\nComment: mine")), InvalidKey::NotAKey);
        let body = ED25519.lines().nth(1).unwrap();
        check_refused(&ED25519.replace(body, &format!("Comment: x\n\n{body}")), InvalidKey::NotAKey);
    }

    #[test]
    fn a_key_with_a_passphrase_is_told_as_such() {
        let headers = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";

        check_refused(headers, InvalidKey::Locked);
        check_refused(&pem("ENCRYPTED PRIVATE KEY", &[0x30, 0x00]), InvalidKey::Locked);
        check_refused(&openssh("aes256-ctr", 1, b"anything"), InvalidKey::Locked);
        assert_eq!(InvalidKey::Locked.to_string(), "an OpenSSH or PEM private key without a passphrase");
    }

    #[test]
    fn what_only_looks_like_a_key_is_refused() {
        for text in [
            "",
            "hello",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &ED25519.replace("PRIVATE", "PUBLIC"),
            &ED25519.replacen("OPENSSH", "RSA", 1),
            &ED25519.replace("b3Blb", "!!!!!"),
            &ED25519.replace("AAAAB", "AAAAC"),
            &pem("OPENSSH PRIVATE KEY", b"hello"),
            &pem("OPENSSH PRIVATE KEY", OPENSSH_MAGIC),
            &openssh("none", 2, b"samesame"),
            &openssh("none", 1, b"same"),
            &openssh("none", 1, b"someelse"),
            &pem("PRIVATE KEY", b"hello"),
            &pem("RSA PRIVATE KEY", b""),
            &pem("RSA PRIVATE KEY", &[0x30, 0x04, 0x02, 0x01, 0x00]),
            &pem("RSA PRIVATE KEY", &[0x30, 0x80, 0x02, 0x01, 0x00]),
            &pem("EC PRIVATE KEY", &[0x31, 0x03, 0x02, 0x01, 0x01]),
            &pem("PRIVATE KEY", &[0x30, 0x02, 0x30, 0x00]),
            &pem("ANY PRIVATE KEY", &[0x30, 0x03, 0x02, 0x01, 0x00]),
            &"x".repeat(MAX_KEY_BYTES + 1),
        ] {
            check_refused(text, InvalidKey::NotAKey);
        }
        assert!(mend(&openssh("none", 1, b"samesame")).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_mended_stays(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            label in prop::sample::select(vec!["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY"]),
        ) {
            for start in [OPENSSH_MAGIC, &[0x30], &[]] {
                if let Ok(mended) = mend(&pem(label, &[start, &bytes].concat())) {
                    prop_assert_eq!(mend(&mended), Ok(mended.clone()));
                }
            }
        }
    }
}
