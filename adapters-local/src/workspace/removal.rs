//! Removing a folder, whatever an agent has made of it.
//!
//! The standard library's way keeps a file open and a stack frame for every level: a chain of some
//! thousand folders, made on purpose, ends it. Here each folder that is not empty is first moved up
//! to the top, so that one level is open at a time and no path grows. Links are removed, never
//! followed. Nothing must run any more that could write to the folder.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, openat, renameat, statat, unlinkat},
    io::Errno,
};

/// How often emptying one folder is begun again when it is not empty afterwards.
const ROUNDS: u32 = 16;

/// Removes the folder and everything in it. One that is not there is a success; a link or a file in
/// its place is removed.
///
/// # Errors
/// Where something cannot be removed, or is added faster than it is removed.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
            return Ok(unlinkat(CWD, path, AtFlags::empty())?);
        }
        Ok(_folder) => {}
    }
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let top = open_folder(CWD, &path)?;
    for _ in 0..ROUNDS {
        let mut moved = Moved::default();
        empty(&top, &top, &mut moved)?;
        // Later ones move what is below them up as well, until there is nothing below.
        while let Some(name) = moved.names.pop_first() {
            remove_moved(&top, &name, &mut moved)?;
        }
        match unlinkat(CWD, path.as_c_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::NOTEMPTY.into())
}

/// What was moved to the top and is still to be removed.
#[derive(Default)]
struct Moved {
    names: BTreeSet<CString>,
    count: u64,
}

impl Moved {
    /// Returns a name that nothing else is likely to have.
    fn fresh_name(&mut self) -> io::Result<CString> {
        self.count = self.count.saturating_add(1);
        Ok(CString::new(format!(".legwork-removed-{}-{}", std::process::id(), self.count))?)
    }
}

fn remove_moved(top: &OwnedFd, name: &CStr, moved: &mut Moved) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let folder = open_folder(top.as_fd(), name)?;
        empty(top, &folder, moved)?;
        match unlinkat(top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::NOTEMPTY.into())
}

/// Removes what is in a folder; folders in it that are not empty are moved to the top.
fn empty(top: &OwnedFd, folder: &OwnedFd, moved: &mut Moved) -> io::Result<()> {
    let mut entries = Dir::read_from(folder)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." || moved.names.contains(name) {
            continue;
        }
        match remove_entry(folder, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => move_up(top, folder, name, moved)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn remove_entry(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
    let unlinked = unlinkat(folder, name, AtFlags::empty());
    match unlinked {
        // Linux says the first of a folder, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(folder, name, AtFlags::REMOVEDIR),
        Ok(()) | Err(_) => unlinked,
    }
}

fn move_up(top: &OwnedFd, folder: &OwnedFd, name: &CStr, moved: &mut Moved) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let fresh = moved.fresh_name()?;
        let renamed = match renameat(folder, name, top, &fresh) {
            // A folder that gets another parent has to be writable itself.
            Err(Errno::ACCESS | Errno::PERM) => {
                chmodat(folder, name, Mode::RWXU, AtFlags::empty())?;
                renameat(folder, name, top, &fresh)
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => {
                moved.names.insert(fresh);
                return Ok(());
            }
            // The agent has guessed the name.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// Opens a folder, also one whose owner has taken the permission from himself.
fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(parent, name, flags, Mode::empty());
    let folder = match opened {
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    // Readable is not enough to remove what is in it. The superuser needs no permission.
    if !rustix::process::geteuid().is_root() {
        rustix::fs::fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn removing_what_is_not_there_succeeds() {
        let folder = tempfile::tempdir().unwrap();

        remove_folder(&folder.path().join("nothing")).unwrap();
    }

    #[test]
    fn everything_goes_and_nothing_outside_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let outside = folder.path().join("outside");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("d/b/c")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        symlink(&outside, root.join("a/link")).unwrap();
        symlink("..", root.join("up")).unwrap();

        remove_folder(&root).unwrap();

        assert!(!root.exists());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn folders_without_permissions_go_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for mode in [0o000, 0o100, 0o400, 0o500, 0o600] {
            let shut = root.join(format!("{mode:o}"));
            fs::create_dir_all(shut.join("inner/deep")).unwrap();
            fs::write(shut.join("inner/deep/file"), "x").unwrap();
            fs::set_permissions(shut.join("inner"), Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(&shut, Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&root, Permissions::from_mode(0o000)).unwrap();

        remove_folder(&root).unwrap();

        assert!(!root.exists());
    }

    #[test]
    fn a_chain_deeper_than_any_path_or_stack_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut here = open_folder(CWD, &CString::new(root.to_str().unwrap()).unwrap()).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&here, c"deeper", Mode::RWXU).unwrap();
            here = open_folder(here.as_fd(), c"deeper").unwrap();
        }

        remove_folder(&root).unwrap();

        assert!(!root.exists());
    }

    #[test]
    fn a_link_in_its_place_is_removed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(folder.path().join("kept")).unwrap();
        symlink(folder.path().join("kept"), &root).unwrap();

        remove_folder(&root).unwrap();

        assert!(fs::symlink_metadata(&root).is_err());
        assert!(folder.path().join("kept").exists());
    }
}
