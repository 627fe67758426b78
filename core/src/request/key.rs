//! Private keys as text: recognised, and mended where transport broke their line ends.

use alloc::string::String;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Longest accepted key in bytes: far more than RSA with 16,384 bits needs.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// Returns the key with `\n` line ends and a final one, or nothing if the text is no private key.
pub(super) fn mend(text: &str) -> Option<String> {
    if text.len() > MAX_KEY_BYTES {
        return None;
    }
    let mut lines: alloc::vec::Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    let first = lines.first()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    let last = lines.pop()?.strip_prefix("-----END ")?.strip_suffix("-----")?;
    if first != last || !first.ends_with("PRIVATE KEY") {
        return None;
    }
    // Old PEM keys have headers such as `DEK-Info`, with an empty line behind.
    let body: String =
        lines.iter().skip(1).filter(|line| !line.contains(':')).map(|line| line.trim()).collect();
    if body.is_empty() || STANDARD.decode(&body).is_err() {
        return None;
    }
    let mut mended = lines.join("\n");
    mended.push_str("\n-----END ");
    mended.push_str(last);
    mended.push_str("-----\n");
    Some(mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n";

    #[test]
    fn line_ends_are_mended() {
        assert_eq!(mend(&KEY.replace('\n', "\r\n")).as_deref(), Some(KEY));
        assert_eq!(mend(KEY.trim_end()).as_deref(), Some(KEY));
    }

    #[test]
    fn other_text_is_refused() {
        let public = KEY.replace("PRIVATE", "PUBLIC");
        let garbage = KEY.replace("b3Blb", "!!!!!");
        for text in
            ["", "hello", &public, &garbage, "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----"]
        {
            assert!(mend(text).is_none(), "{text}");
        }
    }
}
