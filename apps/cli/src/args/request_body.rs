//! Puts a request together from a file and options.
//!
//! Members that are not ours pass as they were written: a number or an order of names that this
//! program would change is the task's own. Whether the request is a good one, the service says.

use std::collections::BTreeMap;

use legwork_core::{id::TaskId, secret::Secret};
use serde_json::value::{RawValue, to_raw_value};

use super::RequestOptions;
use crate::exit::UsageError;

/// Members of a JSON object, each as it was written.
type Members = BTreeMap<String, Box<RawValue>>;

/// A request, ready to be sent any number of times: it names its task.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// The task that it makes.
    pub(crate) task_id: TaskId,
    /// The JSON to send; it holds credentials.
    pub(crate) json: Secret<String>,
}

impl RequestBody {
    /// Returns whether a file names a prompt; one that is no JSON names none.
    pub(crate) fn names_a_prompt(file: Option<&[u8]>) -> bool {
        file.and_then(|file| serde_json::from_slice::<Members>(file).ok())
            .is_some_and(|members| members.contains_key("prompt"))
    }

    /// Puts the request together: options over the file's members over defaults.
    ///
    /// `fresh` names the task where neither options nor file do.
    ///
    /// # Errors
    /// Where the file or the metadata are no JSON object, the file's `taskId` is none, or prompt or
    /// credential are missing.
    pub(crate) fn build(
        options: &RequestOptions,
        file: Option<&[u8]>,
        fresh: TaskId,
    ) -> Result<Self, UsageError> {
        let mut members = file.map_or(Ok(Members::new()), |file| object(file, "the file of --file"))?;
        set_text(&mut members, "prompt", options.prompt.as_deref())?;
        set_text(&mut members, "permissionMode", options.permission_mode.as_deref())?;
        set_text(&mut members, "model", options.model.as_deref())?;
        set_text(&mut members, "callbackUrl", options.callback.as_deref())?;
        if !options.allowed_tools.is_empty() {
            set(&mut members, "allowedTools", &options.allowed_tools)?;
        }
        if let Some(turns) = options.max_turns {
            set(&mut members, "maxTurns", &turns)?;
        }
        if let Some(minutes) = options.timeout {
            set(&mut members, "timeoutMinutes", &minutes)?;
        }
        if let Some(metadata) = &options.metadata {
            object(metadata.as_bytes(), "the value of --metadata")?;
            let raw = RawValue::from_string(metadata.trim().to_owned());
            let raw = raw.map_err(|error| UsageError::new(format!("--metadata: {error}")))?;
            members.insert("metadata".to_owned(), raw);
        }
        if !members.contains_key("callbackUrl") {
            // Without callbackUrl a request is taken for forgetful; null says that none is wanted.
            set(&mut members, "callbackUrl", &())?;
        }
        add_credential(&mut members, options)?;
        require_prompt(&members)?;
        let task_id = named_task(&members, options)?.unwrap_or(fresh);
        set(&mut members, "taskId", &task_id)?;
        let json = serde_json::to_string(&members).map_err(|error| unwritable(&error))?;
        Ok(Self { task_id, json: Secret::new(json) })
    }
}

fn object(text: &[u8], what: &str) -> Result<Members, UsageError> {
    serde_json::from_slice(text)
        .map_err(|error| UsageError::new(format!("{what} is no JSON object: {error}")))
}

fn set<T: serde::Serialize + ?Sized>(members: &mut Members, name: &str, value: &T) -> Result<(), UsageError> {
    let raw = to_raw_value(value).map_err(|error| unwritable(&error))?;
    members.insert(name.to_owned(), raw);
    Ok(())
}

fn set_text(members: &mut Members, name: &str, value: Option<&str>) -> Result<(), UsageError> {
    value.map_or(Ok(()), |value| set(members, name, value))
}

fn unwritable(error: &serde_json::Error) -> UsageError {
    UsageError::new(format!("the request cannot be written as JSON: {error}"))
}

/// A credential in the file stands: the environment's is but a default.
fn add_credential(members: &mut Members, options: &RequestOptions) -> Result<(), UsageError> {
    if ["anthropicApiKey", "anthropicOAuthToken"].iter().any(|name| members.contains_key(*name)) {
        return Ok(());
    }
    let Some((name, value)) = options.credentials.chosen() else {
        return Err(UsageError::new(
            "a task needs a credential; set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN",
        ));
    };
    set_text(members, name, Some(value.expose()))
}

