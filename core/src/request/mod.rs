//! A client's request: untrusted JSON in, a [`TaskRequest`] with every limit kept out.
//!
//! All mistakes are reported together, the first one as the answer's sentence. What is sealed for the
//! worker is the client's own text and the defaults it was read with, so that there is one parser.

pub mod address;
mod builder;
mod callback_url;
mod error;
mod fields;
mod git;
mod glob;
mod key;
mod mcp;
mod metadata;
mod parse;
mod path;
mod stored;
mod walk;

pub use address::HostPattern;
pub use builder::RequestBuilder;
pub use callback_url::{CallbackUrl, InvalidCallbackUrl};
pub use error::{Problem, RequestError, StoredRequestError};
pub use git::{GitSource, InvalidRepoUrl, RepoUrl, UserInfo, is_branch_name};
pub use path::{InvalidRelativePath, RelativePath};

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use crate::{id::TaskId, redact::SecretKind, secret::Secret};

/// The route by which a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `POST /run-async`.
    RunAsync,
    /// `POST /run`.
    Run,
}

/// Limits and defaults that an operator sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimits {
    /// Upper bound of `timeoutMinutes`.
    pub max_timeout_minutes: u32,
    /// Tools for requests that name none.
    pub allowed_tools: Vec<String>,
    /// Permission mode for requests that name none.
    pub permission_mode: PermissionMode,
    /// Whether requests that do not say skip permissions.
    pub dangerously_skip_permissions: bool,
    /// Whether callbacks may go to addresses that are not globally routable.
    pub callback_allow_private: bool,
}

/// What the agent may do without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionMode {
    /// Edit files.
    AcceptEdits,
    /// What the agent's own classifier lets pass.
    Auto,
    /// Everything.
    BypassPermissions,
    /// Nothing but reading.
    Default,
    /// Nothing that would have to be asked for.
    DontAsk,
    /// Only plan.
    Plan,
}

impl PermissionMode {
    const ALL: [Self; 6] =
        [Self::AcceptEdits, Self::Auto, Self::BypassPermissions, Self::Default, Self::DontAsk, Self::Plan];

    /// Returns the word that the agent's CLI takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AcceptEdits => "acceptEdits",
            Self::Auto => "auto",
            Self::BypassPermissions => "bypassPermissions",
            Self::Default => "default",
            Self::DontAsk => "dontAsk",
            Self::Plan => "plan",
        }
    }
}

/// The text is no permission mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give one of acceptEdits, auto, bypassPermissions, default, dontAsk, plan")]
pub struct InvalidPermissionMode;

impl FromStr for PermissionMode {
    type Err = InvalidPermissionMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(InvalidPermissionMode)
    }
}

/// What the model's API is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    ApiKey(Secret<String>),
    /// An OAuth token.
    OAuthToken(Secret<String>),
}

/// A command or subagent of the agent's CLI, as a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptFile {
    /// Its name: one safe path segment.
    pub name: String,
    /// Its frontmatter as normalised JSON, if it has one.
    pub frontmatter: Option<String>,
    /// What follows the frontmatter.
    pub content: String,
}

/// What becomes of a push that the remote rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictStrategy {
    /// Rebase with the task's side winning, else a branch of its own.
    Auto,
    /// Leave it.
    Fail,
}

/// Commit and push after the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAction {
    /// Whether to commit.
    pub commit: bool,
    /// The commit's message.
    pub commit_message: Option<String>,
    /// Whether to push.
    pub push: bool,
    /// The branch to push to; nothing: the one that was cloned.
    pub branch: Option<String>,
    /// Globs of what to commit; empty: all changes.
    pub files: Vec<String>,
    /// What becomes of a rejected push.
    pub conflict_strategy: ConflictStrategy,
}

/// Uploads after the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadAction {
    /// Globs relative to the workspace.
    pub glob_patterns: Vec<String>,
    /// Folder below the task's uploads.
    pub prefix: Option<RelativePath>,
}

/// After which runs the actions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After a completed one.
    Success,
    /// After failure, timeout and cancel, too.
    Always,
}

/// What is done after the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostExecutionActions {
    /// Commit and push.
    pub git: Option<GitAction>,
    /// Uploads.
    pub upload: Option<UploadAction>,
    /// After which runs.
    pub when: When,
}

