//! The walk over everything in a text that can hold words from outside.

use alloc::{borrow::Cow, vec::Vec};

use super::{
    document::Document,
    node::{Kind, Node},
};

/// A string or number, and the member that it belongs to.
#[derive(Debug, Clone)]
pub struct Leaf<'d> {
    /// The string or number.
    pub node: Node<'d>,
    /// The name of the member whose value it is; of an array's item the nearest enclosing
    /// member's. Nothing where there is no such member.
    pub name: Option<Cow<'d, str>>,
    /// How many containers stand around the named member, 1 for one of a top-level object; 0
    /// without a name.
    pub name_depth: usize,
    /// How many containers stand around the leaf.
    pub depth: usize,
}

/// Goes over all strings and numbers of a text in source order.
#[derive(Debug, Clone)]
pub struct Leaves<'d> {
    document: &'d Document<'d>,
    next: usize,
    open: Vec<Open<'d>>,
    /// The name that was just passed; its value is the next entry.
    named: Option<&'d str>,
}

/// A container that the walk is in.
#[derive(Debug, Clone, Copy)]
struct Open<'d> {
    end: usize,
    name: Option<&'d str>,
    name_depth: usize,
}

impl<'d> Leaves<'d> {
    pub(super) fn new(document: &'d Document<'d>) -> Self {
        Self { document, next: 0, open: Vec::new(), named: None }
    }
}

impl<'d> Iterator for Leaves<'d> {
    type Item = Leaf<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.document.entries.len() {
            let index = self.next;
            self.next = index.saturating_add(1);
            while self.open.last().is_some_and(|open| open.end <= index) {
                self.open.pop();
            }
            let entry = self.document.entry(index);
            if entry.is_name {
                self.named = Some(self.document.name(index));
                continue;
            }
            let depth = self.open.len();
            let (name, name_depth) = match (self.named.take(), self.open.last()) {
                (Some(name), _) => (Some(name), depth),
                (None, Some(around)) => (around.name, around.name_depth),
                (None, None) => (None, 0),
            };
            match entry.kind {
                Kind::Array | Kind::Object => {
                    self.open.push(Open { end: self.document.after(index), name, name_depth });
                }
                Kind::String | Kind::Number => {
                    let node = Node { document: self.document, index };
                    return Some(Leaf { node, name: name.map(Cow::Borrowed), name_depth, depth });
                }
                Kind::Null | Kind::Bool => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, vec, vec::Vec};

    use super::*;

    #[test]
    fn each_leaf_knows_its_member() {
        let text = r#"["r",{"type":"t","a":{"id":1,"b":[null,true,"x",["y"],{"c":2}],"d":3}},4]"#;
        let document = Document::parse(text).unwrap();

        let leaves: Vec<_> = document
            .strings_and_numbers()
            .map(|leaf| {
                (leaf.node.raw(), leaf.name.map(|name| name.to_string()), leaf.name_depth, leaf.depth)
            })
            .collect();

        let of = |name: &str| Some(name.to_string());
        assert_eq!(
            leaves,
            vec![
                ("\"r\"", None, 0, 1),
                ("\"t\"", of("type"), 2, 2),
                ("1", of("id"), 3, 3),
                ("\"x\"", of("b"), 3, 4),
                ("\"y\"", of("b"), 3, 5),
                ("2", of("c"), 5, 5),
                ("3", of("d"), 3, 3),
                ("4", None, 0, 1),
            ]
        );
    }

    #[test]
    fn a_bare_value_is_a_leaf_without_a_name() {
        let document = Document::parse("\"x\"").unwrap();

        let leaves: Vec<_> = document.strings_and_numbers().collect();

        assert_eq!(leaves.len(), 1);
        assert!(leaves[0].name.is_none() && leaves[0].depth == 0);
    }
}
