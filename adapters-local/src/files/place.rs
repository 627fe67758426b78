//! Where objects, temporary files and locks are.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::temporary_name;

/// Locks shared by all keys: few enough to keep open, enough that writers seldom meet.
const LOCKS: u8 = 64;
/// Longest name of a file in bytes.
const MAX_SEGMENT_BYTES: usize = 255;

/// Folders of a store.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) objects: PathBuf,
    pub(super) temporary: PathBuf,
    pub(super) locks: PathBuf,
}

impl Places {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            objects: data_dir.join("objects"),
            temporary: data_dir.join("tmp"),
            locks: data_dir.join("locks"),
        }
    }

    /// Returns the file of a key.
    pub(super) fn object(&self, key: &str) -> io::Result<PathBuf> {
        let fits = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.len() <= MAX_SEGMENT_BYTES
                && !segment.contains('\0')
        };
        if key.split('/').all(fits) {
            Ok(self.objects.join(key))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a key is segments with / between them"))
        }
    }

    pub(super) fn temporary_file(&self) -> PathBuf {
        self.temporary.join(temporary_name())
    }

    /// Waits for the lock of a key; it is free again when the value is dropped, or the process dies.
    pub(super) fn lock(&self, key: &str) -> io::Result<File> {
        let stripe = Sha256::digest(key.as_bytes()).first().copied().unwrap_or_default() % LOCKS;
        let path = self.locks.join(format!("{stripe:02}"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// Removes temporary files that nobody writes any more. What cannot be removed harms nothing.
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