/// A request with every limit kept.
///
/// # Examples
/// ```
/// use legwork_core::request::{PermissionMode, RequestLimits, Route, TaskRequest};
/// let limits = RequestLimits {
///     max_timeout_minutes: 60,
///     allowed_tools: Vec::new(),
///     permission_mode: PermissionMode::AcceptEdits,
///     dangerously_skip_permissions: false,
///     callback_allow_private: false,
/// };
/// let body = br#"{"prompt":"Say hello","anthropicApiKey":"sk-ant-1","callbackUrl":"https://example.com/hook"}"#;
/// let parsed = TaskRequest::parse(body, Route::RunAsync, &limits).unwrap();
/// assert_eq!(parsed.request.timeout_minutes, 55);
///
/// let error = TaskRequest::parse(br#"{"promt":"Say hello"}"#, Route::RunAsync, &limits).unwrap_err();
/// assert_eq!(error.to_string(), "prompt is required");
/// ```
#[derive(Clone, PartialEq)]
pub struct TaskRequest {
    /// What the agent is asked.
    pub prompt: String,
    /// What the model's API is shown.
    pub credential: Credential,
    /// Whom to tell.
    pub callback_url: Option<CallbackUrl>,
    /// The task's name, if the client gave one.
    pub task_id: Option<TaskId>,
    /// The repository to work in.
    pub git: Option<GitSource>,
    /// Where below the workspace the agent starts.
    pub cwd_relative: Option<RelativePath>,
    /// Further environment of the agent.
    pub environment_secrets: Vec<(String, Secret<String>)>,
    /// Commands to run first.
    pub pre_execution_commands: Vec<String>,
    /// Replaces the agent's system prompt.
    pub system_prompt: Option<String>,
    /// Is appended to the agent's system prompt.
    pub append_system_prompt: Option<String>,
    /// Tools that need no permission.
    pub allowed_tools: Vec<String>,
    /// Tools that are refused.
    pub disallowed_tools: Vec<String>,
    /// What the agent may do without asking.
    pub permission_mode: PermissionMode,
    /// Whether it may do everything.
    pub dangerously_skip_permissions: bool,
    /// Turns at most.
    pub max_turns: u32,
    /// The model.
    pub model: Option<String>,
    /// The model when that one is overloaded.
    pub fallback_model: Option<String>,
    /// What the run may cost in US dollars; the agent's CLI sees to it.
    pub max_budget_usd: Option<f64>,
    /// From the claim to the agent's end.
    pub timeout_minutes: u32,
    /// Servers of tools, as normalised JSON.
    pub mcp_config: Option<String>,
    /// Whether the repository's own servers are let in.
    pub use_repository_mcp: bool,
    /// Slash commands of the agent's CLI.
    pub slash_commands: Vec<PromptFile>,
    /// Subagents of the agent's CLI.
    pub subagents: Vec<PromptFile>,
    /// Returned as it was sent, as JavaScript would write it; `{}` where none was.
    pub metadata: String,
    /// What is done after the run.
    pub actions: PostExecutionActions,
    /// What the worker reads the request from again.
    source: Secret<String>,
    /// What the servers of tools are started and asked with, as far as it may be secret.
    mcp_secrets: Vec<Secret<String>>,
}

/// A request, and its text for telling whether another one is the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The request.
    pub request: TaskRequest,
    /// The request as sent, in one spelling, without credentials.
    pub canonical: String,
}

impl TaskRequest {
    /// Returns what must not appear in text that is stored or sent.
    pub fn secrets(&self) -> Vec<(SecretKind, &str)> {
        let (Credential::ApiKey(key) | Credential::OAuthToken(key)) = &self.credential;
        let git = self.git.iter().flat_map(GitSource::secrets);
        let own = core::iter::once(key).chain(git);
        let own = own.map(|secret| (SecretKind::Credential, secret.expose().as_str()));
        // Plain settings stand among these, in both places.
        let given = self.environment_secrets.iter().map(|(_, secret)| secret);
        let environment = self.mcp_secrets.iter().chain(given);
        let environment = environment.map(|secret| (SecretKind::Environment, secret.expose().as_str()));
        own.chain(environment).collect()
    }
}

impl fmt::Debug for TaskRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRequest").field("task_id", &self.task_id).finish_non_exhaustive()
    }
}
