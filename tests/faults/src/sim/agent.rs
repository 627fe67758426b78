//! An agent that writes numbered lines over some time, and ends when it is told to.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_ports::agent::{Agent, AgentCommand, AgentError, AgentExit, AgentRun, ExitKind};
use tokio::time::{Instant, sleep_until};

use super::{gate::Gate, plan::AgentPlan, world::World};

/// How many pieces an agent writes its lines in, at most.
const PIECES: u64 = 8;

/// One worker's agent.
#[derive(Debug)]
pub(super) struct SimAgent {
    pub(super) gate: Arc<Gate>,
    pub(super) world: Arc<World>,
}

#[derive(Debug)]
struct SimRun {
    plan: AgentPlan,
    gate: Arc<Gate>,
    began: Instant,
    next_line: u64,
    told: bool,
    stopped_at: Option<Instant>,
}

#[async_trait]
impl Agent for SimAgent {
    async fn start(&self, command: AgentCommand) -> Result<Box<dyn AgentRun>, AgentError> {
        self.gate.before().await;
        let folder = command.directory.file_name().map(|name| name.to_string_lossy().into_owned());
        let plan = self.world.agent_starts(&folder.unwrap_or_default());
        self.gate.after().await;
        Ok(Box::new(SimRun {
            plan,
            gate: Arc::clone(&self.gate),
            began: Instant::now(),
            next_line: 0,
            told: false,
            stopped_at: None,
        }))
    }
}

impl SimRun {
    /// When the next piece is written, and up to which line.
    fn next_piece(&self) -> (Instant, u64) {
        let size = (self.plan.lines / PIECES).max(1);
        let end = (self.next_line + size).min(self.plan.lines);
        let share = u32::try_from(end).unwrap_or(u32::MAX);
        let all = u32::try_from(self.plan.lines.max(1)).unwrap_or(u32::MAX);
        (self.began + self.plan.takes * share / all, end)
    }

    fn lines(&mut self, end: u64) -> Bytes {
        let mut text = String::new();
        if self.next_line == 0 {
            text.push_str("{\"type\":\"system\",\"subtype\":\"init\"}\n");
        }
        for number in self.next_line..end {
            text.extend(["{\"type\":\"noise\",\"n\":", &number.to_string(), "}\n"]);
        }
        self.next_line = end;
        if end == self.plan.lines && self.plan.succeeds {
            text.push_str(
                "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"ok\",\"num_turns\":1}\n",
            );
        }
        Bytes::from(text)
    }
}

#[async_trait]
impl AgentRun for SimRun {
    async fn read(&mut self) -> Result<Option<Bytes>, AgentError> {
        self.gate.open().await;
        loop {
            if self.told {
                return Ok(None);
            }
            if let Some(at) = self.stopped_at {
                sleep_until(at).await;
                self.told = true;
                continue;
            }
            if self.next_line == self.plan.lines {
                self.told = true;
                continue;
            }
            let (at, end) = self.next_piece();
            // Cancel safe: the line is written after the wait.
            sleep_until(at).await;
            return Ok(Some(self.lines(end)));
        }
    }

    async fn read_stderr(&mut self) -> Result<Option<Bytes>, AgentError> {
        Ok(None)
    }

    fn has_ended(&self) -> bool {
        self.told
    }

    fn stop(&mut self) {
        self.stopped_at.get_or_insert(Instant::now() + Duration::from_millis(300));
    }

    async fn finish(&mut self) -> Result<AgentExit, AgentError> {
        self.gate.open().await;
        let kind = if self.stopped_at.is_some() {
            ExitKind::Signal(15)
        } else {
            ExitKind::Code(i32::from(!self.plan.succeeds))
        };
        Ok(AgentExit { kind, stderr_tail: String::new(), altered: false })
    }
}
