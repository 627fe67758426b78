//! Following a task's log to its end, from any position, without loss or repetition.

use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use legwork_core::{id::TaskId, record::Record};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    Engine, QueryError,
    chunks::{ChunkReader, LogChunk},
    feed::{FAILURES, Feed, News, PERIOD, Place},
    records::UpdateError,
};

/// A line's place in its log: its chunk, and its number there, from 1. As text `n.k`.
///
/// # Examples
/// ```
/// use legwork_engine::Position;
/// assert_eq!("12.3".parse::<Position>().unwrap().to_string(), "12.3");
/// assert!("12".parse::<Position>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    chunk: u32,
    line: u32,
}

impl Position {
    /// Before the first line.
    pub const START: Self = Self { chunk: 1, line: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.chunk, self.line)
    }
}

/// The text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position in a log: two numbers with a dot between them")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (chunk, line) = text.split_once('.').ok_or(ParsePositionError)?;
        let number = |digits: &str| {
            let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| whole).ok_or(ParsePositionError)
        };
        Ok(Self { chunk: number(chunk)?, line: number(line)? })
    }
}

/// What a watcher sees.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// A line.
    Line {
        /// Where it is.
        position: Position,
        /// The line, without its newline.
        json: Bytes,
    },
    /// The task has ended and every line was given.
    End(Box<Record>),
    /// The service cannot go on following; why.
    Broken(String),
}

/// Why a task cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// There is no such task.
    #[error("there is no such task")]
    NotFound,
    /// This process follows as many as it may.
    #[error("too many watchers")]
    TooManyWatchers,
    /// The store does not answer.
    #[error("the store does not answer")]
    Unavailable {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Engine {
    /// Returns all lines there are, a chunk at a time and in order. Of a running task it ends with the
    /// last line that can be read now.
    ///
    /// # Errors
    /// [`QueryError`], also later in the stream.
    pub async fn log_lines(
        &self,
        id: &TaskId,
    ) -> Result<BoxStream<'static, Result<Bytes, QueryError>>, QueryError> {
        let record = self.record(id).await?;
        let engine = self.clone();
        let state = (ChunkReader::new(id.clone(), 1), VecDeque::new());
        let chunks = stream::try_unfold(state, move |(mut reader, mut listed)| {
            let engine = engine.clone();
            let record = record.clone();
            async move {
                loop {
                    if listed.is_empty() {
                        listed.extend(reader.list(engine.ports(), &record).await?);
                    }
                    let Some((number, key)) = listed.pop_front() else { return Ok(None) };
                    if let Some(chunk) = reader.read(engine.ports(), number, &key).await? {
                        return Ok(Some((chunk.lines, (reader, listed))));
                    }
                }
            }
        });
        Ok(chunks.boxed())
    }

    /// Follows a task: every line after `from`, in order and once, as they are stored, and at last
    /// the end.
    ///
    /// # Errors
    /// [`WatchError`].
    pub async fn watch(
        &self,
        id: &TaskId,
        from: Position,
    ) -> Result<BoxStream<'static, WatchItem>, WatchError> {
        match self.record(id).await {
            Ok(_) => {}
            Err(QueryError::NotFound) => return Err(WatchError::NotFound),
            Err(error) => return Err(WatchError::Unavailable { source: Box::new(error) }),
        }
        let place = self.inner.feeds.take_place().ok_or(WatchError::TooManyWatchers)?;
        let watcher = Watcher {
            engine: self.clone(),
            id: id.clone(),
            reader: ChunkReader::new(id.clone(), from.chunk),
            skip: from,
            following: None,
            listed: VecDeque::new(),
            ended: None,
            ready: VecDeque::new(),
            over: false,
            failures: 0,
            _place: place,
        };
        Ok(stream::unfold(
            watcher,
            |mut watcher| async move { watcher.next().await.map(|item| (item, watcher)) },
        )
        .boxed())
    }
}

