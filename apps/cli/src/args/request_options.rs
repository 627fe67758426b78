//! What to run: the options of `run` and `submit`, which become a request.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use anyhow::Context as _;
use legwork_core::id::TaskId;

use super::{RequestBody, credentials::Credentials};

/// Longest prompt or file that is read, in bytes: what the service reads at most before it refuses.
const MAX_INPUT_BYTES: u64 = 16 * 1024 * 1024;

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

    /// The most turns the conversation may have.
    #[arg(long, value_name = "N")]
    pub(crate) max_turns: Option<u32>,

    /// How the agent treats tools that are not allowed: acceptEdits, default, plan, dontAsk, …
    #[arg(long, value_name = "MODE")]
    pub(crate) permission_mode: Option<String>,

    /// The model to use.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// End the task after so many minutes.
    #[arg(long, value_name = "MINUTES")]
    pub(crate) timeout: Option<u32>,

    /// Name the task; the same name with the same request is the same task [default: a new UUID].
    #[arg(long, value_name = "ID")]
    pub(crate) task_id: Option<TaskId>,

    /// Where the service should tell how the task ended.
    #[arg(long, value_name = "URL")]
    pub(crate) callback: Option<String>,

    /// A JSON object that the record and the callback return as it is.
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,

    /// A JSON file with members of the request; the other options override them.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

impl RequestOptions {
    /// Reads what the options name and returns the request.
    ///
    /// # Errors
    /// [`crate::exit::UsageError`] where something is missing or no JSON; others where a file or
    /// standard input cannot be read.
    pub(crate) fn into_request(mut self) -> anyhow::Result<RequestBody> {
        let file = self
            .file
            .as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display())));
        let file = file.transpose()?;
        let from_stdin = match self.prompt.as_deref() {
            Some(prompt) => prompt == "-",
            None => !RequestBody::names_a_prompt(file.as_deref()) && !io::stdin().is_terminal(),
        };
        if from_stdin {
            self.prompt = Some(read_stdin().context("cannot read the prompt from standard input")?);
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).context("the kernel gives no random bytes")?;
        Ok(RequestBody::build(&self, file.as_deref(), TaskId::from_random(random))?)
    }
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_INPUT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
