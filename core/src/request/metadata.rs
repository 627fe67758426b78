//! The client's own data: returned as it was sent, so it may hold only what JSON readers agree on.

use alloc::{format, string::String, vec::Vec};

use super::fields::Problems;
use crate::json::{self, Kind, Node};

/// Largest accepted size, serialised, in bytes.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// Deepest accepted nesting, the object itself counted.
pub(super) const MAX_DEPTH: usize = 32;
/// How many problems of one request are told.
const MAX_PROBLEMS: usize = 20;

/// Returns the metadata as JavaScript would write it.
pub(super) fn read(node: Option<Node<'_>>, problems: &mut Problems) -> String {
    let Some(node) = node else { return "{}".into() };
    let before = problems.0.len();
    check(node, problems);
    if problems.0.len() > before {
        return "{}".into();
    }
    let text = json::normalise(node);
    if text.len() > MAX_BYTES {
        problems.add(
            "metadata",
            "too_large",
            format!("metadata must not be larger than {MAX_BYTES} bytes serialised"),
        );
        return "{}".into();
    }
    text
}

/// Looks at every value, without recursion: nesting is the client's choice.
fn check(root: Node<'_>, problems: &mut Problems) {
    let mut open: Vec<(Node<'_>, String, usize)> = alloc::vec![(root, "metadata".into(), 1)];
    let first = problems.0.len();
    while let Some((node, path, depth)) = open.pop() {
        if problems.0.len() >= first + MAX_PROBLEMS {
            return;
        }
        match node.kind() {
            Kind::Array | Kind::Object if depth > MAX_DEPTH => {
                problems.add(
                    &path,
                    "too_deep",
                    format!("metadata must not be nested deeper than {MAX_DEPTH} levels"),
                );
                return;
            }
            Kind::Array => {
                for (index, item) in node.items().enumerate() {
                    open.push((item, format!("{path}[{index}]"), depth + 1));
                }
            }
            Kind::Object => {
                for member in node.members() {
                    let inner = format!("{path}.{}", member.name());
                    if member.name_has_lone_surrogate() {
                        surrogate(&inner, problems);
                    }
                    open.push((member.value, inner, depth + 1));
                }
            }
            Kind::Number if !survives(node) => {
                let message =
                    format!("{path} is a number that JSON readers do not agree on; send it as a string");
                problems.add(&path, "unsafe_number", message);
            }
            Kind::String if node.has_lone_surrogate() => surrogate(&path, problems),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => {}
        }
    }
}

fn surrogate(path: &str, problems: &mut Problems) {
    let message = format!("{path} holds half of a surrogate pair; send it as a string of whole characters");
    problems.add(path, "lone_surrogate", message);
}

/// Integers beyond ±(2^53 − 1) and what is not finite change on their way through JavaScript.
fn survives(node: Node<'_>) -> bool {
    let Some(value) = node.as_f64() else { return false };
    let written_as_integer = !node.raw().contains(['.', 'e', 'E']);
    let digits = node.raw().trim_start_matches('-');
    value.is_finite()
        && !(written_as_integer && digits.parse::<u64>().is_ok_and(|n| n > json::MAX_SAFE_INTEGER))
        && !(written_as_integer && digits.len() > 19)
}
