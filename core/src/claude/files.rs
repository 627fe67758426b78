//! What the service puts into the workspace for the agent's CLI to find there: the request's
//! slash commands and subagents, and empty settings in the place of the repository's.
//!
//! Paths are `/`-separated. Writing the files, hiding them from commits and putting back what
//! they cover is an adapter's work.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use crate::{
    json::{self, Document},
    request::{PromptFile, RelativePath, TaskRequest},
};

/// What covers a settings file of a repository.
pub const EMPTY_SETTINGS: &str = "{}";

/// A file below the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceFile {
    /// Its path below the workspace.
    pub path: String,
    /// Its whole content.
    pub contents: String,
}

/// Returns the files of the request's slash commands and subagents, in the folder that the agent
/// starts in.
pub fn prompt_files(request: &TaskRequest, cwd: Option<&RelativePath>) -> Vec<WorkspaceFile> {
    let below = cwd.map(|cwd| format!("{}/", cwd.as_str())).unwrap_or_default();
    let commands = request.slash_commands.iter().map(|command| WorkspaceFile {
        path: format!("{below}.claude/commands/{}.md", command.name),
        contents: markdown(&frontmatter(command, &[]), &command.content),
    });
    let agents = request.subagents.iter().map(|agent| WorkspaceFile {
        path: format!("{below}.claude/agents/{}.md", agent.name),
        // Without these two the CLI passes a subagent over.
        contents: markdown(&frontmatter(agent, &["name", "description"]), &agent.content),
    });
    commands.chain(agents).collect()
}

/// Returns the settings files that have to be covered by [`EMPTY_SETTINGS`]: those of each folder
/// from the workspace down to where the agent starts.
///
/// A repository's settings can choose the permission mode, run programs and send the
/// conversation elsewhere; not all of that is overruled by what the CLI is started with.
///
/// # Examples
/// ```
/// use legwork_core::claude::files::covered_settings;
/// let covered = covered_settings(Some(&"app".parse().unwrap()));
/// assert_eq!(
///     covered,
///     [
///         ".claude/settings.json",
///         ".claude/settings.local.json",
///         "app/.claude/settings.json",
///         "app/.claude/settings.local.json",
///     ]
/// );
/// assert_eq!(covered_settings(None).len(), 2);
/// ```
pub fn covered_settings(cwd: Option<&RelativePath>) -> Vec<String> {
    let mut folder = String::new();
    let mut folders = alloc::vec![folder.clone()];
    for segment in cwd.iter().flat_map(|cwd| cwd.as_str().split('/')) {
        folder.push_str(segment);
        folder.push('/');
        folders.push(folder.clone());
    }
    folders
        .iter()
        .flat_map(|folder| {
            ["settings.json", "settings.local.json"].map(|name| format!("{folder}.claude/{name}"))
        })
        .collect()
}

/// Returns the names of variables in a configuration of tool servers that are not defined and have no
/// default, each once: the CLI replaces `${NAME}` and `${NAME:-default}`.
///
/// # Examples
/// ```
/// use legwork_core::claude::files::undefined_variables;
/// let config = r#"{"env":{"A":"${KNOWN}","B":"${UNKNOWN}","C":"${OTHER:-x}"}}"#;
/// assert_eq!(undefined_variables(config, |name| name == "KNOWN"), ["UNKNOWN"]);
/// assert_eq!(undefined_variables("no ${ variables } here", |_| false), Vec::<String>::new());
/// ```
pub fn undefined_variables(config: &str, is_defined: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for part in config.split("${").skip(1) {
        let Some((name, _)) = part.split_once('}') else { continue };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if is_name && !is_defined(name) && !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names
}

/// Returns the lines of the frontmatter; members in `required` that it lacks are the name.
///
/// YAML takes JSON values as they are.
fn frontmatter(file: &PromptFile, required: &[&str]) -> Vec<String> {
    let given = file.frontmatter.as_deref().and_then(|text| Document::parse(text).ok());
    let mut lines = Vec::new();
    let mut names = Vec::new();
    for member in given.iter().flat_map(|doc| doc.root().members()) {
        lines.push(format!("{}: {}", key(&member.name()), member.value.raw()));
        names.push(member.name().into_owned());
    }
    for name in required.iter().filter(|name| !names.iter().any(|given| given == *name)) {
        lines.push(format!("{name}: {}", quoted(&file.name)));
    }
    lines
}

fn markdown(frontmatter: &[String], content: &str) -> String {
    if frontmatter.is_empty() {
        return content.to_string();
    }
    format!("---\n{}\n---\n\n{content}", frontmatter.join("\n"))
}

/// Writes a name as YAML: bare where it is plain, as in files that people write.
fn key(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { name.to_string() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    json::write_string(&mut quoted, text);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frontmatter: Option<&str>) -> PromptFile {
        PromptFile {
            name: "rev".to_string(),
            frontmatter: frontmatter.map(String::from),
            content: "Review $ARGUMENTS".to_string(),
        }
    }

    #[track_caller]
    fn check(given: Option<&str>, required: &[&str], expected: &str) {
        let file = file(given);

        assert_eq!(markdown(&frontmatter(&file, required), &file.content), expected);
    }

    #[test]
    fn frontmatter_is_written_as_yaml_that_is_json() {
        check(None, &[], "Review $ARGUMENTS");
        check(
            Some(r#"{"description":"a: \"b\"\n","allowed-tools":["Bash(git *)"],"x y":1}"#),
            &[],
            "---\ndescription: \"a: \\\"b\\\"\\n\"\nallowed-tools: [\"Bash(git *)\"]\n\"x y\": 1\n---\n\nReview $ARGUMENTS",
        );
    }

    #[test]
    fn what_a_subagent_needs_is_added() {
        let needs = ["name", "description"];

        check(None, &needs, "---\nname: \"rev\"\ndescription: \"rev\"\n---\n\nReview $ARGUMENTS");
        check(
            Some(r#"{"description":"d"}"#),
            &needs,
            "---\ndescription: \"d\"\nname: \"rev\"\n---\n\nReview $ARGUMENTS",
        );
    }
}
