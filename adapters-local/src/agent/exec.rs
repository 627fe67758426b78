//! The trampoline: confines itself, changes to the task's user, and becomes the command.
//!
//! It is started with an empty environment, because the command's may hold variables that make the
//! dynamic linker load foreign code, and this process may still be the superuser. What it has to
//! do arrives over its stdin, a socket, which also carries the answer back: a refusal, or nothing
//! once the command has taken this process over.
//!
//! It has one thread: the kernel keeps users and groups by thread.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::{self, File},
    io,
    net::Shutdown,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use rustix::{
    fs::Mode,
    io::{Errno, fcntl_dupfd_cloexec},
    process::{
        Gid, Pid, Resource, Rlimit, Signal, Uid, geteuid, getrlimit, kill_process_group,
        set_parent_process_death_signal, setrlimit, setsid, umask,
    },
    thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{
    landlock, mounts,
    program::{first_executable, first_file, places},
    wire::{Order, Refusal, Spec, parse, read_frame},
};

/// How many files the command may have open, as far as this machine allows: what tools built on
/// watchers ask for.
const OPEN_FILES: u64 = 65_536;
/// How many processes and threads a user of its own may have at once: far more than any build needs,
/// and too few to leave this machine without any.
const PROCESSES: u64 = 4_096;

/// The exit code of a trampoline that did not become the command, as shells have it.
const NOT_STARTED: u8 = 126;

/// Runs the trampoline: the body of the hidden subcommand `__exec`, whose arguments it ignores.
///
/// Returns only where it did not become the command. To be called before anything else in the
/// program, while the process has one thread.
pub fn main(_args: impl Iterator<Item = OsString>) -> ExitCode {
    // Without the socket there is nobody to tell.
    let Ok(socket) = fcntl_dupfd_cloexec(io::stdin(), 3) else {
        return ExitCode::from(NOT_STARTED);
    };
    let mut socket = UnixStream::from(socket);
    let refusal = match obey(&mut socket) {
        Ok(never) => match never {},
        Err(None) => return ExitCode::SUCCESS,
        Err(Some(refusal)) => refusal,
    };
    let answered = serde_json::to_writer(&socket, &refusal).is_ok();
    // The other side reads until nobody can write any more.
    let closed = socket.shutdown(Shutdown::Both).is_ok();
    ExitCode::from(if answered && closed { NOT_STARTED } else { NOT_STARTED.saturating_add(1) })
}

/// Does what is asked; the error without a refusal is an order that was followed to its end.
fn obey(socket: &mut UnixStream) -> Result<Infallible, Option<Refusal>> {
    close_inherited(socket.as_raw_fd()).map_err(|error| Refusal::machine("close inherited files", &error))?;
    let order = read_frame(socket).and_then(|json| parse(&json));
    match order.map_err(|error| Refusal::machine("read the command", &error))? {
        Order::Run(spec) => become_command(&spec).map_err(Some),
        Order::EndUser { user } => Err(end_user(user).err()),
    }
}

/// Closes every file that the worker inherited without knowing: its locks among them, which the
/// command could otherwise let go of.
fn close_inherited(socket: RawFd) -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        inherited.extend(number.filter(|number| *number > 2 && *number != socket));
    }
    for number in inherited {
        // The one of the listing itself is closed already; nothing in this process owns the others.
        nix::unistd::close(number).ok();
    }
    Ok(())
}

