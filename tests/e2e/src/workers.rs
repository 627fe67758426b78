//! The worker processes of a service: on this machine by their executions' locks, on Google Cloud by its
//! executions.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{cloud::Cloud, until};

/// A worker that has claimed a task.
#[derive(Debug, Clone)]
pub struct Worker {
    pid: Pid,
    execution: Execution,
}

/// Who knows whether a worker has ended.
#[derive(Debug, Clone)]
enum Execution {
    Lock(PathBuf),
    Cloud(Arc<Cloud>, String),
}

impl Worker {
    /// Returns the worker that a running task's record names.
    pub fn of(data: &Path, record: &Value) -> Self {
        let execution = record["executionName"].as_str().expect("a worker has claimed the task");
        let lock = data.join(format!("executions/{execution}.lock"));
        let text = fs::read(&lock).expect("the execution has a lock");
        let description: Value = serde_json::from_slice(&text).expect("the lock says who holds it");
        Self {
            pid: pid_in(&description).expect("the lock names a process"),
            execution: Execution::Lock(lock),
        }
    }

    pub(crate) fn in_cloud(cloud: &Arc<Cloud>, record: &Value) -> Self {
        let name = record["executionName"].as_str().expect("a worker has claimed the task");
        let id = cloud.execution(name).process_id.expect("the worker lives");
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("the id of a process");
        Self { pid, execution: Execution::Cloud(Arc::clone(cloud), name.to_owned()) }
    }

    /// Returns its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the worker lives");
    }

    /// Waits until it has ended, which for others is when its lock is free: a process that was killed holds
    /// its files a little longer.
    pub async fn ended(&self) {
        match &self.execution {
            Execution::Lock(path) => {
                until("the worker has ended", async || {
                    File::open(path).is_ok_and(|lock| lock.try_lock_shared().is_ok())
                })
                .await;
            }
            Execution::Cloud(cloud, name) => drop(cloud.ended(name).await),
        }
    }

    /// Kills it and waits until it has ended.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }
}

/// Counts the living workers of a data folder. Their locks are only read: who tries one that is being made
/// keeps its worker from starting.
pub fn living_workers(data: &Path) -> usize {
    let locks = fs::read_dir(data.join("executions")).into_iter().flatten().flatten();
    let descriptions = locks
        .filter_map(|lock| fs::read(lock.path()).ok())
        .filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
    descriptions.filter(is_living).count()
}

/// Tells whether the described process lives and is the one that was described.
fn is_living(description: &Value) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", description["pid"])).unwrap_or_default();
    let Some((_, after_name)) = stat.rsplit_once(')') else { return false };
    // State and time of start are fields 3 and 22 (proc(5)).
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let is_same = fields.get(19).and_then(|ticks| ticks.parse().ok()) == description["startTicks"].as_u64();
    is_same && !fields.first().is_some_and(|state| ["Z", "X"].contains(state))
}

fn pid_in(description: &Value) -> Option<Pid> {
    let pid = description["pid"].as_i64()?;
    Pid::from_raw(i32::try_from(pid).ok()?)
}
