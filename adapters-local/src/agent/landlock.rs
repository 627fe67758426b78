//! Closing this machine's files to the command, by Landlock.
//!
//! What is closed stays closed for everything that the command starts, also for the superuser, and
//! also where it runs as the worker's own user: then it cannot signal or look into the worker either.
//!
//! Landlock does not know every call. What lies at a hidden path can still be told by its metadata
//! and, by its owner, be given another mode; sockets that are files can be connected to; files that
//! have a second name elsewhere, by a hard link or another mount, are open there. Commands of the
//! worker's own user share memory with everything of that user.
//!
//! What must not be here: which paths of a task are open.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, PathBeneath, RestrictSelf, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope, make_bitflags,
};
use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open},
    process::geteuid,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};

use super::{
    hidden_paths::{allowed, entries, hidden_places},
    wire::Files,
};

/// The newest rules that this was tried with. Later kernels can also refuse to connect to sockets
/// that are files, and the signing agent's is one that lies in a hidden folder.
const KNOWN: ABI = ABI::V7;

/// Devices are files through which the superuser reaches every other file: only these are open.
const DEVICES: &str = "/dev";
/// What programs take for granted. Links are followed.
const OPEN_DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];
/// Where programs share memory: it stays when they end, for whoever has the same user then.
const SHARED_MEMORY: &str = "/dev/shm";
const PROCESSES: &str = "/proc";

/// What the superuser could leave the domain with: by the kernel's memory or modules, by devices, or
/// by handles of files.
const DANGEROUS: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::CHECKPOINT_RESTORE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_BOOT)
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RAWIO);

/// Returns the version of the rules that this machine's kernel can hold commands to, or nothing
/// where it has no Landlock. Restricts nothing.
pub fn landlock_abi() -> Option<u32> {
    // Without a flag the kernel is asked what it has, and no more.
    let asked = RestrictSelf::default().no_new_privs(false).apply().ok()?;
    match asked.landlock {
        LandlockStatus::Available { kernel_abi: Some(newer), .. } => u32::try_from(newer).ok(),
        LandlockStatus::Available { effective_abi, kernel_abi: None } => {
            (1..=10).rev().find(|version| ABI::from(*version) == effective_abi)?.try_into().ok()
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}

/// Closes everything to this thread, and to all that it will start, but what is named and what is
/// not hidden. `programs` are folders whose programs it may run. Does nothing where nothing is named
/// at all, or where the kernel has no Landlock.
///
/// To be called by the worker's user, who can get to every folder, with no new privileges ahead;
/// `user` is who the thread changes to, and `has_own_memory` whether what it shares ends with it.
pub(super) fn restrict(
    files: &Files,
    programs: &[PathBuf],
    user: Option<u32>,
    has_own_memory: bool,
) -> io::Result<()> {
    if *files == Files::default() || landlock_abi().is_none() {
        return Ok(());
    }
    let hidden = hidden(files)?;
    let mut domain = Domain::new().map_err(io::Error::other)?;
    let will_be_root = user.is_none() && geteuid().is_root();
    open_machine(&mut domain, &hidden, programs, will_be_root);
    if has_own_memory || user.is_none() {
        open_unhidden(&mut domain, &hidden, SHARED_MEMORY, writing());
    }
    for path in &files.readable {
        let top = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(about(path))?,
        };
        // Whatever it lies below: only what lies below it counts.
        let below: Vec<PathBuf> = hidden.iter().filter(|hidden| hidden.starts_with(&top)).cloned().collect();
        domain.open_but(&top, &below);
    }
    for path in &files.writable {
        let top = fs::canonicalize(path).map_err(about(path))?;
        if let Some(hidden) = hidden.iter().find(|hidden| hidden.starts_with(&top)) {
            let reason = format!("{} is hidden and to be written to", hidden.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        domain.open(&top, writing()).map_err(about(path))?;
    }
    domain.enforce()
}

/// Opens what is open to every command.
fn open_machine(domain: &mut Domain, hidden: &[PathBuf], programs: &[PathBuf], will_be_root: bool) {
    let closed: Vec<PathBuf> = hidden.iter().cloned().chain([PathBuf::from(DEVICES)]).collect();
    domain.open_but(Path::new("/"), &closed);
    for folder in programs.iter().filter_map(|folder| fs::canonicalize(folder).ok()) {
        domain.open_but(&folder, &closed);
    }

    let mut open = |path: &str, access: BitFlags<AccessFs>| open_unhidden(domain, hidden, path, access);
    for device in OPEN_DEVICES {
        open(device, make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev}));
    }
    open(DEVICES, AccessFs::ReadDir.into());
    if !will_be_root {
        // What a process may change of itself is there. So is what the superuser may change of the
        // whole machine: among other things, which program the kernel starts when one crashes.
        open(PROCESSES, make_bitflags!(AccessFs::{WriteFile | Truncate}));
    }
}

/// Opens a place with all that is below it, unless something of that is hidden.
fn open_unhidden(domain: &mut Domain, hidden: &[PathBuf], path: &str, access: BitFlags<AccessFs>) {
    let Ok(place) = fs::canonicalize(path) else { return };
    if hidden.iter().all(|hidden| !hidden.starts_with(&place) && !place.starts_with(hidden)) {
        // A device that this machine lacks, or that this user may not look at, stays closed.
        domain.open(&place, access).ok();
    }
}

fn hidden(files: &Files) -> io::Result<Vec<PathBuf>> {
    let mut hidden = Vec::new();
    for path in &files.hidden {
        if !path.starts_with('/') {
            let reason = format!("{path} is hidden, but not an absolute path");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        hidden.extend(hidden_places(Path::new(path)));
    }
    Ok(hidden)
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::from_read(KNOWN)
}

/// Everything but making devices, through which the superuser could reach a whole disk.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(KNOWN) & !make_bitflags!(AccessFs::{MakeBlock | MakeChar})
}

fn about(path: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::other(format!("{path}: {error}"))
}

/// A domain that is being built. What is not opened is closed.
struct Domain {
    rules: RulesetCreated,
}

impl Domain {
    fn new() -> Result<Self, landlock::RulesetError> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        Ok(Self { rules })
    }

    /// Opens a folder or a file that is no link.
    fn open(&mut self, place: &Path, access: BitFlags<AccessFs>) -> io::Result<()> {
        let file = open(place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        // Where a link leads is open or not, whoever gets there.
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::Symlink {
            (&mut self.rules).add_rule(PathBeneath::new(file, access)).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Opens everything below `top` for reading, but what is closed.
    fn open_but(&mut self, top: &Path, closed: &[PathBuf]) {
        for place in allowed(top, closed, &entries) {
            // What cannot be opened, or has gone meanwhile, stays closed.
            self.open(&place, reading()).ok();
        }
    }

    fn enforce(self) -> io::Result<()> {
        let enforced = self.rules.restrict_self().map_err(io::Error::other)?;
        if enforced.ruleset == RulesetStatus::NotEnforced {
            return Err(io::Error::other("the kernel has Landlock, and does not enforce it"));
        }
        let held = capabilities(None)?;
        let effective = held.effective.difference(DANGEROUS);
        let permitted = held.permitted.difference(DANGEROUS);
        let inheritable = held.inheritable.difference(DANGEROUS);
        Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?)
    }
}
