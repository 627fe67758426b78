//! Which folders the kernel watches for whom.
//!
//! One watcher a store, made when somebody waits for the first time: the kernel gives a user few of
//! them. Folders are watched one by one, never recursively, and each for as long as one topic needs it.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// The kernel's watches of one store.
#[derive(Default)]
pub(super) struct Kernel {
    watcher: Option<RecommendedWatcher>,
    /// By how many topics each folder is needed.
    needed: HashMap<PathBuf, usize>,
    /// What each topic needs.
    topics: HashMap<PathBuf, Vec<PathBuf>>,
}

impl Kernel {
    /// Watches a folder and all folders below it, or where it is missing the nearest one above it.
    /// What was watched for this topic before and is no longer needed is let go.
    pub(super) fn watch(
        &mut self,
        root: &Path,
        topic: &Path,
        tell: impl notify::EventHandler,
    ) -> notify::Result<()> {
        if self.watcher.is_none() {
            self.watcher = Some(notify::recommended_watcher(tell)?);
        }
        let mut added = Vec::new();
        let watched = self.add_all(root, topic, &mut added);
        // Added again even if it is known: the folder of that name may be another one by now.
        for folder in &added {
            let count = self.needed.entry(folder.clone()).or_default();
            *count = count.saturating_add(1);
        }
        let before = self.topics.insert(topic.to_owned(), added);
        self.release(before.unwrap_or_default());
        watched
    }

    /// Lets go what was watched for a topic.
    pub(super) fn forget(&mut self, topic: &Path) {
        let watched = self.topics.remove(topic);
        self.release(watched.unwrap_or_default());
    }

    fn add_all(&mut self, root: &Path, topic: &Path, added: &mut Vec<PathBuf>) -> notify::Result<()> {
        loop {
            let nearest = nearest(root, topic);
            match self.add(nearest, added) {
                Err(error) if is_missing(&error) && nearest != root => continue,
                watched => watched?,
            }
            // What was made or removed before the watch began was not told.
            if nearest == self::nearest(root, topic) {
                if nearest != topic {
                    return Ok(());
                }
                break;
            }
        }
        let mut open = vec![topic.to_owned()];
        while let Some(folder) = open.pop() {
            for below in folders_in(&folder)? {
                match self.add(&below, added) {
                    Err(error) if is_missing(&error) => {}
                    watched => {
                        watched?;
                        open.push(below);
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &Path, added: &mut Vec<PathBuf>) -> notify::Result<()> {
        let Some(watcher) = self.watcher.as_mut() else { return Ok(()) };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        added.push(folder.to_owned());
        Ok(())
    }

    fn release(&mut self, folders: Vec<PathBuf>) {
        for folder in folders {
            let Some(count) = self.needed.get_mut(&folder) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.needed.remove(&folder);
                if let Some(watcher) = self.watcher.as_mut() {
                    // The kernel has let go itself where the folder is gone.
                    drop(watcher.unwatch(&folder));
                }
            }
        }
    }
}

fn is_missing(error: &notify::Error) -> bool {
    matches!(&error.kind, notify::ErrorKind::PathNotFound)
        || matches!(&error.kind, notify::ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Returns the folder, or the nearest one above it that is there, but none above the root.
fn nearest<'a>(root: &'a Path, folder: &'a Path) -> &'a Path {
    folder.ancestors().take_while(|path| *path != root).find(|path| path.is_dir()).unwrap_or(root)
}

fn folders_in(folder: &Path) -> notify::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(notify::Error::io(error)),
    };
    let folders = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_type().ok()?.is_dir().then(|| entry.path())
    });
    Ok(folders.collect())
}
