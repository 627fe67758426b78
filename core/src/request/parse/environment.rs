//! The further environment of the agent: `environmentSecrets`.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};

use crate::{
    request::{
        fields::{Fields, Problems, text_of},
        walk::shown,
    },
    secret::Secret,
};

/// How many values, and how long names and values in bytes.
const MAX_SECRETS: usize = 200;
const MAX_SECRET_BYTES: usize = 64 * 1024;
const MAX_NAME_BYTES: usize = 256;

/// Returns names and values, sorted by name.
pub(super) fn environment(fields: Fields<'_>, problems: &mut Problems) -> Vec<(String, Secret<String>)> {
    let Some(node) = fields.object("environmentSecrets", problems) else { return Vec::new() };
    let mut secrets = BTreeMap::new();
    for member in node.members() {
        let name = member.name().into_owned();
        let path = format!("environmentSecrets.{}", shown(&name));
        if !is_free_name(&name) {
            problems.value(
                &path,
                "named by letters, digits and _, and by no name that the agent's own settings use",
            );
            continue;
        }
        let Some(value) = text_of(&member.value, &path, problems) else { continue };
        if value.len() > MAX_SECRET_BYTES {
            problems.value(&path, &format!("at most {MAX_SECRET_BYTES} bytes long"));
            continue;
        }
        secrets.insert(name, Secret::new(value));
    }
    if secrets.len() > MAX_SECRETS {
        let message = format!("environmentSecrets may have at most {MAX_SECRETS} entries");
        problems.add("environmentSecrets", "too_many", message);
    }
    secrets.into_iter().collect()
}

/// Returns whether a name is one of a variable, and none that would steer the agent, its shell or its loader.
fn is_free_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= MAX_NAME_BYTES;
    // Programs read the addresses of proxies in lower case, too.
    let taken = ["ANTHROPIC_", "CLAUDE", "LD_"].iter().any(|prefix| name.starts_with(prefix))
        || name.to_ascii_uppercase().ends_with("_PROXY")
        || matches!(name, "HOME" | "PATH" | "TMPDIR" | "NODE_OPTIONS");
    well_formed && !taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_steer_programs_are_taken() {
        for taken in [
            "HOME",
            "PATH",
            "TMPDIR",
            "NODE_OPTIONS",
            "LD_PRELOAD",
            "ANTHROPIC_API_KEY",
            "CLAUDE",
            "CLAUDE_CODE_X",
            "HTTPS_PROXY",
            "https_proxy",
            "No_Proxy",
        ] {
            assert!(!is_free_name(taken), "{taken}");
        }
    }

    #[test]
    fn names_are_those_of_variables() {
        for free in ["A", "_", "a1", "home", "claude_team", "ANTHROPIC", "PROXY", "LD"] {
            assert!(is_free_name(free), "{free}");
        }
        for other in ["", "1A", "A-B", "A.B", "A B", "A=", "\u{c4}", &"A".repeat(MAX_NAME_BYTES + 1)] {
            assert!(!is_free_name(other), "{other}");
        }
    }
}
