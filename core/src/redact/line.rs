//! Masks inside a line of JSON: its string values and numbers, and nothing else.
//!
//! Whether something is found is judged on decoded values, so an escape hides nothing. What is
//! not changed stays as it is, byte for byte. Names, and the members by which the agent's format
//! is read, are left alone.

use alloc::{borrow::Cow, collections::BTreeSet, string::String, vec::Vec};
use core::ops::Range;

use super::redactor::{MASK, Redactor};
use crate::json::{self, Document, Kind, Node};

/// The longest value that is believed to be an identifier, a time or a state, in bytes.
const MAX_PROTOCOL_VALUE_BYTES: usize = 128;

/// What masking changes in one line.
#[derive(Debug, Default)]
pub struct Edits(Vec<Edit>);

#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    /// JSON that takes the range's place.
    json: String,
}

impl Edits {
    /// Tells whether the line stays as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns that part of the line with its changes.
    ///
    /// `line` is the text that the document was read from; `range` are byte offsets in it and
    /// cut no value in two.
    pub fn apply<'t>(&self, line: &'t str, range: Range<usize>) -> Cow<'t, str> {
        let first = self.0.partition_point(|edit| edit.range.start < range.start);
        let inside = self.0.iter().skip(first).take_while(|edit| edit.range.end <= range.end);
        let mut out = String::new();
        let mut from = range.start;
        for edit in inside {
            out.push_str(line.get(from..edit.range.start).unwrap_or_default());
            out.push_str(&edit.json);
            from = edit.range.end;
        }
        let rest = line.get(from..range.end).unwrap_or_default();
        if from == range.start {
            return Cow::Borrowed(rest);
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

impl Redactor {
    /// Masks one line of JSON; `line` is the text that the document was read from.
    ///
    /// Secrets are replaced inside string values, and numbers that are written as a secret is
    /// become `"***"`. Member names stay, and so do short values without blanks where the
    /// agent's format has its own words: `type`, `subtype`, `status`, `id`, `uuid`, `timestamp`
    /// and names in `_id` of the line itself; `id`, `type`, `role`, `model` and `stop_reason` of
    /// its `message`; `type`, `id` and `tool_use_id` of the message's content blocks.
    ///
    /// # Examples
    /// ```
    /// use legwork_core::{json::Document, redact::{Redactor, SecretKind}};
    /// let redactor = Redactor::new([(SecretKind::Credential, "hunter2")]);
    /// let mask = |line: &str| redactor.mask_json_line(&Document::parse(line).unwrap(), line).into_owned();
    /// assert_eq!(mask(r#"{"a": "hun\u0074er2", "b": 1.0}"#), r#"{"a": "***", "b": 1.0}"#);
    /// assert_eq!(mask(r#"{"hunter2": "a", "type": "hunter2"}"#), r#"{"hunter2": "a", "type": "hunter2"}"#);
    /// ```
    pub fn mask_json_line<'t>(&self, doc: &Document<'_>, line: &'t str) -> Cow<'t, str> {
        self.edits(doc).apply(line, 0..line.len())
    }

    /// Returns what masking changes in a line, to apply it to the line and to parts of it.
    pub fn edits(&self, doc: &Document<'_>) -> Edits {
        let root = doc.root();
        let text = root.raw();
        // Where nothing is escaped, a secret that is nowhere in the line is in no value either.
        if self.is_empty() || !(self.knows_numbers() || text.contains('\\') || self.may_be_in(text)) {
            return Edits::default();
        }
        let mut protocol: Option<BTreeSet<usize>> = None;
        let mut edits = Vec::new();
        for leaf in doc.strings_and_numbers() {
            let Some(json) = self.masked_leaf(leaf.node) else { continue };
            let protocol = protocol.get_or_insert_with(|| protocol_values(root));
            if !protocol.contains(&leaf.node.start()) {
                edits.push(Edit { range: leaf.node.start()..leaf.node.end(), json });
            }
        }
        Edits(edits)
    }

    fn masked_leaf(&self, node: Node<'_>) -> Option<String> {
        let mut json = String::new();
        match node.kind() {
            Kind::String => match self.mask_text(&node.as_str()?) {
                Cow::Borrowed(_) => return None,
                Cow::Owned(masked) => json::write_string(&mut json, &masked),
            },
            Kind::Number if self.is_secret_number(node.raw()) => json::write_string(&mut json, MASK),
            Kind::Null | Kind::Bool | Kind::Number | Kind::Array | Kind::Object => return None,
        }
        Some(json)
    }
}

/// Returns where the values stand by which the agent's format is read.
fn protocol_values(root: Node<'_>) -> BTreeSet<usize> {
    let mut starts = BTreeSet::new();
    let mut protect = |node: Node<'_>| {
        if is_protocol_word(node) {
            starts.insert(node.start());
        }
    };
    for member in root.members() {
        let name = member.name();
        let known = matches!(&*name, "type" | "subtype" | "status" | "id" | "uuid" | "timestamp");
        if known || name.ends_with("_id") {
            protect(member.value);
        }
    }
    if let Some(message) = root.get("message") {
        let words = ["id", "type", "role", "model", "stop_reason"];
        words.iter().filter_map(|name| message.get(name)).for_each(&mut protect);
        for block in message.get("content").iter().flat_map(Node::items) {
            let words = ["type", "id", "tool_use_id"];
            words.iter().filter_map(|name| block.get(name)).for_each(&mut protect);
        }
    }
    starts
}

