//! Lock files that bound how many workers run at once.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    num::NonZeroU32,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use legwork_ports::{clock::IdSourceExt as _, jobs::Slot};

use super::make_folder;
use crate::clock::SystemIds;

/// The slots of a data folder.
#[derive(Debug)]
pub(super) struct Slots {
    places: PathBuf,
    services: PathBuf,
    own: NonZeroU32,
}

pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

/// Takes a lock, or nothing where somebody holds it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Slots {
    pub(super) fn open(data_dir: &Path, own: NonZeroU32) -> io::Result<Self> {
        let this = Self { places: data_dir.join("slots"), services: data_dir.join("services"), own };
        make_folder(&this.places)?;
        make_folder(&this.services)?;
        Ok(this)
    }

    /// Writes a number that counts while the returned file is open.
    pub(super) fn announce(&self, slots: NonZeroU32) -> io::Result<File> {
        let path = self.services.join(format!("{}.lock", SystemIds.token().as_str()));
        let half = path.with_extension("new");
        let mut file = open_lock(&half)?;
        file.lock()?;
        write!(file, "{slots}")?;
        // Under its final name it is locked and written already.
        fs::rename(&half, &path)?;
        Ok(file)
    }

    /// Returns the smallest number that a living service announces.
    fn count(&self) -> io::Result<u32> {
        let mut smallest: Option<u32> = None;
        for entry in fs::read_dir(&self.services)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "lock") {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            // A shared lock is refused exactly while the service lives.
            if file.try_lock_shared().is_ok() {
                drop(fs::remove_file(&path));
                continue;
            }
            if let Some(number) =
                fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok())
            {
                smallest = Some(smallest.map_or(number, |smallest| smallest.min(number)));
            }
        }
        Ok(smallest.unwrap_or(self.own.get()))
    }

    /// Takes the first free slot.
    pub(super) fn reserve(&self) -> io::Result<Option<Slot>> {
        for number in 0..self.count()? {
            let lock = open_lock(&self.places.join(format!("{number}.lock")))?;
            if try_lock(&lock)? {
                return Ok(Some(Slot { number, lock }));
            }
        }
        Ok(None)
    }
}
