//! A walk over every value below one, which knows where it is and writes that down only when asked.
//!
//! Names are the client's choice: one of a megabyte, with a hundred thousand values below it, must not
//! be written a hundred thousand times.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::iter::Enumerate;

use crate::json::{Items, Kind, Member, Members, Node};

/// How much of a name is shown in a path, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Goes over all values below one in the order of the text. It takes as much memory as the deepest value
/// has containers around it.
pub(super) struct Walk<'d> {
    open: Vec<Level<'d>>,
    /// What was found last, if its inside is still to be looked at.
    entering: Option<Node<'d>>,
}

/// A container that the walk is in.
struct Level<'d> {
    rest: Rest<'d>,
    at: Option<Step<'d>>,
}

enum Rest<'d> {
    Members(Members<'d>),
    Items(Enumerate<Items<'d>>),
}

#[derive(Clone, Copy)]
enum Step<'d> {
    Member(Member<'d>),
    Item(usize),
}

/// A value on the way.
pub(super) struct Found<'d> {
    pub(super) node: Node<'d>,
    /// The member whose value it is; nothing for an item of an array.
    pub(super) member: Option<Member<'d>>,
    /// How many containers stand around it, the first one counted.
    pub(super) depth: usize,
}

impl<'d> Walk<'d> {
    /// Begins above a value; the value itself is not found.
    pub(super) fn new(root: Node<'d>) -> Self {
        Self { open: Vec::new(), entering: Some(root) }
    }

    /// Goes on to the next value.
    pub(super) fn advance(&mut self) -> Option<Found<'d>> {
        if let Some(node) = self.entering.take() {
            self.enter(node);
        }
        while let Some(level) = self.open.last_mut() {
            if let Some((node, step)) = level.rest.next() {
                level.at = Some(step);
                self.entering = Some(node);
                let member = match step {
                    Step::Member(member) => Some(member),
                    Step::Item(_) => None,
                };
                return Some(Found { node, member, depth: self.open.len() });
            }
            self.open.pop();
        }
        None
    }

    /// Leaves out what is inside the value that was found last.
    pub(super) fn pass_over(&mut self) {
        self.entering = None;
    }

    /// Returns where the value is that was found last: `root.a.b[2]`, long names shortened.
    pub(super) fn path(&self, root: &str) -> String {
        let mut path = String::from(root);
        for step in self.open.iter().filter_map(|level| level.at) {
            match step {
                Step::Member(member) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shown(&member.name()));
                }
                Step::Item(index) => path.extend(["[", &index.to_string(), "]"]),
            }
        }
        path
    }

    fn enter(&mut self, node: Node<'d>) {
        let rest = match node.kind() {
            Kind::Object => Rest::Members(node.members()),
            Kind::Array => Rest::Items(node.items().enumerate()),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => return,
        };
        self.open.push(Level { rest, at: None });
    }
}

impl<'d> Rest<'d> {
    fn next(&mut self) -> Option<(Node<'d>, Step<'d>)> {
        match self {
            Self::Members(members) => members.next().map(|member| (member.value, Step::Member(member))),
            Self::Items(items) => items.next().map(|(index, item)| (item, Step::Item(index))),
        }
    }
}

/// Returns a member's name as it may stand in an answer: without control characters, and not at any length.
pub(super) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(MAX_NAME_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_NAME_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;
    use crate::json::Document;

    fn walked(text: &str) -> Vec<(String, usize)> {
        let document = Document::parse(text).unwrap();
        let mut walk = Walk::new(document.root());
        let mut walked = Vec::new();
        while let Some(found) = walk.advance() {
            walked.push((walk.path(""), found.depth));
        }
        walked
    }

    #[test]
    fn every_value_is_found_in_order_with_its_path_and_depth() {
        let walked = walked(r#"{"a":[1,{"b":null},[]],"c":{},"d":"x"}"#);

        let wanted = [("a", 1), ("a[0]", 2), ("a[1]", 2), ("a[1].b", 3), ("a[2]", 2), ("c", 1), ("d", 1)];
        assert_eq!(walked, wanted.map(|(path, depth)| (path.to_string(), depth)));
    }

    #[test]
    fn what_is_passed_over_is_not_entered() {
        let document = Document::parse(r#"{"a":{"b":{"c":1}},"d":2}"#).unwrap();
        let mut walk = Walk::new(document.root());
        let mut paths = Vec::new();

        while walk.advance().is_some() {
            paths.push(walk.path("root"));
            walk.pass_over();
        }

        assert_eq!(paths, ["root.a", "root.d"]);
    }

    #[test]
    fn a_value_without_inside_has_nothing_below_it() {
        for text in ["1", "\"x\"", "null", "[]", "{}"] {
            assert!(walked(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn names_are_shown_shortened_and_without_control_characters() {
        assert_eq!(shown("a\u{1b}[b"), "a\\u{1b}[b");
        assert_eq!(shown(&"ä".repeat(MAX_NAME_CHARS)), "ä".repeat(MAX_NAME_CHARS));
        assert_eq!(shown(&"ä".repeat(MAX_NAME_CHARS + 1)), "ä".repeat(MAX_NAME_CHARS) + "…");
    }

    fn json() -> impl Strategy<Value = String> {
        let joined = |items: Vec<String>| items.join(",");
        Just("0".to_string()).prop_recursive(5, 60, 5, move |inner| {
            let member = inner.clone().prop_map(|value| format!("\"a\":{value}"));
            let items = prop::collection::vec(inner, 0..5).prop_map(joined);
            let members = prop::collection::vec(member, 0..5).prop_map(joined);
            prop_oneof![
                items.prop_map(|items| format!("[{items}]")),
                members.prop_map(|members| format!("{{{members}}}")),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_found_once_and_none_deeper_than_the_deepest(text in json()) {
            let found = walked(&text);

            prop_assert_eq!(found.len() + 1, text.matches(['0', '[', '{']).count());
            let deepest = found.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
            prop_assert!(deepest <= Document::parse(&text).unwrap().max_depth());
        }
    }
}
