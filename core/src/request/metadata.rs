//! The client's own data: returned as it was sent, so it may hold only what JSON readers agree on.

use alloc::{format, string::String};

use super::{fields::Problems, walk::Walk};
use crate::json::{self, Kind, Node};

/// Largest accepted size, serialised, in bytes.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// Deepest accepted nesting, the object itself counted.
pub(super) const MAX_DEPTH: usize = 32;
/// How many problems of it are told.
const MAX_PROBLEMS: usize = 20;
/// The member itself.
const ROOT: &str = "metadata";

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

/// Looks at every value.
fn check(root: Node<'_>, problems: &mut Problems) {
    let last = problems.0.len().saturating_add(MAX_PROBLEMS);
    let mut walk = Walk::new(root);
    while problems.0.len() < last
        && !problems.are_full()
        && let Some(found) = walk.advance()
    {
        if found.member.is_some_and(|member| member.name_has_lone_surrogate()) {
            surrogate(&walk.path(ROOT), problems);
        }
        let node = found.node;
        match node.kind() {
            Kind::Array | Kind::Object if found.depth >= MAX_DEPTH => {
                let message = format!("metadata must not be nested deeper than {MAX_DEPTH} levels");
                problems.add(&walk.path(ROOT), "too_deep", message);
                return;
            }
            Kind::Number if !survives(node) => {
                let path = walk.path(ROOT);
                let message =
                    format!("{path} is a number that JSON readers do not agree on; send it as a string");
                problems.add(&path, "unsafe_number", message);
            }
            Kind::String if node.has_lone_surrogate() => surrogate(&walk.path(ROOT), problems),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Array | Kind::Object => {}
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
