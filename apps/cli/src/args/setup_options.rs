//! What the agent finds when it starts: variables, what commands left, tools, and prompts as files.

use std::path::PathBuf;

use super::{
    draft::Draft,
    environment::{EnvOption, parse_env_file},
    input, prompt_file,
};
use crate::exit::UsageError;

/// Options that prepare the agent's surroundings.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Preparation")]
pub(crate) struct SetupOptions {
    /// Give the agent a variable; NAME alone takes the value that it has here, unseen by other users of
    /// this machine. May be repeated.
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<EnvOption>,

    /// Give the agent the variables of a .env file, in which `$` stands for itself; --env wins. May be
    /// repeated.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Run a shell command before the agent, in the repository; may be repeated.
    #[arg(long, value_name = "COMMAND")]
    pre: Vec<String>,

    /// Servers of tools, as a JSON file of the shape of .mcp.json.
    #[arg(long, value_name = "FILE")]
    mcp: Option<PathBuf>,

    /// Give the agent a slash command, named for its Markdown file; may be repeated.
    #[arg(long, value_name = "FILE.md")]
    slash_command: Vec<PathBuf>,

    /// Give the agent a subagent, named for its Markdown file; may be repeated.
    #[arg(long, value_name = "FILE.md")]
    subagent: Vec<PathBuf>,
}

impl SetupOptions {
    /// Puts the options over the draft: variables and prompts beside those of the file, the rest in the
    /// place of the file's.
    ///
    /// # Errors
    /// Where a file cannot be read or is malformed, or a variable has no value here.
    pub(super) fn add_to(&self, draft: &mut Draft) -> Result<(), UsageError> {
        for path in &self.env_file {
            let text = input::text_file("--env-file", path, "give a file of NAME=VALUE lines")?;
            for (name, value) in parse_env_file(&text, &format!("--env-file: {}", path.display()))? {
                draft.set(&["environmentSecrets", &name], value.expose())?;
            }
        }
        for variable in &self.env {
            let (name, value) = variable.resolve()?;
            draft.set(&["environmentSecrets", name], value.expose())?;
        }
        draft.set_list(&["preExecutionCommands"], &self.pre)?;
        if let Some(path) = &self.mcp {
            let text = input::text_file("--mcp", path, "give a JSON file such as .mcp.json")?;
            draft.set_object(&["mcpConfig"], &text, &format!("--mcp: {}", path.display()))?;
        }
        for path in &self.slash_command {
            let (name, member) = prompt_file::slash_command(path)?;
            draft.set(&["slashCommands", &name], &member)?;
        }
        for path in &self.subagent {
            let (name, member) = prompt_file::subagent(path)?;
            draft.set(&["subagents", &name], &member)?;
        }
        Ok(())
    }
}
