//! Which processes belong together, and how all of them are ended, however they were started.
//!
//! Processes are found in `/proc`: by the chain of their parents, or by their user. A process whose
//! parent ends is adopted by the nearest ancestor that is a child subreaper, so a tree below a
//! subreaper stays a tree whatever its processes do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitpid,
};

/// How often all processes are looked at for new ones while they are being held. A tree that does
/// not fork any more needs two.
const HOLD_PASSES: u32 = 64;
/// The pause between two looks, in which a signal reaches a process on another CPU.
const HOLD_PAUSE: Duration = Duration::from_millis(2);
/// The pause after which killing is tried again.
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// Makes this process adopt the orphans among its descendants, so that it finds what a guard that
/// was killed has left. To be called by a worker before it starts anything.
///
/// # Errors
/// Where the kernel refuses.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// A process at the moment it was looked at. Zombies are none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    group: i32,
    /// In clock ticks since the machine started. With the id, it names one process for ever.
    pub(crate) started: u64,
    is_held: bool,
}

impl Process {
    /// Looks at a process, which may have ended meanwhile.
    pub(crate) fn look(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
    }

    fn parse(pid: Pid, stat: &str) -> Option<Self> {
        // The name before it is the process's own choice and may hold anything, brackets too.
        let (_name, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let state = *fields.first()?;
        let process = Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            is_held: matches!(state, "T" | "t"),
        };
        (!matches!(state, "Z" | "X" | "x")).then_some(process)
    }

    /// Sends a signal to this process and to no other that has got its id since. One that has
    /// ended, or that is not ours to signal, is left alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let sent = match pidfd_open(self.pid, PidfdFlags::empty()) {
            // The descriptor holds whoever has the id now: look again who that is.
            Ok(held) if self.is_the_same() => pidfd_send_signal(held, signal),
            Ok(_another) => Ok(()),
            // Some sandboxes have no such descriptors.
            Err(_unsupported) if self.is_the_same() => kill_process(self.pid, signal),
            Err(_gone) => Ok(()),
        };
        // Nothing to do about it: whoever ends a tree looks again whether it is gone.
        sent.ok();
    }

    fn is_the_same(&self) -> bool {
        Self::look(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// Returns the session of this process as `/proc` tells those of others. In a container it may have
/// been started outside; such a one is 0.
pub(crate) fn own_session() -> i32 {
    Process::look(getpid()).map_or(0, |this| this.session)
}

/// Returns all processes that can be seen.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(crate) fn processes() -> io::Result<Vec<Process>> {
    let entries = fs::read_dir("/proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(Pid::from_raw).filter_map(Process::look).collect())
}

/// Returns what descends from `root`, without `root` itself.
pub(crate) fn descendants(all: &[Process], root: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut ahead = vec![root];
    while let Some(parent) = ahead.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            let pid = child.pid.as_raw_nonzero().get();
            // Processes come and go while they are read; a reused id could make a circle.
            if seen.insert(pid) {
                ahead.push(pid);
                found.push(*child);
            }
        }
    }
    found
}

/// Returns whether the process has this user, in whatever role.
fn is_of_user(pid: Pid, user: u32) -> bool {
    let status = fs::read(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    users.split_ascii_whitespace().any(|text| text.parse() == Ok(user))
}

/// Returns all processes of a user.
///
/// # Errors
/// Where `/proc` cannot be read.
pub(crate) fn of_user(user: u32) -> io::Result<Vec<Process>> {
    Ok(processes()?.into_iter().filter(|process| is_of_user(process.pid, user)).collect())
}

/// How far killing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the processes that were found.
    Processes,
    /// To their process groups as well, which the kernel kills at one stroke: one that always forks
    /// and ends before it is seen does not escape. Only for processes that have left this session.
    Groups,
}

