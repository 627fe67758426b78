//! The ways in which a secret shows up in text: quoted, escaped, encoded.
//!
//! Each function writes one way exactly as a common program does. Which secrets are sought, and
//! how, is not decided here.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use crate::hex;

/// Lines of a secret, and lines of its base64, are sought by themselves from this length.
const MIN_LINE_CHARS: usize = 16;

/// Line lengths at which programs break base64: MIME and GNU base64, PEM.
const BASE64_COLUMNS: [usize; 2] = [76, 64];

/// Returns every spelling of `text` but the plain one, each once.
pub(super) fn encodings(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for style in JSON_STYLES {
        let once = json_escaped(text, *style);
        all.insert(json_escaped(&once, *style));
        all.insert(once);
    }
    all.extend(quoted(text));
    for unescaped in UNESCAPED_IN_URLS {
        for digits in [Digits::Upper, Digits::Lower] {
            let encoded = percent_encoded(text, unescaped, digits);
            // A form writes a blank as a plus.
            all.insert(encoded.replace("%20", "+"));
            all.insert(encoded);
        }
    }
    let lower = hex::encode(text.as_bytes());
    all.insert(lower.to_ascii_uppercase());
    all.insert(lower);
    all.extend(base64_parts(text.as_bytes()));
    all.remove(text);
    all
}

/// Returns the lines of a text of several lines that are long enough to be sought.
pub(super) fn long_lines(text: &str) -> impl Iterator<Item = &str> {
    let several = text.contains('\n');
    text.lines().map(str::trim).filter(move |line| several && line.chars().count() >= MIN_LINE_CHARS)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Lower,
    Upper,
}

/// What a JSON writer escapes beyond what it must, and with which digits.
#[derive(Debug, Clone, Copy)]
struct JsonStyle {
    beyond: Beyond,
    digits: Digits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// JavaScript and most others.
    Nothing,
    /// Some write every slash with a backslash.
    Slash,
    /// Python's default.
    NonAscii,
    /// PHP's default.
    NonAsciiAndSlash,
    /// Go's default.
    Html,
}

const JSON_STYLES: &[JsonStyle] = &[
    JsonStyle { beyond: Beyond::Nothing, digits: Digits::Lower },
    JsonStyle { beyond: Beyond::Nothing, digits: Digits::Upper },
    JsonStyle { beyond: Beyond::Slash, digits: Digits::Lower },
    JsonStyle { beyond: Beyond::Slash, digits: Digits::Upper },
    JsonStyle { beyond: Beyond::NonAscii, digits: Digits::Lower },
    JsonStyle { beyond: Beyond::NonAscii, digits: Digits::Upper },
    JsonStyle { beyond: Beyond::NonAsciiAndSlash, digits: Digits::Lower },
    JsonStyle { beyond: Beyond::Html, digits: Digits::Lower },
    JsonStyle { beyond: Beyond::Html, digits: Digits::Upper },
];

fn json_escaped(text: &str, style: JsonStyle) -> String {
    let slash = matches!(style.beyond, Beyond::Slash | Beyond::NonAsciiAndSlash);
    let non_ascii = matches!(style.beyond, Beyond::NonAscii | Beyond::NonAsciiAndSlash);
    let html = style.beyond == Beyond::Html;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if slash => out.push_str("\\/"),
            c if c < ' ' || (non_ascii && !c.is_ascii()) => push_unicode_escape(&mut out, c, style.digits),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if html => {
                push_unicode_escape(&mut out, c, style.digits);
            }
            c => out.push(c),
        }
    }
    out
}

fn push_unicode_escape(out: &mut String, c: char, digits: Digits) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a String cannot fail.
        let _infallible = match digits {
            Digits::Lower => write!(out, "\\u{unit:04x}"),
            Digits::Upper => write!(out, "\\u{unit:04X}"),
        };
    }
}

/// Inside quotes of dotenv files and of shells, which differ in what they escape.
fn quoted(text: &str) -> [String; 5] {
    let newlines = |text: &str| text.replace('\n', "\\n").replace('\r', "\\r");
    let backslashes = text.replace('\\', "\\\\").replace('"', "\\\"");
    let dollars = backslashes.replace('$', "\\$").replace('`', "\\`");
    [
        newlines(&text.replace('"', "\\\"")),
        newlines(&backslashes.replace('$', "\\$")),
        newlines(&dollars),
        dollars,
        text.replace('\'', "'\\''"),
    ]
}

