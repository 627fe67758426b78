//! Writes `.env` files that npm's `dotenv` and Python's `python-dotenv` read back exactly.
//!
//! The two differ in what they unescape. npm's takes everything between quotes as it is, but for
//! `\n` and `\r` between double quotes; Python's knows escapes between either kind of quotes and
//! replaces `${NAME}` everywhere. Where one spelling serves both it is used. Where none does, the
//! value is written twice: npm's passes over a name in quotes, and of two lines with one name both
//! take the last.
//!
//! What one of them reads may mislead the other about where it ends. A quote behind a backslash ends
//! a value only where no later one does, and to npm's, which is a regular expression of JavaScript,
//! a line ends at U+2028 and U+2029, too.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

/// What ends a line in JavaScript's regular expressions, beside LF and CR.
const SEPARATORS: [char; 2] = ['\u{2028}', '\u{2029}'];

/// Ends a quote that a reader may have left open, and is a comment to all others. No value is taken
/// to end at its double quote, because more follows on the line.
const CLOSER: &str = "# ' \" no quote is open behind this\n";

/// The text of a `.env` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// The whole file; empty where there are no values.
    pub text: String,
    /// Names whose values npm's `dotenv` does not read back exactly. The format cannot hold all
    /// three kinds of quotes in every value of several lines.
    pub inexact: Vec<String>,
}

/// Writes names and values, which hold no NUL.
///
/// # Examples
/// ```
/// use legwork_core::dotenv;
/// let written = dotenv::write([("TOKEN", "plain"), ("SAID", "say \"hi\""), ("LINES", "it's\ntwo")]);
/// assert_eq!(written.text, "TOKEN='plain'\nSAID='say \"hi\"'\nLINES=\"it's\ntwo\"\n");
///
/// let all_quotes = dotenv::write([("QUOTES", "'\"`\n#")]);
/// assert_eq!(all_quotes.inexact, ["QUOTES"]);
/// ```
pub fn write<'v>(values: impl IntoIterator<Item = (&'v str, &'v str)>) -> Dotenv {
    let mut written = Dotenv::default();
    let mut simple = String::new();
    for (name, value) in values {
        if let Some(spelling) = for_both(value) {
            simple.extend([name, "=", &spelling, "\n"]);
            continue;
        }
        // First, so that what Python takes of lines inside is overruled by what really has the name.
        let spelling = for_npm(value).unwrap_or_else(|| {
            written.inexact.push(name.to_string());
            for_python(value)
        });
        written.text.extend([name, "=", &spelling, "\n"]);
        // Python's takes a value in backticks line by line, and each line may open a quote.
        if spelling.starts_with(['"', '`']) {
            written.text.push_str(CLOSER);
        }
        simple.extend(["'", name, "'=", &for_python(value), "\n"]);
    }
    written.text.push_str(&simple);
    written
}

/// Returns a spelling that both read back.
fn for_both(value: &str) -> Option<String> {
    // Python replaces variables whatever the quotes; npm's reads every CR as the end of a line.
    if value.contains("${") {
        return None;
    }
    if !value.contains(['\'', '\r']) && !value.contains("\\\\") && !value.ends_with('\\') {
        return Some(format!("'{value}'"));
    }
    if !value.contains(['"', '\\']) {
        return Some(format!("\"{}\"", value.replace('\r', "\\r")));
    }
    is_plain(value).then(|| value.to_string())
}

/// Whether a value can stand without quotes.
fn is_plain(value: &str) -> bool {
    let is_edge = |c: char| c == ' ' || matches!(c, '\'' | '"' | '`');
    value.chars().all(|c| (c == ' ' || c.is_ascii_graphic()) && c != '#')
        && !value.starts_with(is_edge)
        && !value.ends_with(' ')
        && !value.is_empty()
}

/// Returns a spelling that npm's reads back.
fn for_npm(value: &str) -> Option<String> {
    let has_return = value.contains('\r');
    for quote in ['\'', '`'] {
        // A backslash before a quote keeps it from ending the value, and stays in it.
        if !has_return && !value.contains(quote) && !value.ends_with('\\') {
            return Some(format!("{quote}{value}{quote}"));
        }
    }
    let has_escapes = value.contains("\\n") || value.contains("\\r");
    if has_escapes {
        return is_plain(value).then(|| value.to_string());
    }
    let lines = value.replace('\n', "\\n").replace('\r', "\\r");
    // A quote behind a backslash is passed over, so the value ends at its last one, which `CLOSER` protects.
    let is_passed = |(at, _): (usize, &str)| lines.get(..at).is_some_and(|before| before.ends_with('\\'));
    let ends_at_its_quote = lines.match_indices('"').all(is_passed);
    // Without its end in sight, what begins with a quote is read to the end of the line.
    let ends_with_its_line = !value.contains('#') && !value.contains(SEPARATORS);
    (ends_at_its_quote || ends_with_its_line).then(|| format!("\"{lines}\""))
}

