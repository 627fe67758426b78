//! What the agent's CLI is started with: a request becomes arguments, environment, standard input
//! and files.
//!
//! Other processes can read arguments, so nothing private is among them: the prompt goes through
//! standard input, and prompts of the system, settings and tool servers through files. The real
//! credential appears nowhere; the CLI takes the proxy's token for its key.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;

use crate::{
    json,
    request::{Credential, PermissionMode, TaskRequest},
    secret::Secret,
};

/// Settings that name a program which the CLI runs by itself, unasked. An empty one runs nothing.
const HELPERS: [&str; 6] = [
    "apiKeyHelper",
    "awsAuthRefresh",
    "awsCredentialExport",
    "gcpAuthRefresh",
    "otelHeadersHelper",
    "proxyAuthHelper",
];

/// Where a task runs.
#[derive(Debug, Clone)]
pub struct AgentContext {
    /// The credential proxy's address, such as `http://127.0.0.1:40123`.
    pub proxy_url: String,
    /// What the proxy wants to be shown.
    pub proxy_token: Secret<String>,
    /// The agent's home folder.
    pub home: String,
    /// Its folder for temporary files.
    pub tmp: String,
    /// Where programs are sought.
    pub path: String,
    /// The folder that the planned files are written into.
    pub config_dir: String,
    /// Whether the agent runs as the machine's superuser.
    pub running_as_root: bool,
}

/// What to start, and with what.
#[derive(Clone)]
pub struct AgentPlan {
    /// The arguments, without the program's name. Nothing private is in them.
    pub args: Vec<String>,
    /// The whole environment, by name; nothing is to be inherited. It holds secrets.
    pub env: BTreeMap<String, String>,
    /// What the agent reads from its standard input: the prompt.
    pub stdin: Vec<u8>,
    /// Files that have to be there first.
    pub files: Vec<PlannedFile>,
}

/// Shows names only where values may be secrets.
impl fmt::Debug for AgentPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentPlan")
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// A file in the context's `config_dir`, readable by the agent's user alone.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its name, one path segment.
    pub name: String,
    /// Its whole content.
    pub contents: Vec<u8>,
}

/// Shows no content: it may hold secrets.
impl fmt::Debug for PlannedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedFile")
            .field("name", &self.name)
            .field("bytes", &self.contents.len())
            .finish_non_exhaustive()
    }
}

/// Plans the start of the agent for a request.
///
/// # Examples
/// ```
/// use legwork_core::{claude::command::{AgentContext, plan}, secret::Secret};
/// use legwork_core::request::{PermissionMode, RequestLimits, Route, TaskRequest};
/// # let limits = RequestLimits {
/// #     max_timeout_minutes: 60,
/// #     allowed_tools: Vec::new(),
/// #     permission_mode: PermissionMode::AcceptEdits,
/// #     dangerously_skip_permissions: false,
/// #     callback_allow_private: false,
/// # };
/// let context = AgentContext {
///     proxy_url: "http://127.0.0.1:40123".into(),
///     proxy_token: Secret::new("token-of-this-task".into()),
///     home: "/task/home".into(),
///     tmp: "/task/tmp".into(),
///     path: "/usr/bin".into(),
///     config_dir: "/task/config".into(),
///     running_as_root: false,
/// };
/// let body = br#"{"prompt":"Say hello","anthropicApiKey":"sk-ant-1"}"#;
/// let request = TaskRequest::parse(body, Route::Run, &limits).unwrap().request;
/// let plan = plan(&request, &context);
/// assert_eq!(plan.stdin, b"Say hello");
/// assert_eq!(plan.env["ANTHROPIC_API_KEY"], "token-of-this-task");
/// assert!(!plan.args.iter().any(|argument| argument.contains("hello")));
/// ```
pub fn plan(request: &TaskRequest, context: &AgentContext) -> AgentPlan {
    let mut arguments = Arguments::new(&context.config_dir);
    for flag in ["-p", "--verbose"] {
        arguments.flag(flag);
    }
    arguments.option("--output-format", "stream-json");
    arguments.option("--max-turns", &request.max_turns.to_string());
    // Always, so that no settings file of a repository chooses it.
    arguments.option("--permission-mode", mode(request).as_str());
    arguments.file("--settings", "settings.json", settings(&context.proxy_url));
    if !request.use_repository_mcp {
        arguments.flag("--strict-mcp-config");
    }
    if let Some(config) = &request.mcp_config {
        arguments.file("--mcp-config", "mcp.json", config.clone());
    }
    if let Some(prompt) = &request.system_prompt {
        arguments.file("--system-prompt-file", "system-prompt.txt", prompt.clone());
    }
    if let Some(prompt) = &request.append_system_prompt {
        arguments.file("--append-system-prompt-file", "append-system-prompt.txt", prompt.clone());
    }
    if let Some(model) = &request.model {
        arguments.option("--model", model);
    }
    if let Some(model) = &request.fallback_model {
        arguments.option("--fallback-model", model);
    }
    if let Some(budget) = request.max_budget_usd {
        let mut amount = String::new();
        json::write_number(&mut amount, budget);
        arguments.option("--max-budget-usd", &amount);
    }
    arguments.list("--allowedTools", &request.allowed_tools);
    arguments.list("--disallowedTools", &request.disallowed_tools);
    AgentPlan {
        args: arguments.args,
        env: environment(request, context),
        stdin: request.prompt.as_bytes().to_vec(),
        files: arguments.files,
    }
}

