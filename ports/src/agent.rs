//! Running the agent's command to its end.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::secret::Secret;

/// How much of the end of stderr is kept for people, in bytes.
pub const STDERR_TAIL_BYTES: usize = 8 * 1024;

/// What a command may reach of this machine's files, where the machine can hold it to that.
///
/// Everything that is not named may be read as far as its user may, and not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileReach {
    /// Folders to do anything in.
    pub writable: Vec<PathBuf>,
    /// What may be read although something above it is hidden.
    pub readable: Vec<PathBuf>,
    /// Files and folders that are closed, with everything below them.
    pub hidden: Vec<PathBuf>,
    /// Files and folders that lie over others for a user other than the worker's: where, and which. A
    /// machine that cannot do it leaves it.
    pub covered: Vec<(PathBuf, PathBuf)>,
    /// Folders that stay in their places below what is covered. The program's own folder does, too.
    pub kept: Vec<PathBuf>,
}

/// What becomes of a command's stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stderr {
    /// Only its end is kept, for [`AgentExit::stderr_tail`].
    #[default]
    Tail,
    /// All of it waits for [`AgentRun::read_stderr`], and [`AgentExit::stderr_tail`] is empty.
    Whole,
}

/// A command to run.
#[derive(Debug)]
pub struct AgentCommand {
    /// The program: a path, or a name sought on `path`.
    pub program: String,
    /// Its arguments. Never a secret: other processes can read them.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, Secret<String>>,
    /// What it reads from stdin.
    pub stdin: Bytes,
    /// Where it runs.
    pub directory: PathBuf,
    /// A folder outside `directory`, closed to the agent, for the files that its output goes through.
    pub spool: PathBuf,
    /// The unprivileged user and group it runs as; nothing: the worker's own. What a command of another
    /// user shares with its descendants by memory is nobody else's and goes with them, where the machine
    /// can do that.
    pub user: Option<u32>,
    /// What it may reach of this machine's files.
    pub reach: FileReach,
    /// What becomes of its stderr.
    pub stderr: Stderr,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What is known at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentExit {
    /// How the command itself ended.
    pub kind: ExitKind,
    /// The last [`STDERR_TAIL_BYTES`] of stderr, not masked, as text.
    pub stderr_tail: String,
    /// The transcript shrank: somebody else wrote to it.
    pub altered: bool,
}

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The program is not there, or may not be executed by the user it is to run as.
    #[error("cannot run {program}: {reason}")]
    Missing {
        /// The program asked for.
        program: String,
        /// What stands against it.
        reason: String,
    },
    /// Something on this machine failed.
    #[error("{action} failed")]
    Machine {
        /// What was tried.
        action: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

/// Runs commands whose whole process tree ends with them.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Agent: fmt::Debug + Send + Sync + 'static {
    /// Starts the command. Everything it writes to stdout arrives through
    /// [`AgentRun::read`], also what it wrote just before it was killed.
    ///
    /// # Errors
    /// `Missing`, `Machine`. Nothing runs then.
    async fn start(&self, command: AgentCommand) -> Result<Box<dyn AgentRun>, AgentError>;
}

/// A command that runs. Dropping it stops its whole tree, too, but does not wait for it.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait AgentRun: fmt::Debug + Send + Sync {
    /// Returns the next bytes of stdout in order, at most 256 KiB and as soon as there are
    /// any, or nothing once the command has ended and all was returned. Slow reading never
    /// slows the command down: what is not read waits on disk.
    ///
    /// # Errors
    /// `Machine` where the output cannot be read any more.
    ///
    /// # Cancel safety
    /// Dropping the future loses no bytes.
    async fn read(&mut self) -> Result<Option<Bytes>, AgentError>;

    /// Returns what is new on stderr, at most 256 KiB and without waiting, or nothing where there is
    /// nothing new. Only for commands with [`Stderr::Whole`]; nothing for others.
    ///
    /// # Errors
    /// `Machine` where the output cannot be read any more.
    async fn read_stderr(&mut self) -> Result<Option<Bytes>, AgentError>;

    /// Tells whether the command itself (not its children) has ended.
    fn has_ended(&self) -> bool;

    /// Asks the tree to stop: interrupt, 2 s later terminate, 1 s later by force. Returns at once;
    /// asking again does nothing. After 5 s no process of the tree is left.
    fn stop(&mut self);

    /// Waits for the end of the command and of its whole tree, stopping what the command
    /// left behind, and returns how it ended. To be called after `read` returned nothing or
    /// when the rest of the output does not matter. Nothing of the tree lives afterwards.
    ///
    /// # Errors
    /// `Machine`.
    async fn finish(&mut self) -> Result<AgentExit, AgentError>;
}

/// How long a stopped tree may take until it is gone.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);
