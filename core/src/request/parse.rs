//! The request as a whole: every member, in the order in which mistakes are told.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    CallbackUrl, ConflictStrategy, Credential, GitAction, GitSource, Parsed, PostExecutionActions,
    PromptFile, RelativePath, RepoUrl, RequestError, RequestLimits, Route, TaskRequest, UploadAction, When,
    fields::{Fields, Problems, text_of},
    git::is_branch_name,
    key, metadata,
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
/// Commands, names and patterns: how many, and how long in bytes.
const MAX_COMMANDS: usize = 50;
const MAX_COMMAND_BYTES: usize = 64 * 1024;
const MAX_GLOBS: usize = 100;
const MAX_GLOB_BYTES: usize = 256;
const MAX_SECRETS: usize = 200;
const MAX_SECRET_BYTES: usize = 64 * 1024;
const MAX_TOOLS: usize = 500;
const MAX_TOOL_BYTES: usize = 1024;
const MAX_PROMPT_FILES: usize = 200;
const MAX_CREDENTIAL_BYTES: usize = 16 * 1024;
const MAX_MODEL_BYTES: usize = 256;
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

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
    let mcp = fields.object("mcpConfig", problems);
    if mcp.is_some_and(|node| node.get("mcpServers").is_some_and(|servers| servers.kind() != Kind::Object)) {
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
        mcp_config: mcp.map(json::normalise),
        use_repository_mcp: fields.boolean("useRepositoryMcp", problems).unwrap_or(false),
        slash_commands: prompt_files(fields, "slashCommands", problems),
        subagents: prompt_files(fields, "subagents", problems),
        metadata: metadata::read(fields.object("metadata", problems), problems),
        actions: actions(fields, branch.as_deref(), problems),
        git,
        source: Secret::new(text.trim().to_string()),
        mcp_secrets: mcp.map(mcp_secrets).unwrap_or_default(),
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

fn repository(fields: Fields<'_>, problems: &mut Problems) -> Option<(RepoUrl, Option<Secret<String>>)> {
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
    url: Option<&(RepoUrl, Option<Secret<String>>)>,
    problems: &mut Problems,
) -> Option<GitSource> {
    let branch = fields.text("gitBranch", problems).unwrap_or_else(|| "main".to_string());
    check_branch("gitBranch", &branch, problems);
    let depth = fields.whole("gitDepth", 0, 1_000_000, problems).unwrap_or(1);
    let ssh_key = fields.text("sshKey", problems).and_then(|text| {
        let mended = key::mend(&text);
        if mended.is_none() {
            problems.value("sshKey", "an OpenSSH or PEM private key");
        }
        mended.map(Secret::new)
    });
    let token = fields.short_text("gitToken", MAX_CREDENTIAL_BYTES, problems).map(Secret::new);
    let agent_may_use_ssh_key = fields.boolean("agentMayUseSshKey", problems).unwrap_or(false);
    let (url, password) = url?;
    Some(GitSource {
        url: url.clone(),
        branch,
        depth,
        ssh_key,
        token: token.or_else(|| password.clone()),
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

fn environment(fields: Fields<'_>, problems: &mut Problems) -> Vec<(String, Secret<String>)> {
    let Some(node) = fields.object("environmentSecrets", problems) else { return Vec::new() };
    let mut secrets = BTreeMap::new();
    for member in node.members() {
        let name = member.name().into_owned();
        let path = format!("environmentSecrets.{}", name.escape_debug());
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

/// Names that would steer the agent, its shell or its loader are not free.
fn is_free_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= 256;
    let upper = name.to_ascii_uppercase();
    let taken = ["ANTHROPIC_", "CLAUDE", "LD_"].iter().any(|prefix| upper.starts_with(prefix))
        || upper.ends_with("_PROXY")
        || matches!(upper.as_str(), "HOME" | "PATH" | "TMPDIR" | "NODE_OPTIONS");
    well_formed && !taken
}

fn tools(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Option<Vec<String>> {
    fields.get(name)?;
    let tools = fields.texts(name, MAX_TOOLS, MAX_TOOL_BYTES, problems);
    for (index, tool) in tools.iter().enumerate() {
        if tool.starts_with('-') || tool.contains(char::is_control) {
            problems.value(&format!("{name}[{index}]"), "a tool or a rule such as Bash(git *)");
        }
    }
    Some(tools)
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

fn prompt_files(fields: Fields<'_>, name: &str, problems: &mut Problems) -> Vec<PromptFile> {
    let Some(node) = fields.object(name, problems) else { return Vec::new() };
    if node.members().count() > MAX_PROMPT_FILES {
        problems.add(name, "too_many", format!("{name} may have at most {MAX_PROMPT_FILES} entries"));
        return Vec::new();
    }
    let mut files = BTreeMap::new();
    for member in node.members() {
        let own = member.name().into_owned();
        let path = format!("{name}.{}", own.escape_debug());
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

fn actions(fields: Fields<'_>, cloned: Option<&str>, problems: &mut Problems) -> PostExecutionActions {
    let nothing = PostExecutionActions { git: None, upload: None, when: When::Success };
    let Some(node) = fields.object("postExecutionActions", problems) else { return nothing };
    let inner = Fields::new(node, "postExecutionActions.");
    inner.only(&["git", "uploadFiles", "when"], problems);
    let when = match inner.text("when", problems).as_deref() {
        None | Some("success") => When::Success,
        Some("always") => When::Always,
        Some(_) => {
            problems.value("postExecutionActions.when", "success or always");
            When::Success
        }
    };
    PostExecutionActions {
        git: git_action(inner, cloned, problems),
        upload: upload_action(inner, problems),
        when,
    }
}

fn git_action(fields: Fields<'_>, cloned: Option<&str>, problems: &mut Problems) -> Option<GitAction> {
    let node = fields.object("git", problems)?;
    let inner = Fields::new(node, "postExecutionActions.git.");
    inner.only(&["commit", "commitMessage", "push", "branch", "files", "conflictStrategy"], problems);
    let branch = inner.text("branch", problems);
    if let Some(branch) = &branch {
        check_branch("postExecutionActions.git.branch", branch, problems);
    }
    let conflict_strategy = match inner.text("conflictStrategy", problems).as_deref() {
        None | Some("auto") => ConflictStrategy::Auto,
        Some("fail") => ConflictStrategy::Fail,
        Some(_) => {
            problems.value("postExecutionActions.git.conflictStrategy", "auto or fail");
            ConflictStrategy::Auto
        }
    };
    if cloned.is_none() && fields.get("git").is_some() {
        problems.add(
            "postExecutionActions.git",
            "git_repo_required",
            "postExecutionActions.git needs a gitRepo",
        );
    }
    Some(GitAction {
        commit: inner.boolean("commit", problems).unwrap_or(false),
        commit_message: inner.short_text("commitMessage", MAX_MESSAGE_BYTES, problems),
        push: inner.boolean("push", problems).unwrap_or(false),
        branch: branch.or_else(|| cloned.map(String::from)),
        files: inner.texts("files", MAX_GLOBS, MAX_GLOB_BYTES, problems),
        conflict_strategy,
    })
}

fn upload_action(fields: Fields<'_>, problems: &mut Problems) -> Option<UploadAction> {
    let node = fields.object("uploadFiles", problems)?;
    let inner = Fields::new(node, "postExecutionActions.uploadFiles.");
    inner.only(&["globPatterns", "glob Patterns", "gcsPrefix"], problems);
    let name = if inner.get("globPatterns").is_some() { "globPatterns" } else { "glob Patterns" };
    let glob_patterns = inner.texts(name, MAX_GLOBS, MAX_GLOB_BYTES, problems);
    if inner.get(name).is_none() {
        problems.value("postExecutionActions.uploadFiles.globPatterns", "an array of strings");
    }
    Some(UploadAction { glob_patterns, prefix: path(inner, "gcsPrefix", problems) })
}

/// Servers of tools are started with secrets in their `env` and asked with secrets in their `headers`.
fn mcp_secrets(config: Node<'_>) -> Vec<Secret<String>> {
    let servers = config.get("mcpServers").into_iter().flat_map(|servers| servers.members().map(|m| m.value));
    let maps = servers.flat_map(|server| [server.get("env"), server.get("headers")]).flatten();
    let values = maps.flat_map(|map| map.members().filter_map(|member| member.value.as_str()));
    values.map(|value| Secret::new(value.into_owned())).collect()
}

/// Half characters anywhere would be changed in silence on their way.
fn no_lone_surrogates(root: Node<'_>, problems: &mut Problems) {
    let mut open = alloc::vec![(root, String::new())];
    while let Some((node, path)) = open.pop() {
        let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let told = problems.0.iter().any(|problem| problem.member == path) || path == "metadata";
        if !told && node.has_lone_surrogate() {
            let message = format!("{path} holds half of a surrogate pair; send whole characters");
            problems.add(&path, "lone_surrogate", message);
        }
        if path != "metadata" {
            open.extend(node.members().map(|member| (member.value, below(&member.name()))));
            open.extend(node.items().enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))));
        }
    }
}

/// Writes the request in one spelling: sorted members, no credentials, one name for the globs.
fn canonical(root: Node<'_>, repo: Option<&RepoUrl>) -> String {
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
            _ => sorted(member.value, 0),
        };
        members.insert(name, text);
    }
    join(members)
}

/// Nesting was bounded before this is called.
fn sorted(node: Node<'_>, depth: usize) -> String {
    match node.kind() {
        Kind::Object if depth <= MAX_DEPTH => {
            let named = node.members().map(|member| {
                let name = member.name();
                let name =
                    if name == "glob Patterns" { "globPatterns".to_string() } else { name.into_owned() };
                (name, sorted(member.value, depth + 1))
            });
            join(named.collect())
        }
        Kind::Array if depth <= MAX_DEPTH => {
            let items: Vec<_> = node.items().map(|item| sorted(item, depth + 1)).collect();
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

#[cfg(test)]
mod tests;
