//! Values of a parsed text, and the ways into them.

use alloc::borrow::Cow;
use core::fmt;

use super::{
    document::{Document, to_usize},
    text,
};

/// JavaScript's `Number.MAX_SAFE_INTEGER`, 2^53 − 1 (ECMA-262, section 21.1.2.6).
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number of any magnitude.
    Number,
    /// A string.
    String,
    /// A list of values.
    Array,
    /// A list of members; names may repeat.
    Object,
}

/// One value of a [`Document`].
#[derive(Clone, Copy)]
pub struct Node<'d> {
    pub(super) document: &'d Document<'d>,
    pub(super) index: usize,
}

impl<'d> Node<'d> {
    /// Returns what the value is.
    pub fn kind(&self) -> Kind {
        self.document.entry(self.index).kind
    }

    /// Returns whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Returns a boolean's value; nothing for other kinds.
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.raw() == "true")
    }

    /// Returns a string's decoded value; nothing for other kinds. Lone surrogates become U+FFFD.
    pub fn as_str(&self) -> Option<Cow<'d, str>> {
        let quoted = (self.kind() == Kind::String).then(|| self.raw())?;
        let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        if self.document.entry(self.index).escaped {
            Some(text::decode(inner))
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// Returns whether it is a string that holds half a surrogate pair, which UTF-8 cannot express.
    pub fn has_lone_surrogate(&self) -> bool {
        self.document.entry(self.index).lone_surrogate
    }

    /// Returns a number as JavaScript's Number, so infinite beyond ±1.8e308; nothing for other kinds.
    pub fn as_f64(&self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.raw().parse().ok())?
    }

    /// Returns a number that is, as JavaScript's Number, an integer from 0 to 2^53 − 1, however
    /// it is written (`3`, `3.0`, `30e-1`); nothing for all else.
    pub fn as_u64(&self) -> Option<u64> {
        let value = match self.raw().parse::<u64>() {
            Ok(plain) if self.kind() == Kind::Number => plain,
            // Number::toString writes integers below 1e21 as digits alone.
            Ok(_) | Err(_) => ryu_js::Buffer::new().format(self.as_f64()?).parse().ok()?,
        };
        (value <= MAX_SAFE_INTEGER).then_some(value)
    }

    /// Returns the exact source text of the value, without blanks around it.
    pub fn raw(&self) -> &'d str {
        self.document.source(self.document.entry(self.index))
    }

    /// Returns the offset of the value's first byte in the text.
    pub fn start(&self) -> usize {
        to_usize(self.document.entry(self.index).start)
    }

    /// Returns the offset after the value's last byte in the text.
    pub fn end(&self) -> usize {
        to_usize(self.document.entry(self.index).end)
    }

    /// Returns an object's member of that name, the last of several; nothing for other kinds.
    pub fn get(&self, name: &str) -> Option<Self> {
        // The last one wins, and members can be passed over in one direction only.
        self.members().filter(|member| member.decoded_name() == name).last().map(|member| member.value)
    }

    /// Returns an array's items in order; none for other kinds.
    pub fn items(&self) -> Items<'d> {
        let (next, end) = self.inside(Kind::Array);
        Items { document: self.document, next, end }
    }

    /// Returns an object's members in source order, repeated ones too; none for other kinds.
    pub fn members(&self) -> Members<'d> {
        let (next, end) = self.inside(Kind::Object);
        Members { document: self.document, next, end }
    }

    /// Returns the range of entries in this container, empty where it is of another kind.
    fn inside(&self, kind: Kind) -> (usize, usize) {
        let first = self.index.saturating_add(1);
        (first, if self.kind() == kind { self.document.after(self.index) } else { first })
    }
}

/// Shows kind and place only: values may be secrets.
impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("kind", &self.kind())
            .field("start", &self.start())
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

/// Goes over the items of an array.
#[derive(Debug, Clone)]
pub struct Items<'d> {
    document: &'d Document<'d>,
    next: usize,
    end: usize,
}

impl<'d> Iterator for Items<'d> {
    type Item = Node<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = (self.next < self.end).then_some(self.next)?;
        self.next = self.document.after(index);
        Some(Node { document: self.document, index })
    }
}

/// Goes over the members of an object.
#[derive(Debug, Clone)]
pub struct Members<'d> {
    document: &'d Document<'d>,
    next: usize,
    end: usize,
}

impl<'d> Iterator for Members<'d> {
    type Item = Member<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = (self.next < self.end).then(|| self.next.saturating_add(1))?;
        self.next = self.document.after(index);
        Some(Member { value: Node { document: self.document, index } })
    }
}

