//! A writer of JSON objects whose strings and lists have a limit in bytes as they are written.

use alloc::string::{String, ToString as _};

use crate::json::{MAX_SAFE_INTEGER, write_number, write_string, written_len};

/// What a cut string ends in.
const CUT: char = '…';

/// Appends a string that takes at most `max_bytes` as written, quotes included; a longer one is cut
/// before a character and ends in `…`. `max_bytes` must be 5 or more.
pub(super) fn write_bounded(out: &mut String, text: &str, max_bytes: usize) {
    let room = max_bytes.saturating_sub(2);
    let room_if_cut = room.saturating_sub(CUT.len_utf8());
    let mut used = 0_usize;
    let mut kept = 0_usize;
    for (at, character) in text.char_indices() {
        used = used.saturating_add(written_len(character));
        if used <= room_if_cut {
            kept = at.saturating_add(character.len_utf8());
        }
        if used > room {
            let mut cut = text.get(..kept).unwrap_or_default().to_string();
            cut.push(CUT);
            write_string(out, &cut);
            return;
        }
    }
    write_string(out, text);
}

/// An object that is being written.
#[derive(Debug)]
pub(super) struct ObjectWriter {
    out: String,
}

impl ObjectWriter {
    pub(super) fn new() -> Self {
        Self { out: String::from("{") }
    }

    /// Writes a member's name; its value has to follow.
    fn name(&mut self, name: &str) -> &mut String {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        write_string(&mut self.out, name);
        self.out.push(':');
        &mut self.out
    }

    /// Adds a string of at most so many bytes as written.
    pub(super) fn string(&mut self, name: &str, text: &str, max_bytes: usize) {
        write_bounded(self.name(name), text, max_bytes);
    }

    /// Adds such a string where there is one.
    pub(super) fn optional_string(&mut self, name: &str, text: Option<&str>, max_bytes: usize) {
        if let Some(text) = text {
            self.string(name, text, max_bytes);
        }
    }

    /// Adds a count, held at 2^53 − 1: JavaScript knows no larger one exactly.
    pub(super) fn count(&mut self, name: &str, value: u64) {
        let text = value.min(MAX_SAFE_INTEGER).to_string();
        self.raw(name, &text);
    }

    /// Adds a number.
    pub(super) fn number(&mut self, name: &str, value: f64) {
        write_number(self.name(name), value);
    }

    /// Adds a value that is JSON as JavaScript writes it.
    pub(super) fn raw(&mut self, name: &str, json: &str) {
        self.name(name).push_str(json);
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// Returns a list of the first values that take at most `max_bytes` together, brackets included, and how many
/// those are.
pub(super) fn bounded_list(values: impl Iterator<Item = String>, max_bytes: usize) -> (String, usize) {
    let mut out = String::from("[");
    let mut count = 0_usize;
    for value in values {
        let comma = usize::from(count > 0);
        // One more for the closing bracket.
        if out.len().saturating_add(comma).saturating_add(value.len()).saturating_add(1) > max_bytes {
            break;
        }
        if count > 0 {
            out.push(',');
        }
        out.push_str(&value);
        count = count.saturating_add(1);
    }
    out.push(']');
    (out, count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Document;

    fn bounded(text: &str, max_bytes: usize) -> String {
        let mut out = String::new();
        write_bounded(&mut out, text, max_bytes);
        out
    }

    #[test]
    fn a_string_is_cut_only_where_it_must_be() {
        assert_eq!(bounded("abcdef", 8), "\"abcdef\"");
        assert_eq!(bounded("abcdefg", 8), "\"abc…\"");
        assert_eq!(bounded("\n\n\n", 8), r#""\n\n\n""#);
        assert_eq!(bounded("\n\n\n\n", 8), r#""\n…""#);
        assert_eq!(bounded("\0\0", 8), "\"…\"");
        assert_eq!(bounded("\u{1f600}\u{1f600}", 9), "\"\u{1f600}…\"");
        assert_eq!(bounded("abc", 5), "\"abc\"");
        assert_eq!(bounded("abcd", 5), "\"…\"");
    }

    #[test]
    fn a_list_takes_what_fits() {
        let values = || ["1", "22", "333"].into_iter().map(String::from);

        assert_eq!(bounded_list(values(), 10), ("[1,22,333]".into(), 3));
        assert_eq!(bounded_list(values(), 9), ("[1,22]".into(), 2));
        assert_eq!(bounded_list(values(), 2), ("[]".into(), 0));
    }

    proptest! {
        #[test]
        fn what_is_cut_is_a_beginning_that_ends_in_an_ellipsis(text in any::<String>(), max_bytes in 5..60_usize) {
            let json = bounded(&text, max_bytes);

            prop_assert!(json.len() <= max_bytes);
            let document = Document::parse(&json).unwrap();
            let read = document.root().as_str().unwrap();
            let beginning = read.strip_suffix('…');
            prop_assert!(read == text || beginning.is_some_and(|beginning| text.starts_with(beginning)));
        }
    }
}
