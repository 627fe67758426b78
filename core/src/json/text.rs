//! Escapes inside JSON strings.

use alloc::{borrow::Cow, string::String};

/// Returns the UTF-16 unit that four hex digits spell at the start of `digits`.
pub(super) fn unit(digits: &[u8]) -> Option<u16> {
    digits.get(..4)?.iter().try_fold(0_u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some((unit << 4) | u16::try_from(value).ok()?)
    })
}

/// Returns whether a unit is the first half of a surrogate pair.
pub(super) fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

/// Returns whether a unit is the second half of a surrogate pair.
pub(super) fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// Returns the second half of a surrogate pair where `text` begins with its escape.
pub(super) fn low_escape(text: &[u8]) -> Option<u16> {
    text.strip_prefix(b"\\u").and_then(unit).filter(|low| is_low(*low))
}

/// Resolves the escapes of a string that was already checked. Lone surrogates become U+FFFD.
pub(super) fn decode(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut decoded = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        decoded.push_str(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('u') => rest = push_unit(&mut decoded, chars.as_str()),
            Some(letter) => {
                decoded.push(match letter {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    itself => itself,
                });
                rest = chars.as_str();
            }
            None => rest = "",
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// Decodes what stands after `\u` and returns what follows it.
fn push_unit<'a>(decoded: &mut String, digits: &'a str) -> &'a str {
    let first = unit(digits.as_bytes()).unwrap_or(0xfffd);
    let after = digits.get(4..).unwrap_or_default();
    let second = if is_high(first) { low_escape(after.as_bytes()) } else { None };
    let pair = core::iter::once(first).chain(second);
    decoded.extend(char::decode_utf16(pair).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    if second.is_some() { after.get(6..).unwrap_or_default() } else { after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_escapes_are_resolved() {
        assert_eq!(decode(r#"\"\\\/\b\f\n\r\t"#), "\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(decode(r"a\u00e9\u00E9\u0000b\u2028"), "aéé\0b\u{2028}");
        assert_eq!(decode(r"\ud83d\ude00\\u0041"), "\u{1f600}\\u0041");
        assert!(matches!(decode("é"), Cow::Borrowed("é")));
    }

    #[test]
    fn half_pairs_become_replacement_characters() {
        assert_eq!(decode(r"\ud83d\n"), "\u{fffd}\n");
        assert_eq!(decode(r"\ude00\ud83d"), "\u{fffd}\u{fffd}");
        assert_eq!(decode(r"\ud83d\u0041"), "\u{fffd}A");
    }
}