fn become_command(spec: &Spec) -> Result<Infallible, Refusal> {
    let path = spec.env.get("PATH").map(|path| path.0.as_str());
    let places = places(&spec.program, path, Path::new(&spec.directory));
    let seen_by_worker = first_file(&places).cloned();
    let stdin = File::open(&spec.stdin).map_err(|error| Refusal::machine("open the input", &error))?;

    let programs = folders_of_programs(spec, path, seen_by_worker.as_deref());
    confine(spec, &programs).map_err(|error| Refusal::machine("confine the command", &error))?;
    if let Some(user) = spec.user {
        become_user(user).map_err(|error| Refusal::machine("change to the task's user", &error))?;
    }
    // After the change of user, which takes it back: the command does not outlive its guard.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Refusal::machine("bind the command to its guard", &error.into()))?;
    std::env::set_current_dir(&spec.directory)
        .map_err(|error| Refusal::machine("enter the working folder", &error))?;

    let Some(program) = first_executable(&places) else {
        return Err(match seen_by_worker {
            Some(place) => Refusal::Permission { reason: not_executable(&place) },
            None if spec.program.contains('/') => {
                Refusal::Missing { reason: "there is no such file".to_owned() }
            }
            None => Refusal::Missing { reason: "it is in no folder of PATH".to_owned() },
        });
    };
    #[expect(clippy::disallowed_types, reason = "becomes the command, with the environment cleared")]
    let error = std::process::Command::new(program)
        .arg0(&spec.program)
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, &value.0)))
        .stdin(stdin)
        .exec();
    Err(match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => {
            Refusal::Missing { reason: format!("the interpreter of {} is missing", program.display()) }
        }
        Some(Errno::ACCESS | Errno::PERM) => Refusal::Permission { reason: not_executable(program) },
        Some(Errno::NOEXEC) => {
            Refusal::Missing { reason: format!("{} is no program for this machine", program.display()) }
        }
        Some(_) | None => Refusal::machine("execute the program", &error),
    })
}

fn not_executable(place: &Path) -> String {
    format!(
        "{} is not executable by uid {}; install it where every user can reach it",
        place.display(),
        geteuid().as_raw()
    )
}

/// Returns the folders whose programs the command may run: its own, and those of its `PATH`.
fn folders_of_programs(spec: &Spec, path: Option<&str>, program: Option<&Path>) -> Vec<PathBuf> {
    // Behind links, such as those that installers put into a folder of PATH.
    let program = program.and_then(|program| fs::canonicalize(program).ok());
    // Any name is sought in all of them.
    let in_path = places("sh", path, Path::new(&spec.directory));
    program.iter().chain(&in_path).filter_map(|place| place.parent()).map(Path::to_path_buf).collect()
}

/// Takes away what no command needs, for itself and for everything that it will start.
fn confine(spec: &Spec, programs: &[PathBuf]) -> io::Result<()> {
    umask(Mode::from_raw_mode(0o022));
    // A session of its own: no terminal, and no signal to the worker's group reaches it.
    setsid()?;
    set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    if spec.user.is_some() {
        // They are counted by user, whoever has started them: no limit for the worker's own.
        let Rlimit { current, maximum } = getrlimit(Resource::Nproc);
        let lower = |limit: Option<u64>| Some(limit.map_or(PROCESSES, |limit| limit.min(PROCESSES)));
        setrlimit(Resource::Nproc, Rlimit { current: lower(current), maximum: lower(maximum) })?;
    }
    // Before Landlock, which allows no mounts.
    let has_own_memory = spec.user.is_some() && mounts::separate(&spec.files, programs)?;
    landlock::restrict(&spec.files, programs, spec.user, has_own_memory)
}

/// Changes to the user and to the group of the same number, and leaves all other groups.
fn become_user(user: u32) -> io::Result<()> {
    if user == 0 || user == u32::MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no task runs as uid {user}")));
    }
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Kills everything of the user at one stroke: the kernel lets no process be started meanwhile, so
/// that even one that always forks and ends before it is seen cannot escape.
fn end_user(user: u32) -> Result<(), Refusal> {
    // Out of the guard's group, which is not to be taken for the user's.
    setsid().ok();
    become_user(user).map_err(|error| Refusal::machine("change to the task's user", &error))?;
    // This "group" is every process that this one may signal, without itself.
    match kill_process_group(Pid::INIT, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
        Err(error) => Err(Refusal::machine("kill the task's user", &error.into())),
    }
}
