//! The log pipeline: lines in, numbered chunks in the store out.
//!
//! Chunks are cut by `legwork_core::chunk`; here they get their numbers, several are written at once,
//! and each is tried for ten minutes. Whoever hands lines over waits while too many bytes are under
//! way, so memory stays bounded and the agent's output waits on disk. What could not be stored is
//! counted, never silent.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use legwork_core::{
    chunk::{Chunk, ChunkLimits, Chunker},
    claude::log_line,
    id::TaskId,
    layout,
    record::LogFacts,
};
use legwork_ports::storage::Precondition;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{LogSettings, Ports, records::Patience};

/// Chunks under way at once; readers rely on no more being open.
const MAX_IN_FLIGHT: usize = 64;
/// Bytes under way at once: a quarter of the memory that a worker may use over its base.
const MAX_BYTES_IN_FLIGHT: usize = 16 * 1024 * 1024;
/// A chunk holds no more than this, but for a single longer line.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Batches that wait for the writer.
const QUEUE: usize = 4;
/// How long the last line, which tells of lost ones, is tried where lines had their whole time.
const LAST_WORD: Duration = Duration::from_mins(1);
/// The same after a stop, when there is none.
const HURRIED_LAST_WORD: Duration = Duration::from_millis(500);

/// Lines without their newlines, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct LineBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl LineBatch {
    pub(crate) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn one(line: &str) -> Self {
        let mut batch = Self::default();
        batch.push(line.as_bytes());
        batch
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).filter_map(|(start, end)| self.bytes.get(start..end))
    }
}

/// What is known of a log at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEnd {
    pub(crate) facts: LogFacts,
    pub(crate) last_chunk: Option<u32>,
}

/// What the writer is told.
#[derive(Debug)]
enum Message {
    /// Lines to store.
    Lines(LineBatch),
    /// That so many lines came too late to be read.
    Lost(u64),
    /// To say when everything before this is stored, or given up.
    Settle(oneshot::Sender<()>),
}

/// From when on nothing more is waited for.
#[derive(Debug, Clone, Copy)]
struct GiveUp {
    at: Duration,
    hurried: bool,
}

/// Limits how long a log waits for its store.
#[derive(Debug, Clone)]
pub(crate) struct LogLimit(watch::Sender<Option<GiveUp>>);

impl LogLimit {
    /// From this moment of the monotonic clock on, nothing more is waited for.
    pub(crate) fn give_up_at(&self, moment: Duration) {
        self.set(GiveUp { at: moment, hurried: false });
    }

    /// The same, because the worker has to end.
    pub(crate) fn hurry(&self, moment: Duration) {
        self.set(GiveUp { at: moment, hurried: true });
    }

    fn set(&self, new: GiveUp) {
        self.0.send_modify(|limit| {
            *limit = Some(match *limit {
                Some(old) if old.at <= new.at => GiveUp { hurried: old.hurried || new.hurried, ..old },
                Some(_) | None => new,
            });
        });
    }
}

/// Writes the log of one attempt.
#[derive(Debug)]
pub(crate) struct LogWriter {
    messages: mpsc::Sender<Message>,
    limit: LogLimit,
    task: JoinSet<LogEnd>,
}

impl LogWriter {
    /// Begins a log whose first chunk has this number.
    pub(crate) fn start(ports: &Ports, id: &TaskId, first_chunk: u32, settings: &LogSettings) -> Self {
        let (messages, inbox) = mpsc::channel(QUEUE);
        let (limit, limit_seen) = watch::channel(None);
        let limits = ChunkLimits {
            max_lines: settings.chunk_lines,
            max_bytes: CHUNK_BYTES,
            flush_after: settings.flush_after,
        };
        let writer = Writer {
            ports: ports.clone(),
            id: Arc::new(id.clone()),
            chunker: Chunker::new(limits),
            max_log_bytes: settings.max_log_bytes,
            next_number: first_chunk,
            taken_bytes: 0,
            in_flight: FuturesUnordered::new(),
            bytes_in_flight: 0,
            lines_in_flight: 0,
            facts: LogFacts::default(),
            last_chunk: None,
            abandoned: false,
            settling: Vec::new(),
            ready: VecDeque::new(),
        };
        let mut task = JoinSet::new();
        task.spawn(writer.run(inbox, limit_seen));
        Self { messages, limit: LogLimit(limit), task }
    }

    /// Hands lines over; waits while the store is behind.
    pub(crate) async fn write(&self, batch: LineBatch) {
        if !batch.is_empty() {
            // The writer ends only after this sender is gone, or by a panic that `finish` reports.
            let _writer_is_gone = self.messages.send(Message::Lines(batch)).await;
        }
    }

