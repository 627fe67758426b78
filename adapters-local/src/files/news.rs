//! Waking readers when files change: by the kernel's events, and where it gives none, by looking.
//!
//! Who waits for a prefix for the first time is woken at once: what changed while the watch was being
//! set up is not told by it. The watch then stays for a while, so that who waits again and again pays
//! for it once.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{
    Event, EventKind,
    event::{CreateKind, ModifyKind, RemoveKind},
};
use tokio::{sync::watch, time::Instant};

use super::{kernel::Kernel, listing, place::Places};

/// How often files are looked at where the kernel has no more watches to give.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a watch stays after the last waiter, and until the kernel is asked for one again.
const LINGER: Duration = Duration::from_mins(1);

/// Tells waiters that something may have changed.
pub(super) struct News {
    places: Arc<Places>,
    topics: Arc<Topics>,
    /// Held while the kernel is asked, so only by threads that may block. Taken before the topics.
    kernel: Arc<Mutex<Kernel>>,
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").field("places", &self.places).finish_non_exhaustive()
    }
}

/// What is waited for, by folder.
#[derive(Default)]
struct Topics(Mutex<HashMap<PathBuf, Topic>>);

struct Topic {
    changes: watch::Sender<()>,
    used: Instant,
    footing: Footing,
}

/// By what the waiters of a topic are woken.
#[derive(Clone, Copy)]
enum Footing {
    /// Nothing yet, or no longer: folders came or went.
    Unset,
    /// The kernel's events.
    Watched,
    /// Looking, since then.
    Looking(Instant),
}

/// What happened to a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A file was written or removed.
    File,
    /// A folder came or went, and watches with it.
    Folder,
}

impl Topics {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Topic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for something at, below or above the path.
    fn tell(&self, path: &Path, change: Change) {
        for (folder, topic) in self.lock().iter_mut() {
            let below = path.starts_with(folder) && path != folder;
            if below || folder.starts_with(path) {
                if !below || change == Change::Folder {
                    topic.loosen();
                }
                topic.changes.send_replace(());
            }
        }
    }

    /// Wakes all: events were lost.
    fn tell_all(&self) {
        for topic in self.lock().values_mut() {
            topic.loosen();
            topic.changes.send_replace(());
        }
    }

    fn hear(&self, event: &Event) {
        if event.need_rescan() {
            return self.tell_all();
        }
        for path in &event.paths {
            match event.kind {
                // Reading is an event too.
                EventKind::Access(_) => {}
                EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => {
                    self.tell(path, Change::Folder);
                }
                EventKind::Modify(ModifyKind::Name(_)) if path.is_dir() => self.tell(path, Change::Folder),
                EventKind::Any
                | EventKind::Create(_)
                | EventKind::Remove(_)
                | EventKind::Modify(_)
                | EventKind::Other => self.tell(path, Change::File),
            }
        }
    }

    /// Sets what wakes the waiters of a topic.
    fn set(&self, folder: &Path, footing: Footing) {
        if let Some(topic) = self.lock().get_mut(folder) {
            topic.footing = footing;
        }
    }

    /// Removes the topics that nobody has waited for since then and returns them.
    fn take_unused(&self, since: Duration) -> Vec<PathBuf> {
        let unused = |topic: &mut Topic| topic.changes.receiver_count() == 0 && topic.used.elapsed() > since;
        self.lock().extract_if(|_, topic| unused(topic)).map(|(folder, _)| folder).collect()
    }
}

impl Topic {
    /// Has the watches set up again.
    fn loosen(&mut self) {
        if matches!(self.footing, Footing::Watched) {
            self.footing = Footing::Unset;
        }
    }
}

impl News {
    pub(super) fn new(places: Arc<Places>) -> Self {
        Self { places, topics: Arc::default(), kernel: Arc::default() }
    }

    /// Tells that this process changed an object.
    pub(super) fn tell(&self, key: &str) {
        if let Ok(path) = self.places.object(key) {
            self.topics.tell(&path, Change::File);
        }
    }

    /// Waits for a change below a prefix.
    pub(super) async fn wait(&self, prefix: &str, at_most: Duration) {
        let end = tokio::time::sleep(at_most);
        tokio::pin!(end);
        let Ok(folder) = self.places.folder(prefix) else {
            // There cannot be anything.
            return end.await;
        };
        let (mut changes, footing) = self.join(&folder);
        let woken = async {
            match footing {
                // The sender may be gone only with the topic, and a topic with a receiver stays.
                Footing::Watched => drop(changes.changed().await),
                Footing::Unset => self.set_up(&folder).await,
                Footing::Looking(_) => self.look(prefix, changes).await,
            }
        };
        tokio::select! {
            // Dropping either wait loses nothing: the caller looks again, and what a thread has begun to
            // set up is finished by it.
            () = woken => {}
            () = end => {}
        }
    }

