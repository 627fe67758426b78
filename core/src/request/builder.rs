//! A client's request, put together by a program in place of by hand.
//!
//! A builder writes each member as JSON as soon as it is given, and judges nothing:
//! [`RequestBuilder::build`] asks [`TaskRequest::parse`], so that there is one validator. What cannot be
//! written as the member's type is written as text, which that validator refuses by name, in place of
//! being left out.

use alloc::{
    borrow::ToOwned as _,
    collections::BTreeMap,
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;

use super::{
    ConflictStrategy, Credential, GitAction, Parsed, PermissionMode, PostExecutionActions, PromptFile,
    RelativePath, RequestError, RequestLimits, Route, TaskRequest, UploadAction, When,
};
use crate::{
    id::TaskId,
    json::{self, Document},
    secret::Secret,
};

/// Puts a request together, member by member; what is not given has the service's default.
///
/// Each method is named for the member that it sets, and replaces what was set before. Without
/// [`RequestBuilder::callback_url`] the request says that none is wanted.
///
/// # Examples
/// ```
/// use legwork_core::{
///     request::{Credential, GitAction, PermissionMode, PostExecutionActions, RequestBuilder, RequestLimits, Route},
///     secret::Secret,
/// };
/// let limits = RequestLimits {
///     max_timeout_minutes: 60,
///     allowed_tools: Vec::new(),
///     permission_mode: PermissionMode::AcceptEdits,
///     dangerously_skip_permissions: false,
///     callback_allow_private: false,
/// };
/// let key = Credential::ApiKey(Secret::new("sk-ant-1".to_owned()));
/// let mut builder = RequestBuilder::new("Fix the failing test", key);
/// builder.git_repo("https://github.com/o/r").max_turns(40).post_execution_actions(&PostExecutionActions {
///     git: Some(GitAction::pushing("Fix the test")),
///     ..PostExecutionActions::default()
/// });
///
/// let parsed = builder.build(Route::RunAsync, &limits).unwrap();
/// assert_eq!(parsed.request.max_turns, 40);
/// assert!(builder.to_json().contains(r#""gitRepo":"https://github.com/o/r""#));
///
/// let refused = builder.git_repo("file:///etc").build(Route::RunAsync, &limits).unwrap_err();
/// assert_eq!(refused.to_string(), "gitRepo must be an https, http or ssh URL, or user@host:path");
/// ```
#[derive(Clone)]
pub struct RequestBuilder {
    /// JSON by member; credentials are among it.
    members: BTreeMap<&'static str, Secret<String>>,
}

impl RequestBuilder {
    /// Starts with what every request has: what the agent is asked, and what the model's API is shown.
    pub fn new(prompt: &str, credential: Credential) -> Self {
        let mut builder = Self { members: BTreeMap::new() };
        builder.text("prompt", prompt).set("callbackUrl", "null".to_owned());
        match credential {
            Credential::ApiKey(key) => builder.text("anthropicApiKey", key.expose()),
            Credential::OAuthToken(token) => builder.text("anthropicOAuthToken", token.expose()),
        };
        builder
    }

    /// Sets whom to tell: an http or https URL. [`Route::Run`] takes none.
    pub fn callback_url(&mut self, url: &str) -> &mut Self {
        self.text("callbackUrl", url)
    }

    /// Names the task, so that the same request can be sent again without making a second one.
    pub fn task_id(&mut self, id: &TaskId) -> &mut Self {
        self.text("taskId", id.as_str())
    }

    /// Sets the repository to work in: https, http, ssh or scp-like; a password in it becomes the token.
    pub fn git_repo(&mut self, url: &str) -> &mut Self {
        self.text("gitRepo", url)
    }

    /// Sets the branch that is cloned.
    pub fn git_branch(&mut self, branch: &str) -> &mut Self {
        self.text("gitBranch", branch)
    }

    /// Sets how many commits are fetched; 0: all.
    pub fn git_depth(&mut self, commits: u32) -> &mut Self {
        self.set("gitDepth", commits.to_string())
    }

    /// Sets the private key for ssh, in OpenSSH's or PEM format.
    pub fn ssh_key(&mut self, key: &Secret<String>) -> &mut Self {
        self.text("sshKey", key.expose())
    }

    /// Sets the token for https.
    pub fn git_token(&mut self, token: &Secret<String>) -> &mut Self {
        self.text("gitToken", token.expose())
    }

    /// Sets whether the agent may sign with the private key, which it cannot read.
    pub fn agent_may_use_ssh_key(&mut self, may: bool) -> &mut Self {
        self.set("agentMayUseSshKey", may.to_string())
    }

    /// Sets where below the workspace the agent starts.
    pub fn cwd_relative(&mut self, path: &RelativePath) -> &mut Self {
        self.text("cwdRelative", path.as_str())
    }

    /// Sets further environment of the agent: names and values. Of one name, the last value is taken.
    pub fn environment_secrets<'s>(
        &mut self,
        secrets: impl IntoIterator<Item = (&'s str, &'s Secret<String>)>,
    ) -> &mut Self {
        let values = secrets.into_iter().map(|(name, value)| (name, quoted(value.expose())));
        self.set("environmentSecrets", object(values))
    }

    /// Sets the commands to run first, in this order.
    pub fn pre_execution_commands<T: AsRef<str>>(
        &mut self,
        commands: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        self.set("preExecutionCommands", texts(commands))
    }

    /// Replaces the agent's system prompt.
    pub fn system_prompt(&mut self, prompt: &str) -> &mut Self {
        self.text("systemPrompt", prompt)
    }

    /// Appends to the agent's system prompt.
    pub fn append_system_prompt(&mut self, prompt: &str) -> &mut Self {
        self.text("appendSystemPrompt", prompt)
    }

    /// Sets the tools that need no permission; an empty list overrules the operator's default.
    pub fn allowed_tools<T: AsRef<str>>(&mut self, tools: impl IntoIterator<Item = T>) -> &mut Self {
        self.set("allowedTools", texts(tools))
    }

    /// Sets the tools that are refused.
    pub fn disallowed_tools<T: AsRef<str>>(&mut self, tools: impl IntoIterator<Item = T>) -> &mut Self {
        self.set("disallowedTools", texts(tools))
    }

    /// Sets what the agent may do without asking.
    pub fn permission_mode(&mut self, mode: PermissionMode) -> &mut Self {
        self.text("permissionMode", mode.as_str())
    }

    /// Sets whether the agent may do everything.
    pub fn dangerously_skip_permissions(&mut self, skip: bool) -> &mut Self {
        self.set("dangerouslySkipPermissions", skip.to_string())
    }

    /// Sets how many turns the conversation may have.
    pub fn max_turns(&mut self, turns: u32) -> &mut Self {
        self.set("maxTurns", turns.to_string())
    }

    /// Sets the model.
    pub fn model(&mut self, name: &str) -> &mut Self {
        self.text("model", name)
    }

    /// Sets the model to take when that one is overloaded.
    pub fn fallback_model(&mut self, name: &str) -> &mut Self {
        self.text("fallbackModel", name)
    }

    /// Sets what the run may cost in US dollars.
    pub fn max_budget_usd(&mut self, usd: f64) -> &mut Self {
        let mut number = String::new();
        if usd.is_finite() {
            json::write_number(&mut number, usd);
        } else {
            // As null it would count as absent, and the run would have no bound.
            json::write_string(&mut number, &usd.to_string());
        }
        self.set("maxBudgetUsd", number)
    }

    /// Sets how long the task may take, in minutes from the worker's claim to the agent's end.
    pub fn timeout_minutes(&mut self, minutes: u32) -> &mut Self {
        self.set("timeoutMinutes", minutes.to_string())
    }

    /// Sets the servers of tools: a JSON object with `mcpServers`, as in `.mcp.json` files.
    pub fn mcp_config(&mut self, config: &str) -> &mut Self {
        self.set("mcpConfig", json_or_text(config))
    }

    /// Sets whether the repository's own servers of tools are let in.
    pub fn use_repository_mcp(&mut self, let_in: bool) -> &mut Self {
        self.set("useRepositoryMcp", let_in.to_string())
    }

    /// Sets slash commands of the agent's CLI. Of one name, the last is taken.
    pub fn slash_commands<'f>(&mut self, files: impl IntoIterator<Item = &'f PromptFile>) -> &mut Self {
        self.set("slashCommands", prompt_files(files))
    }

    /// Sets subagents of the agent's CLI. Of one name, the last is taken.
    pub fn subagents<'f>(&mut self, files: impl IntoIterator<Item = &'f PromptFile>) -> &mut Self {
        self.set("subagents", prompt_files(files))
    }

    /// Sets what record and callback return as it was sent: a JSON object.
    pub fn metadata(&mut self, metadata: &str) -> &mut Self {
        self.set("metadata", json_or_text(metadata))
    }

    /// Sets what is done after the run.
    pub fn post_execution_actions(&mut self, actions: &PostExecutionActions) -> &mut Self {
        self.set("postExecutionActions", post_execution_actions(actions))
    }

    /// Returns the JSON to send, as UTF-8 on one line or more. It holds the credentials in the clear: it
    /// is for the body of a request, and never for a log.
    pub fn to_json(&self) -> String {
        object(self.members.iter().map(|(name, value)| (*name, value.expose().clone())))
    }

    /// Returns the request as the service reads it.
    ///
    /// # Errors
    /// [`RequestError`] with everything that is wrong.
    pub fn build(&self, route: Route, limits: &RequestLimits) -> Result<Parsed, RequestError> {
        let json = Secret::new(self.to_json());
        TaskRequest::parse(json.expose().as_bytes(), route, limits)
    }

    fn set(&mut self, member: &'static str, json: String) -> &mut Self {
        self.members.insert(member, Secret::new(json));
        self
    }

    fn text(&mut self, member: &'static str, text: &str) -> &mut Self {
        self.set(member, quoted(text))
    }
}