/// Returns a spelling that Python's reads back, on one line.
fn for_python(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    // A variable without a name has the default that it is given here.
    let spelled = escaped.replace('\n', "\\n").replace('\r', "\\r").replace("${", "${:-$}{");
    // Behind a separator npm's looks for the name of a further value.
    let spelled = spelled.replace('\u{2028}', "\u{2028}${:-}").replace('\u{2029}', "\u{2029}${:-}");
    // The quote after a backslash would not end the value.
    let end = if value.ends_with('\\') { "${:-}" } else { "" };
    format!("\"{spelled}{end}\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> String {
        write([("A", value)]).text
    }

    #[test]
    fn what_has_no_single_quote_stands_between_single_quotes() {
        for value in [
            "",
            "plain",
            "with # hash",
            " blanks ",
            "C:\\new\\table",
            "a\nb=c",
            "$HOME",
            "`x`",
            "{\"a\":\"b\\n\"}",
        ] {
            assert_eq!(text(value), format!("A='{value}'\n"));
        }
    }

    #[test]
    fn what_has_single_quotes_alone_stands_between_double_quotes() {
        assert_eq!(text("it's"), "A=\"it's\"\n");
        assert_eq!(text("a\r\nb"), "A=\"a\\r\nb\"\n");
    }

    #[test]
    fn both_quotes_on_one_line_stand_bare() {
        assert_eq!(text("it's \"x\" \\n"), "A=it's \"x\" \\n\n");
    }

    #[test]
    fn a_value_that_needs_two_spellings_gets_pythons_last() {
        assert_eq!(text("${HOME}"), "A='${HOME}'\n'A'=\"${:-$}{HOME}\"\n");
        assert_eq!(text("end\\"), "A=end\\\n");
        assert_eq!(
            text("it's \"x\"\n# y"),
            format!("A=`it's \"x\"\n# y`\n{CLOSER}'A'=\"it's \\\"x\\\"\\n# y\"\n")
        );
    }

    #[test]
    fn a_quote_behind_a_backslash_is_kept_from_ending_a_later_value() {
        assert_eq!(text("a\r\\"), format!("A=\"a\\r\\\"\n{CLOSER}'A'=\"a\\r\\\\${{:-}}\"\n"));
        assert_eq!(text("\r\\\"# x"), format!("A=\"\\r\\\"# x\"\n{CLOSER}'A'=\"\\r\\\\\\\"# x\"\n"));
    }

    #[test]
    fn what_follows_a_separator_is_no_line_with_a_name() {
        assert_eq!(
            text("${X}\u{2028}B=1\u{2029}C=2"),
            "A='${X}\u{2028}B=1\u{2029}C=2'\n'A'=\"${:-$}{X}\u{2028}${:-}B=1\u{2029}${:-}C=2\"\n"
        );
    }

    #[test]
    fn a_value_that_a_separator_would_end_early_is_told() {
        assert_eq!(write([("A", "\r\"\u{2028}")]).inexact, ["A"]);
        assert_eq!(write([("A", "\r\"x")]).inexact, [""; 0]);
    }

    #[test]
    fn values_of_two_spellings_come_before_all_others() {
        let written = write([("A", "1"), ("B", "${X}")]);

        assert_eq!(written.text, "B='${X}'\nA='1'\n'B'=\"${:-$}{X}\"\n");
    }

    proptest! {
        #[test]
        fn every_name_has_a_line_and_no_line_a_return(
            values in proptest::collection::vec("[a='\"`#\\\\$\\{\r\n\u{2028} ]{0,8}", 1..6),
        ) {
            let names: Vec<String> = (0..values.len()).map(|n| format!("NAME_{n}")).collect();
            let pairs = names.iter().map(String::as_str).zip(values.iter().map(String::as_str));

            let written = write(pairs);

            prop_assert!(!written.text.contains('\r'));
            prop_assert!(written.inexact.iter().all(|name| names.contains(name)));
            for name in &names {
                let begin = format!("{name}=");
                prop_assert!(written.text.lines().any(|line| line.starts_with(&begin)), "{}", written.text);
            }
        }
    }
}
