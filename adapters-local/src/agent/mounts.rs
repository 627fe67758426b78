//! Laying files over others, for one command and all that it starts.
//!
//! A task's user has no name on this machine, and OpenSSH's client and some runtimes refuse to work
//! for a user without one: the command sees a table of users that has its own.
//!
//! What must not be here: which files are covered.

use std::io;

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rustix::thread::{CapabilitySet, capabilities};

/// Tells whether this process may give a command mounts of its own.
pub(crate) fn may_cover() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Lays each second file over the first, for this thread and all that it will start.
pub(super) fn cover(files: &[(String, String)]) -> io::Result<()> {
    if files.is_empty() || !may_cover() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted here is not mounted anywhere else; what the machine mounts still comes here.
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)?;
    for (place, with) in files {
        mount(Some(with.as_str()), place.as_str(), nothing, MsFlags::MS_BIND, nothing)?;
    }
    Ok(())
}
