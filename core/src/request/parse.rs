//! The request as a whole: every member, in the order in which mistakes are told.

mod actions;
mod canonical;
mod environment;
mod prompt_files;

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use self::{actions::actions, canonical::canonical, environment::environment, prompt_files::prompt_files};
use super::{
    CallbackUrl, Credential, GitSource, Parsed, RelativePath, RepoUrl, RequestError, RequestLimits, Route,
    TaskRequest, UserInfo,
    fields::{Fields, Problems},
    git::is_branch_name,
    key, mcp, metadata,
    walk::Walk,
};
use crate::{
    id::TaskId,
    json::{self, Document, Kind, Node},
    secret::Secret,
};

/// Every member of a request.
const MEMBERS: &[&str] = &[
    "prompt",
    "anthropicApiKey",
    "anthropicOAuthToken",
    "callbackUrl",
    "taskId",
    "gitRepo",
    "gitBranch",
    "gitDepth",
    "sshKey",
    "gitToken",
    "agentMayUseSshKey",
    "cwdRelative",
    "environmentSecrets",
    "preExecutionCommands",
    "systemPrompt",
    "appendSystemPrompt",
    "allowedTools",
    "disallowedTools",
    "permissionMode",
    "dangerouslySkipPermissions",
    "maxTurns",
    "model",
    "fallbackModel",
    "maxBudgetUsd",
    "timeoutMinutes",
    "useNamedPipe",
    "mcpConfig",
    "useRepositoryMcp",
    "slashCommands",
    "subagents",
    "metadata",
    "postExecutionActions",
];
/// Members that say who asks, not what is asked.
const CREDENTIALS: &[&str] = &["anthropicApiKey", "anthropicOAuthToken", "sshKey", "gitToken"];
/// Deepest accepted nesting of a request.
const MAX_DEPTH: usize = 64;
/// Most turns that may be asked for.
const MAX_TURNS: u32 = 10_000;
/// Commands and tools: how many, and how long in bytes.
const MAX_COMMANDS: usize = 50;
const MAX_COMMAND_BYTES: usize = 64 * 1024;
const MAX_TOOLS: usize = 500;
const MAX_TOOL_BYTES: usize = 1024;
const MAX_CREDENTIAL_BYTES: usize = 16 * 1024;
const MAX_MODEL_BYTES: usize = 256;

