//! The text that JavaScript makes of a text by parsing and writing it.

use alloc::{
    collections::{BTreeMap, btree_map},
    string::String,
    vec,
    vec::Vec,
};

use super::{
    node::{Items, Kind, Node},
    write::{write_number, write_string},
};

/// The largest array index (ECMA-262, section 6.1.7): names up to it are listed before others.
const MAX_INDEX: u32 = u32::MAX - 1;

/// Returns `JSON.stringify(JSON.parse(text))` of a value's text.
///
/// In every object the names that are canonical integers 0…4294967294 come first, ascending, then
/// the others in the order of their first appearance; a repeated name has its last value.
/// `__proto__` is a name like any other. Lone surrogates come out as U+FFFD, where JavaScript
/// keeps them as escapes; who needs that difference asks [`Node::has_lone_surrogate`] first.
///
/// # Examples
/// ```
/// use legwork_core::json::{Document, normalise};
/// let document = Document::parse(r#" {"b": 1.0, "10": [], "9": "\u0041", "b": 1e21} "#).unwrap();
/// assert_eq!(normalise(document.root()), r#"{"9":"A","10":[],"b":1e+21}"#);
/// ```
pub fn normalise(node: Node<'_>) -> String {
    let mut out = String::new();
    let mut open = Vec::new();
    if let Some(container) = write_start(&mut out, node) {
        open.push(container);
    }
    while let Some(container) = open.last_mut() {
        let Some(value) = container.next(&mut out) else {
            out.push(container.close());
            open.pop();
            continue;
        };
        if let Some(inner) = write_start(&mut out, value) {
            open.push(inner);
        }
    }
    out
}

/// A container that is being written.
enum Container<'d> {
    Array { items: Items<'d>, is_first: bool },
    Object { members: vec::IntoIter<(&'d str, Node<'d>)>, is_first: bool },
}

impl<'d> Container<'d> {
    /// Writes what stands before the next value, and returns that.
    fn next(&mut self, out: &mut String) -> Option<Node<'d>> {
        let (name, value, is_first) = match self {
            Self::Array { items, is_first } => (None, items.next()?, is_first),
            Self::Object { members, is_first } => {
                let (name, value) = members.next()?;
                (Some(name), value, is_first)
            }
        };
        if !core::mem::take(is_first) {
            out.push(',');
        }
        if let Some(name) = name {
            write_string(out, name);
            out.push(':');
        }
        Some(value)
    }

    fn close(&self) -> char {
        match self {
            Self::Array { .. } => ']',
            Self::Object { .. } => '}',
        }
    }
}

/// Writes a value that is no container whole, and of a container the opening bracket.
fn write_start<'d>(out: &mut String, node: Node<'d>) -> Option<Container<'d>> {
    match node.kind() {
        Kind::Null | Kind::Bool => out.push_str(node.raw()),
        Kind::Number => write_number(out, node.as_f64().unwrap_or(f64::NAN)),
        Kind::String => write_string(out, &node.as_str().unwrap_or_default()),
        Kind::Array => {
            out.push('[');
            return Some(Container::Array { items: node.items(), is_first: true });
        }
        Kind::Object => {
            out.push('{');
            return Some(Container::Object { members: ordered(node).into_iter(), is_first: true });
        }
    }
    None
}

/// Returns an object's members as JavaScript keeps them.
fn ordered(node: Node<'_>) -> Vec<(&str, Node<'_>)> {
    let mut indices = BTreeMap::new();
    let mut places = BTreeMap::new();
    let mut others: Vec<(&str, Node<'_>)> = Vec::new();
    for member in node.members() {
        let name = member.decoded_name();
        if let Some(index) = array_index(name) {
            indices.insert(index, (name, member.value));
            continue;
        }
        match places.entry(name) {
            btree_map::Entry::Vacant(place) => {
                place.insert(others.len());
                others.push((name, member.value));
            }
            btree_map::Entry::Occupied(place) => {
                if let Some((_, value)) = others.get_mut(*place.get()) {
                    *value = member.value;
                }
            }
        }
    }
    indices.into_values().chain(others).collect()
}

/// Returns the array index that a name is the canonical form of.
fn array_index(name: &str) -> Option<u32> {
    let is_canonical = name == "0" || (name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0'));
    name.parse().ok().filter(|index| is_canonical && *index <= MAX_INDEX)
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString as _};

    use proptest::prelude::*;

    use super::*;
    use crate::json::Document;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let document = Document::parse(text).unwrap();

        assert_eq!(normalise(document.root()), wanted);
    }

    #[test]
    fn members_are_ordered_as_javascript_keeps_them() {
        check(
            r#"{"b":1,"2":2,"a":3,"10":4,"1":5,"01":6,"4294967294":7,"4294967295":8,"-1":9,"1.5":10,"0":11,"+1":12,"":13}"#,
            r#"{"0":11,"1":5,"2":2,"10":4,"4294967294":7,"b":1,"a":3,"01":6,"4294967295":8,"-1":9,"1.5":10,"+1":12,"":13}"#,
        );
    }

    #[test]
    fn a_repeated_name_keeps_its_first_place_and_last_value() {
        check(r#"{"a":1,"b":2,"\u0061":{"c":3,"c":4},"7":1,"7":2}"#, r#"{"7":2,"a":{"c":4},"b":2}"#);
        check(r#"{"__proto__":1,"constructor":2,"__proto__":[3]}"#, r#"{"__proto__":[3],"constructor":2}"#);
    }

    #[test]
    fn values_are_written_as_javascript_writes_them() {
        check(
            " [ 1.0 , -0 , 1e400 , 123456789012345678901234567890 , 1E-7 ] ",
            "[1,0,null,1.2345678901234568e+29,1e-7]",
        );
        check(r#""\u00e9\/\u001F\u2028""#, "\"é/\\u001f\u{2028}\"");
        check("[ true, false , null, [ ], { } ]", "[true,false,null,[],{}]");
        check(r#""\ud800""#, "\"\u{fffd}\"");
    }

    /// Any JSON text, with what JavaScript treats specially made likely.
    fn any_json() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            "[ab]".prop_map(|name| format!("\"{name}\"")),
            (0..30_u32).prop_map(|index| format!("\"{index}\"")),
            any::<String>().prop_map(|name| serde_json::to_string(&name).unwrap()),
        ];
        let leaf = prop_oneof![
            Just("null".to_string()),
            Just("true".to_string()),
            any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
            any::<i64>().prop_map(|v| v.to_string()),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6)
                    .prop_map(|items| format!("[ {} ]", items.join(" , "))),
                proptest::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                    let members: Vec<_> =
                        members.iter().map(|(name, value)| format!("{name} :\t{value}")).collect();
                    format!("{{\n{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in any_json()) {
            let document = Document::parse(&text).unwrap();

            let once = normalise(document.root());

            let again = Document::parse(&once).unwrap();
            prop_assert_eq!(normalise(again.root()), once);
        }
    }
}