    /// Hands lines over once there is room for them, and leaves the batch empty.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lines in the batch.
    pub(crate) async fn hand_over(&self, batch: &mut LineBatch) {
        let room = self.messages.reserve().await;
        let batch = std::mem::take(batch);
        // The writer ends only after this sender is gone, or by a panic that `finish` reports.
        if let Ok(room) = room {
            room.send(Message::Lines(batch));
        }
    }

    /// Counts lines that came too late to be read.
    pub(crate) async fn lose(&self, lines: u64) {
        // The writer ends only after this sender is gone, or by a panic that `finish` reports.
        let _writer_is_gone = self.messages.send(Message::Lost(lines)).await;
    }

    /// Waits until everything handed over is stored, or given up.
    pub(crate) async fn settle(&self) {
        let (settled, is_settled) = oneshot::channel();
        let _writer_is_gone = self.messages.send(Message::Settle(settled)).await;
        // A writer that is gone settles nothing more.
        is_settled.await.ok();
    }

    /// Returns from when on nothing more is waited for, by the monotonic clock.
    pub(crate) fn gives_up_at(&self) -> Option<Duration> {
        self.limit.0.borrow().map(|limit| limit.at)
    }

    /// Returns what limits how long it waits.
    pub(crate) fn limit(&self) -> &LogLimit {
        &self.limit
    }

    /// Stores what is left and returns what became of all lines.
    pub(crate) async fn finish(self) -> LogEnd {
        let Self { messages, limit, mut task } = self;
        drop(messages);
        let end = task.join_next().await;
        drop(limit);
        match end {
            Some(Ok(end)) => end,
            Some(Err(error)) => {
                tracing::error!(error = %error, "the log writer failed");
                LogEnd { facts: LogFacts::default(), last_chunk: None }
            }
            None => LogEnd { facts: LogFacts::default(), last_chunk: None },
        }
    }
}

struct Put {
    number: u32,
    lines: u64,
    bytes: usize,
    stored: bool,
}

struct Writer {
    ports: Ports,
    id: Arc<TaskId>,
    chunker: Chunker,
    max_log_bytes: u64,
    next_number: u32,
    taken_bytes: u64,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Put> + Send>>>,
    bytes_in_flight: usize,
    lines_in_flight: u64,
    facts: LogFacts,
    last_chunk: Option<u32>,
    abandoned: bool,
    /// Who waits for what is under way.
    settling: Vec<oneshot::Sender<()>>,
    /// Chunks that wait until there are fewer under way. Their bytes count as under way.
    ready: VecDeque<Chunk>,
}

