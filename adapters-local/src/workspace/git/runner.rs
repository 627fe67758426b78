//! Runs git: below a guard, with an environment of its own, within limits.

use std::{collections::BTreeMap, io, path::PathBuf, pin::Pin, time::Duration};

use bytes::Bytes;
use legwork_core::secret::Secret;
use legwork_ports::{
    agent::{Agent as _, AgentCommand, AgentError, AgentRun, ExitKind, FileReach, Stderr},
    workspace::{Folders, GitError, GitLimits, GitProblem},
};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{diagnosis::diagnose, own_folder};
use crate::agent::GuardedAgent;

/// The most that is kept of what git answers, in bytes: the names of some 400k objects.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How much of git's messages is kept, in bytes.
const MAX_MESSAGES_BYTES: usize = 16 * 1024;

/// What every call of git is run with.
#[derive(Debug, Clone)]
pub(in crate::workspace) struct Bench {
    /// Runs commands.
    pub(in crate::workspace) agent: GuardedAgent,
    /// Where programs are sought.
    pub(in crate::workspace) path: String,
    /// Proxies and authorities of this machine, for the service's own git.
    pub(in crate::workspace) network: BTreeMap<String, String>,
}

/// Runs git for one task, until a time is up.
pub(in crate::workspace) struct Git<'a> {
    bench: &'a Bench,
    pub(super) folders: &'a Folders,
    at_most: Duration,
    timeout: Pin<Box<Sleep>>,
    stop: CancellationToken,
}

/// Who runs a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The service itself.
    Service,
    /// The task's user, confined as the agent.
    Agent,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) program: &'static str,
    pub(super) args: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) by: As,
    pub(super) env: BTreeMap<String, String>,
    pub(super) stdin: Bytes,
    pub(super) readable: Vec<PathBuf>,
    pub(super) writable: Vec<PathBuf>,
    pub(super) shows_progress: bool,
}

impl Call {
    /// A call of the service's own git.
    pub(super) fn service(directory: PathBuf, args: &[&str]) -> Self {
        let own = [
            ("core.hooksPath", "/dev/null"),
            ("fetch.recurseSubmodules", "false"),
            ("gc.auto", "0"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
            ("maintenance.auto", "false"),
            ("push.recurseSubmodules", "no"),
        ];
        Self::new(directory, As::Service, &own, args)
    }

    /// A call of git where the agent has worked. What it has configured there may run.
    pub(super) fn agent(directory: PathBuf, args: &[&str]) -> Self {
        let own = [
            ("core.fsmonitor", "false"),
            ("core.hooksPath", "/dev/null"),
            ("commit.gpgSign", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
        ];
        Self::new(directory, As::Agent, &own, args)
    }

    fn new(directory: PathBuf, by: As, settings: &[(&str, &str)], args: &[&str]) -> Self {
        let settings = settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
        Self {
            program: "git",
            args: settings.chain(args.iter().map(|arg| (*arg).to_owned())).collect(),
            directory,
            by,
            env: BTreeMap::new(),
            stdin: Bytes::new(),
            readable: Vec::new(),
            writable: Vec::new(),
            shows_progress: false,
        }
    }

    /// Adds to the environment.
    pub(super) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Gives it something to read.
    pub(super) fn stdin(mut self, stdin: impl Into<Bytes>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Lets it write below a folder.
    pub(super) fn writing(mut self, folder: PathBuf) -> Self {
        self.writable.push(folder);
        self
    }

    /// Lets it read below a folder.
    pub(super) fn reading(mut self, folder: PathBuf) -> Self {
        self.readable.push(folder);
        self
    }
}

/// What came of a call.
#[derive(Debug)]
pub(super) struct Answer {
    /// The exit code; none where a signal ended it.
    pub(super) code: Option<i32>,
    /// What it wrote to stdout, unless that went elsewhere.
    pub(super) stdout: Vec<u8>,
    /// The end of what it wrote to stderr.
    pub(super) stderr: String,
}

impl Answer {
    /// Returns stdout as text without blanks at its ends.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Makes an error of a call that failed.
    pub(super) fn error(&self, branch: Option<&str>) -> GitError {
        GitError { problem: diagnose(&self.stderr, branch), words: self.stderr.trim().to_owned() }
    }
}

/// Takes what a call writes to stdout.
pub(super) type Sink<'s> = &'s mut (dyn FnMut(&[u8]) -> io::Result<()> + Send);

impl<'a> Git<'a> {
    /// The time begins now.
    pub(in crate::workspace) fn new(bench: &'a Bench, folders: &'a Folders, limits: &GitLimits) -> Self {
        Self {
            bench,
            folders,
            at_most: limits.at_most,
            timeout: Box::pin(sleep(limits.at_most)),
            stop: limits.stop.clone(),
        }
    }

    /// Runs a call and returns its answer, whatever its exit code.
    pub(super) async fn answer(&mut self, call: Call) -> Result<Answer, GitError> {
        let mut stdout = Vec::new();
        let mut keep = |bytes: &[u8]| {
            if stdout.len().saturating_add(bytes.len()) > MAX_ANSWER_BYTES {
                return Err(io::Error::other("git answered more than can be kept"));
            }
            stdout.extend_from_slice(bytes);
            Ok(())
        };
        let answer = self.answer_into(call, &mut keep).await?;
        Ok(Answer { stdout, ..answer })
    }

    /// Runs a call that has to succeed and returns what it wrote, without blanks at its ends.
    pub(super) async fn text(&mut self, call: Call) -> Result<String, GitError> {
        let answer = self.answer(call).await?;
        if answer.code == Some(0) { Ok(answer.text()) } else { Err(answer.error(None)) }
    }

    /// Waits before what has failed is tried again. Where the time is up before that, it has failed.
    pub(super) async fn pause(&mut self, pause: Duration, failure: GitError) -> Result<(), GitError> {
        if Instant::now() + pause >= self.timeout.deadline() {
            return Err(failure);
        }
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(GitError::new(GitProblem::Stopped)),
        }
    }

    /// Runs a call whose output goes elsewhere.
    pub(super) async fn answer_into(&mut self, call: Call, sink: Sink<'_>) -> Result<Answer, GitError> {
        let program = call.program;
        let shows_progress = call.shows_progress;
        let command = self.command(call);
        let mut run = self.bench.agent.start(command).await.map_err(|error| not_run(program, &error))?;
        let mut messages = Messages::default();
        let mut cut = None;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Reading is cancel safe; the other arms only wait.
                read = run.read() => match read.map_err(|error| failed(&error))? {
                    Some(bytes) => if let (None, Err(error)) = (&cut, sink(&bytes)) {
                        cut = Some(GitError { problem: GitProblem::Failed, words: error.to_string() });
                        run.stop();
                    },
                    None => break,
                },
                () = self.stop.cancelled(), if cut.is_none() => {
                    cut = Some(GitError::new(GitProblem::Stopped));
                    run.stop();
                }
                () = &mut self.timeout, if cut.is_none() => {
                    cut = Some(GitError::new(GitProblem::TimedOut { after: self.at_most }));
                    run.stop();
                }
                _ = looks.tick(), if shows_progress => messages.take(run.as_mut()).await,
            }
        }
        if shows_progress {
            messages.take(run.as_mut()).await;
        }
        let exit = run.finish().await.map_err(|error| failed(&error))?;
        if let Some(error) = cut {
            return Err(error);
        }
        let code = match exit.kind {
            ExitKind::Code(code) => Some(code),
            ExitKind::Signal(_) => None,
        };
        let stderr = if shows_progress { messages.text } else { exit.stderr_tail };
        Ok(Answer { code, stdout: Vec::new(), stderr })
    }

