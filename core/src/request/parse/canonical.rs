//! The request in one spelling, by which another one is the same or not.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{CREDENTIALS, MAX_DEPTH};
use crate::{
    json::{self, Kind, Node},
    request::RepoUrl,
};

/// Where a value stands, as far as names of members depend on it.
#[derive(Clone, Copy)]
enum Place {
    Request,
    Actions,
    Upload,
    Elsewhere,
}

impl Place {
    /// Returns the place of a member's value.
    fn below(self, name: &str) -> Self {
        match (self, name) {
            (Self::Request, "postExecutionActions") => Self::Actions,
            (Self::Actions, "uploadFiles") => Self::Upload,
            (Self::Request | Self::Actions | Self::Upload | Self::Elsewhere, _) => Self::Elsewhere,
        }
    }
}

/// Writes the request in one spelling: sorted members, no credentials, one name for the globs.
pub(super) fn canonical(root: Node<'_>, repo: Option<&RepoUrl>) -> String {
    let mut members: BTreeMap<String, String> = BTreeMap::new();
    for member in root.members() {
        let name = member.name().into_owned();
        if CREDENTIALS.contains(&name.as_str()) || (member.value.is_null() && name != "callbackUrl") {
            continue;
        }
        let text = match (name.as_str(), repo) {
            ("gitRepo", Some(url)) => {
                let mut text = String::new();
                json::write_string(&mut text, url.as_str());
                text
            }
            _ => sorted(member.value, Place::Request.below(&name), 0),
        };
        members.insert(name, text);
    }
    join(members)
}

/// Nesting was bounded before this is called.
fn sorted(node: Node<'_>, place: Place, depth: usize) -> String {
    match node.kind() {
        Kind::Object if depth <= MAX_DEPTH => {
            let named = node.members().map(|member| {
                let name = member.name();
                let value = sorted(member.value, place.below(&name), depth + 1);
                let is_guides = matches!(place, Place::Upload) && name == "glob Patterns";
                (if is_guides { "globPatterns".to_string() } else { name.into_owned() }, value)
            });
            join(named.collect())
        }
        Kind::Array if depth <= MAX_DEPTH => {
            let items: Vec<_> = node.items().map(|item| sorted(item, Place::Elsewhere, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Array | Kind::Object => {
            json::normalise(node)
        }
    }
}

fn join(members: BTreeMap<String, String>) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        json::write_string(&mut text, &name);
        text.push(':');
        text.push_str(&value);
    }
    text.push('}');
    text
}
