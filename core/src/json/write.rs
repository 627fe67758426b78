//! Strings and numbers as `JSON.stringify` writes them.

use alloc::string::String;

/// Appends a string with its quotes.
///
/// Escaped are only `"`, `\`, and control characters below U+0020: as `\b \f \n \r \t` or by
/// lower-case `\u00xx`. U+2028 and U+007F stand as they are.
///
/// # Examples
/// ```
/// let mut out = String::new();
/// legwork_core::json::write_string(&mut out, "a\"\u{1f}\u{2028}");
/// assert_eq!(out, "\"a\\\"\\u001f\u{2028}\"");
/// ```
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(length) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
        let (plain, special) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut chars = special.chars();
        if let Some(character) = chars.next() {
            write_escape(out, character);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Returns how many bytes a character takes inside a written string.
pub(crate) fn written_len(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
        ..' ' => 6,
        _ => character.len_utf8(),
    }
}

fn write_escape(out: &mut String, character: char) {
    let letter = match character {
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '"' | '\\' => character,
        _ => {
            let code = u32::from(character);
            out.push_str("\\u00");
            out.extend([code >> 4, code & 0xf].into_iter().filter_map(|digit| char::from_digit(digit, 16)));
            return;
        }
    };
    out.push('\\');
    out.push(letter);
}

/// Appends a number by ECMAScript's `Number::toString` (ECMA-262, section 6.1.6.1.20).
///
/// −0 is written as `0`, and what is not finite as `null`.
///
/// # Examples
/// ```
/// let mut out = String::new();
/// for value in [1e21, 0.1 + 0.2, -0.0, f64::NAN] {
///     legwork_core::json::write_number(&mut out, value);
///     out.push(' ');
/// }
/// assert_eq!(out, "1e+21 0.30000000000000004 0 null ");
/// ```
pub fn write_number(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(ryu_js::Buffer::new().format_finite(value));
    } else {
        out.push_str("null");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Document;

    fn written(text: &str) -> String {
        let mut out = String::new();
        write_string(&mut out, text);
        out
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        assert_eq!(written("\"\\/\u{8}\u{c}\n\r\t"), r#""\"\\/\b\f\n\r\t""#);
        assert_eq!(written("\0\u{b}\u{1f}\u{7f}é\u{1f600}"), "\"\\u0000\\u000b\\u001f\u{7f}é\u{1f600}\"");
    }

    #[test]
    fn numbers_change_their_form_where_javascript_changes_it() {
        let cases = [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (1e20, "100000000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "null"),
        ];
        for (value, wanted) in cases {
            let mut out = String::new();
            write_number(&mut out, value);
            assert_eq!(out, wanted);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in any::<String>()) {
            let json = written(&text);

            let length = text.chars().map(written_len).sum::<usize>() + 2;
            prop_assert_eq!(json.len(), length);
            let document = Document::parse(&json).unwrap();
            prop_assert_eq!(document.root().as_str().unwrap(), text);
        }

        #[test]
        fn numbers_are_read_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let mut out = String::new();

            write_number(&mut out, value);

            let document = Document::parse(&out).unwrap();
            prop_assert!(document.root().as_f64() == Some(value));
        }
    }
}
