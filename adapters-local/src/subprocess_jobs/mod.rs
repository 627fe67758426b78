//! Workers as processes of this machine.
//!
//! A worker inherits two locked files and holds them for its life: its execution's lock as standard
//! input, and its slot's as standard output. Whatever ends it frees both, `kill -9` included; nothing it
//! starts inherits them, because children get a standard input and output of their own. So the lock is the
//! exact answer to the question whether it runs.

mod executions;
mod slots;

use std::{
    ffi::OsString,
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
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
use tokio::{process::Command, sync::Notify};
use tokio_util::task::TaskTracker;

use self::{executions::Executions, slots::Slots};
use crate::clock::{SystemClock, SystemIds};

/// How long a worker that was told to end may take before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// How often a freed slot is looked for that another service's worker held.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How workers are started.
#[derive(Debug, Clone)]
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

/// Starts workers as processes of this machine.
#[derive(Debug)]
pub struct SubprocessJobs {
    config: SubprocessConfig,
    slots: Slots,
    executions: Executions,
    logs: PathBuf,
    ended: Arc<Notify>,
    background: TaskTracker,
    announced: Mutex<Option<std::fs::File>>,
}

impl SubprocessJobs {
    /// Makes the folders that are missing.
    ///
    /// # Errors
    /// Where the data folder cannot be written.
    pub fn new(config: SubprocessConfig) -> io::Result<Self> {
        let logs = config.data_dir.join("worker-logs");
        make_folder(&logs)?;
        Ok(Self {
            slots: Slots::open(&config.data_dir, config.slots)?,
            executions: Executions::open(&config.data_dir)?,
            logs,
            config,
            ended: Arc::default(),
            background: TaskTracker::new(),
            announced: Mutex::default(),
        })
    }

    /// Makes this process's number of slots count, for as long as it lives: with several services on one
    /// data folder the smallest number holds.
    ///
    /// # Errors
    /// Where the data folder cannot be written.
    pub fn announce(&self) -> io::Result<()> {
        let lock = self.slots.announce(self.config.slots)?;
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    /// Starts the worker and returns how to wait for it.
    fn spawn(&self, name: &str, job: Job) -> io::Result<tokio::process::Child> {
        let lock = self.executions.create(name)?;
        let log = self.log_file(name)?;
        let slot = job.slot.map_or_else(Stdio::null, |slot| Stdio::from(slot.lock));
        let child = Command::new(&self.config.executable)
            .args(&self.config.args)
            .env_clear()
            .envs(self.config.env.iter().map(|(name, value)| (name, value)))
            .env("TASK_ID", job.task_id.as_str())
            .env("ENCRYPTED_PAYLOAD_PATH", &job.payload_key)
            .env("LEGWORK_EXECUTION", name)
            .current_dir("/")
            .stdin(Stdio::from(lock.try_clone()?))
            .stdout(slot)
            .stderr(Stdio::from(log))
            // Ctrl-C on the service's terminal reaches its process group, not this one.
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the worker ended at once"))?;
        Executions::describe(&lock, pid, &job.task_id, job.attempt)?;
        Ok(child)
    }

    fn log_file(&self, name: &str) -> io::Result<std::fs::File> {
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.log_path(name))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn fresh_name() -> String {
    let mut bytes = [0; 4];
    SystemIds.fill(&mut bytes);
    format!("local-{}-{}", SystemClock::new().now().compact(), hex::encode(&bytes))
}

fn refused(advice: String) -> impl FnOnce(io::Error) -> JobsError {
    move |source| JobsError::Refused { advice, source: Box::new(source) }
}

fn unavailable(source: io::Error) -> JobsError {
    JobsError::Unavailable { source: Box::new(source) }
}

#[async_trait]
impl Jobs for SubprocessJobs {
    fn start_policy(&self) -> StartPolicy {
        StartPolicy::WhenSlotFree
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
            // Dropping a wait loses nothing: the caller tries to reserve.
            () = self.ended.notified() => {}
            () = look => {}
            () = tokio::time::sleep(at_most) => {}
        }
    }

    async fn start(&self, job: Job) -> Result<Execution, JobsError> {
        let name = fresh_name();
        let advice =
            format!("see that {} can be run and the data folder written", self.config.executable.display());
        let mut child = self.spawn(&name, job).map_err(refused(advice))?;
        let ended = Arc::clone(&self.ended);
        let worker = name.clone();
        self.background.spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!(execution = %worker, %status, "worker ended badly"),
                Err(error) => {
                    tracing::warn!(execution = %worker, error = %error, "worker could not be awaited");
                }
            }
            ended.notify_waiters();
            ended.notify_one();
        });
        let worker_logs_url = Some(format!("file://{}", self.log_path(&name).display()));
        Ok(Execution { name, worker_logs_url })
    }

    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError> {
        let Some(running) = self.executions.running(execution_name).map_err(unavailable)? else {
            return Ok(());
        };
        running.signal(rustix::process::Signal::TERM).map_err(unavailable)?;
        let name = execution_name.to_owned();
        self.background.spawn(async move {
            tokio::time::sleep(KILL_AFTER).await;
            // The handle is the process's own: a pid that was given to another one is not hit.
            if let Err(error) = running.signal(rustix::process::Signal::KILL) {
                tracing::warn!(execution = %name, error = %error, "worker could not be killed");
            }
        });
        Ok(())
    }

    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError> {
        self.executions.status(execution_name).map_err(unavailable)
    }
}
