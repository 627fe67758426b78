//! Slash commands and subagents as the agent's CLI has them: Markdown files, perhaps with frontmatter.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::input;
use crate::exit::UsageError;

/// A file as it stands in the request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PromptMember {
    #[serde(skip_serializing_if = "Option::is_none")]
    frontmatter: Option<serde_json::Map<String, Value>>,
    content: String,
}

/// Reads a slash command and returns its name, which is the file's without `.md`, and its text, which is
/// sent as it is.
///
/// # Errors
/// Where the file cannot be read or has no name.
pub(crate) fn slash_command(path: &Path) -> Result<(String, PromptMember), UsageError> {
    let (name, content) = read("--slash-command", path)?;
    Ok((name, PromptMember { frontmatter: None, content }))
}

/// Reads a subagent and returns its name, which is the file's without `.md`, and its parts: the service
/// adds to the frontmatter what the agent's CLI misses in it.
///
/// # Errors
/// Where the file cannot be read or has no name, or its frontmatter is more than names and plain values.
pub(crate) fn subagent(path: &Path) -> Result<(String, PromptMember), UsageError> {
    let (name, text) = read("--subagent", path)?;
    let member = parts(&text).map_err(|line| {
        UsageError::new(format!(
            "--subagent: line {line} of {} is more YAML than is read here; write NAME: VALUE on one line, \
             with the value in double quotes where it is unusual, or put the subagent into a --file",
            path.display()
        ))
    })?;
    Ok((name, member))
}

fn read(option: &str, path: &Path) -> Result<(String, String), UsageError> {
    let text = input::text_file(option, path, "give a Markdown file")?;
    let stem = path.with_extension("").file_name().map(PathBuf::from);
    let name = stem.as_deref().and_then(Path::to_str).map(str::to_owned);
    let name = name
        .ok_or_else(|| UsageError::new(format!("{option}: {} has no name to give to it", path.display())))?;
    Ok((name, text))
}

/// Parts a text from its frontmatter; the error is the number of the line that is not understood.
fn parts(text: &str) -> Result<PromptMember, usize> {
    let is_rule = |line: &str| line.trim_end() == "---";
    let mut lines = text.split_inclusive('\n').enumerate();
    let opens = lines.next().is_some_and(|(_, first)| is_rule(first));
    // A rule at the top that no other follows is a rule.
    if !opens || !lines.clone().any(|(_, line)| is_rule(line)) {
        return Ok(PromptMember { frontmatter: None, content: text.to_owned() });
    }
    let mut members = serde_json::Map::new();
    let mut list: Option<(String, Vec<Value>)> = None;
    for (index, line) in lines.by_ref().take_while(|(_, line)| !is_rule(line)) {
        let (number, line) = (index + 1, line.trim_end());
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if let Some((_, items)) = &mut list
            && let Some(item) = line.trim_start().strip_prefix("- ")
        {
            items.push(scalar(item.trim()).ok_or(number)?);
            continue;
        }
        members.extend(list.take().map(ended));
        let (name, value) = line.split_once(':').ok_or(number)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(plain) || !(value.is_empty() || value.starts_with(' ')) {
            return Err(number);
        }
        match value.trim() {
            "" => list = Some((name.to_owned(), Vec::new())),
            value => drop(members.insert(name.to_owned(), scalar(value).ok_or(number)?)),
        }
    }
    members.extend(list.take().map(ended));
    let content: String = lines.map(|(_, line)| line).collect();
    // One empty line is the gap, which is written again.
    let content = content.strip_prefix('\n').unwrap_or(&content).to_owned();
    Ok(PromptMember { frontmatter: Some(members), content })
}

/// A name without a value and without items has none.
fn ended((name, items): (String, Vec<Value>)) -> (String, Value) {
    (name, if items.is_empty() { Value::Null } else { Value::Array(items) })
}

