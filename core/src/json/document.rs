//! A parsed text: a flat tape of its values in source order.
//!
//! A tape costs 16 bytes a value whatever the nesting and is freed in one piece, where a tree
//! would need recursion to be dropped.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::{
    leaves::Leaves,
    node::{Kind, Node},
    scan::{self, ParseError},
};

/// Stands for "no entry" in links.
pub(super) const NONE: u32 = u32::MAX;

/// One value, or the name of a member, which stands before its value.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// First byte in the text.
    pub(super) start: u32,
    /// Byte after the last.
    pub(super) end: u32,
    /// Of a container: the index after everything in it. Of a name: its place among the decoded
    /// names, or `NONE` where it is written without escapes.
    pub(super) link: u32,
    /// What it is; `String` for names.
    pub(super) kind: Kind,
    /// Whether it is a member's name.
    pub(super) is_name: bool,
    /// Whether the text has escapes.
    pub(super) escaped: bool,
    /// Whether an escape stands for half a surrogate pair.
    pub(super) lone_surrogate: bool,
}

/// A JSON text and where its values are.
///
/// # Examples
/// ```
/// use legwork_core::json::Document;
/// let document = Document::parse(r#"{"n": 1e2, "s": "\u00e9"}"#).unwrap();
/// assert_eq!(document.root().get("n").unwrap().as_u64(), Some(100));
/// assert_eq!(document.root().get("s").unwrap().as_str().unwrap(), "é");
/// assert_eq!(Document::parse("[1,]").unwrap_err().to_string(), "expected a value at byte 3");
/// ```
pub struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) entries: Vec<Entry>,
    pub(super) decoded_names: Vec<Box<str>>,
    max_depth: usize,
}

impl<'a> Document<'a> {
    /// Reads a text exactly where `JSON.parse` does.
    ///
    /// # Errors
    /// Where `JSON.parse` refuses the text, and where it is 4 GiB or longer.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        Self::parse_bounded(text, usize::MAX)
    }

    /// Reads a text of at most `max_values` values and member names, each of which costs 16 bytes.
    ///
    /// # Errors
    /// As [`Document::parse`], and where there are more.
    pub fn parse_bounded(text: &'a str, max_values: usize) -> Result<Self, ParseError> {
        let tape = scan::scan(text, max_values)?;
        Ok(Self { text, entries: tape.entries, decoded_names: tape.decoded_names, max_depth: tape.max_depth })
    }

    /// Returns the value that is the whole text.
    pub fn root(&self) -> Node<'_> {
        Node { document: self, index: 0 }
    }

    /// Returns how many containers stand in each other at the deepest place: 0 for a bare
    /// number, 1 for `[]`, 2 for `[{}]`.
    pub fn max_depth(&self) -> usize {
        self.max_depth
    }

    /// Returns all strings (member names excepted) and numbers, in source order.
    pub fn strings_and_numbers(&self) -> Leaves<'_> {
        Leaves::new(self)
    }

    pub(super) fn entry(&self, index: usize) -> Entry {
        // Nodes are made with indices of entries only; an empty value is what a wrong one would be.
        self.entries.get(index).copied().unwrap_or(Entry {
            start: 0,
            end: 0,
            link: NONE,
            kind: Kind::Null,
            is_name: false,
            escaped: false,
            lone_surrogate: false,
        })
    }

    pub(super) fn source(&self, entry: Entry) -> &str {
        self.text.get(to_usize(entry.start)..to_usize(entry.end)).unwrap_or_default()
    }

    /// Returns the decoded name at an index.
    pub(super) fn name(&self, index: usize) -> &str {
        let entry = self.entry(index);
        if entry.link == NONE {
            let quoted = self.source(entry);
            quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
        } else {
            self.decoded_names.get(to_usize(entry.link)).map(AsRef::as_ref).unwrap_or_default()
        }
    }

    /// Returns the index after a value and everything in it.
    pub(super) fn after(&self, index: usize) -> usize {
        let entry = self.entry(index);
        match entry.kind {
            Kind::Array | Kind::Object => to_usize(entry.link),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => index.saturating_add(1),
        }
    }
}

/// Shows sizes only: texts may hold secrets.
impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.text.len())
            .field("entries", &self.entries.len())
            .field("max_depth", &self.max_depth)
            .finish_non_exhaustive()
    }
}

/// Widens an offset; nothing is lost where a pointer has 32 bits or more.
pub(super) fn to_usize(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
