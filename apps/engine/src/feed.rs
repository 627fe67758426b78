//! One poller per followed task: it looks for new chunks and for the end, and feeds all watchers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use legwork_core::{id::TaskId, layout, record::Record};
use tokio::{sync::broadcast, task::AbortHandle};

use crate::{
    Ports,
    chunks::{ChunkReader, LogChunk},
    records::UpdateError,
};

/// Chunks that a watcher may lag behind before it has to read by itself.
const BACKLOG: usize = 64;
/// How often a store that tells of no changes is asked.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// How often after a while of silence.
const QUIET_PERIOD: Duration = Duration::from_secs(2);
/// After how long.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// Looks in a row that may fail before the watchers are told.
pub(crate) const FAILURES: u32 = 30;

/// What a poller tells.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// The next chunk.
    Chunk(Arc<LogChunk>),
    /// The attempt has ended and all of its chunks were told.
    End(Arc<Record>),
    /// The store cannot be followed any more.
    Broken(String),
}

/// A task that is being followed in this process.
#[derive(Debug)]
pub(crate) struct Feed {
    news: broadcast::Sender<News>,
    poller: Mutex<Option<AbortHandle>>,
}

impl Feed {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(poller) = self.poller.lock().unwrap_or_else(PoisonError::into_inner).take() {
            poller.abort();
        }
    }
}

/// All followed tasks of this process.
#[derive(Debug)]
pub(crate) struct Feeds {
    by_task: Mutex<HashMap<TaskId, Weak<Feed>>>,
    watchers: Arc<AtomicUsize>,
    max_watchers: usize,
}

/// A watcher's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Feeds {
    pub(crate) fn new(max_watchers: usize) -> Self {
        Self { by_task: Mutex::default(), watchers: Arc::default(), max_watchers }
    }

    /// Takes a place for one more watcher; nothing where there are as many as may be.
    pub(crate) fn take_place(&self) -> Option<Place> {
        let taken = self.watchers.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.watchers));
        (taken < self.max_watchers).then_some(place)
    }

    /// Returns the task's feed, beginning one where nobody follows it yet. It ends when its last
    /// watcher leaves.
    pub(crate) fn of(&self, ports: &Ports, id: &TaskId, next: u32) -> Arc<Feed> {
        let mut feeds = self.by_task.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|_, feed| feed.strong_count() > 0);
        if let Some(feed) = feeds.get(id).and_then(Weak::upgrade)
            && feed
                .poller
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(|p| !p.is_finished())
        {
            return feed;
        }
        let (news, _) = broadcast::channel(BACKLOG);
        let feed = Arc::new(Feed { news: news.clone(), poller: Mutex::new(None) });
        #[expect(
            clippy::disallowed_methods,
            reason = "the feed owns its poller and aborts it when dropped; it only reads"
        )]
        let poller = tokio::spawn(poll(ports.clone(), ChunkReader::new(id.clone(), next), id.clone(), news));
        *feed.poller.lock().unwrap_or_else(PoisonError::into_inner) = Some(poller.abort_handle());
        feeds.insert(id.clone(), Arc::downgrade(&feed));
        feed
    }
}

/// Tells of each new chunk in order, and of the end.
async fn poll(ports: Ports, mut reader: ChunkReader, id: TaskId, news: broadcast::Sender<News>) {
    let prefix = layout::session(&id);
    let mut heard_at = ports.clock.monotonic();
    let mut failures = 0_u32;
    loop {
        match look(&ports, &mut reader, &id, &news).await {
            Ok(Look::Ended) => return,
            Ok(Look::More) => heard_at = ports.clock.monotonic(),
            Ok(Look::Quiet) => {
                let quiet = ports.clock.monotonic().saturating_sub(heard_at) > QUIET_AFTER;
                ports.storage.changed(&prefix, if quiet { QUIET_PERIOD } else { PERIOD }).await;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures >= FAILURES || matches!(error, UpdateError::Missing | UpdateError::Unreadable(_))
                {
                    // Nobody listens any more where sending fails.
                    drop(news.send(News::Broken(error.to_string())));
                    return;
                }
                ports.clock.sleep(PERIOD).await;
                continue;
            }
        }
        failures = 0;
    }
}

enum Look {
    More,
    Quiet,
    Ended,
}

async fn look(
    ports: &Ports,
    reader: &mut ChunkReader,
    id: &TaskId,
    news: &broadcast::Sender<News>,
) -> Result<Look, UpdateError> {
    // The record first: a listing begun after it shows every chunk of an attempt that has ended.
    let (record, _) = ports.read_record(id).await?.ok_or(UpdateError::Missing)?;
    let readable = reader.list(ports, &record).await?;
    if readable.is_empty() && record.is_terminal() {
        drop(news.send(News::End(Arc::new(record))));
        return Ok(Look::Ended);
    }
    let quiet = readable.is_empty();
    for (number, key) in readable {
        if let Some(chunk) = reader.read(ports, number, &key).await? {
            drop(news.send(News::Chunk(Arc::new(chunk))));
        }
    }
    Ok(if quiet { Look::Quiet } else { Look::More })
}