/// One member of an object.
#[derive(Debug, Clone, Copy)]
pub struct Member<'d> {
    /// What the name stands for.
    pub value: Node<'d>,
}

impl<'d> Member<'d> {
    /// Returns the decoded name. Lone surrogates become U+FFFD. It is decoded once per document,
    /// so asking costs nothing.
    pub fn name(&self) -> Cow<'d, str> {
        Cow::Borrowed(self.decoded_name())
    }

    /// Returns whether the name holds half a surrogate pair.
    pub fn name_has_lone_surrogate(&self) -> bool {
        self.value.document.entry(self.name_index()).lone_surrogate
    }

    pub(super) fn decoded_name(&self) -> &'d str {
        self.value.document.name(self.name_index())
    }

    /// A member's name is the entry before its value.
    fn name_index(&self) -> usize {
        self.value.index.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, vec, vec::Vec};

    use super::*;

    fn number(text: &str) -> (Option<f64>, Option<u64>) {
        let document = Document::parse(text).unwrap();
        (document.root().as_f64(), document.root().as_u64())
    }

    #[test]
    fn integers_count_however_they_are_written() {
        assert_eq!(number("3"), (Some(3.0), Some(3)));
        assert_eq!(number("3.0"), (Some(3.0), Some(3)));
        assert_eq!(number("1e2"), (Some(100.0), Some(100)));
        assert_eq!(number("30e-1"), (Some(3.0), Some(3)));
        assert_eq!(number("-0"), (Some(0.0), Some(0)));
        assert_eq!(number("9007199254740991"), (Some(9_007_199_254_740_991.0), Some(MAX_SAFE_INTEGER)));
    }

    #[test]
    fn other_numbers_are_no_integers() {
        assert_eq!(number("9007199254740992").1, None);
        assert_eq!(number("18446744073709551616").1, None);
        assert_eq!(number("1.5"), (Some(1.5), None));
        assert_eq!(number("-1"), (Some(-1.0), None));
        assert_eq!(number("1e400"), (Some(f64::INFINITY), None));
        assert_eq!(number("-1e400").1, None);
        assert_eq!(number("\"5\""), (None, None));
        assert_eq!(number("[5]"), (None, None));
    }

    #[test]
    fn the_last_of_repeated_members_is_found_and_all_are_listed() {
        let document = Document::parse(r#" { "a" : [ 1 , {"a":2} ] , "\u0061" : "x" , "b":{} } "#).unwrap();

        let listed: Vec<_> =
            document.root().members().map(|member| (member.name().to_string(), member.value.raw())).collect();

        let wanted = [("a", "[ 1 , {\"a\":2} ]"), ("a", "\"x\""), ("b", "{}")];
        assert_eq!(listed, wanted.map(|(name, raw)| (name.to_string(), raw)));
        assert_eq!(document.root().get("a").unwrap().as_str().unwrap(), "x");
        assert!(document.root().get("c").is_none());
        assert_eq!(document.root().items().count(), 0);
    }

    #[test]
    fn items_are_listed_with_what_is_in_them_passed_over() {
        let text = r#"[1,[2,[3]],{"a":[4]},null,true,false,"e"]"#;
        let document = Document::parse(text).unwrap();

        let raw: Vec<_> = document.root().items().map(|item| item.raw()).collect();

        assert_eq!(raw, vec!["1", "[2,[3]]", "{\"a\":[4]}", "null", "true", "false", "\"e\""]);
        assert!(document.root().items().all(|item| text.get(item.start()..item.end()) == Some(item.raw())));
        assert_eq!(document.root().members().count(), 0);
        assert_eq!(document.max_depth(), 3);
    }

    #[test]
    fn lone_surrogates_are_told_and_replaced() {
        let document =
            Document::parse(r#"{"\ud83d":"\ude00x","b":"\ud83d\ude00","c":"\ud83d\ud83d\ude00"}"#).unwrap();

        let told: Vec<_> = document
            .root()
            .members()
            .map(|m| (m.name_has_lone_surrogate(), m.value.has_lone_surrogate(), m.value.as_str().unwrap()))
            .collect();

        assert_eq!(
            told,
            vec![
                (true, true, "\u{fffd}x".into()),
                (false, false, "\u{1f600}".into()),
                (false, true, "\u{fffd}\u{1f600}".into()),
            ]
        );
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_values() {
        let document = Document::parse(r#"["sk-ant-1"]"#).unwrap();

        let shown = alloc::format!("{document:?} {:?} {:?}", document.root(), document.root().items());

        assert!(!shown.contains("sk-ant"), "{shown}");
    }
}