fn mode(request: &TaskRequest) -> PermissionMode {
    if request.dangerously_skip_permissions {
        PermissionMode::BypassPermissions
    } else {
        request.permission_mode
    }
}

/// Settings that win over those of a repository: where the model's API is, no hooks, no helpers.
///
/// A repository's settings are covered during the run. But git can bring others back from its
/// history meanwhile, and the CLI takes up what it finds at once.
fn settings(proxy_url: &str) -> String {
    let mut settings = String::from("{\"env\":{\"ANTHROPIC_BASE_URL\":");
    json::write_string(&mut settings, proxy_url);
    settings.push_str("},\"disableAllHooks\":true");
    for helper in HELPERS {
        settings.push(',');
        json::write_string(&mut settings, helper);
        settings.push_str(":\"\"");
    }
    settings.push('}');
    settings
}

fn environment(request: &TaskRequest, context: &AgentContext) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("LANG".to_string(), "C.UTF-8".to_string())]);
    for (name, value) in &request.environment_secrets {
        env.insert(name.clone(), value.expose().clone());
    }
    let credential = match request.credential {
        Credential::ApiKey(_) => "ANTHROPIC_API_KEY",
        Credential::OAuthToken(_) => "CLAUDE_CODE_OAUTH_TOKEN",
    };
    let ours = [
        (credential, context.proxy_token.expose().as_str()),
        ("ANTHROPIC_BASE_URL", &context.proxy_url),
        // Both keep the CLI from asking other hosts than the proxy.
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        // No settings choose another provider, credential or proxy for the web.
        ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
        // Without it the CLI leaves files in /tmp.
        ("CLAUDE_CODE_TMPDIR", &context.tmp),
        ("TMPDIR", &context.tmp),
        ("HOME", &context.home),
        ("PATH", &context.path),
    ];
    env.extend(ours.map(|(name, value)| (name.to_string(), value.to_string())));
    // As root the CLI refuses to bypass permissions without this. It also makes the CLI retry an
    // overloaded API for minutes instead of seconds, so it is not set where it is not needed.
    if context.running_as_root && mode(request) == PermissionMode::BypassPermissions {
        env.insert("IS_SANDBOX".to_string(), "1".to_string());
    }
    env
}

/// Arguments in the making, and the files that they name.
struct Arguments<'c> {
    config_dir: &'c str,
    args: Vec<String>,
    files: Vec<PlannedFile>,
}

impl<'c> Arguments<'c> {
    fn new(config_dir: &'c str) -> Self {
        Self { config_dir: config_dir.trim_end_matches('/'), args: Vec::new(), files: Vec::new() }
    }

    fn flag(&mut self, flag: &str) {
        self.args.push(flag.to_string());
    }

    fn option(&mut self, flag: &str, value: &str) {
        self.flag(flag);
        self.args.push(value.to_string());
    }

    /// Gives a value in a file.
    fn file(&mut self, flag: &str, name: &str, contents: String) {
        self.option(flag, &format!("{}/{name}", self.config_dir));
        self.files.push(PlannedFile { name: name.to_string(), contents: contents.into_bytes() });
    }

