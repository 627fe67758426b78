//! Repositories: cloned before the agent, committed and pushed after it.
//!
//! Two kinds of git run here. The service's own has credentials and works in bare repositories that
//! the agent can never reach, without hooks and without any configuration but what it is given. The
//! other one works where the agent has worked: as the agent's user, confined as the agent was, and
//! without anything secret, because whatever the agent has configured there runs with it. Between
//! the two only packs of objects travel, whose names the service's git computes anew.

mod checkout;
mod clone;
mod commit;
mod credentials;
mod diagnosis;
mod hosts;
mod leak;
mod locks;
mod push;
mod rebase;
mod runner;
mod signing;
mod stage;
mod take_out;

pub(super) use checkout::{hide, unhide};
pub(super) use clone::clone_repository;
pub(super) use commit::commit;
pub(super) use leak::find_leak;
pub(super) use push::push;
pub(super) use rebase::rebase;
pub(super) use runner::Bench;
pub(super) use signing::{open_signing_agent, socket_folder};
pub(super) use take_out::take_out;

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use legwork_ports::workspace::{Folders, GitError, GitProblem};

/// Where the service's own git works: closed to the agent.
fn own_folder(folders: &Folders) -> PathBuf {
    folders.root.join("git")
}

/// What leaves the workspace: the agent's user may read it and not change it.
fn outgoing(folders: &Folders) -> PathBuf {
    folders.root.join("outgoing")
}

/// The bare repository that is pushed from.
fn outgoing_repository(folders: &Folders) -> PathBuf {
    outgoing(folders).join("push.git")
}

/// Where work is put on top of other work.
fn merge_folder(folders: &Folders) -> PathBuf {
    folders.root.join("merge")
}

/// Makes a folder unless it is there; with exactly this mode, for this user and group.
fn make_folder(path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>) -> Result<(), GitError> {
    let make = || -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            created => created?,
        }
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        if owner.is_none() && group.is_none() { Ok(()) } else { lchown(path, owner, group) }
    };
    make().map_err(|error| machine("making a folder", path, &error))
}

/// Something on this machine failed that is not git's doing.
fn machine(action: &str, path: &Path, error: &io::Error) -> GitError {
    GitError {
        problem: GitProblem::Failed,
        words: format!("{action} failed for {}: {error}", path.display()),
    }
}
