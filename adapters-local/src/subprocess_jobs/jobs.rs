//! The port: starting, ending and asking about workers.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io,
    num::NonZeroU32,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use legwork_core::hex;
use legwork_ports::{
    clock::{Clock as _, IdSource as _},
    jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy},
};
use rustix::{io::Errno, process::Signal};
use tokio::{
    process::{Child, Command},
    sync::Notify,
};
use tokio_util::task::TaskTracker;

use super::{
    executions::{Executions, describe},
    slots::Slots,
};
use crate::clock::{SystemClock, SystemIds};

/// How long a worker that was killed may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(2);
/// How long a worker that was told to end may take before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// How often a freed slot is looked for that another service's worker held.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How workers are started.
#[derive(Clone)]
pub struct SubprocessConfig {
    /// The program.
    pub executable: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment, but for what names the task.
    pub env: Vec<(OsString, OsString)>,
    /// Where locks and worker logs are.
    pub data_dir: PathBuf,
    /// Workers at once.
    pub slots: NonZeroU32,
}

impl fmt::Debug for SubprocessConfig {
    /// Shows the environment's names only: its values hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("SubprocessConfig")
            .field("executable", &self.executable)
            .field("args", &self.args)
            .field("env", &names)
            .field("data_dir", &self.data_dir)
            .field("slots", &self.slots)
            .finish()
    }
}

/// Starts workers as processes of this machine. Several may share a data folder, in this process and
/// in others. Its methods make a handful of system calls and do not wait for other processes.
#[derive(Debug)]
pub struct SubprocessJobs {
    config: SubprocessConfig,
    slots: Slots,
    executions: Executions,
    ended: Arc<Notify>,
    /// Reaps workers. What is not done when this process ends need not be: init reaps.
    background: TaskTracker,
    /// Kills workers that do not end. Who still wants one ended when this process ends asks again.
    ending: TaskTracker,
    announced: Mutex<Option<File>>,
}

impl SubprocessJobs {
    /// Makes the folders that are missing.
    ///
    /// # Errors
    /// Where the data folder cannot be written.
    pub fn new(config: SubprocessConfig) -> io::Result<Self> {
        Ok(Self {
            slots: Slots::open(&config.data_dir, config.slots)?,
            executions: Executions::open(&config.data_dir)?,
            config,
            ended: Arc::default(),
            background: TaskTracker::new(),
            ending: TaskTracker::new(),
            announced: Mutex::default(),
        })
    }

    /// Makes this process's number of slots count, for as long as it lives: with several services on one
    /// data folder the smallest number holds.
    ///
    /// # Errors
    /// Where the data folder cannot be written.
    pub fn announce(&self) -> io::Result<()> {
        let lock = self.slots.announce()?;
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    /// Removes locks and logs of workers that have ended and were started longer ago, and returns how many
    /// files that were. Such executions are unknown from then on.
    ///
    /// # Errors
    /// Where the data folder cannot be read or written.
    pub fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        Ok(self.executions.sweep(older_than)?.saturating_add(self.slots.sweep(older_than)?))
    }

    fn command(&self, name: &str, job: Job, lock: File, log: File) -> Command {
        let mut command = Command::new(&self.config.executable);
        command
            .args(&self.config.args)
            .env_clear()
            .envs(self.config.env.iter().map(|(name, value)| (name, value)))
            .env("TASK_ID", job.task_id.as_str())
            .env("ENCRYPTED_PAYLOAD_PATH", job.payload_key)
            .env("LEGWORK_EXECUTION", name)
            .current_dir("/")
            .stdin(Stdio::from(lock))
            .stdout(job.slot.map_or_else(Stdio::null, |slot| Stdio::from(slot.lock)))
            .stderr(Stdio::from(log))
            .process_group(0);
        command
    }

