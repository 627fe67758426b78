//! Lock files that bound how many workers run at once on a data folder.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use legwork_ports::{clock::IdSourceExt as _, jobs::Slot};

use super::locks;
use crate::clock::SystemIds;

/// The slots of a data folder.
#[derive(Debug)]
pub(super) struct Slots {
    places: PathBuf,
    services: PathBuf,
    /// What counts where no living service announces a number.
    own: NonZeroU32,
}

impl Slots {
    pub(super) fn open(data_dir: &Path, own: NonZeroU32) -> io::Result<Self> {
        let this = Self { places: data_dir.join("slots"), services: data_dir.join("services"), own };
        locks::make_folder(&this.places)?;
        locks::make_folder(&this.services)?;
        Ok(this)
    }

    /// Writes the own number, which counts while the returned file is open.
    pub(super) fn announce(&self) -> io::Result<File> {
        let path = self.services.join(format!("{}.lock", SystemIds.token().as_str()));
        let half = path.with_extension("new");
        let mut file = locks::open(&half)?;
        file.lock()?;
        write!(file, "{}", self.own)?;
        // Under its final name it is locked and written already.
        fs::rename(&half, &path)?;
        Ok(file)
    }

    /// Returns the smallest number that a living service announces.
    pub(super) fn count(&self) -> io::Result<u32> {
        let mut smallest: Option<u32> = None;
        for entry in fs::read_dir(&self.services)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "lock") {
                continue;
            }
            let Some(file) = locks::unless_gone(File::open(&path))? else { continue };
            if !locks::is_held(&file)? {
                locks::unless_gone(fs::remove_file(&path))?;
                continue;
            }
            let text = locks::unless_gone(fs::read_to_string(&path))?.unwrap_or_default();
            if let Ok(number) = text.parse::<u32>() {
                smallest = Some(smallest.map_or(number, |smallest| smallest.min(number)));
            }
        }
        Ok(smallest.unwrap_or(self.own.get()))
    }

    /// Takes the first free slot.
    pub(super) fn reserve(&self) -> io::Result<Option<Slot>> {
        for number in 0..self.count()? {
            let lock = locks::open(&self.places.join(format!("{number}.lock")))?;
            if locks::take(&lock)? {
                return Ok(Some(Slot { number, lock }));
            }
        }
        Ok(None)
    }

    /// Removes what services left that ended while they announced. Returns how many files.
    pub(super) fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        let mut removed = 0_usize;
        for entry in fs::read_dir(&self.services)? {
            let path = entry?.path();
            let half = path.extension().is_some_and(|ending| ending == "new");
            if half && locks::unless_gone(locks::is_older(&path, older_than))? == Some(true) {
                locks::unless_gone(fs::remove_file(&path))?;
                removed = removed.saturating_add(1);
            }
        }
        Ok(removed)
    }
}
