//! Lower-case hexadecimal, for tokens, digests and signatures.

use alloc::string::String;
use core::fmt::Write as _;

/// Writes each byte as two lower-case digits.
///
/// # Examples
/// ```
/// assert_eq!(legwork_core::hex::encode(&[0, 171]), "00ab");
/// ```
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Reads pairs of digits of either case; nothing if the text is not that.
///
/// # Examples
/// ```
/// assert_eq!(legwork_core::hex::decode("00AB"), Some(vec![0, 171]));
/// assert_eq!(legwork_core::hex::decode("0"), None);
/// ```
pub fn decode(text: &str) -> Option<alloc::vec::Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digits =
                core::str::from_utf8(pair).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        })
        .collect()
}