impl Writer {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut limit: watch::Receiver<Option<GiveUp>>,
    ) -> LogEnd {
        let mut open = true;
        while open || !self.in_flight.is_empty() {
            if self.in_flight.is_empty() {
                for settled in self.settling.drain(..) {
                    // Who waits no more needs no answer.
                    settled.send(()).ok();
                }
            }
            let room = self.in_flight.len() < MAX_IN_FLIGHT && self.bytes_in_flight < MAX_BYTES_IN_FLIGHT;
            let now = self.ports.clock.monotonic();
            let give_up = *limit.borrow_and_update();
            let give_up_at = give_up.map(|limit| limit.at);
            let due = self.chunker.due_at();
            let clock = Arc::clone(&self.ports.clock);
            let until = |moment: Option<Duration>| {
                let clock = Arc::clone(&clock);
                async move { clock.sleep(moment.unwrap_or_default().saturating_sub(now)).await }
            };
            tokio::select! {
                biased;
                // Dropping a wait loses nothing: puts stay in `in_flight`, messages in the inbox.
                Some(put) = self.in_flight.next(), if !self.in_flight.is_empty() => self.account(&put),
                () = until(due), if due.is_some() => {
                    let now = self.ports.clock.monotonic();
                    if let Some(chunk) = self.chunker.take_due(now) {
                        self.put(chunk);
                    }
                }
                () = until(give_up_at), if give_up_at.is_some() && !self.abandoned => self.abandon(),
                changed = limit.changed(), if !self.abandoned && changed_is_open(&limit) => drop(changed),
                batch = inbox.recv(), if open && (room || self.abandoned) => match batch {
                    Some(Message::Lines(batch)) => self.take(&batch),
                    Some(Message::Lost(lines)) => {
                        self.facts.lines_lost = self.facts.lines_lost.saturating_add(lines);
                    }
                    Some(Message::Settle(settled)) => {
                        self.flush();
                        self.settling.push(settled);
                    }
                    None => {
                        self.flush();
                        open = false;
                    }
                },
            }
        }
        let hurried = limit.borrow().is_some_and(|limit| limit.hurried);
        self.last_word(hurried).await;
        LogEnd { facts: self.facts, last_chunk: self.last_chunk }
    }

    fn take(&mut self, batch: &LineBatch) {
        let now = self.ports.clock.monotonic();
        for line in batch.lines() {
            let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
            if self.abandoned {
                self.facts.lines_lost = self.facts.lines_lost.saturating_add(1);
            } else if self.facts.lines_over_limit > 0
                || self.taken_bytes.saturating_add(bytes) > self.max_log_bytes
                || self.next_number > layout::MAX_CHUNK
            {
                self.facts.lines_over_limit = self.facts.lines_over_limit.saturating_add(1);
            } else {
                self.taken_bytes = self.taken_bytes.saturating_add(bytes);
                for chunk in self.chunker.push(line, now) {
                    self.put(chunk);
                }
            }
        }
    }

    fn flush(&mut self) {
        if let Some(chunk) = self.chunker.flush() {
            self.put(chunk);
        }
    }

    /// Takes a chunk to be written, as soon as fewer are under way than readers rely on.
    fn put(&mut self, chunk: Chunk) {
        let lines = u64::from(chunk.lines);
        if self.abandoned {
            self.facts.lines_lost = self.facts.lines_lost.saturating_add(lines);
            return;
        }
        self.bytes_in_flight = self.bytes_in_flight.saturating_add(chunk.bytes.len());
        self.lines_in_flight = self.lines_in_flight.saturating_add(lines);
        self.ready.push_back(chunk);
        self.begin_ready();
    }

    fn begin_ready(&mut self) {
        while self.in_flight.len() < MAX_IN_FLIGHT
            && let Some(chunk) = self.ready.pop_front()
        {
            self.begin(chunk);
        }
    }

    /// Begins to write a chunk under the next number.
    fn begin(&mut self, chunk: Chunk) {
        let (lines, bytes) = (u64::from(chunk.lines), chunk.bytes.len());
        let number = self.next_number;
        let Some(key) = layout::chunk(&self.id, number, self.ports.clock.now()) else {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
            self.lines_in_flight = self.lines_in_flight.saturating_sub(lines);
            self.facts.lines_over_limit = self.facts.lines_over_limit.saturating_add(lines);
            return;
        };
        self.next_number = number.saturating_add(1);
        let ports = self.ports.clone();
        let content = Bytes::from(chunk.bytes);
        self.in_flight.push(Box::pin(async move {
            let stored = ports.put_patiently(&key, content, Precondition::Always, Patience::Long).await;
            if let Err(error) = &stored {
                tracing::error!(chunk = %key, error = %error, "a log chunk could not be stored");
            }
            Put { number, lines, bytes, stored: stored.is_ok() }
        }));
    }

    fn account(&mut self, put: &Put) {
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(put.bytes);
        self.lines_in_flight = self.lines_in_flight.saturating_sub(put.lines);
        if put.stored {
            self.facts.lines_stored = self.facts.lines_stored.saturating_add(put.lines);
            self.last_chunk = self.last_chunk.max(Some(put.number));
        } else {
            self.facts.lines_lost = self.facts.lines_lost.saturating_add(put.lines);
        }
        self.begin_ready();
    }

    /// Stops waiting: what is under way may still land, and is counted as lost.
    fn abandon(&mut self) {
        self.abandoned = true;
        self.facts.lines_lost = self.facts.lines_lost.saturating_add(self.lines_in_flight);
        self.lines_in_flight = 0;
        self.bytes_in_flight = 0;
        self.in_flight.clear();
        self.ready.clear();
        self.flush();
    }

    /// Says in the log itself what is missing from it.
    async fn last_word(&mut self, hurried: bool) {
        let LogFacts { lines_lost, lines_over_limit, .. } = self.facts;
        let mut missing = Vec::new();
        if lines_lost > 0 {
            missing.push(format!("{lines_lost} lines could not be stored in time"));
        }
        if lines_over_limit > 0 {
            missing.push(format!("{lines_over_limit} lines past the log's limit were not stored"));
        }
        let number = self.next_number;
        let Some(key) =
            layout::chunk(&self.id, number, self.ports.clock.now()).filter(|_| !missing.is_empty())
        else {
            return;
        };
        let mut line = log_line::error(&missing.join("; "), self.ports.clock.now());
        line.push('\n');
        let put = self.ports.put_patiently(&key, Bytes::from(line), Precondition::Always, Patience::Long);
        let stored = if self.abandoned {
            tokio::select! {
                biased;
                // The record tells the count, too.
                stored = put => stored.is_ok(),
                () = self.ports.clock.sleep(if hurried { HURRIED_LAST_WORD } else { LAST_WORD }) => false,
            }
        } else {
            put.await.is_ok()
        };
        if stored {
            self.facts.lines_stored = self.facts.lines_stored.saturating_add(1);
            self.last_chunk = Some(number);
        }
    }
}

/// A closed channel would be ready for ever.
fn changed_is_open(limit: &watch::Receiver<Option<GiveUp>>) -> bool {
    limit.has_changed().is_ok()
}