    /// Gives any number of values; of none, no flag at all.
    fn list(&mut self, flag: &str, values: &[String]) {
        if !values.is_empty() {
            self.flag(flag);
            self.args.extend_from_slice(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::request::{RequestLimits, Route};

    fn request(members: &Value) -> TaskRequest {
        let limits = RequestLimits {
            max_timeout_minutes: 60,
            allowed_tools: Vec::new(),
            permission_mode: PermissionMode::AcceptEdits,
            dangerously_skip_permissions: false,
            callback_allow_private: false,
        };
        let mut body = json!({ "prompt": "the prompt" });
        if members.get("anthropicOAuthToken").is_none() {
            body["anthropicApiKey"] = "sk-ant-real".into();
        }
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        TaskRequest::parse(body.to_string().as_bytes(), Route::Run, &limits).unwrap().request
    }

    fn context(running_as_root: bool) -> AgentContext {
        AgentContext {
            proxy_url: "http://127.0.0.1:1".to_string(),
            proxy_token: Secret::new("proxy-token".to_string()),
            home: "/h".to_string(),
            tmp: "/t".to_string(),
            path: "/bin".to_string(),
            config_dir: "/c/".to_string(),
            running_as_root,
        }
    }

    fn planned(members: &Value) -> AgentPlan {
        plan(&request(members), &context(false))
    }

    fn file<'p>(plan: &'p AgentPlan, name: &str) -> Option<&'p str> {
        let file = plan.files.iter().find(|file| file.name == name)?;
        core::str::from_utf8(&file.contents).ok()
    }

    #[test]
    fn a_plain_request_has_these_arguments() {
        let plan = planned(&json!({}));

        assert_eq!(
            plan.args.join(" "),
            "-p --verbose --output-format stream-json --max-turns 30 --permission-mode acceptEdits \
             --settings /c/settings.json --strict-mcp-config"
        );
        assert_eq!(
            file(&plan, "settings.json"),
            Some(concat!(
                r#"{"env":{"ANTHROPIC_BASE_URL":"http://127.0.0.1:1"},"disableAllHooks":true,"#,
                r#""apiKeyHelper":"","awsAuthRefresh":"","awsCredentialExport":"","gcpAuthRefresh":"","#,
                r#""otelHeadersHelper":"","proxyAuthHelper":""}"#
            ))
        );
        assert_eq!(plan.stdin, b"the prompt");
    }

    #[test]
    fn every_option_becomes_an_argument_or_a_file() {
        let plan = planned(&json!({
            "maxTurns": 5, "permissionMode": "plan", "model": "m", "fallbackModel": "f", "maxBudgetUsd": 0.25,
            "systemPrompt": "be brief", "appendSystemPrompt": "be kind", "useRepositoryMcp": true,
            "mcpConfig": {"mcpServers": {"s": {"command": "x"}}},
            "allowedTools": ["Bash(git *)", "Edit"], "disallowedTools": ["WebFetch"],
        }));

        assert_eq!(
            plan.args.get(4..).unwrap(),
            [
                "--max-turns",
                "5",
                "--permission-mode",
                "plan",
                "--settings",
                "/c/settings.json",
                "--mcp-config",
                "/c/mcp.json",
                "--system-prompt-file",
                "/c/system-prompt.txt",
                "--append-system-prompt-file",
                "/c/append-system-prompt.txt",
                "--model",
                "m",
                "--fallback-model",
                "f",
                "--max-budget-usd",
                "0.25",
                "--allowedTools",
                "Bash(git *)",
                "Edit",
                "--disallowedTools",
                "WebFetch",
            ]
        );
        assert_eq!(file(&plan, "mcp.json"), Some(r#"{"mcpServers":{"s":{"command":"x"}}}"#));
        assert_eq!(file(&plan, "system-prompt.txt"), Some("be brief"));
        assert_eq!(file(&plan, "append-system-prompt.txt"), Some("be kind"));
    }

    #[test]
    fn the_environment_holds_the_proxy_s_token_and_no_credential() {
        let with_key =
            planned(&json!({ "environmentSecrets": { "LANG": "de_DE", "DISABLE_AUTOUPDATER": "0" } }));
        let with_token = planned(&json!({ "anthropicOAuthToken": "sk-ant-oat" }));

        let pairs: Vec<(&str, &str)> = with_key.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            vec![
                ("ANTHROPIC_API_KEY", "proxy-token"),
                ("ANTHROPIC_BASE_URL", "http://127.0.0.1:1"),
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
                ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
                ("CLAUDE_CODE_TMPDIR", "/t"),
                ("DISABLE_AUTOUPDATER", "1"),
                ("HOME", "/h"),
                ("LANG", "de_DE"),
                ("PATH", "/bin"),
                ("TMPDIR", "/t"),
            ]
        );
        assert_eq!(with_token.env.get("CLAUDE_CODE_OAUTH_TOKEN").map(String::as_str), Some("proxy-token"));
        assert!(!with_token.env.contains_key("ANTHROPIC_API_KEY"));
    }

    #[test]
    fn only_a_root_that_bypasses_permissions_is_called_a_sandbox() {
        let sandbox =
            |members: &Value, root| plan(&request(members), &context(root)).env.contains_key("IS_SANDBOX");
        let bypass = json!({ "dangerouslySkipPermissions": true });

        assert!(sandbox(&bypass, true));
        assert!(sandbox(&json!({ "permissionMode": "bypassPermissions" }), true));
        assert!(!sandbox(&bypass, false));
        assert!(!sandbox(&json!({}), true));
        assert!(planned(&bypass).args.join(" ").contains("--permission-mode bypassPermissions"));
    }

    proptest! {
        #[test]
        fn nothing_private_is_in_the_arguments(secret in "[a-zA-Z0-9]{12,40}") {
            let plan = planned(&json!({
                "prompt": secret, "anthropicApiKey": secret, "systemPrompt": secret, "appendSystemPrompt": secret,
                "mcpConfig": {"mcpServers": {"s": {"command": "x", "env": {"KEY": secret}}}},
                "environmentSecrets": {"KEY": secret},
            }));

            prop_assert!(plan.args.iter().all(|argument| !argument.contains(&secret)));
            prop_assert!(plan.args.iter().all(|argument| !argument.contains("proxy-token")));
            let shown = alloc::format!("{plan:?}");
            prop_assert!(!shown.contains(&secret));
            let real = plan.env.iter().filter(|(_, value)| **value == secret).map(|(name, _)| name.as_str());
            prop_assert_eq!(real.collect::<Vec<_>>(), ["KEY"]);
        }
    }
}
