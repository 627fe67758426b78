//! Hearing the agent out: its bytes become lines, lines become log, and whatever ends the run early
//! stops its whole tree while everything it still writes is heard.

use std::time::Duration;

use legwork_core::{
    chunk::LineSplitter,
    claude::{transcript::Transcript, verdict::Exit},
    redact::Redactor,
};
use legwork_ports::agent::{AgentError, AgentRun, ExitKind};

use super::interruption::{Interruptions, StopReason};
use crate::{
    Engine,
    logs::{LineBatch, LogWriter},
};

/// What was heard.
pub(super) struct Heard {
    pub(super) transcript: Transcript,
    pub(super) stopped: Option<StopReason>,
}

impl Heard {
    /// An agent that was stopped after its result has ended by itself, as far as anybody cares.
    pub(super) fn exit(&self, kind: ExitKind) -> Exit {
        match kind {
            _ if self.stopped == Some(StopReason::AfterResult) => Exit::Code(0),
            ExitKind::Code(code) => Exit::Code(code),
            ExitKind::Signal(signal) => Exit::Signal(signal),
        }
    }
}

/// What a run is heard with.
pub(super) struct Conversation<'a> {
    pub(super) engine: &'a Engine,
    pub(super) interruptions: &'a Interruptions<'a>,
    pub(super) redactor: &'a Redactor,
    pub(super) log: &'a LogWriter,
}

impl Conversation<'_> {
    /// Hears the agent until it has ended, or was stopped and everything it wrote is heard.
    pub(super) async fn hear(&self, run: &mut dyn AgentRun) -> Result<Heard, AgentError> {
        let clock = &self.engine.ports().clock;
        let mut splitter = LineSplitter::new(self.engine.settings().log.max_line_bytes);
        let mut transcript = Transcript::new();
        let mut stopped = None;
        let mut heard_at = clock.monotonic();
        loop {
            let silence_ends = self.silence_ends(heard_at, &transcript);
            let silence = silence_ends.map_or(Duration::ZERO, |(at, _)| at.saturating_sub(clock.monotonic()));
            tokio::select! {
                // Reading is cancel safe, and the other arms only wait.
                read = run.read() => match read? {
                    Some(bytes) => {
                        heard_at = clock.monotonic();
                        self.store(&mut splitter, &mut transcript, &bytes).await;
                    }
                    None => break,
                },
                trigger = self.interruptions.next(), if stopped.is_none() => {
                    let summary = transcript.summary();
                    stopped = Some(self.interruptions.end_early(trigger, summary, || run.stop()).await);
                }
                () = clock.sleep(silence), if stopped.is_none() && silence_ends.is_some() => {
                    run.stop();
                    stopped = silence_ends.map(|(_, reason)| reason);
                }
            }
        }
        let mut batch = LineBatch::default();
        let now = clock.now();
        splitter.finish(|line| transcript.line(line, now, self.redactor, |line| batch.push(line.as_bytes())));
        transcript.finish(now, |line| batch.push(line.as_bytes()));
        self.log.write(batch).await;
        Ok(Heard { transcript, stopped })
    }

    async fn store(&self, splitter: &mut LineSplitter, transcript: &mut Transcript, bytes: &[u8]) {
        let now = self.engine.ports().clock.now();
        let mut batch = LineBatch::default();
        splitter.push(bytes, |line| {
            transcript.line(line, now, self.redactor, |line| batch.push(line.as_bytes()));
        });
        self.log.write(batch).await;
    }

    /// When silence ends the run, and as what: soon after a result, later without one.
    fn silence_ends(&self, heard_at: Duration, transcript: &Transcript) -> Option<(Duration, StopReason)> {
        let settings = self.engine.settings();
        if transcript.has_result() {
            return Some((heard_at.saturating_add(settings.result_grace), StopReason::AfterResult));
        }
        settings.idle_timeout.map(|idle| (heard_at.saturating_add(idle), StopReason::Idle))
    }
}