/// Shows which members are set, and none of their values.
impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.members.keys().copied().collect();
        f.debug_struct("RequestBuilder").field("members", &names).finish_non_exhaustive()
    }
}

impl Default for PostExecutionActions {
    /// Returns that nothing is done after the run.
    fn default() -> Self {
        Self { git: None, upload: None, when: When::Success }
    }
}

impl GitAction {
    /// Commits all changes with this message, and pushes nothing.
    pub fn committing(message: impl Into<String>) -> Self {
        Self {
            commit: true,
            commit_message: Some(message.into()),
            push: false,
            branch: None,
            files: Vec::new(),
            conflict_strategy: ConflictStrategy::Auto,
        }
    }

    /// Commits all changes with this message, and pushes to the branch that was cloned.
    pub fn pushing(message: impl Into<String>) -> Self {
        Self { push: true, ..Self::committing(message) }
    }
}

impl UploadAction {
    /// Uploads what these globs match, which are relative to the workspace.
    pub fn of<T: Into<String>>(globs: impl IntoIterator<Item = T>) -> Self {
        Self { glob_patterns: globs.into_iter().map(Into::into).collect(), prefix: None }
    }
}

impl PromptFile {
    /// Makes a file without frontmatter; its name is one of letters, digits, `_` and `-`.
    pub fn new(name: impl Into<String>, content: impl Into<String>) -> Self {
        Self { name: name.into(), frontmatter: None, content: content.into() }
    }
}