/// Punctuation that stays as it is: RFC 3986, `encodeURIComponent`, `encodeURI`, forms of the
/// WHATWG URL standard, Python's `quote`.
const UNESCAPED_IN_URLS: [&str; 5] = ["-_.~", "-_.!~*'()", ";,/?:@&=+$-_.!~*'()#", "*-._", "-_.~/"];

fn percent_encoded(text: &str, unescaped: &str, digits: Digits) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || unescaped.contains(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a String cannot fail.
            let _infallible = match digits {
                Digits::Lower => write!(out, "%{byte:02x}"),
                Digits::Upper => write!(out, "%{byte:02X}"),
            };
        }
    }
    out
}

/// What base64 makes of the bytes wherever they stand: for each of the three alignments the
/// digits that do not depend on the bytes before and after; and the lines of the whole, where
/// a program breaks it.
fn base64_parts(bytes: &[u8]) -> Vec<String> {
    let mut parts = Vec::new();
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // A digit stands for 6 bits: after one foreign byte 2 digits are shared with it, after
        // two bytes 3.
        for (foreign_bytes, shared_digits) in [(0, 0), (1, 2), (2, 3)] {
            let mut shifted = alloc::vec![0; foreign_bytes];
            shifted.extend_from_slice(bytes);
            let own_digits = shifted.len().saturating_mul(8) / 6;
            let encoded = engine.encode(&shifted);
            let part = encoded.get(shared_digits..own_digits).unwrap_or_default();
            parts.push(part.to_string());
            if foreign_bytes == 0 {
                parts.extend(BASE64_COLUMNS.iter().flat_map(|columns| columns_of(part, *columns)));
            }
        }
    }
    parts
}

fn columns_of(digits: &str, columns: usize) -> Vec<String> {
    if digits.len() <= columns {
        return Vec::new();
    }
    digits
        .as_bytes()
        .chunks(columns)
        .filter(|line| line.len() >= MIN_LINE_CHARS)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let all = encodings(text);

        assert!(all.contains(expected), "{expected} is not among {all:?}");
    }

    #[test]
    fn json_escapes_are_written_as_programs_write_them() {
        check("a\"b\n", r#"a\"b\n"#);
        check("a\"b\n", r#"a\\\"b\\n"#);
        check("a/b\u{1b}", r"a\/b\u001b");
        check("a/b\u{1b}", r"a/b\u001B");
        check("gr\u{fc}n", r"gr\u00fcn");
        check("gr\u{fc}n", r"gr\u00FCn");
        check("\u{1f600}pass", r"\ud83d\ude00pass");
        check("a<b", r"a\u003cb");
    }

    #[test]
    fn quotes_are_written_as_dotenv_and_shells_write_them() {
        check("a$b\"c\nd", r#"a\$b\"c\nd"#);
        check("a\\b`c", r"a\\b\`c");
        check("it's", r"it'\''s");
    }

    #[test]
    fn urls_are_encoded_with_digits_of_either_case() {
        check("p/w d\u{fc}", "p%2Fw%20d%C3%BC");
        check("p/w d\u{fc}", "p%2fw%20d%c3%bc");
        check("p/w d\u{fc}", "p%2Fw+d%C3%BC");
        check("p/w d\u{fc}", "p/w%20d%C3%BC");
    }

    #[test]
    fn base64_is_found_at_each_alignment() {
        for before in ["", "x", "xy", "xyz"] {
            let whole = STANDARD_NO_PAD.encode(alloc::format!("{before}hunter2-hunter2??>>~~{before}"));
            let found =
                encodings("hunter2-hunter2??>>~~").iter().any(|s| s.len() > 20 && whole.contains(s.as_str()));

            assert!(found, "{whole}");
        }
    }

    #[test]
    fn base64_broken_into_lines_is_found_by_its_lines() {
        let secret = "0123456789".repeat(12);
        let whole = STANDARD_NO_PAD.encode(&secret);

        check(&secret, whole.get(..76).unwrap());
        check(&secret, whole.get(76..152).unwrap());
        check(&secret, whole.get(64..128).unwrap());
    }

    #[test]
    fn only_long_lines_of_several_are_sought() {
        let text = "-----BEGIN KEY-----\nshort\n  aaaaaaaaaaaaaaaa\n";

        assert_eq!(long_lines(text).collect::<Vec<_>>(), ["-----BEGIN KEY-----", "aaaaaaaaaaaaaaaa"]);
        assert_eq!(long_lines("one line that is long enough").count(), 0);
    }
}
