//! Writes `.env` files that npm's `dotenv` and Python's `python-dotenv` read back exactly.
//!
//! The two differ in what they unescape. npm's takes everything between quotes as it is, but for
//! `\n` and `\r` between double quotes; Python's knows escapes between either kind of quotes and
//! replaces `${NAME}` everywhere. Where one spelling serves both it is used. Where none does, the
//! value is written twice: npm's passes over a name in quotes, and of two lines with one name both
//! take the last.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

/// The text of a `.env` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// The whole file; empty where there are no values.
    pub text: String,
    /// Names whose values npm's `dotenv` does not read back exactly. The format cannot hold all
    /// three kinds of quotes in one value of several lines.
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
    if !value.contains('"') && !value.ends_with('\\') {
        return Some(format!("\"{lines}\""));
    }
    // Without its end in sight, what begins with a quote is read to the end of the line.
    (!value.contains('#')).then(|| format!("\"{lines}\""))
}

/// Returns a spelling that Python's reads back, on one line.
fn for_python(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    // A variable without a name has the default that it is given here.
    let spelled = escaped.replace('\n', "\\n").replace('\r', "\\r").replace("${", "${:-$}{");
    // The quote after a backslash would not end the value.
    let end = if value.ends_with('\\') { "${:-}" } else { "" };
    format!("\"{spelled}{end}\"")
}

#[cfg(test)]
mod tests {
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
        assert_eq!(text("it's \"x\"\n# y"), "A=`it's \"x\"\n# y`\n'A'=\"it's \\\"x\\\"\\n# y\"\n");
    }

    #[test]
    fn values_of_two_spellings_come_before_all_others() {
        let written = write([("A", "1"), ("B", "${X}")]);

        assert_eq!(written.text, "B='${X}'\nA='1'\n'B'=\"${:-$}{X}\"\n");
    }
}
