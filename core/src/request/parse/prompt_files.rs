//! Slash commands and subagents: files by name.

use alloc::{collections::BTreeMap, format, vec::Vec};

use crate::{
    json::{self, Kind},
    request::{
        PromptFile,
        fields::{Fields, Problems},
        walk::shown,
    },
};

/// How many files of a kind.
const MAX_PROMPT_FILES: usize = 200;

/// Returns the files of a member, sorted by name.
pub(super) fn prompt_files(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Vec<PromptFile> {
    let Some(node) = fields.object(name, problems) else { return Vec::new() };
    if node.members().count() > MAX_PROMPT_FILES {
        problems.add(name, "too_many", format!("{name} may have at most {MAX_PROMPT_FILES} entries"));
        return Vec::new();
    }
    let mut files = BTreeMap::new();
    for member in node.members() {
        let own = member.name().into_owned();
        let path = format!("{name}.{}", shown(&own));
        if !is_file_name(&own) {
            let message = format!(
                "{path} must be named by 1 to 64 letters, digits, _ and -, beginning with a letter or digit"
            );
            problems.add(&path, "invalid_value", message);
            continue;
        }
        if member.value.kind() != Kind::Object {
            problems.value(&path, "an object with content and perhaps frontmatter");
            continue;
        }
        let prefix = format!("{path}.");
        let inner = Fields::new(member.value, &prefix);
        inner.only(&["frontmatter", "content"], problems);
        let frontmatter = inner.object("frontmatter", problems).map(json::normalise);
        match inner.text("content", problems) {
            Some(content) => drop(files.insert(own.clone(), PromptFile { name: own, frontmatter, content })),
            None if inner.get("content").is_none() => problems.value(&inner.path("content"), "a string"),
            None => {}
        }
    }
    files.into_values().collect()
}

fn is_file_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