impl TaskRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`] with everything that is wrong.
    pub fn parse(body: &[u8], route: Route, limits: &RequestLimits) -> Result<Parsed, RequestError> {
        let mut problems = Problems::default();
        let parsed = parse(body, route, limits, &mut problems);
        match (parsed, RequestError::of(problems.0)) {
            (Some(parsed), None) => Ok(parsed),
            (_, Some(error)) => Err(error),
            (None, None) => Err(unknown_mistake()),
        }
    }
}

fn unknown_mistake() -> RequestError {
    let mut problems = Problems::default();
    problems.add("", "invalid_request", "the request is invalid");
    RequestError::of(problems.0).unwrap_or_else(unknown_mistake)
}

fn parse(body: &[u8], route: Route, limits: &RequestLimits, problems: &mut Problems) -> Option<Parsed> {
    let Ok(text) = core::str::from_utf8(body) else {
        problems.add("", "invalid_json", "the body is not UTF-8 text");
        return None;
    };
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            problems.add("", "invalid_json", format!("the body is not JSON: {error}"));
            return None;
        }
    };
    let root = document.root();
    if root.kind() != Kind::Object {
        problems.add("", "invalid_json", "the body must be a JSON object");
        return None;
    }
    let fields = Fields::new(root, "");
    let prompt = fields.text("prompt", problems);
    if fields.get("prompt").is_none() || prompt.as_ref().is_some_and(|prompt| prompt.trim().is_empty()) {
        problems.add("prompt", "prompt_required", "prompt is required");
    }
    let callback_url = callback_url(fields, route, limits, problems);
    let credential = credential(fields, problems);
    let task_id = task_id(fields, problems);
    fields.only(MEMBERS, problems);
    if document.max_depth() > MAX_DEPTH {
        problems.add(
            "",
            "too_deep",
            format!("the request must not be nested deeper than {MAX_DEPTH} levels"),
        );
        return None;
    }
    let repo_url = repository(fields, problems);
    let git = git(fields, repo_url.as_ref(), problems);
    let mcp_config = fields.object("mcpConfig", problems);
    if mcp_config
        .is_some_and(|node| node.get("mcpServers").is_some_and(|servers| servers.kind() != Kind::Object))
    {
        problems.value("mcpConfig.mcpServers", "an object of servers by name");
    }
    let branch = git.as_ref().map(|git| git.branch.clone());
    let request = TaskRequest {
        prompt: prompt.unwrap_or_default(),
        credential: credential.unwrap_or_else(|| Credential::ApiKey(Secret::new(String::new()))),
        callback_url,
        task_id,
        cwd_relative: path(fields, "cwdRelative", problems),
        environment_secrets: environment(fields, problems),
        pre_execution_commands: fields.texts(
            "preExecutionCommands",
            MAX_COMMANDS,
            MAX_COMMAND_BYTES,
            problems,
        ),
        system_prompt: fields.text("systemPrompt", problems),
        append_system_prompt: fields.text("appendSystemPrompt", problems),
        allowed_tools: tools(fields, "allowedTools", problems)
            .unwrap_or_else(|| limits.allowed_tools.clone()),
        disallowed_tools: tools(fields, "disallowedTools", problems).unwrap_or_default(),
        permission_mode: permission_mode(fields, limits, problems),
        dangerously_skip_permissions: fields
            .boolean("dangerouslySkipPermissions", problems)
            .unwrap_or(limits.dangerously_skip_permissions),
        max_turns: fields.whole("maxTurns", 1, MAX_TURNS, problems).unwrap_or(30),
        model: model(fields, "model", problems),
        fallback_model: model(fields, "fallbackModel", problems),
        max_budget_usd: budget(fields, problems),
        timeout_minutes: fields
            .whole("timeoutMinutes", 1, limits.max_timeout_minutes, problems)
            .unwrap_or_else(|| limits.max_timeout_minutes.min(55)),
        mcp_config: mcp_config.map(json::normalise),
        use_repository_mcp: fields.boolean("useRepositoryMcp", problems).unwrap_or(false),
        slash_commands: prompt_files(fields, "slashCommands", problems),
        subagents: prompt_files(fields, "subagents", problems),
        metadata: metadata::read(fields.object("metadata", problems), problems),
        actions: actions(fields, branch.as_deref(), problems),
        git,
        source: Secret::new(text.trim().to_string()),
        mcp_secrets: mcp_config.map(mcp::secrets).unwrap_or_default(),
    };
    fields.boolean("useNamedPipe", problems);
    no_lone_surrogates(root, problems);
    Some(Parsed { canonical: canonical(root, repo_url.as_ref().map(|(url, _)| url)), request })
}

fn callback_url(
    fields: Fields<'_>,
    route: Route,
    limits: &RequestLimits,
    problems: &mut Problems,
) -> Option<CallbackUrl> {
    if route == Route::Run {
        if fields.get("callbackUrl").is_some() {
            problems.add("callbackUrl", "callback_url_not_allowed", "callbackUrl is for /run-async only");
        }
        return None;
    }
    if fields.get("callbackUrl").is_none() {
        if !fields.is_null("callbackUrl") {
            problems.add("callbackUrl", "callback_url_required", "callbackUrl is required for async tasks");
        }
        return None;
    }
    let text = fields.text("callbackUrl", problems)?;
    if text.trim().is_empty() {
        problems.add("callbackUrl", "callback_url_required", "callbackUrl is required for async tasks");
        return None;
    }
    match CallbackUrl::parse(&text, limits.callback_allow_private) {
        Ok(url) => Some(url),
        Err(error) => {
            problems.add("callbackUrl", "invalid_callback_url", error.to_string());
            None
        }
    }
}

fn credential(fields: Fields<'_>, problems: &mut Problems) -> Option<Credential> {
    let key = fields.text("anthropicApiKey", problems).filter(|text| !text.trim().is_empty());
    let token = fields.text("anthropicOAuthToken", problems).filter(|text| !text.trim().is_empty());
    let wrong_type = |name: &str| fields.get(name).is_some_and(|node| node.kind() != Kind::String);
    for (name, text) in [("anthropicApiKey", &key), ("anthropicOAuthToken", &token)] {
        let header_safe = |text: &String| text.trim().bytes().all(|b| (0x21..0x7f).contains(&b));
        if text.as_ref().is_some_and(|text| text.len() > MAX_CREDENTIAL_BYTES || !header_safe(text)) {
            problems.value(
                name,
                &format!("printable ASCII without blanks, at most {MAX_CREDENTIAL_BYTES} bytes"),
            );
        }
    }
    let secret = |text: String| Secret::new(text.trim().to_string());
    let credential = key
        .map(|key| Credential::ApiKey(secret(key)))
        .or_else(|| token.map(|t| Credential::OAuthToken(secret(t))));
    if credential.is_none() && !wrong_type("anthropicApiKey") && !wrong_type("anthropicOAuthToken") {
        let message = "Either anthropicApiKey or anthropicOAuthToken is required";
        problems.add("anthropicApiKey", "credential_required", message);
    }
    credential
}

fn task_id(fields: Fields<'_>, problems: &mut Problems) -> Option<TaskId> {
    fields.get("taskId")?;
    match fields.text("taskId", problems)?.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            problems.add("taskId", "invalid_task_id", crate::id::InvalidTaskId::to_string(&error));
            None
        }
    }
}

fn repository(fields: Fields<'_>, problems: &mut Problems) -> Option<(RepoUrl, Option<UserInfo>)> {
    let text = fields.text("gitRepo", problems)?;
    match RepoUrl::parse(&text) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            problems.value("gitRepo", &error.to_string());
            None
        }
    }
}

fn git(
    fields: Fields<'_>,
    url: Option<&(RepoUrl, Option<UserInfo>)>,
    problems: &mut Problems,
) -> Option<GitSource> {
    let branch = fields.text("gitBranch", problems).unwrap_or_else(|| "main".to_string());
    check_branch("gitBranch", &branch, problems);
    let depth = fields.whole("gitDepth", 0, 1_000_000, problems).unwrap_or(1);
    let ssh_key = fields.text("sshKey", problems).and_then(|text| match key::mend(&text) {
        Ok(mended) => Some(Secret::new(mended)),
        Err(error) => {
            problems.value("sshKey", &error.to_string());
            None
        }
    });
    let token = fields
        .short_text("gitToken", MAX_CREDENTIAL_BYTES, problems)
        .map(|token| Secret::new(token.trim().to_string()));
    let agent_may_use_ssh_key = fields.boolean("agentMayUseSshKey", problems).unwrap_or(false);
    let (url, info) = url?;
    let [user, token, other_password] = info.clone().unwrap_or_default().login(token);
    Some(GitSource {
        url: url.clone(),
        branch,
        depth,
        ssh_key,
        user,
        token,
        other_password,
        agent_may_use_ssh_key,
    })
}

fn check_branch(member: &str, branch: &str, problems: &mut Problems) {
    if !is_branch_name(branch) {
        problems.value(member, "a branch name that git accepts");
    }
}

fn path(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Option<RelativePath> {
    let text = fields.text(name, problems)?;
    match text.parse::<RelativePath>() {
        Ok(path) => Some(path),
        Err(error) => {
            problems.value(&fields.path(name), &error.to_string());
            None
        }
    }
}

fn tools(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Option<Vec<String>> {
    fields.get(name)?;
    let check = |tool: &str| {
        if tool.starts_with('-') || tool.contains(char::is_control) {
            return Err("a tool or a rule such as Bash(git *)");
        }
        Ok(())
    };
    Some(fields.texts_that(check, name, MAX_TOOLS, MAX_TOOL_BYTES, problems))
}

fn permission_mode(
    fields: Fields<'_>,
    limits: &RequestLimits,
    problems: &mut Problems,
) -> super::PermissionMode {
    let Some(text) = fields.text("permissionMode", problems) else { return limits.permission_mode };
    text.parse().unwrap_or_else(|_| {
        problems
            .value("permissionMode", "one of acceptEdits, auto, bypassPermissions, default, dontAsk, plan");
        limits.permission_mode
    })
}

fn model(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Option<String> {
    let model = fields.short_text(name, MAX_MODEL_BYTES, problems)?;
    if model.starts_with('-') || model.contains(char::is_control) {
        problems.value(name, "a model's name");
        return None;
    }
    Some(model)
}

fn budget(fields: Fields<'_>, problems: &mut Problems) -> Option<f64> {
    let node = fields.get("maxBudgetUsd")?;
    let budget = node.as_f64().filter(|usd| usd.is_finite() && *usd > 0.0 && *usd <= 1_000_000.0);
    if budget.is_none() {
        problems.value("maxBudgetUsd", "a number above 0, at most 1000000");
    }
    budget
}

/// Half characters anywhere would be changed in silence on their way.
fn no_lone_surrogates(root: Node<'_>, problems: &mut Problems) {
    let mut walk = Walk::new(root);
    while !problems.are_full()
        && let Some(found) = walk.advance()
    {
        let name = found.member.map(|member| member.name());
        if found.depth == 1 && name.as_deref() == Some("metadata") {
            // It has a rule of its own.
            walk.pass_over();
            continue;
        }
        let in_name = found.member.is_some_and(|member| member.name_has_lone_surrogate());
        if in_name || found.node.has_lone_surrogate() {
            let path = walk.path("");
            if !problems.are_told_of(&path) {
                let message = format!("{path} holds half of a surrogate pair; send whole characters");
                problems.add(&path, "lone_surrogate", message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