    /// Waits for the worker's end in the background, so that nothing of it stays in the process table.
    fn reap(&self, name: &str, mut child: Child) {
        let ended = Arc::clone(&self.ended);
        let name = name.to_owned();
        self.background.spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!(execution = %name, %status, "worker ended badly"),
                Err(error) => {
                    tracing::warn!(execution = %name, error = %error, "worker could not be awaited");
                }
            }
            ended.notify_one();
        });
    }

    fn refused(&self, source: io::Error) -> JobsError {
        let (program, folder) = (self.config.executable.display(), self.config.data_dir.display());
        let advice = format!("see that {program} can be run and that {folder} can be written");
        JobsError::Refused { advice, source: Box::new(source) }
    }

    fn not_begun(&self, name: &str, source: io::Error) -> JobsError {
        self.executions.forget(name);
        if needs_a_person(&source) { self.refused(source) } else { unavailable(source) }
    }
}

fn fresh_name() -> String {
    let mut bytes = [0; 4];
    SystemIds.fill(&mut bytes);
    format!("local-{}-{}", SystemClock::new().now().compact(), hex::encode(&bytes))
}

/// Returns whether waiting will not help: unlike a full process table, memory or disk.
fn needs_a_person(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::InvalidInput,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}

fn unavailable(source: io::Error) -> JobsError {
    JobsError::Unavailable { source: Box::new(source) }
}

#[async_trait]
impl Jobs for SubprocessJobs {
    fn start_policy(&self) -> StartPolicy {
        StartPolicy::WhenSlotFree
    }

    fn is_exact(&self) -> bool {
        // A lock that the worker holds for its life.
        true
    }

    async fn reserve(&self) -> Result<Option<Slot>, JobsError> {
        self.slots.reserve().map_err(unavailable)
    }

    async fn slot_freed(&self, at_most: Duration) {
        let look = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if matches!(self.slots.reserve(), Ok(Some(_)) | Err(_)) {
                    return;
                }
            }
        };
        tokio::select! {
            // Dropping any of these waits loses nothing: the caller tries to reserve.
            () = self.ended.notified() => {}
            () = look => {}
            () = tokio::time::sleep(at_most) => {}
        }
    }

    async fn start(&self, job: Job) -> Result<Execution, JobsError> {
        let name = fresh_name();
        let (task_id, attempt) = (job.task_id.clone(), job.attempt);
        let (lock, log) = self.executions.create(&name).map_err(|error| self.not_begun(&name, error))?;
        let inherited = lock.try_clone().map_err(|error| self.not_begun(&name, error))?;
        let spawned = self.command(&name, job, inherited, log).spawn();
        let mut child = spawned.map_err(|error| self.not_begun(&name, error))?;

        let described = match child.id() {
            Some(pid) => describe(&lock, pid, &task_id, attempt),
            None => Err(io::Error::other("the worker has no process id")),
        };
        // A worker that nobody could cancel must not run on.
        let described = described.inspect_err(|_| drop(child.start_kill()));
        self.reap(&name, child);
        described.map_err(unavailable)?;
        let worker_logs_url = Some(format!("file://{}", self.executions.log_path(&name).display()));
        Ok(Execution { name, worker_logs_url })
    }

    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError> {
        let Some(running) = self.executions.running(execution_name).map_err(unavailable)? else {
            return Ok(());
        };
        running.signal(Signal::TERM).map_err(unavailable)?;
        let name = execution_name.to_owned();
        let executions = self.executions.clone();
        self.ending.spawn(async move {
            let ended = async || {
                while matches!(executions.status(&name), Ok(ExecutionStatus::Running)) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            if tokio::time::timeout(KILL_AFTER, ended()).await.is_ok() {
                return;
            }
            if let Err(error) = running.signal(Signal::KILL) {
                tracing::warn!(execution = %name, error = %error, "worker could not be killed");
            }
            // What was killed needs a moment to let go of what it holds.
            tokio::time::timeout(KILLED_WITHIN, ended()).await.ok();
        });
        Ok(())
    }

    async fn capacity(&self) -> Option<usize> {
        self.slots.count().ok().and_then(|count| usize::try_from(count).ok())
    }

    async fn see_off(&self) {
        self.ending.close();
        self.ending.wait().await;
        self.ending.reopen();
    }

    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError> {
        self.executions.status(execution_name).map_err(unavailable)
    }
}
