//! Executions: a lock file each, held by the worker for its life, that says which process it is.

use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use legwork_core::id::{Attempt, TaskId};
use legwork_ports::jobs::ExecutionStatus;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::{
    make_folder,
    slots::{open_lock, try_lock},
};

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
#[derive(Debug)]
pub(super) struct Executions {
    folder: PathBuf,
}

/// A worker that runs.
#[derive(Debug)]
pub(super) struct Running(OwnedFd);

impl Running {
    /// Sends a signal; to one that has ended meanwhile, nothing.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Executions {
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("executions");
        make_folder(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let safe = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        safe.then(|| self.folder.join(format!("{name}.lock")))
    }

    /// Makes and locks the file of a new execution.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let path = self.path(name).ok_or_else(|| io::Error::other("not an execution's name"))?;
        let file = open_lock(&path)?;
        if try_lock(&file)? { Ok(file) } else { Err(io::Error::other("the execution runs already")) }
    }

    /// Writes which process it is.
    pub(super) fn describe(mut lock: &File, pid: u32, task_id: &TaskId, attempt: Attempt) -> io::Result<()> {
        let start_ticks = start_ticks(pid).unwrap_or_default();
        let description = Description { pid, start_ticks, task_id: task_id.clone(), attempt };
        lock.rewind()?;
        lock.write_all(&serde_json::to_vec(&description)?)
    }

    pub(super) fn status(&self, name: &str) -> io::Result<ExecutionStatus> {
        let Some(path) = self.path(name) else { return Ok(ExecutionStatus::Unknown) };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ExecutionStatus::Unknown),
            Err(error) => return Err(error),
        };
        Ok(if file.try_lock_shared().is_ok() { ExecutionStatus::Ended } else { ExecutionStatus::Running })
    }

    /// Returns the process of an execution, or nothing where it has ended or is unknown.
    pub(super) fn running(&self, name: &str) -> io::Result<Option<Running>> {
        if self.status(name)? != ExecutionStatus::Running {
            return Ok(None);
        }
        let Some(path) = self.path(name) else { return Ok(None) };
        let Ok(description) = serde_json::from_slice::<Description>(&fs::read(path)?) else {
            return Err(io::Error::other("the worker is just being started"));
        };
        let pid = i32::try_from(description.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The handle is opened first: what is compared now is the process that it names.
        let same = start_ticks(description.pid) == Some(description.start_ticks);
        Ok(same.then_some(Running(handle)))
    }
}

/// Field 22 of `/proc/{pid}/stat` (proc(5)); the second one may hold blanks and parentheses.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}
