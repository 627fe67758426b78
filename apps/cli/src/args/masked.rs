//! A request to be shown: in place of its secrets stands `***`.

use legwork_core::request::{CallbackUrl, RepoUrl};
use serde_json::value::{RawValue, to_raw_value};

use super::draft::{Members, object, unwritable};
use crate::exit::UsageError;

/// What stands for a secret.
const MASK: &str = "***";

/// One step on the way to a secret.
enum Step {
    /// Into the member with this name.
    Into(&'static str),
    /// Into every member.
    Each,
}

/// Returns a request's JSON without its secrets, a member a line.
///
/// What the prompt or a command holds is shown: only members that are made for secrets are known to.
///
/// # Errors
/// Where the request is no JSON object.
pub(super) fn masked(json: &str) -> Result<String, UsageError> {
    let mut members = object(json, "the request")?;
    for name in ["anthropicApiKey", "anthropicOAuthToken", "sshKey", "gitToken"] {
        mask(&mut members, &[Step::Into(name)])?;
    }
    mask(&mut members, &[Step::Into("environmentSecrets"), Step::Each])?;
    for name in ["env", "headers"] {
        let path =
            [Step::Into("mcpConfig"), Step::Into("mcpServers"), Step::Each, Step::Into(name), Step::Each];
        mask(&mut members, &path)?;
    }
    replace_text(&mut members, "gitRepo", |url| {
        let Ok((shown, password)) = RepoUrl::parse(url) else { return refused(url) };
        password.map(|_| shown.as_str().to_owned())
    })?;
    replace_text(&mut members, "callbackUrl", |url| match CallbackUrl::parse(url, true) {
        Ok(url) => Some(url.shown()),
        Err(_) => refused(url),
    })?;
    let lines = members.iter().map(|(name, value)| {
        let name = serde_json::to_string(name).map_err(|error| unwritable(&error))?;
        Ok(format!("  {name}: {}", value.get()))
    });
    Ok(format!("{{\n{}\n}}", lines.collect::<Result<Vec<_>, UsageError>>()?.join(",\n")))
}

/// An address that the service will refuse may still hold a password.
fn refused(url: &str) -> Option<String> {
    url.contains('@').then(|| MASK.to_owned())
}

fn mask(members: &mut Members, path: &[Step]) -> Result<(), UsageError> {
    let Some((step, rest)) = path.split_first() else { return Ok(()) };
    for (name, value) in members.iter_mut() {
        let is_meant = match step {
            Step::Into(wanted) => name == wanted,
            Step::Each => true,
        };
        if is_meant && value.get() != "null" {
            *value = masked_value(value, rest)?;
        }
    }
    Ok(())
}

fn masked_value(value: &RawValue, rest: &[Step]) -> Result<Box<RawValue>, UsageError> {
    // Where the shape is another one than expected, a secret may stand anywhere.
    let inner = if rest.is_empty() { None } else { object(value.get(), "it").ok() };
    let Some(mut inner) = inner else { return raw(MASK) };
    mask(&mut inner, rest)?;
    to_raw_value(&inner).map_err(|error| unwritable(&error))
}

fn replace_text(
    members: &mut Members,
    name: &str,
    shown: impl FnOnce(&str) -> Option<String>,
) -> Result<(), UsageError> {
    let Some(value) = members.get_mut(name) else { return Ok(()) };
    let text = serde_json::from_str::<String>(value.get()).ok();
    if let Some(shown) = text.as_deref().and_then(shown) {
        *value = raw(&shown)?;
    }
    Ok(())
}

fn raw(text: &str) -> Result<Box<RawValue>, UsageError> {
    to_raw_value(text).map_err(|error| unwritable(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(request: &Value, expected: &Value) {
        let shown = masked(&request.to_string()).unwrap();

        assert_eq!(&serde_json::from_str::<Value>(&shown).unwrap(), expected);
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_shown() {
        check(
            &json!({
                "prompt": "p", "anthropicApiKey": "sk-1", "sshKey": "k", "gitToken": "t", "maxTurns": 3,
                "gitRepo": "https://me:hidden@git.example/r", "callbackUrl": "https://a.example/?key=hidden",
                "environmentSecrets": {"A": "hidden"},
                "mcpConfig": {"mcpServers": {"s": {
                    "command": "c", "env": {"K": "hidden"}, "headers": {"Authorization": "hidden"},
                }}},
            }),
            &json!({
                "prompt": "p", "anthropicApiKey": "***", "sshKey": "***", "gitToken": "***", "maxTurns": 3,
                "gitRepo": "https://git.example/r", "callbackUrl": "https://a.example/?key=***",
                "environmentSecrets": {"A": "***"},
                "mcpConfig": {"mcpServers": {"s": {
                    "command": "c", "env": {"K": "***"}, "headers": {"Authorization": "***"},
                }}},
            }),
        );
    }

    #[test]
    fn what_has_another_shape_is_masked_whole() {
        check(
            &json!({"environmentSecrets": "A=1", "mcpConfig": ["x"], "anthropicApiKey": {"k": 1}}),
            &json!({"environmentSecrets": "***", "mcpConfig": "***", "anthropicApiKey": "***"}),
        );
    }

    #[test]
    fn addresses_that_will_be_refused_show_no_password() {
        check(
            &json!({"gitRepo": "git://me:hidden@a/r", "callbackUrl": "http://me:hidden@a.example/"}),
            &json!({"gitRepo": "***", "callbackUrl": "***"}),
        );
        check(
            &json!({"gitRepo": "file:///r", "callbackUrl": "x"}),
            &json!({"gitRepo": "file:///r", "callbackUrl": "x"}),
        );
    }

    #[test]
    fn each_member_has_a_line() {
        assert_eq!(masked("{\"b\":[1, 2],\"a\":null}").unwrap(), "{\n  \"a\": null,\n  \"b\": [1, 2]\n}");
    }
}
