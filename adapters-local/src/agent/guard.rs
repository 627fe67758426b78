//! The guard: a process between the worker and the command that outlives neither, and leaves
//! nothing of the command's tree alive.
//!
//! It adopts every orphan of the tree, so that nothing leaves it by starting a session or by being
//! forked twice. One thread reaps, one watches the pipe from the worker, the main one decides. The
//! main thread starts the command: the kernel ends it with the thread that started it.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, getpid, set_child_subreaper, set_dumpable_behavior,
        setsid, wait,
    },
};

use super::{
    plan::{Plan, Step},
    tree::{Process, Reach, descendants, end_user, hold_and_kill, of_user, processes},
    wire::{EXEC, Order, Refusal, Report, Spec, frame, parse, read_frame, write_report},
};

/// How long the trampoline may take to become the command.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long the helper may take that kills a user.
const END_USER_DEADLINE: Duration = Duration::from_millis(500);
/// How long what the user has outside the tree is being killed, at the very end.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What the threads tell the main one.
enum Event {
    StopAsked,
    Ended(Report),
    NoChildren,
}

/// Runs the guard: the body of the hidden subcommand `__guard`, whose arguments it ignores.
///
/// To be called before anything else in the program, while the process has one thread. Its stdin
/// is the pipe from the worker, its stdout the one to it.
pub fn main(_args: impl Iterator<Item = OsString>) -> ExitCode {
    match watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&Report::Failed(Refusal::machine("guard the command", &error)));
            ExitCode::FAILURE
        }
    }
}

fn watch() -> io::Result<()> {
    // The leader of a group cannot start a session, and does not need to.
    setsid().ok();
    set_child_subreaper(Some(getpid()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;

    let mut control = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let order = read_frame(&mut control)?;
    let Order::Run(spec) = parse(&order)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an order that is none for a guard"));
    };
    let command = match start(&spec, &order) {
        Ok(command) => command,
        Err(refusal) => {
            report(&Report::Failed(refusal));
            return Ok(());
        }
    };
    let user = spec.user;
    drop((order, spec));
    report(&Report::Started);

    let (sender, events) = mpsc::channel();
    let stop_asked = sender.clone();
    thread::Builder::new().spawn(move || await_stop(control, &stop_asked))?;
    thread::Builder::new().spawn(move || reap(command, &sender))?;
    report(&Tree { command, user }.attend(&events));
    Ok(())
}

/// Starts the command through the trampoline; nothing runs where that fails.
fn start(spec: &Spec, order: &[u8]) -> Result<Pid, Refusal> {
    let failed = |action: &'static str| move |error: io::Error| Refusal::machine(action, &error);
    let stdout = open_to_append(&spec.stdout).map_err(failed("open the file for the output"))?;
    let stderr = open_to_append(&spec.stderr).map_err(failed("open the file for the messages"))?;
    let (child, answer) =
        call_trampoline(order, stdout, stderr, START_DEADLINE).map_err(failed("start the command"))?;
    let refusal = match answer {
        Ok(answer) if answer.is_empty() => return Ok(child),
        Ok(answer) => serde_json::from_slice(&answer)
            .unwrap_or_else(|error| Refusal::machine("read why the command did not start", &error.into())),
        Err(error) => Refusal::machine("wait for the command to start", &error),
    };
    if let Some(process) = Process::look(child) {
        process.signal(Signal::KILL);
    }
    while wait(WaitOptions::empty()).is_ok() {}
    Err(refusal)
}

fn open_to_append(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Starts the trampoline, hands it its order, and waits until it has nothing to say any more.
#[expect(clippy::disallowed_types, reason = "starts the trampoline, with an empty environment")]
fn call_trampoline(
    order: &[u8],
    stdout: OwnedFd,
    stderr: OwnedFd,
    deadline: Duration,
) -> io::Result<(Pid, io::Result<Vec<u8>>)> {
    let (mut ours, theirs) = UnixStream::pair()?;
    // This very program, also where another one has taken its place on disk.
    let child = std::process::Command::new("/proc/self/exe")
        .arg(EXEC)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    let answer = (|| {
        ours.set_read_timeout(Some(deadline))?;
        ours.set_write_timeout(Some(deadline))?;
        let length = u32::try_from(order.len()).map_err(io::Error::other)?;
        ours.write_all(&length.to_be_bytes())?;
        ours.write_all(order)?;
        ours.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer)?;
        Ok(answer)
    })();
    Ok((Pid::from_child(&child), answer))
}

/// Waits for a byte or the end of the pipe from the worker: both mean that the tree has to stop.
fn await_stop(mut control: File, events: &Sender<Event>) {
    drop(control.read(&mut [0]));
    // The main thread has nothing to stop any more where it does not listen.
    drop(events.send(Event::StopAsked));
}

/// Reaps whatever ends below this process, until there is nothing below it.
fn reap(command: Pid, events: &Sender<Event>) {
    loop {
        let event = match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => {
                match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Event::Ended(Report::Ended { code }),
                    (None, Some(signal)) => Event::Ended(Report::Killed { signal }),
                    (None, None) => continue,
                }
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => continue,
            Err(_no_children) => Event::NoChildren,
        };
        let is_last = matches!(event, Event::NoChildren);
        if events.send(event).is_err() || is_last {
            return;
        }
    }
}

