//! Files that are locked for as long as a process lives (flock(2)): a lock belongs to the open file, is
//! inherited with it, and ends with the last process that has it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

/// Makes a folder that is closed to other users.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file to be locked; makes it where it is missing. What is started later does not inherit it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

/// Opens a file that grows at its end only, and that other users cannot read.
pub(super) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Takes the lock, or returns false where somebody holds it.
pub(super) fn take(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns whether somebody else holds the lock. For that it is shared for a moment, which keeps others
/// that ask from nothing, but would keep off somebody who takes it: not to be asked of locks that
/// are taken more than once.
pub(super) fn is_held(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns whether a file was last written longer ago than this.
pub(super) fn is_older(path: &Path, than: Duration) -> io::Result<bool> {
    // A time in the future is not old.
    Ok(path.metadata()?.modified()?.elapsed().is_ok_and(|age| age > than))
}

/// Takes what is not there for done.
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
