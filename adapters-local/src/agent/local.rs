//! Starting a command under its guard.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use legwork_ports::agent::{Agent, AgentCommand, AgentError, AgentRun, Stderr};
use rustix::process::Pid;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    run::{GuardedRun, failed},
    spool::Spool,
    supervise::{Guards, Progress, Registered, Supervisor},
    tree::Process,
    wire::{Files, GUARD, Hidden, Order, Refusal, Report, Spec, frame},
};

/// How long guard and trampoline may take to start the command: longer than the guard's own limit.
const START_DEADLINE: Duration = Duration::from_secs(15);

/// Runs each command below a guard of its own, which ends with it.
///
/// A user belongs to one command at a time: when that ends, so does everything of the user.
///
/// Clones know each other's guards. One process should have one and its clones: who ends what a
/// killed guard has left takes the guards of strangers for a part of it.
#[derive(Debug, Clone)]
pub struct GuardedAgent {
    helper: PathBuf,
    guards: Guards,
}

impl GuardedAgent {
    /// Takes the program that understands the hidden subcommands of [`super::guard`] and
    /// [`mod@super::exec`]: usually this very program.
    pub fn new(helper: PathBuf) -> Self {
        Self { helper, guards: Guards::default() }
    }

    /// Starts the guard and notes it among the living.
    fn spawn_guard(&self) -> io::Result<(Child, Registered)> {
        let mut living = self.guards.lock();
        let child = Command::new(&self.helper)
            .arg(GUARD)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // It waits for its order, so it lives.
        let guard = pid.and_then(Process::look).ok_or_else(|| io::Error::other("it ended at once"))?;
        living.insert(guard.pid.as_raw_nonzero().get());
        Ok((child, Registered { guards: self.guards.clone(), guard }))
    }
}

#[async_trait]
impl Agent for GuardedAgent {
    async fn start(&self, command: AgentCommand) -> Result<Box<dyn AgentRun>, AgentError> {
        let (folder, stdin) = (command.spool.clone(), command.stdin.clone());
        let spool = tokio::task::spawn_blocking(move || Spool::create(&folder, &stdin))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(failed("make the files for the output"))?;
        let program = command.program.clone();
        let (user, only_the_end) = (command.user, command.stderr == Stderr::Tail);
        let order = order(command, &spool).map_err(failed("write the command down"))?;

        let (mut child, registered) = self.spawn_guard().map_err(failed("start the guard"))?;
        let (Some(mut control), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("start the guard")(io::Error::other("it has no pipes")));
        };
        let mut reports = BufReader::new(reports).lines();
        let first = timeout(START_DEADLINE, converse(&mut control, &order, &mut reports))
            .await
            .unwrap_or_else(|elapsed| Err(elapsed.into()));
        drop(order);
        match first.map_err(failed("start the command"))? {
            Report::Started => {}
            Report::Failed(refusal) => {
                drop(control);
                // It has nothing to do any more. Where it cannot be waited for, the runtime reaps it.
                drop(child.wait().await);
                return Err(refused(program, refusal));
            }
            report @ (Report::Ended { .. } | Report::Killed { .. } | Report::Gone | Report::Left { .. }) => {
                let source = io::Error::other(format!("the guard began with {report:?}"));
                return Err(failed("start the command")(source));
            }
        }
        let output = spool.output.try_clone().map_err(failed("read the output"))?;
        let errors = spool.errors.try_clone().map_err(failed("read the messages"))?;
        let (progress, progress_seen) = watch::channel(Progress::default());
        let supervisor = Supervisor {
            child,
            reports,
            registered,
            user,
            errors: Arc::new(errors),
            only_the_end,
            stop_asked: CancellationToken::new(),
            progress,
        };
        let run = GuardedRun::new(control, supervisor, progress_seen, output);
        Ok(Box::new(run.map_err(failed("read the messages"))?))
    }
}

/// Gives the guard its order and returns its first report.
async fn converse(
    control: &mut ChildStdin,
    order: &[u8],
    reports: &mut tokio::io::Lines<BufReader<ChildStdout>>,
) -> io::Result<Report> {
    control.write_all(order).await?;
    control.flush().await?;
    let line = reports.next_line().await?;
    let line = line.ok_or_else(|| io::Error::other("the guard ended without a word"))?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

fn order(command: AgentCommand, spool: &Spool) -> io::Result<Zeroizing<Vec<u8>>> {
    let env = command.env.iter().map(|(name, value)| (name.clone(), Hidden(value.expose().clone())));
    frame(&Order::Run(Box::new(Spec {
        env: env.collect(),
        directory: text(&command.directory)?,
        stdin: text(&spool.stdin_path)?,
        stdout: text(&spool.output_path)?,
        stderr: text(&spool.errors_path)?,
        program: command.program,
        args: command.args,
        user: command.user,
        files: Files {
            writable: texts(&command.reach.writable)?,
            readable: texts(&command.reach.readable)?,
            hidden: texts(&command.reach.hidden)?,
            covered: pairs(&command.reach.covered)?,
            kept: texts(&command.reach.kept)?,
        },
    })))
}

fn text(path: &Path) -> io::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not UTF-8", path.display()))
    })
}

fn texts(paths: &[PathBuf]) -> io::Result<Vec<String>> {
    paths.iter().map(|path| text(path)).collect()
}

fn pairs(paths: &[(PathBuf, PathBuf)]) -> io::Result<Vec<(String, String)>> {
    paths.iter().map(|(place, with)| Ok((text(place)?, text(with)?))).collect()
}

fn refused(program: String, refusal: Refusal) -> AgentError {
    match refusal {
        Refusal::Missing { reason } | Refusal::Permission { reason } => {
            AgentError::Missing { program, reason }
        }
        Refusal::Machine { action, code, message } => {
            let source = code.map_or_else(|| io::Error::other(message), io::Error::from_raw_os_error);
            AgentError::Machine { action, source }
        }
    }
}
