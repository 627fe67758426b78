//! Puts a request together from a file and options.

use legwork_core::{id::TaskId, secret::Secret};

use super::{RequestOptions, draft::Draft, masked::masked};
use crate::exit::UsageError;

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
    pub(crate) fn names_a_prompt(file: Option<&str>) -> bool {
        file.and_then(|file| Draft::of_file(file).ok()).is_some_and(|draft| draft.names("prompt"))
    }

    /// Puts the request together: options over the file's members over defaults.
    ///
    /// `fresh` names the task where neither options nor file do.
    ///
    /// # Errors
    /// Where the file or the metadata are no JSON object, the file's `taskId` is none, prompt or
    /// credential are missing, or a file that an option names cannot be used.
    pub(crate) fn build(
        options: &RequestOptions,
        file: Option<&str>,
        fresh: TaskId,
    ) -> Result<Self, UsageError> {
        let mut draft = file.map_or_else(|| Ok(Draft::default()), Draft::of_file)?;
        add_task(&mut draft, options)?;
        options.repository.add_to(&mut draft)?;
        options.setup.add_to(&mut draft)?;
        options.outcome.add_to(&mut draft)?;
        if !draft.names("callbackUrl") {
            // Without callbackUrl a request is taken for forgetful; null says that none is wanted.
            draft.set(&["callbackUrl"], &())?;
        }
        add_credential(&mut draft, options)?;
        require_prompt(&draft)?;
        let task_id = named_task(&draft, options)?.unwrap_or(fresh);
        draft.set(&["taskId"], &task_id)?;
        Ok(Self { task_id, json: draft.to_json()? })
    }

    /// Returns the JSON for people to see: without secrets, a member a line.
    ///
    /// # Errors
    /// None, for what [`RequestBody::build`] made.
    pub(crate) fn masked(&self) -> Result<String, UsageError> {
        masked(self.json.expose())
    }
}

fn add_task(draft: &mut Draft, options: &RequestOptions) -> Result<(), UsageError> {
    draft.set_some(&["prompt"], options.prompt.as_ref())?;
    draft.set_list(&["allowedTools"], &options.allowed_tools)?;
    draft.set_list(&["disallowedTools"], &options.disallowed_tools)?;
    draft.set_some(&["permissionMode"], options.permission_mode.as_ref())?;
    draft.set_flag(&["dangerouslySkipPermissions"], options.dangerously_skip_permissions)?;
    draft.set_some(&["maxTurns"], options.max_turns)?;
    draft.set_some(&["maxBudgetUsd"], options.max_budget_usd)?;
    draft.set_some(&["timeoutMinutes"], options.timeout)?;
    draft.set_some(&["model"], options.model.as_ref())?;
    draft.set_some(&["fallbackModel"], options.fallback_model.as_ref())?;
    draft.set_some(&["systemPrompt"], options.system_prompt.as_ref())?;
    draft.set_some(&["appendSystemPrompt"], options.append_system_prompt.as_ref())?;
    draft.set_some(&["callbackUrl"], options.callback.as_ref())?;
    match &options.metadata {
        Some(metadata) => draft.set_object(&["metadata"], metadata, "the value of --metadata"),
        None => Ok(()),
    }
}

/// A credential in the file stands: the environment's is but a default.
fn add_credential(draft: &mut Draft, options: &RequestOptions) -> Result<(), UsageError> {
    if ["anthropicApiKey", "anthropicOAuthToken"].iter().any(|name| draft.names(name)) {
        return Ok(());
    }
    let Some((name, value)) = options.credentials.chosen() else {
        return Err(UsageError::new(
            "a task needs a credential; set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN",
        ));
    };
    draft.set(&[name], value.expose())
}

fn require_prompt(draft: &Draft) -> Result<(), UsageError> {
    match draft.get("prompt").map(|raw| serde_json::from_str::<String>(raw.get())) {
        Some(Ok(text)) if text.trim().is_empty() => Err(UsageError::new("the prompt is empty")),
        // A prompt of another type is for the service to refuse.
        Some(_) => Ok(()),
        None => Err(UsageError::new(
            "what should the agent do? Give a prompt, or `-` to read it from standard input",
        )),
    }
}

fn named_task(draft: &Draft, options: &RequestOptions) -> Result<Option<TaskId>, UsageError> {
    if options.task_id.is_some() {
        return Ok(options.task_id.clone());
    }
    let Some(raw) = draft.get("taskId") else { return Ok(None) };
    let parsed = serde_json::from_str(raw.get());
    parsed.map(Some).map_err(|error| UsageError::new(format!("the file's taskId is refused: {error}")))
}

#[cfg(test)]
mod tests;