    /// Begins to listen. Whatever is told from here on is heard.
    fn join(&self, folder: &Path) -> (watch::Receiver<()>, Footing) {
        let mut topics = self.topics.lock();
        let now = Instant::now();
        let topic = topics.entry(folder.to_owned()).or_insert_with(|| Topic {
            changes: watch::Sender::new(()),
            used: now,
            footing: Footing::Unset,
        });
        topic.used = now;
        if matches!(topic.footing, Footing::Looking(since) if since.elapsed() > LINGER) {
            topic.footing = Footing::Unset;
        }
        (topic.changes.subscribe(), topic.footing)
    }

    /// Has the kernel watch a folder.
    async fn set_up(&self, folder: &Path) {
        let (places, topics, kernel) =
            (Arc::clone(&self.places), Arc::clone(&self.topics), Arc::clone(&self.kernel));
        let topic = folder.to_owned();
        let done = tokio::task::spawn_blocking(move || {
            let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
            for unused in topics.take_unused(LINGER) {
                kernel.forget(&unused);
            }
            if !topics.lock().get(&topic).is_some_and(|topic| matches!(topic.footing, Footing::Unset)) {
                return Ok(());
            }
            // First, so that a folder that comes or goes from here on is not overlooked.
            topics.set(&topic, Footing::Watched);
            let heard = Arc::clone(&topics);
            kernel.watch(&places.objects, &topic, move |event: notify::Result<Event>| match event {
                Ok(event) => heard.hear(&event),
                Err(_) => heard.tell_all(),
            })
        })
        .await;
        let failed = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(error = %failed, "no file events: files are looked at ten times a second instead");
        self.topics.set(folder, Footing::Looking(Instant::now()));
    }

    /// Looks until something differs.
    async fn look(&self, prefix: &str, mut changes: watch::Receiver<()>) {
        let before = self.seen(prefix).await;
        loop {
            let told = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
            if told.is_ok() || self.seen(prefix).await != before {
                return;
            }
        }
    }

    /// Returns what a listing shows; nothing where it fails.
    async fn seen(&self, prefix: &str) -> Option<Vec<legwork_ports::storage::Entry>> {
        let (places, prefix) = (Arc::clone(&self.places), prefix.to_owned());
        let listed =
            tokio::task::spawn_blocking(move || listing::list(&places, &prefix, None, usize::MAX)).await;
        listed.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn news(folder: &Path) -> News {
        News::new(Arc::new(Places::make(folder).unwrap()))
    }

    fn footing(news: &News, folder: &Path) -> Option<Footing> {
        news.topics.lock().get(folder).map(|topic| topic.footing)
    }

    #[tokio::test]
    async fn a_file_elsewhere_wakes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let news = news(folder.path());
        let (changes, _) = news.join(&news.places.folder("sessions/a/").unwrap());

        news.tell("sessions/b/x");
        news.tell("sessions/ab");
        news.tell("sessions/a.b/x");
        let before = changes.has_changed().unwrap();
        news.tell("sessions/a/x");

        assert!(!before);
        assert!(changes.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_folder_that_comes_and_goes_is_watched_again() {
        let folder = tempfile::tempdir().unwrap();
        let news = news(folder.path());
        let watched = news.places.folder("sessions/a/").unwrap();

        for round in 0..3 {
            // Each step may need the watches to be set up again, which wakes at once.
            while !matches!(footing(&news, &watched), Some(Footing::Watched)) {
                news.wait("sessions/a/", Duration::from_secs(20)).await;
            }
            let (mut changes, _) = news.join(&watched);
            if round % 2 == 0 {
                fs::create_dir_all(&watched).unwrap();
            } else {
                fs::remove_dir_all(&watched).unwrap();
            }
            let told = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
            assert!(told.is_ok(), "round {round}");
        }
    }

    #[tokio::test]
    async fn without_the_kernels_help_a_change_is_still_seen() {
        let folder = tempfile::tempdir().unwrap();
        let news = news(folder.path());
        let path = news.places.object("sessions/a/x").unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(news.join(path.parent().unwrap()));
        news.topics.set(path.parent().unwrap(), Footing::Looking(Instant::now()));

        let change = async {
            tokio::time::sleep(LOOK_EVERY * 2).await;
            fs::write(&path, b"x").unwrap();
            std::future::pending::<()>().await;
        };
        let woken = tokio::select! {
            woken = tokio::time::timeout(Duration::from_secs(20), news.wait("sessions/a/", LINGER)) => woken,
            () = change => unreachable!("it never ends"),
        };

        assert!(woken.is_ok());
    }

    #[tokio::test]
    async fn watches_that_nobody_needs_are_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let news = news(folder.path());
        let needed = news.places.folder("needed/").unwrap();
        let (waiter, _) = news.join(&needed);
        news.wait("unused/", LINGER).await;

        let too_soon = news.topics.take_unused(LINGER);
        let unused = news.topics.take_unused(Duration::ZERO);

        assert!(too_soon.is_empty());
        assert_eq!(unused, [news.places.folder("unused/").unwrap()]);
        assert!(waiter.has_changed().is_ok());
    }
}