/// Reads a value that YAML and this program cannot understand differently.
fn scalar(text: &str) -> Option<Value> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    match text.chars().next()? {
        // YAML takes JSON as it is.
        '"' | '{' => serde_json::from_str(text).ok(),
        '[' => serde_json::from_str(text).ok().or_else(|| plain_list(text)),
        '\'' => {
            let inner = inner('\'')?.replace("''", "\u{0}");
            (!inner.contains('\'')).then(|| Value::String(inner.replace('\u{0}', "'")))
        }
        '|' | '>' | '&' | '*' | '!' | '%' | '@' | '`' => None,
        '-' | '?' if text.contains(' ') => None,
        _ if text.contains(" #") => None,
        // Truth, nothing and numbers are written alike; all else is text.
        _ => Some(serde_json::from_str(text).unwrap_or_else(|_text| Value::String(text.to_owned()))),
    }
}

/// Reads `[a, b]`.
fn plain_list(text: &str) -> Option<Value> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let plain = |item: &str| !item.is_empty() && !item.contains(['"', '\'', '[', ']', '{', '}', ':', '#']);
    let items: Vec<&str> = inner.split(',').map(str::trim).collect();
    items.iter().all(|item| plain(item)).then(|| Value::from(items))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        assert_eq!(&serde_json::to_value(parts(text).unwrap()).unwrap(), expected, "{text}");
    }

    #[track_caller]
    fn check_value(text: &str, expected: Option<&Value>) {
        assert_eq!(scalar(text).as_ref(), expected, "{text}");
    }

    #[test]
    fn text_without_frontmatter_is_the_content() {
        check("Review $1\n", &json!({"content": "Review $1\n"}));
        check("---\nno end\n", &json!({"content": "---\nno end\n"}));
        check("", &json!({"content": ""}));
    }

    #[test]
    fn frontmatter_is_parted_from_the_content() {
        check(
            "---\r\nname: rev\ndescription: Use it: when asked\n# note\nmaxTurns: 3\ntools:\n  - Read\n- Bash(git *)\nmodel:\n---\n\nBe brief.\n---\n",
            &json!({
                "frontmatter": {
                    "name": "rev", "description": "Use it: when asked", "maxTurns": 3,
                    "tools": ["Read", "Bash(git *)"], "model": null,
                },
                "content": "Be brief.\n---\n",
            }),
        );
    }

    #[test]
    fn values_are_read_where_they_are_plain() {
        check_value("Read, Grep", Some(&json!("Read, Grep")));
        check_value("true", Some(&json!(true)));
        check_value("'it''s'", Some(&json!("it's")));
        check_value("\"a # b\"", Some(&json!("a # b")));
        check_value("[Read, Bash]", Some(&json!(["Read", "Bash"])));
        check_value("[\"a\", 1]", Some(&json!(["a", 1])));
        for odd in ["|", ">-", "&a x", "*a", "!!str x", "a # b", "'a' b'", "\"a\" b", "[a: b]", "- a"] {
            check_value(odd, None);
        }
    }

    #[test]
    fn what_is_not_understood_is_told_by_its_line() {
        assert_eq!(parts("---\na: 1\n  more\n---\n"), Err(3));
        assert_eq!(parts("---\ndescription: |\n  x\n---\n"), Err(2));
        assert_eq!(parts("---\na b: 1\n---\n"), Err(2));
    }

    #[test]
    fn the_name_is_the_files_without_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fix-it.md");
        std::fs::write(&path, "---\nmodel: m\n---\nDo it").unwrap();

        let (name, command) = slash_command(&path).unwrap();
        let (_, agent) = subagent(&path).unwrap();

        assert_eq!(name, "fix-it");
        assert_eq!(command.content, "---\nmodel: m\n---\nDo it");
        assert_eq!(agent.content, "Do it");
    }

    proptest! {
        #[test]
        fn any_text_is_parted_or_refused(text in "(---\n)?([a-z]: ?.{0,9}\n){0,4}(---\n)?.{0,9}") {
            let read = parts(&text);

            if let Ok(PromptMember { frontmatter, content }) = read {
                prop_assert!(frontmatter.is_some() || content == text);
                prop_assert!(text.ends_with(&content));
            }
        }
    }
}
