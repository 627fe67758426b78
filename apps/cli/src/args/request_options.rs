//! What to run: the options of `run` and `submit`, which become a request.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use legwork_core::id::TaskId;

use super::{
    RequestBody, credentials::Credentials, input, outcome_options::OutcomeOptions,
    repository_options::RepositoryOptions, setup_options::SetupOptions,
};
use crate::exit::UsageError;

/// Options that describe a task.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Task")]
pub(crate) struct RequestOptions {
    /// What the agent should do; `-`, or nothing where standard input is a pipe, reads it from there.
    #[arg(help_heading = "Arguments")]
    pub(crate) prompt: Option<String>,

    /// Allow a tool, or some uses of it, such as `Bash(git *)`; may be repeated.
    #[arg(long = "allow", value_name = "TOOL")]
    pub(crate) allowed_tools: Vec<String>,

    /// Refuse a tool, or some uses of it; may be repeated.
    #[arg(long = "deny", value_name = "TOOL")]
    pub(crate) disallowed_tools: Vec<String>,

    /// How the agent treats tools that are not allowed: acceptEdits, default, plan, dontAsk, …
    #[arg(long, value_name = "MODE")]
    pub(crate) permission_mode: Option<String>,

    /// Let the agent do everything, without permissions.
    #[arg(long)]
    pub(crate) dangerously_skip_permissions: bool,

    /// The most turns the conversation may have.
    #[arg(long, value_name = "N")]
    pub(crate) max_turns: Option<u32>,

    /// What the run may cost, in US dollars.
    #[arg(long, value_name = "USD", value_parser = dollars)]
    pub(crate) max_budget_usd: Option<f64>,

    /// End the task after so many minutes.
    #[arg(long, value_name = "MINUTES")]
    pub(crate) timeout: Option<u32>,

    /// The model to use.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// The model to use when that one is overloaded.
    #[arg(long, value_name = "NAME")]
    pub(crate) fallback_model: Option<String>,

    /// Replace the agent's system prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system_prompt: Option<String>,

    /// Add to the agent's system prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) append_system_prompt: Option<String>,

    /// Name the task; the same name with the same request is the same task [default: a new UUID].
    #[arg(long, value_name = "ID")]
    pub(crate) task_id: Option<TaskId>,

    /// Where the service should tell how the task ended.
    #[arg(long, value_name = "URL")]
    pub(crate) callback: Option<String>,

    /// A JSON object that the record and the callback return as it is.
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,

    /// A JSON file with members of the request, `-` for standard input; the other options override them.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Print the request with its secrets masked, and send nothing.
    #[arg(long)]
    pub(crate) print_request: bool,

    #[command(flatten)]
    pub(crate) repository: RepositoryOptions,

    #[command(flatten)]
    pub(crate) setup: SetupOptions,

    #[command(flatten)]
    pub(crate) outcome: OutcomeOptions,

    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

impl RequestOptions {
    /// Reads what the options name and returns the request.
    ///
    /// # Errors
    /// [`UsageError`] where something is missing, malformed or cannot be read; others where standard
    /// input or the kernel's randomness cannot be read.
    pub(crate) fn into_request(mut self) -> anyhow::Result<RequestBody> {
        let file_is_stdin = self.file.as_deref() == Some(Path::new("-"));
        let file = match &self.file {
            Some(_) if file_is_stdin => {
                Some(input::standard_input().context("cannot read the request from standard input")?)
            }
            Some(path) => {
                Some(input::text_file("--file", path, "give a JSON file with members of a request")?)
            }
            None => None,
        };
        let from_stdin = match self.prompt.as_deref() {
            Some(prompt) => prompt == "-",
            None => {
                !file_is_stdin && !RequestBody::names_a_prompt(file.as_deref()) && !io::stdin().is_terminal()
            }
        };
        if from_stdin && file_is_stdin {
            return Err(UsageError::new("standard input can be the prompt or the --file, not both").into());
        }
        if from_stdin {
            self.prompt =
                Some(input::standard_input().context("cannot read the prompt from standard input")?);
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).context("the kernel gives no random bytes")?;
        Ok(RequestBody::build(&self, file.as_deref(), TaskId::from_random(random))?)
    }
}

/// What is not finite could not be written as JSON.
fn dollars(text: &str) -> Result<f64, &'static str> {
    let amount = text.parse().ok().filter(|amount: &f64| amount.is_finite() && *amount > 0.0);
    amount.ok_or("give an amount above 0, such as 0.25")
}