    fn command(&self, call: Call) -> AgentCommand {
        let folders = self.folders;
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut env = BTreeMap::from([
            ("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".to_owned()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
            ("GIT_EDITOR".to_owned(), "true".to_owned()),
            ("GIT_NO_REPLACE_OBJECTS".to_owned(), "1".to_owned()),
            ("GIT_OPTIONAL_LOCKS".to_owned(), "0".to_owned()),
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
            ("PATH".to_owned(), self.bench.path.clone()),
        ]);
        let (user, mut reach) = match call.by {
            As::Agent => {
                env.insert("GIT_ALLOW_PROTOCOL".to_owned(), "none".to_owned());
                env.insert("GIT_CEILING_DIRECTORIES".to_owned(), text(&folders.root));
                env.insert("HOME".to_owned(), text(&folders.home));
                env.insert("TMPDIR".to_owned(), text(&folders.tmp));
                (folders.user, folders.reach.clone())
            }
            As::Service => {
                env.insert("GIT_ALLOW_PROTOCOL".to_owned(), "https:http:ssh".to_owned());
                env.insert("HOME".to_owned(), text(&own_folder(folders)));
                env.extend(self.bench.network.clone());
                let mut reach = FileReach { writable: Vec::new(), ..folders.reach.clone() };
                if reach != FileReach::default() {
                    reach.writable = vec![own_folder(folders)];
                }
                (None, reach)
            }
        };
        if reach != FileReach::default() {
            reach.writable.extend(call.writable);
            reach.readable.extend(call.readable);
        }
        env.extend(call.env);
        AgentCommand {
            program: call.program.to_owned(),
            args: call.args,
            env: env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            stdin: call.stdin,
            directory: call.directory,
            spool: folders.spool.clone(),
            user,
            reach,
            stderr: if call.shows_progress { Stderr::Whole } else { Stderr::Tail },
        }
    }
}

/// The messages of a call that shows how far it has come.
#[derive(Debug, Default)]
struct Messages {
    text: String,
    line: Vec<u8>,
    /// The last line that ended in a carriage return.
    progress: Option<String>,
}

impl Messages {
    async fn take(&mut self, run: &mut dyn AgentRun) {
        let mut is_new = false;
        // What cannot be read is not told; the exit code decides.
        while let Ok(Some(bytes)) = run.read_stderr().await {
            for byte in bytes {
                if !matches!(byte, b'\r' | b'\n') {
                    self.line.push(byte);
                    continue;
                }
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim_end().to_owned();
                // A line that is to be overwritten by the next one tells how far it is. One that is
                // followed by an end of line is none: ssh ends its own with both.
                if byte == b'\r' {
                    self.progress = Some(line);
                    is_new = true;
                } else if line.is_empty() {
                    if let Some(line) = self.progress.take() {
                        self.keep(&line);
                    }
                } else {
                    self.keep(&line);
                }
            }
        }
        if let Some(progress) = self.progress.as_ref().filter(|_| is_new) {
            tracing::info!(progress, "git is at work");
        }
    }

    fn keep(&mut self, line: &str) {
        if self.text.len().saturating_add(line.len()) < MAX_MESSAGES_BYTES {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

fn not_run(program: &str, error: &AgentError) -> GitError {
    match error {
        AgentError::Missing { .. } => GitError::new(GitProblem::Missing { program: program.to_owned() }),
        other @ (AgentError::Machine { .. } | _) => failed(other),
    }
}

fn failed(error: &AgentError) -> GitError {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let words = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    GitError { problem: GitProblem::Failed, words }
}
