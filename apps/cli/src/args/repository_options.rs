//! The repository that a task works in, and who may read it.

use std::path::PathBuf;

use super::{draft::Draft, input};
use crate::exit::UsageError;

/// Options that name a repository. Keys and tokens are read from files: the arguments of a process are
/// for all to see.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Repository")]
pub(crate) struct RepositoryOptions {
    /// Clone a repository and work in it: https, ssh, or user@host:path.
    #[arg(long, value_name = "URL")]
    repo: Option<String>,

    /// The branch to clone [default: main].
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,

    /// How many commits to fetch; 0 fetches all [default: 1].
    #[arg(long, value_name = "N")]
    depth: Option<u32>,

    /// A file with the private key for ssh.
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,

    /// Let the agent sign with the private key, too; it cannot read it.
    #[arg(long)]
    agent_may_use_ssh_key: bool,

    /// A file with the token for https; in bash also a command's output: `<(gh auth token)`.
    #[arg(long, value_name = "FILE")]
    git_token_file: Option<PathBuf>,

    /// Start the agent in this folder of the repository.
    #[arg(long, value_name = "FOLDER")]
    cwd: Option<String>,

    /// Let in the servers of tools that the repository itself configures.
    #[arg(long)]
    use_repository_mcp: bool,
}

impl RepositoryOptions {
    /// Puts the options over the draft.
    ///
    /// # Errors
    /// Where a file cannot be read or holds nothing.
    pub(super) fn add_to(&self, draft: &mut Draft) -> Result<(), UsageError> {
        draft.set_some(&["gitRepo"], self.repo.as_ref())?;
        draft.set_some(&["gitBranch"], self.branch.as_ref())?;
        draft.set_some(&["gitDepth"], self.depth)?;
        if let Some(path) = &self.ssh_key {
            let advice = "give the path of a private key, such as ~/.ssh/id_ed25519";
            draft.set(&["sshKey"], &input::text_file("--ssh-key", path, advice)?)?;
        }
        draft.set_flag(&["agentMayUseSshKey"], self.agent_may_use_ssh_key)?;
        if let Some(path) = &self.git_token_file {
            let advice = "give the path of a file that holds the token alone";
            let token = input::text_file("--git-token-file", path, advice)?;
            if token.trim().is_empty() {
                let message = format!("--git-token-file: {} is empty; {advice}", path.display());
                return Err(UsageError::new(message));
            }
            draft.set(&["gitToken"], token.trim())?;
        }
        draft.set_some(&["cwdRelative"], self.cwd.as_ref())?;
        draft.set_flag(&["useRepositoryMcp"], self.use_repository_mcp)
    }
}
