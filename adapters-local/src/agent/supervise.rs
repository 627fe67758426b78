//! Following one guard to its end, and ending the tree where the guard cannot.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use legwork_ports::agent::{ExitKind, STOP_DEADLINE};
use rustix::process::{Pid, getpid};
use tokio::{
    io::{BufReader, Lines},
    process::{Child, ChildStdout},
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    spool::free_all_but_the_end,
    tree::{Process, descendants, end, end_user, own_session, processes},
    wire::Report,
};

/// How often the size of the messages is looked at.
const MESSAGES_LOOK: Duration = Duration::from_secs(1);
/// How much of the messages may wait to be freed.
const MESSAGES_BYTES: u64 = 1024 * 1024;
/// How long a guard that was asked to stop its tree is trusted to do it: by then it has long used
/// force, and there is still time for this process to do so.
const TRUST: Duration = Duration::from_millis(4500);
/// The signal that a lost tree is ended by.
const KILLED: i32 = 9;

/// The guards of this process that live.
#[derive(Debug, Clone, Default)]
pub(super) struct Guards(Arc<Mutex<BTreeSet<i32>>>);

impl Guards {
    /// Keeps others from looking for lost processes, while a guard is started or they are ended.
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard's entry among the living.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) guards: Guards,
    pub(super) guard: Process,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.guards.lock().remove(&self.guard.pid.as_raw_nonzero().get());
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// How the command itself ended, if it has.
    pub(super) kind: Option<ExitKind>,
    /// Neither the tree nor the guard lives.
    pub(super) is_gone: bool,
    /// So many processes could not be ended.
    pub(super) left: usize,
}

/// What is needed to follow a guard.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) child: Child,
    pub(super) reports: Lines<BufReader<ChildStdout>>,
    pub(super) registered: Registered,
    pub(super) user: Option<u32>,
    pub(super) errors: Arc<File>,
    /// Whether only the end of the messages is wanted, so that the rest may be freed.
    pub(super) only_the_end: bool,
    pub(super) stop_asked: CancellationToken,
    pub(super) progress: watch::Sender<Progress>,
}

impl Supervisor {
    /// Follows the guard until neither it nor anything of its tree lives.
    pub(super) async fn run(mut self) {
        let last_word = self.listen().await;
        if last_word.is_none() {
            // Stopped or killed by somebody else: it must not wake up to a tree that is not there.
            drop(self.child.start_kill());
        }
        if let Err(error) = self.child.wait().await {
            tracing::warn!(error = %error, "the guard of a command could not be waited for");
        }
        let left = match last_word {
            Some(left) => left,
            None => self.end_lost().await,
        };
        self.progress.send_modify(|progress| {
            // Whoever kills the guard kills the command with it.
            progress.kind.get_or_insert(ExitKind::Signal(KILLED));
            progress.left = left;
            progress.is_gone = true;
        });
    }

    /// Notes what the guard reports, and returns how many processes it left, or nothing if it fell
    /// silent before it said.
    async fn listen(&mut self) -> Option<usize> {
        let mut looks = interval(MESSAGES_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut freed = 0;
        let stop_asked = self.stop_asked.clone();
        let overdue = async {
            stop_asked.cancelled().await;
            sleep(TRUST).await;
        };
        tokio::pin!(overdue);
        loop {
            // Reading lines keeps what it has read of one; the others only tell that time passed.
            tokio::select! {
                line = self.reports.next_line() => {
                    let line = line.ok().flatten()?;
                    match serde_json::from_str(&line).ok()? {
                        Report::Ended { code } => self.note_end(ExitKind::Code(code)),
                        Report::Killed { signal } => self.note_end(ExitKind::Signal(signal)),
                        Report::Gone => return Some(0),
                        Report::Left { processes } => return Some(processes),
                        Report::Started | Report::Failed(_) => {}
                    }
                }
                _ = looks.tick(), if self.only_the_end => freed = self.free_messages(freed).await,
                () = &mut overdue => return None,
            }
        }
    }

    fn note_end(&self, kind: ExitKind) {
        self.progress.send_modify(|progress| progress.kind = Some(kind));
    }

    /// Frees what is not kept of the messages. A file system that cannot is left with them.
    async fn free_messages(&self, freed: u64) -> u64 {
        let errors = Arc::clone(&self.errors);
        let freeing =
            tokio::task::spawn_blocking(move || free_all_but_the_end(&errors, freed, MESSAGES_BYTES));
        freeing.await.ok().and_then(Result::ok).unwrap_or(freed)
    }

    /// Ends what a guard has left that could not do it itself.
    async fn end_lost(&self) -> usize {
        tracing::warn!("the guard of a command was lost; its processes are being ended");
        let (guards, guard, user) = (self.registered.guards.clone(), self.registered.guard, self.user);
        let ended = tokio::task::spawn_blocking(move || {
            let by_user = user.map_or(Ok(0), |user| end_user(user, STOP_DEADLINE))?;
            end_orphans(&guards, guard).map(|orphans| by_user.max(orphans))
        });
        match ended.await.map_err(io::Error::other).flatten() {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(error = %error, "the processes of a command could not be looked for");
                1
            }
        }
    }
}

/// Ends what this process has adopted since `guard` was started, and below it.
///
/// Everything below a guard has left this process's session, and this process starts nothing but
/// guards that does. Adopting needs [`super::tree::become_subreaper`].
fn end_orphans(guards: &Guards, guard: Process) -> io::Result<usize> {
    let session = own_session();
    let worker = getpid().as_raw_nonzero().get();
    let living = guards.lock();
    let find = || {
        let all = processes()?;
        let is_orphan = |process: &Process| {
            process.parent == worker
                && process.session != session
                && process.started >= guard.started
                && !living.contains(&raw(process.pid))
        };
        let orphans: Vec<Process> = all.iter().copied().filter(is_orphan).collect();
        let below: Vec<Process> =
            orphans.iter().flat_map(|orphan| descendants(&all, raw(orphan.pid))).collect();
        Ok(orphans.into_iter().chain(below).collect())
    };
    end(&find, STOP_DEADLINE)
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