fn quoted(text: &str) -> String {
    let mut json = String::new();
    json::write_string(&mut json, text);
    json
}

/// What is no JSON becomes a string, which is refused where an object is wanted.
fn json_or_text(text: &str) -> String {
    if Document::parse(text).is_ok() { text.trim().to_owned() } else { quoted(text) }
}

fn object<'n>(members: impl IntoIterator<Item = (&'n str, String)>) -> String {
    let members = members.into_iter().map(|(name, value)| quoted(name) + ":" + &value);
    "{".to_owned() + &members.collect::<Vec<_>>().join(",") + "}"
}

fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
    "[".to_owned() + &items.join(",") + "]"
}

fn prompt_files<'f>(files: impl IntoIterator<Item = &'f PromptFile>) -> String {
    object(files.into_iter().map(|file| {
        let frontmatter = file.frontmatter.as_deref().map(|text| ("frontmatter", json_or_text(text)));
        let members = frontmatter.into_iter().chain([("content", quoted(&file.content))]);
        (file.name.as_str(), object(members))
    }))
}

fn post_execution_actions(actions: &PostExecutionActions) -> String {
    let when = match actions.when {
        When::Success => "success",
        When::Always => "always",
    };
    let git = actions.git.as_ref().map(|action| ("git", git_action(action)));
    let upload = actions.upload.as_ref().map(|action| ("uploadFiles", upload_action(action)));
    object(git.into_iter().chain(upload).chain([("when", quoted(when))]))
}

fn git_action(action: &GitAction) -> String {
    let strategy = match action.conflict_strategy {
        ConflictStrategy::Auto => "auto",
        ConflictStrategy::Fail => "fail",
    };
    let texts_given = [("commitMessage", &action.commit_message), ("branch", &action.branch)];
    let texts_given =
        texts_given.into_iter().filter_map(|(name, text)| Some((name, quoted(text.as_deref()?))));
    let always = [
        ("commit", action.commit.to_string()),
        ("push", action.push.to_string()),
        ("files", texts(&action.files)),
        ("conflictStrategy", quoted(strategy)),
    ];
    object(always.into_iter().chain(texts_given))
}

fn upload_action(action: &UploadAction) -> String {
    let prefix = action.prefix.as_ref().map(|prefix| ("gcsPrefix", quoted(prefix.as_str())));
    object([("globPatterns", texts(&action.glob_patterns))].into_iter().chain(prefix))
}

#[cfg(test)]
mod tests;