fn is_protocol_word(node: Node<'_>) -> bool {
    match node.kind() {
        Kind::String => node.as_str().is_some_and(|value| {
            value.len() <= MAX_PROTOCOL_VALUE_BYTES && value.bytes().all(|b| b.is_ascii_graphic())
        }),
        Kind::Number => true,
        Kind::Null | Kind::Bool | Kind::Array | Kind::Object => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString as _};

    use proptest::prelude::*;

    use super::super::SecretKind;
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|secret| (SecretKind::Credential, *secret)))
    }

    #[track_caller]
    fn check(secrets: &[&str], line: &str, expected: &str) {
        let doc = Document::parse(line).unwrap();

        assert_eq!(redactor(secrets).mask_json_line(&doc, line), expected);
    }

    #[test]
    fn only_what_holds_a_secret_is_written_anew() {
        check(
            &["hunter2"],
            r#" { "a" : "x\u0020hunter2\/" , "b":"\u0041 \ud800", "n":1.50 } "#,
            r#" { "a" : "x ***/" , "b":"\u0041 \ud800", "n":1.50 } "#,
        );
    }

    #[test]
    fn a_secret_of_several_lines_is_found_behind_its_escapes() {
        let secret = "first line\nsecond \"one\"";

        check(&[secret], r#"{"a":"<first line\nsecond \u0022one\">"}"#, r#"{"a":"<***>"}"#);
        check(
            &[secret],
            r#"{"a":"{\"b\":\"first line\\nsecond \\\"one\\\"\"}"}"#,
            r#"{"a":"{\"b\":\"***\"}"}"#,
        );
    }

    #[test]
    fn a_number_that_is_a_secret_becomes_a_mask() {
        check(
            &["20251110"],
            r#"{"a":20251110,"b":202511100,"c":"20251110"}"#,
            r#"{"a":"***","b":202511100,"c":"***"}"#,
        );
    }

    #[test]
    fn the_words_of_the_format_stay() {
        let line = r#"{"type":"result","subtype":"success","session_id":"result","message":{"role":"success","content":[{"type":"success","id":"result"}]}}"#;

        check(&["result", "success"], line, line);
    }

    #[test]
    fn the_same_names_below_are_masked() {
        check(
            &["hunter2"],
            r#"{"type":"assistant","message":{"content":[{"type":"tool_use","input":{"type":"hunter2","id":"hunter2"}}]},"status":"in hunter2"}"#,
            r#"{"type":"assistant","message":{"content":[{"type":"tool_use","input":{"type":"***","id":"***"}}]},"status":"in ***"}"#,
        );
    }

    #[test]
    fn a_long_value_is_masked_wherever_it_stands() {
        let long = "x".repeat(200);

        check(&["hunter2"], &format!(r#"{{"id":"hunter2{long}"}}"#), &format!(r#"{{"id":"***{long}"}}"#));
    }

    #[test]
    fn a_part_of_a_line_has_its_changes_only() {
        let line = r#"{"a":"hunter2","b":{"c":"hunter2","d":1}}"#;
        let doc = Document::parse(line).unwrap();
        let part = doc.root().get("b").unwrap();

        let edits = redactor(&["hunter2"]).edits(&doc);

        assert_eq!(edits.apply(line, part.start()..part.end()), r#"{"c":"***","d":1}"#);
    }

    /// Everything that a string value of the document says.
    fn said(line: &str) -> String {
        let doc = Document::parse(line).unwrap();
        doc.strings_and_numbers().filter_map(|leaf| leaf.node.as_str().map(Cow::into_owned)).collect()
    }

    proptest! {
        #[test]
        fn no_value_holds_the_secret_afterwards(
            secret in "[A-Z0-9\"\\\\/\n]{6,30}", before in "\\PC{0,10}", nested in any::<bool>(),
        ) {
            prop_assume!(secret.trim().len() >= 4);
            let value = format!("{before}{} ", secret.trim());
            let value = if nested { serde_json::json!({ "x": value }).to_string() } else { value };
            let line = serde_json::json!({"type": "user", "content": [{"text": value}]}).to_string();
            let doc = Document::parse(&line).unwrap();

            let masked = redactor(&[secret.as_str()]).mask_json_line(&doc, &line).into_owned();

            prop_assert!(said(&masked).contains(MASK));
            prop_assert!(!said(&masked).contains(secret.trim()));
        }

        #[test]
        fn a_line_without_secrets_passes_byte_for_byte(text in "\\PC{0,40}", number in any::<f64>()) {
            let line = format!(" {{\"a\" : {}, \"b\":{number:e}}} ", serde_json::json!(text));
            prop_assume!(number.is_finite());
            let doc = Document::parse(&line).unwrap();

            let redactor = redactor(&["SECRET-SECRET-SECRET"]);
            let masked = redactor.mask_json_line(&doc, &line);

            prop_assert_eq!(masked.to_string(), line);
        }
    }
}
