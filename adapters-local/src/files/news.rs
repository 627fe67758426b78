//! Waking readers when files change: by the kernel's events, and where there are none, by looking.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

/// How often a folder is looked at where the kernel has no more watches to give.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tells waiters that something may have changed.
pub(super) struct News {
    told: watch::Sender<u64>,
    root: PathBuf,
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// Folders that are watched, and by how many waiters.
    watched: Mutex<HashMap<PathBuf, usize>>,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("News").field("root", &self.root).finish_non_exhaustive()
    }
}

impl News {
    pub(super) fn new(root: &Path) -> Self {
        let told = watch::Sender::new(0_u64);
        let teller = told.clone();
        // Reading is an event too: only what changes something counts.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                teller.send_modify(|count| *count = count.wrapping_add(1));
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(error = %error, "no file events: readers look ten times a second instead");
        }
        Self { told, root: root.to_owned(), watcher: Mutex::new(watcher.ok()), watched: Mutex::default() }
    }

    /// Tells that this process changed something.
    pub(super) fn tell(&self) {
        self.told.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits for a change in a folder, or of whether it is there.
    pub(super) async fn wait(&self, folder: &Path, at_most: Duration) {
        let mut news = self.told.subscribe();
        let place = self.nearest(folder);
        let watching = self.watch(&place);
        let pause = if watching.is_some() { at_most } else { at_most.min(LOOK_EVERY) };
        tokio::select! {
            // Dropping either wait loses nothing: the caller looks again.
            _ = news.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        drop(watching);
    }

    /// Returns the folder, or the nearest one above it that is there.
    fn nearest(&self, folder: &Path) -> PathBuf {
        let there = folder.ancestors().find(|path| path.is_dir());
        there.filter(|path| path.starts_with(&self.root)).unwrap_or(&self.root).to_owned()
    }

    /// Watches a folder for as long as the value lives; nothing where the kernel gives no watch.
    fn watch(&self, folder: &Path) -> Option<Watching<'_>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let waiters = watched.entry(folder.to_owned()).or_default();
        if *waiters == 0 {
            let mut kernel = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            kernel.as_mut()?.watch(folder, RecursiveMode::NonRecursive).ok()?;
        }
        *waiters = waiters.saturating_add(1);
        Some(Watching { news: self, folder: folder.to_owned() })
    }
}

/// A folder that is being watched.
struct Watching<'a> {
    news: &'a News,
    folder: PathBuf,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut watched = self.news.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiters) = watched.get_mut(&self.folder) else { return };
        *waiters = waiters.saturating_sub(1);
        if *waiters == 0 {
            watched.remove(&self.folder);
            let mut kernel = self.news.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(watcher) = kernel.as_mut() {
                // The kernel has dropped the watch itself where the folder is gone.
                drop(watcher.unwatch(&self.folder));
            }
        }
    }
}