/// The command and everything that it started.
struct Tree {
    command: Pid,
    user: Option<u32>,
}

impl Tree {
    /// Does what is due until nothing is left, and returns the last report.
    #[expect(
        clippy::disallowed_methods,
        reason = "the guard has no runtime; its plan is a function of times"
    )]
    fn attend(&self, events: &Receiver<Event>) -> Report {
        let began = Instant::now();
        let mut plan = Plan::default();
        let mut reach = Reach::Processes;
        loop {
            let idle = plan.next().map_or(Duration::MAX, |at| at.saturating_sub(began.elapsed()));
            match events.recv_timeout(idle) {
                Ok(Event::StopAsked) => plan.stop_asked(began.elapsed()),
                Ok(Event::Ended(how)) => {
                    report(&how);
                    plan.command_ended(began.elapsed());
                }
                Ok(Event::NoChildren) | Err(RecvTimeoutError::Disconnected) => return self.end_strays(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            match plan.due(began.elapsed()) {
                None => {}
                Some(Step::Interrupt) => self.signal(Signal::INT),
                Some(Step::Terminate) => self.signal(Signal::TERM),
                Some(Step::Force) => {
                    self.force(reach);
                    reach = Reach::Groups;
                }
                Some(Step::GiveUp) => {
                    return Report::Left { processes: self.find().map_or(1, |left| left.len()) };
                }
            }
        }
    }

    /// Returns what lives of the tree, and whatever else the task's user runs.
    fn find(&self) -> io::Result<Vec<Process>> {
        let mut found = descendants(&processes()?, getpid().as_raw_nonzero().get());
        if let Some(user) = self.user {
            let known = found.clone();
            found.extend(
                of_user(user)?.into_iter().filter(|one| known.iter().all(|other| other.pid != one.pid)),
            );
        }
        Ok(found)
    }

    /// Signals the command first, so that it can still tell its children, and then all others.
    fn signal(&self, signal: Signal) {
        let mut found = self.find().unwrap_or_default();
        found.sort_by_key(|process| process.pid != self.command);
        for process in found {
            process.signal(signal);
        }
    }

    /// Kills the tree. Where that was not enough, whole groups, and everything of the task's own user.
    fn force(&self, reach: Reach) {
        // Tried again soon: there is nothing else to do where it fails.
        drop(hold_and_kill(&|| self.find(), reach));
        if let (Some(user), Reach::Groups) = (self.user, reach) {
            drop(kill_user(user));
        }
    }

    /// Ends what the task's user runs outside the tree. Called when the tree is gone.
    fn end_strays(&self) -> Report {
        let left = self.user.map_or(Ok(0), |user| end_user(user, LAST_LOOK));
        match left {
            Ok(0) => Report::Gone,
            Ok(processes) => Report::Left { processes },
            Err(_unreadable) => Report::Left { processes: 1 },
        }
    }
}

/// Kills everything of a user at one stroke, from a process of that user.
fn kill_user(user: u32) -> io::Result<()> {
    let order = frame(&Order::EndUser { user })?;
    let json = order.get(4..).unwrap_or_default();
    let (stdout, stderr) = (open_to_append("/dev/null")?, open_to_append("/dev/null")?);
    let (_reaped_by_the_thread, answer) = call_trampoline(json, stdout, stderr, END_USER_DEADLINE)?;
    answer.map(drop)
}

/// Tells the worker. One that is gone needs to know nothing.
fn report(report: &Report) {
    drop(write_report(&mut io::stdout().lock(), report));
}
