//! What is said about repositories: where they are, what came of them, what went wrong.

use std::{fmt, time::Duration};

use legwork_core::secret::Secret;
use tokio_util::sync::CancellationToken;

/// A repository elsewhere and what opens it.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Its address: https, http, ssh or scp-like, without a password.
    pub url: String,
    /// A private key for ssh, as OpenSSH takes it.
    pub ssh_key: Option<Secret<String>>,
    /// Who logs in with the token; nothing: whom the host lets in with any.
    pub user: Option<Secret<String>>,
    /// A token for https.
    pub token: Option<Secret<String>>,
}

/// How long work on a repository may take.
#[derive(Debug, Clone)]
pub struct GitLimits {
    /// The most it may take in all.
    pub at_most: Duration,
    /// Ends it early, leaving nothing of it alive.
    pub stop: CancellationToken,
}

/// What is to be cloned.
#[derive(Debug, Clone)]
pub struct CloneOrder {
    /// From where.
    pub remote: Remote,
    /// The branch to work on.
    pub branch: String,
    /// How many commits are fetched; 0: all, and all branches.
    pub depth: u32,
    /// Who commits where the agent names nobody.
    pub default_name: String,
    /// That one's address.
    pub default_email: String,
}

/// What was cloned, as the service itself saw it: the agent cannot change this.
#[derive(Debug, Clone)]
pub struct Cloned {
    /// From where.
    pub remote: Remote,
    /// The branch that is checked out.
    pub branch: String,
    /// The commit that the work begins with.
    pub commit: String,
    /// Commits that the remote has: the newest of each branch and tag that was fetched.
    pub known: Vec<String>,
    /// Commits whose parents were not fetched.
    pub shallow: Vec<String>,
    /// The keys of the hosts that were met, as OpenSSH keeps them.
    pub known_hosts: String,
    /// What git said.
    pub messages: String,
}

/// What is to be committed.
#[derive(Debug, Clone)]
pub struct CommitOrder {
    /// The message.
    pub message: String,
    /// Globs of what to commit, relative to the workspace, as [`Workspace::find_files`] reads them; empty:
    /// all changes.
    ///
    /// [`Workspace::find_files`]: super::Workspace::find_files
    pub files: Vec<String>,
    /// Paths relative to the workspace that stay as the last commit has them, and all below them.
    pub except: Vec<String>,
    /// Who commits where the repository names nobody.
    pub default_name: String,
    /// That one's address.
    pub default_email: String,
}

/// A commit of the task's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub sha: String,
    /// Its message.
    pub message: String,
    /// Who committed it: name and address.
    pub committer: (String, String),
}

/// What came of committing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The newest commit of the task's, whoever made it; nothing where there is none.
    pub commit: Option<Commit>,
    /// What was left out, or asked for in vain, in words for people, not masked.
    pub problems: Vec<String>,
}

/// Something on its way out that must not get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The commit that holds it, where it is known.
    pub commit: Option<String>,
    /// Where in the repository, where it is a file.
    pub path: Option<String>,
}

/// What came of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushAnswer {
    /// The branch holds the commit.
    Pushed,
    /// The branch has moved on.
    Behind,
    /// The remote does not want it, in its own words.
    Refused {
        /// Its words.
        words: String,
    },
}

/// What came of a rebase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebase {
    /// The work on top of what the remote has, or what the remote has where that is all of it; nothing
    /// where it could not be done.
    pub commit: Option<Commit>,
    /// What the remote has.
    pub remote_sha: String,
    /// Files that both sides have changed in the same places, each by a name that one of them has.
    pub conflict_files: Vec<String>,
}

/// Why something about a repository could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GitProblem {
    /// There is no git, or no ssh, on this machine.
    Missing {
        /// The program.
        program: String,
    },
    /// The remote has no such branch.
    NoSuchBranch {
        /// The branch.
        branch: String,
    },
    /// The remote has no such repository, or does not show it.
    NoSuchRepository,
    /// The remote does not take the SSH key, or wants one.
    KeyRefused,
    /// The remote's host key is not the one that is known.
    HostKeyChanged,
    /// The remote does not take the token, or wants one.
    AccessRefused,
    /// The remote cannot be reached, or the connection was lost.
    Unreachable,
    /// It took too long.
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// It was ended early, as somebody wished.
    Stopped,
    /// The workspace is no repository, or a broken one.
    Broken,
    /// Anything else, in git's own words.
    Failed,
}

impl fmt::Display for GitProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program } => {
                write!(f, "{program} is not installed; install it where the service finds it on PATH")
            }
            Self::NoSuchBranch { branch } => write!(f, "there is no branch {branch}"),
            Self::NoSuchRepository => {
                f.write_str("there is no such repository, or it is not visible with what was given")
            }
            Self::KeyRefused => f.write_str("the SSH key was refused"),
            Self::HostKeyChanged => f.write_str("the host key is not the known one"),
            Self::AccessRefused => f.write_str("access was refused; is the token missing, wrong or expired?"),
            Self::Unreachable => f.write_str("the host cannot be reached"),
            Self::TimedOut { after } => write!(f, "it took longer than {} s", after.as_secs()),
            Self::Stopped => f.write_str("it was stopped"),
            Self::Broken => f.write_str("the workspace is no repository that git can use"),
            Self::Failed => f.write_str("git failed"),
        }
    }
}

/// Why something about a repository could not be done, with git's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct GitError {
    /// What is wrong.
    pub problem: GitProblem,
    /// What git, ssh and the remote said, not masked; may be empty.
    pub words: String,
}

impl GitError {
    /// Returns an error without words.
    pub fn new(problem: GitProblem) -> Self {
        Self { problem, words: String::new() }
    }
}