struct Watcher {
    engine: Engine,
    id: TaskId,
    reader: ChunkReader,
    /// Lines up to here were given in an earlier connection.
    skip: Position,
    following: Option<(Arc<Feed>, Receiver<News>)>,
    /// Chunks that may be read, one at a time.
    listed: VecDeque<(u32, String)>,
    /// The attempt has ended: what is listed from now on is all there is.
    ended: Option<Arc<Record>>,
    ready: VecDeque<WatchItem>,
    over: bool,
    /// How often in a row the store has failed.
    failures: u32,
    _place: Place,
}

impl Watcher {
    async fn next(&mut self) -> Option<WatchItem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.over {
                return None;
            }
            match self.go_on().await {
                Ok(()) => self.failures = 0,
                Err(error) => self.stumble(&error).await,
            }
        }
    }

    /// A store that fails for a while breaks nobody's following.
    async fn stumble(&mut self, error: &UpdateError) {
        self.failures = self.failures.saturating_add(1);
        let is_final = matches!(error, UpdateError::Missing | UpdateError::Unreadable(_));
        if is_final || self.failures >= FAILURES {
            self.close(WatchItem::Broken(error.to_string()));
        } else {
            // Joined anew, and read again from where it stands.
            self.following = None;
            self.engine.ports().clock.sleep(PERIOD).await;
        }
    }

    async fn go_on(&mut self) -> Result<(), UpdateError> {
        if let Some((number, key)) = self.listed.front().cloned() {
            let ports = self.engine.ports().clone();
            if let Some(chunk) = self.reader.read(&ports, number, &key).await? {
                self.take(&chunk);
            }
            self.listed.pop_front();
            return Ok(());
        }
        if let Some(record) = self.ended.clone() {
            return self.list(&record).await;
        }
        self.hear().await
    }

    /// Waits for news. First joins the feed, then reads by itself what was stored before, so that
    /// nothing falls between the two.
    async fn hear(&mut self) -> Result<(), UpdateError> {
        let Some((_, news)) = &mut self.following else {
            let feed = self.engine.inner.feeds.of(self.engine.ports(), &self.id, self.reader.next());
            let news = feed.subscribe();
            self.following = Some((feed, news));
            return self.catch_up().await;
        };
        match news.recv().await {
            Ok(News::Chunk(chunk)) if chunk.number == self.reader.next() => {
                self.reader.skip_past(chunk.number);
                self.take(&chunk);
                Ok(())
            }
            // Given already, by reading while the feed told it.
            Ok(News::Chunk(chunk)) if chunk.number < self.reader.next() => Ok(()),
            Ok(News::End(record)) => {
                self.ended = Some(record);
                Ok(())
            }
            Ok(News::Broken(reason)) => {
                self.close(WatchItem::Broken(reason));
                Ok(())
            }
            // The feed is ahead: read by oneself.
            Ok(News::Chunk(_)) | Err(RecvError::Lagged(_)) => self.catch_up().await,
            Err(RecvError::Closed) => {
                self.following = None;
                Ok(())
            }
        }
    }

    /// Lists all that may be read now.
    async fn catch_up(&mut self) -> Result<(), UpdateError> {
        let (record, _) = self.engine.ports().read_record(&self.id).await?.ok_or(UpdateError::Missing)?;
        if record.is_terminal() {
            self.ended = Some(Arc::new(record));
            return Ok(());
        }
        self.list(&record).await?;
        if !self.listed.is_empty() {
            // There may be more than a page: join again once these lines are given.
            self.following = None;
        }
        Ok(())
    }

    async fn list(&mut self, record: &Record) -> Result<(), UpdateError> {
        self.listed.extend(self.reader.list(self.engine.ports(), record).await?);
        if self.listed.is_empty() && record.is_terminal() {
            self.close(WatchItem::End(Box::new(record.clone())));
        }
        Ok(())
    }

    fn close(&mut self, last: WatchItem) {
        self.ready.push_back(last);
        self.over = true;
        self.following = None;
    }

    fn take(&mut self, chunk: &LogChunk) {
        let mut rest = chunk.lines.clone();
        let mut number = 0_u32;
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            let json = rest.split_to(end);
            if !rest.is_empty() {
                drop(rest.split_to(1));
            }
            number = number.saturating_add(1);
            let position = Position { chunk: chunk.number, line: number };
            if position > self.skip {
                self.ready.push_back(WatchItem::Line { position, json });
            }
        }
    }
}
