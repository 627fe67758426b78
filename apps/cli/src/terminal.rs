//! Makes text from outside safe to show: a terminal obeys control characters, and a reader
//! believes the order in which text appears.

use std::{borrow::Cow, fmt::Write as _};

/// Escapes every control character but newline and tab, and those that reorder or hide text, as
/// `\x1b` or `\u{202e}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_with(text, |shown, c| match u8::try_from(c) {
        Ok(byte) => write!(shown, "\\x{byte:02x}"),
        Err(_beyond_latin_1) => write!(shown, "\\u{{{:x}}}", u32::from(c)),
    })
}

/// Escapes the same characters inside JSON, which stays the same value.
pub(crate) fn escape_json(text: &str) -> Cow<'_, str> {
    escape_with(text, |shown, c| write!(shown, "\\u{:04x}", u32::from(c)))
}

fn escape_with(text: &str, write_escaped: impl Fn(&mut String, char) -> std::fmt::Result) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_unsafe(c) {
            // Writing to a String cannot fail.
            let _infallible = write_escaped(&mut shown, c);
        } else {
            shown.push(c);
        }
        shown
    });
    Cow::Owned(shown)
}

/// All of C0, DEL and C1 but newline and tab; Unicode's directional formatting characters
/// (UAX #9, section 2); and the two separators that some terminals take for newlines.
fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(escape(text), shown);
    }

    #[test]
    fn plain_text_newlines_and_tabs_are_shown_as_they_are() {
        check("a\tb\nü → 日本 👩‍💻", "a\tb\nü → 日本 👩‍💻");
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        check("\u{1b}[31mred", "\\x1b[31mred");
        check("\u{1b}]0;title\u{7}", "\\x1b]0;title\\x07");
        check("over\rwritten\u{8}", "over\\x0dwritten\\x08");
        check("\u{7f}\0", "\\x7f\\x00");
    }

    #[test]
    fn c1_controls_are_escaped() {
        check("\u{9b}31m\u{85}\u{80}", "\\x9b31m\\x85\\x80");
    }

    #[test]
    fn characters_that_reorder_text_are_escaped() {
        check("\u{202e}gnp.exe", "\\u{202e}gnp.exe");
        check("\u{2066}\u{2069}\u{200f}\u{61c}", "\\u{2066}\\u{2069}\\u{200f}\\u{61c}");
        check("\u{2028}", "\\u{2028}");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let json = "{\"a\":\"\u{9b}31m\u{202e}\u{7f}\"}";

        let shown = escape_json(json);

        assert_eq!(shown, "{\"a\":\"\\u009b31m\\u202e\\u007f\"}");
        let before: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), before);
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            prop_assert!(!escape(&text).contains(is_unsafe));
            prop_assert!(!escape_json(&text).contains(is_unsafe));
        }
    }
}