/// Holds every process that `find` returns, until it returns none that runs, and then kills them:
/// what is held can start nothing.
///
/// # Errors
/// What `find` returns.
pub(crate) fn hold_and_kill(find: &impl Fn() -> io::Result<Vec<Process>>, reach: Reach) -> io::Result<()> {
    let session = own_session();
    for _ in 0..HOLD_PASSES {
        let running: Vec<Process> = find()?.into_iter().filter(|process| !process.is_held).collect();
        if running.is_empty() {
            break;
        }
        for process in running {
            process.signal(Signal::STOP);
        }
        pause(HOLD_PAUSE);
    }
    let mut groups = BTreeSet::new();
    for process in find()? {
        process.signal(Signal::KILL);
        groups.extend((process.session != session).then_some(process.group));
    }
    if reach == Reach::Groups {
        for group in groups.into_iter().filter(|group| *group > 1).filter_map(Pid::from_raw) {
            // One that is empty by now is what is wanted.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
    Ok(())
}

/// Ends every process that `find` returns, and returns how many are left after `patience`.
/// Children of this process among them are reaped.
///
/// # Errors
/// What `find` returns.
pub(crate) fn end(find: &impl Fn() -> io::Result<Vec<Process>>, patience: Duration) -> io::Result<usize> {
    let rounds = patience.as_millis() / KILL_PAUSE.as_millis();
    let mut seen: BTreeMap<i32, Pid> = BTreeMap::new();
    let mut left = 0;
    let mut reach = Reach::Processes;
    for _ in 0..=rounds {
        let found = find()?;
        seen.extend(found.iter().map(|process| (process.pid.as_raw_nonzero().get(), process.pid)));
        left = found.len();
        // Also where nothing is left: a last look for what ended since. An id that is not a child
        // of ours is refused and forgotten.
        seen.retain(|_, pid| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        if left == 0 {
            break;
        }
        hold_and_kill(find, reach)?;
        reach = Reach::Groups;
        pause(KILL_PAUSE);
    }
    Ok(left)
}

/// Ends every process of this user, and returns how many are left after `patience`.
///
/// # Errors
/// Where `/proc` cannot be read, and for the superuser, whose processes are not a task's.
pub(crate) fn end_user(user: u32, patience: Duration) -> io::Result<usize> {
    if user == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "user 0 is no task's"));
    }
    end(&|| of_user(user), patience)
}

#[expect(
    clippy::disallowed_methods,
    reason = "ends processes without a runtime, in a guard or on a blocking thread"
)]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        let pid = Pid::from_raw(pid).unwrap();
        Process { pid, parent, session: 1, group: 1, started: 1, is_held: false }
    }

    #[test]
    fn a_name_full_of_brackets_hides_no_parent() {
        let stat = "7 (a) R 99 (b)) S 42 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";

        let read = Process::parse(Pid::from_raw(7).unwrap(), stat).unwrap();

        assert_eq!((read.parent, read.session, read.started, read.is_held), (42, 7, 12345, false));
    }

    #[test]
    fn a_zombie_is_no_process() {
        let stat = "7 (sh) Z 42 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";

        assert!(Process::parse(Pid::from_raw(7).unwrap(), stat).is_none());
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_nothing_else_is() {
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 5)];

        let mut found: Vec<i32> =
            descendants(&all, 2).iter().map(|process| process.pid.as_raw_nonzero().get()).collect();

        found.sort_unstable();
        assert_eq!(found, [3, 4]);
    }

    #[test]
    fn a_circle_of_parents_ends_the_search() {
        let all = [process(2, 3), process(3, 2)];

        assert_eq!(descendants(&all, 2).len(), 1);
    }

    #[test]
    fn this_process_is_seen_with_its_user() {
        let user = rustix::process::getuid().as_raw();

        assert!(of_user(user).unwrap().iter().any(|process| process.pid == getpid()));
    }

    #[test]
    fn the_superusers_processes_are_never_ended() {
        assert!(end_user(0, Duration::ZERO).is_err());
    }
}