fn require_prompt(members: &Members) -> Result<(), UsageError> {
    let prompt = members.get("prompt").map(|raw| serde_json::from_str::<String>(raw.get()));
    match prompt {
        Some(Ok(text)) if text.trim().is_empty() => Err(UsageError::new("the prompt is empty")),
        // A prompt of another type is for the service to refuse.
        Some(_) => Ok(()),
        None => Err(UsageError::new(
            "what should the agent do? Give a prompt, or `-` to read it from standard input",
        )),
    }
}

fn named_task(members: &Members, options: &RequestOptions) -> Result<Option<TaskId>, UsageError> {
    if options.task_id.is_some() {
        return Ok(options.task_id.clone());
    }
    let Some(raw) = members.get("taskId").filter(|raw| raw.get() != "null") else { return Ok(None) };
    let parsed = serde_json::from_str(raw.get());
    parsed.map(Some).map_err(|error| UsageError::new(format!("the file's taskId is refused: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::args::credentials::Credentials;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: RequestOptions,
    }

    fn build(arguments: &[&str], file: Option<&str>) -> Result<RequestBody, UsageError> {
        let mut options = Line::parse_from([&["legwork"], arguments].concat()).options;
        options.credentials = Credentials::of(Some("sk-1"), Some("oat-1"));
        RequestBody::build(&options, file.map(str::as_bytes), TaskId::from_random([7; 16]))
    }

    #[track_caller]
    fn check(arguments: &[&str], file: Option<&str>, mut expected: Value) {
        let request = build(arguments, file).unwrap();
        let sent: Value = serde_json::from_str(request.json.expose()).unwrap();
        expected["taskId"] =
            expected.get("taskId").cloned().unwrap_or_else(|| request.task_id.as_str().into());
        assert_eq!(sent, expected);
        assert_eq!(sent["taskId"], request.task_id.as_str());
    }

    #[track_caller]
    fn check_refused(arguments: &[&str], file: Option<&str>, expected: &str) {
        let message = build(arguments, file).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_prompt_alone_makes_a_request_that_asks_for_no_callback() {
        check(&["Say hi"], None, json!({"prompt": "Say hi", "callbackUrl": null, "anthropicApiKey": "sk-1"}));
    }

    #[test]
    fn every_option_becomes_a_member() {
        check(
            &[
                "p",
                "--allow",
                "Bash(git *)",
                "--allow",
                "Read",
                "--max-turns",
                "3",
                "--permission-mode",
                "plan",
                "--model",
                "m",
                "--timeout",
                "5",
                "--task-id",
                "t-1",
                "--callback",
                "https://a.example/",
                "--metadata",
                " {\"a\": 1} ",
            ],
            None,
            json!({
                "prompt": "p", "allowedTools": ["Bash(git *)", "Read"], "maxTurns": 3, "permissionMode": "plan",
                "model": "m", "timeoutMinutes": 5, "taskId": "t-1", "callbackUrl": "https://a.example/",
                "metadata": {"a": 1}, "anthropicApiKey": "sk-1",
            }),
        );
    }

    #[test]
    fn options_override_the_file_and_its_other_members_stay() {
        check(
            &["new", "--max-turns", "3"],
            Some(
                r#"{"prompt":"old","maxTurns":9,"taskId":"t-2","gitRepo":"https://a.example/r","anthropicOAuthToken":"oat-2"}"#,
            ),
            json!({
                "prompt": "new", "maxTurns": 3, "taskId": "t-2", "gitRepo": "https://a.example/r",
                "anthropicOAuthToken": "oat-2", "callbackUrl": null,
            }),
        );
    }

    #[test]
    fn what_the_file_holds_is_sent_as_it_is_written() {
        let request =
            build(&["p"], Some(r#"{"metadata":{"b":12345678901234567890123,"a":"\ud83d"}}"#)).unwrap();

        assert!(request.json.expose().contains(r#"{"b":12345678901234567890123,"a":"\ud83d"}"#));
    }

    #[test]
    fn what_is_missing_or_malformed_is_said_before_anything_is_sent() {
        check_refused(&[], None, "what should the agent do?");
        check_refused(&[" \n"], None, "the prompt is empty");
        check_refused(&["p", "--metadata", "[1]"], None, "--metadata is no JSON object");
        check_refused(&["p"], Some("{"), "--file is no JSON object");
        check_refused(&["p"], Some(r#"{"taskId":"../x"}"#), "taskId");
    }

    #[test]
    fn a_task_without_credential_is_not_sent() {
        let options = Line::parse_from(["legwork", "p"]).options;
        let bare = RequestOptions { credentials: Credentials::of(Some(" "), None), ..options };

        let refused = RequestBody::build(&bare, None, TaskId::from_random([7; 16])).unwrap_err();

        assert!(refused.to_string().contains("ANTHROPIC_API_KEY"));
    }
}
