//! An agent that writes numbered lines, piece by piece.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_ports::agent::{Agent, AgentCommand, AgentError, AgentExit, AgentRun, ExitKind};
use tokio::time::{Instant, sleep_until};

/// What it writes, and when.
#[derive(Debug, Clone)]
pub(crate) struct LineAgent {
    pub(crate) pieces: u32,
    pub(crate) piece_lines: u64,
    /// The pause before each piece. What nobody reads meanwhile waits.
    pub(crate) every: Duration,
    /// Bytes of a line besides its number.
    pub(crate) pad: usize,
    /// Its exit code; with 0 it tells a result.
    pub(crate) code: i32,
    /// How long it goes on after it is told to stop.
    pub(crate) lingers: Duration,
    /// When it was told to stop.
    pub(crate) stopped: Arc<OnceLock<Instant>>,
}

#[derive(Debug)]
struct LineRun {
    plan: LineAgent,
    began: Instant,
    written: u32,
    told: bool,
}

impl LineAgent {
    pub(crate) fn new(pieces: u32, piece_lines: u64, every: Duration) -> Self {
        Self { pieces, piece_lines, every, pad: 0, code: 0, lingers: Duration::ZERO, stopped: Arc::default() }
    }

    /// Says a few words and succeeds.
    pub(crate) fn brief() -> Self {
        Self::new(1, 3, Duration::ZERO)
    }

    /// Says a few words and fails.
    pub(crate) fn failing() -> Self {
        Self { code: 1, ..Self::brief() }
    }

    /// How many lines it numbers.
    pub(crate) fn lines(&self) -> u64 {
        u64::from(self.pieces) * self.piece_lines
    }

    pub(crate) fn stopped_at(&self) -> Option<Instant> {
        self.stopped.get().copied()
    }
}

#[async_trait]
impl Agent for LineAgent {
    async fn start(&self, _: AgentCommand) -> Result<Box<dyn AgentRun>, AgentError> {
        Ok(Box::new(LineRun { plan: self.clone(), began: Instant::now(), written: 0, told: false }))
    }
}

impl LineRun {
    fn piece(&mut self) -> String {
        let first = u64::from(self.written) * self.plan.piece_lines;
        let pad = "x".repeat(self.plan.pad);
        let mut text = String::new();
        if self.written == 0 {
            text.push_str("{\"type\":\"system\",\"subtype\":\"init\"}\n");
        }
        for number in first..first + self.plan.piece_lines {
            text.extend(["{\"type\":\"noise\",\"n\":", &number.to_string(), ",\"pad\":\"", &pad, "\"}\n"]);
        }
        self.written += 1;
        if self.written == self.plan.pieces && self.plan.code == 0 {
            text.push_str(
                "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"ok\",\"num_turns\":1}\n",
            );
        }
        text
    }
}

#[async_trait]
impl AgentRun for LineRun {
    async fn read(&mut self) -> Result<Option<Bytes>, AgentError> {
        let due = self.began + self.plan.every * self.written.saturating_add(1);
        let ends_at = self.plan.stopped_at().map(|at| at + self.plan.lingers);
        if self.written == self.plan.pieces || ends_at.is_some_and(|ends_at| due > ends_at) {
            if let Some(ends_at) = ends_at {
                sleep_until(ends_at).await;
            }
            self.told = true;
            return Ok(None);
        }
        // Cancel safe: the piece is made after the wait.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        Ok(Some(Bytes::from(self.piece())))
    }

    async fn read_stderr(&mut self) -> Result<Option<Bytes>, AgentError> {
        Ok(None)
    }

    fn has_ended(&self) -> bool {
        self.told
    }

    fn stop(&mut self) {
        self.plan.stopped.get_or_init(Instant::now);
    }

    async fn finish(&mut self) -> Result<AgentExit, AgentError> {
        let kind = match self.plan.stopped_at() {
            Some(_) => ExitKind::Signal(15),
            None => ExitKind::Code(self.plan.code),
        };
        Ok(AgentExit { kind, stderr_tail: String::new(), altered: false })
    }
}
