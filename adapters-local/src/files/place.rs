//! Where objects, temporary files and locks are.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use legwork_ports::clock::IdSourceExt as _;
use sha2::{Digest as _, Sha256};

use super::error::InvalidKey;
use crate::clock::SystemIds;

/// Locks shared by all keys: few files, yet enough that writers of different keys seldom meet.
const LOCKS: u8 = 64;
/// Longest name of a file in bytes (`NAME_MAX` of Linux).
const MAX_SEGMENT_BYTES: usize = 255;

/// The folders of a store. All of them are on one file system, so that a rename is atomic.
#[derive(Debug)]
pub(super) struct Places {
    /// The folder that holds all others.
    pub(super) data: PathBuf,
    /// Below it a key is a path.
    pub(super) objects: PathBuf,
    temporary: PathBuf,
    locks: PathBuf,
}

impl Places {
    /// Makes what is missing below an absolute path, and tries whether it can be written.
    pub(super) fn make(data: &Path) -> io::Result<Self> {
        let places = Self {
            data: data.to_owned(),
            objects: data.join("objects"),
            temporary: data.join("tmp"),
            locks: data.join("locks"),
        };
        for folder in [&places.objects, &places.temporary, &places.locks] {
            make_folder(folder)?;
        }
        // Says at once what would otherwise fail with the first task.
        places.half()?.file.write_all(b"probe")?;
        Ok(places)
    }

    /// Returns the file of a key.
    pub(super) fn object(&self, key: &str) -> Result<PathBuf, InvalidKey> {
        let fits = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.len() <= MAX_SEGMENT_BYTES
                && !segment.contains('\0')
        };
        if key.split('/').all(fits) { Ok(self.objects.join(key)) } else { Err(InvalidKey) }
    }

    /// Returns the folder of a prefix.
    pub(super) fn folder(&self, prefix: &str) -> Result<PathBuf, InvalidKey> {
        match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" if prefix.is_empty() => Ok(self.objects.clone()),
            name => self.object(name),
        }
    }

    /// Makes a temporary file.
    pub(super) fn half(&self) -> io::Result<Half> {
        let path = self.temporary.join(SystemIds.token().as_str());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Half { file, path })
    }

    /// Waits for the lock of a key; it is free again when the value is dropped, or the process dies.
    pub(super) fn lock(&self, key: &str) -> io::Result<File> {
        let stripe = Sha256::digest(key.as_bytes()).first().copied().unwrap_or_default() % LOCKS;
        let path = self.locks.join(format!("{stripe:02}"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// Removes temporary files older than `age`. What cannot be removed harms nothing.
    pub(super) fn remove_leftovers(&self, age: Duration) {
        for entry in fs::read_dir(&self.temporary).into_iter().flatten().flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age));
            if old {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// Makes a folder and those above it, closed to other users.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A temporary file, removed when dropped unless it was renamed before.
#[derive(Debug)]
pub(super) struct Half {
    /// Open for writing.
    pub(super) file: File,
    /// Where it is.
    pub(super) path: PathBuf,
}

impl Half {
    /// Makes what was written durable.
    ///
    /// The file's time is set to the nanosecond: the kernel's own may be as coarse as its timer, and an inode
    /// number is used again soon, so two writes could otherwise look like one in a listing.
    #[expect(clippy::disallowed_methods, reason = "file times are the machine's, whatever a task believes")]
    pub(super) fn finish(&self) -> io::Result<()> {
        self.file.set_modified(SystemTime::now())?;
        self.file.sync_all()
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // It is gone where it became an object; a leftover is removed later.
        drop(fs::remove_file(&self.path));
    }
}
