//! Executions: a lock file each, held by the worker for its life, that says which process it is.

use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use legwork_core::id::{Attempt, TaskId};
use legwork_ports::jobs::ExecutionStatus;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use super::locks;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    pid: u32,
    /// When the process began, in clock ticks since boot: with it a reused pid is told apart.
    start_ticks: u64,
    task_id: TaskId,
    attempt: Attempt,
}

/// The executions of a data folder.
#[derive(Debug, Clone)]
pub(super) struct Executions {
    locks: PathBuf,
    logs: PathBuf,
}

/// A worker that runs. Its pid may be given to another process, this handle may not.
#[derive(Debug)]
pub(super) struct Running(OwnedFd);

impl Running {
    /// Sends a signal; to one that has ended meanwhile, nothing.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Executions {
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let this = Self { locks: data_dir.join("executions"), logs: data_dir.join("worker-logs") };
        locks::make_folder(&this.locks)?;
        locks::make_folder(&this.logs)?;
        Ok(this)
    }

    /// Returns where the execution's lock is; nothing for what cannot be an execution's name.
    fn lock_path(&self, name: &str) -> Option<PathBuf> {
        let safe = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        safe.then(|| self.locks.join(format!("{name}.lock")))
    }

    pub(super) fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Makes the files of a new execution, and returns its lock, taken, and its log.
    pub(super) fn create(&self, name: &str) -> io::Result<(File, File)> {
        let path = self.lock_path(name).ok_or_else(|| io::Error::other("not an execution's name"))?;
        let lock = locks::open(&path)?;
        if !locks::take(&lock)? {
            return Err(io::Error::other("the execution runs already"));
        }
        let log = locks::open_log(&self.log_path(name))?;
        Ok((lock, log))
    }

    /// Removes the files of an execution that never began.
    pub(super) fn forget(&self, name: &str) {
        let paths = self.lock_path(name).into_iter().chain([self.log_path(name)]);
        for path in paths {
            if let Err(error) = locks::unless_gone(fs::remove_file(&path)) {
                tracing::debug!(path = %path.display(), error = %error, "a file is left until it is old");
            }
        }
    }

    pub(super) fn status(&self, name: &str) -> io::Result<ExecutionStatus> {
        let Some(path) = self.lock_path(name) else { return Ok(ExecutionStatus::Unknown) };
        let Some(file) = locks::unless_gone(File::open(path))? else { return Ok(ExecutionStatus::Unknown) };
        Ok(if locks::is_held(&file)? { ExecutionStatus::Running } else { ExecutionStatus::Ended })
    }

    /// Returns the process of an execution, or nothing where it has ended or is unknown.
    pub(super) fn running(&self, name: &str) -> io::Result<Option<Running>> {
        let Some(path) = self.lock_path(name) else { return Ok(None) };
        if self.status(name)? != ExecutionStatus::Running {
            return Ok(None);
        }
        let Some(text) = locks::unless_gone(fs::read(path))? else { return Ok(None) };
        let description: Description = serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::WouldBlock, error))?;
        if let Some(running) = open_process(&description)? {
            return Ok(Some(running));
        }
        // It may have ended since. If not, another machine or container works on the same folder.
        match self.status(name)? {
            ExecutionStatus::Running => Err(io::Error::other("the worker runs where it cannot be signalled")),
            ExecutionStatus::Ended | ExecutionStatus::Unknown => Ok(None),
        }
    }

    /// Removes locks and logs of executions that have ended and began longer ago. Returns how many files.
    pub(super) fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        let mut removed = 0_usize;
        for folder in [&self.logs, &self.locks] {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
                // The log of a worker that is silent for long is old, too.
                let over = self.status(name)? != ExecutionStatus::Running;
                if over && locks::unless_gone(locks::is_older(&path, older_than))? == Some(true) {
                    locks::unless_gone(fs::remove_file(&path))?;
                    removed = removed.saturating_add(1);
                }
            }
        }
        Ok(removed)
    }
}

/// Writes into an execution's lock which process it is.
pub(super) fn describe(mut lock: &File, pid: u32, task_id: &TaskId, attempt: Attempt) -> io::Result<()> {
    let start_ticks = start_ticks(pid).ok_or_else(|| io::Error::other("/proc says nothing of the worker"))?;
    let description = Description { pid, start_ticks, task_id: task_id.clone(), attempt };
    lock.rewind()?;
    lock.write_all(&serde_json::to_vec(&description).map_err(io::Error::other)?)
}

/// Returns a handle on the described process, or nothing where it is gone.
fn open_process(description: &Description) -> io::Result<Option<Running>> {
    let Some(pid) = i32::try_from(description.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The handle is opened first: what is compared now is the process that it names, or a later one.
    let same = start_ticks(description.pid) == Some(description.start_ticks);
    Ok(same.then_some(Running(handle)))
}

/// Returns field 22 of `/proc/{pid}/stat` (proc(5)); the second one may hold blanks and parentheses.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}
