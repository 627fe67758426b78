//! Reading the members of an object, collecting what is wrong.

use alloc::{
    borrow::ToOwned as _,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{error::Problem, walk::shown};
use crate::json::{Kind, Node};

/// How many problems of one request are told: nobody reads more, and a request may have a million.
const MAX_PROBLEMS: usize = 100;
/// Longer names are compared with no known one, in bytes: that costs the product of both lengths.
const MAX_COMPARED_BYTES: usize = 64;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, member: &str, code: &'static str, message: impl Into<String>) {
        if !self.are_full() {
            self.0.push(Problem { member: member.to_owned(), code, message: message.into() });
        }
    }

    /// Returns whether further problems are not told.
    pub(super) fn are_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS
    }

    /// Returns whether something is told of a member already.
    pub(super) fn are_told_of(&self, member: &str) -> bool {
        self.0.iter().any(|problem| problem.member == member)
    }

    /// Adds a mistake in a member's value.
    pub(super) fn value(&mut self, member: &str, expectation: &str) {
        self.add(member, "invalid_value", format!("{member} must be {expectation}"));
    }

    fn wrong_type(&mut self, member: &str, expected: &str, got: &Node<'_>) {
        self.add(member, "wrong_type", format!("{member} must be {expected}, not {}", kind_name(got.kind())));
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "a boolean",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// An object whose members are read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'d> {
    node: Node<'d>,
    prefix: &'d str,
}

impl<'d> Fields<'d> {
    /// Begins with an object; `prefix` is its own path with a dot behind, or empty.
    pub(super) fn new(node: Node<'d>, prefix: &'d str) -> Self {
        Self { node, prefix }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns a member; null counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<Node<'d>> {
        self.node.get(name).filter(|node| !node.is_null())
    }

    /// Returns whether the member is there and null.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.node.get(name).is_some_and(|node| node.is_null())
    }

    /// Refuses members that are not known, naming the nearest known one.
    pub(super) fn only(&self, known: &[&str], problems: &mut Problems) {
        for member in self.node.members() {
            if problems.are_full() {
                return;
            }
            let name = member.name();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let path = self.path(&shown(&name));
            let hint = nearest(&name, known)
                .map(|known| format!("; did you mean {}?", self.path(known)))
                .unwrap_or_default();
            problems.add(&path, "unknown_member", format!("{path} is not a known member{hint}"));
        }
    }

    /// Returns a string without NUL characters.
    pub(super) fn text(&self, name: &str, problems: &mut Problems) -> Option<String> {
        let node = self.get(name)?;
        text_of(&node, &self.path(name), problems)
    }

    /// Returns a string of at most so many bytes that is not blank.
    pub(super) fn short_text(&self, name: &str, max_bytes: usize, problems: &mut Problems) -> Option<String> {
        let text = self.text(name, problems)?;
        if text.trim().is_empty() || text.len() > max_bytes {
            problems.value(&self.path(name), &format!("a string of 1 to {max_bytes} bytes, not blank"));
            return None;
        }
        Some(text)
    }

    /// Returns a boolean.
    pub(super) fn boolean(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        let node = self.get(name)?;
        let value = node.as_bool();
        if value.is_none() {
            problems.wrong_type(&self.path(name), "a boolean", &node);
        }
        value
    }

    /// Returns a whole number within bounds.
    pub(super) fn whole(&self, name: &str, low: u32, high: u32, problems: &mut Problems) -> Option<u32> {
        let node = self.get(name)?;
        if node.kind() != Kind::Number {
            problems.wrong_type(&self.path(name), &format!("a whole number from {low} to {high}"), &node);
            return None;
        }
        let number =
            node.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|n| (low..=high).contains(n));
        if number.is_none() {
            problems.value(&self.path(name), &format!("a whole number from {low} to {high}"));
        }
        number
    }

    /// Returns an object.
    pub(super) fn object(&self, name: &str, problems: &mut Problems) -> Option<Node<'d>> {
        let node = self.get(name)?;
        if node.kind() != Kind::Object {
            problems.wrong_type(&self.path(name), "an object", &node);
            return None;
        }
        Some(node)
    }

    /// Returns a list of strings, none blank, bounded in number and size.
    pub(super) fn texts(
        &self,
        name: &str,
        max: usize,
        max_bytes: usize,
        problems: &mut Problems,
    ) -> Vec<String> {
        self.texts_that(|_| Ok(()), name, max, max_bytes, problems)
    }

    /// Returns a list of strings, none blank, bounded in number and size, of which each passes a check;
    /// the check's error is what it expects.
    pub(super) fn texts_that(
        &self,
        check: impl Fn(&str) -> Result<(), &'static str>,
        name: &str,
        max: usize,
        max_bytes: usize,
        problems: &mut Problems,
    ) -> Vec<String> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let path = self.path(name);
        if node.kind() != Kind::Array {
            problems.wrong_type(&path, "an array of strings", &node);
            return Vec::new();
        }
        if node.items().count() > max {
            problems.add(&path, "too_many", format!("{path} may have at most {max} entries"));
            return Vec::new();
        }
        let mut texts = Vec::new();
        for (index, item) in node.items().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(text) = text_of(&item, &path, problems) else { continue };
            if text.trim().is_empty() || text.len() > max_bytes {
                problems.value(&path, &format!("a string of 1 to {max_bytes} bytes, not blank"));
            } else if let Err(expectation) = check(&text) {
                problems.value(&path, expectation);
            } else {
                texts.push(text);
            }
        }
        texts
    }
}

/// Returns the known name that somebody meant who wrote this one.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let name = name.to_lowercase();
    let distances =
        known.iter().map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= (nearest.len() / 2).max(2)).then_some(nearest)
}

/// Returns a string without NUL characters and lone surrogates.
pub(super) fn text_of(node: &Node<'_>, path: &str, problems: &mut Problems) -> Option<String> {
    let Some(text) = node.as_str() else {
        problems.wrong_type(path, "a string", node);
        return None;
    };
    if node.has_lone_surrogate() {
        problems.add(
            path,
            "lone_surrogate",
            format!("{path} holds half of a surrogate pair; send whole characters"),
        );
        return None;
    }
    if text.contains('\0') {
        problems.add(path, "nul_character", format!("{path} must not hold NUL characters"));
        return None;
    }
    Some(text.to_string())
}
