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
        // Lines that the log has no room for yet: nothing more is read until it has.
        let mut waiting = LineBatch::default();
        let mut too_late = TooLate::default();
        loop {
            let silence_ends = self.silence_ends(heard_at, &transcript);
            let silence = silence_ends.map_or(Duration::ZERO, |(at, _)| at.saturating_sub(clock.monotonic()));
            let is_silent = stopped.is_none() && silence_ends.is_some() && waiting.is_empty();
            tokio::select! {
                // In the order of urgency: neither a flood nor a store that hangs keeps a stop waiting.
                biased;
                // Handing over and reading are cancel safe, and the other arms only wait.
                trigger = self.interruptions.next(), if stopped.is_none() => {
                    let summary = transcript.summary();
                    stopped = Some(self.interruptions.end_early(trigger, summary, || run.stop()).await);
                }
                () = clock.sleep(silence), if is_silent => {
                    run.stop();
                    stopped = silence_ends.map(|(_, reason)| reason);
                }
                () = self.log.hand_over(&mut waiting), if !waiting.is_empty() => heard_at = clock.monotonic(),
                read = run.read(), if waiting.is_empty() => {
                    let Some(bytes) = read? else { break };
                    heard_at = clock.monotonic();
                    if self.log.gives_up_at().is_some_and(|at| heard_at >= at) {
                        too_late.count(&bytes);
                        continue;
                    }
                    let now = clock.now();
                    splitter.push(&bytes, |line| {
                        transcript.line(line, now, self.redactor, |line| waiting.push(line.as_bytes()));
                    });
                }
            }
        }
        let now = clock.now();
        if too_late.is_empty() {
            splitter.finish(|line| {
                transcript.line(line, now, self.redactor, |line| waiting.push(line.as_bytes()));
            });
        } else {
            self.log.lose(too_late.lines()).await;
        }
        transcript.finish(now, |line| waiting.push(line.as_bytes()));
        self.log.write(waiting).await;
        Ok(Heard { transcript, stopped })
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

/// What comes after nothing can be stored any more. It is counted and not read: a backlog of gigabytes would
/// keep the end of the attempt waiting.
#[derive(Debug, Default)]
struct TooLate {
    ended: u64,
    has_open_line: bool,
}

impl TooLate {
    /// Counts the lines that end in a block.
    fn count(&mut self, block: &[u8]) {
        let Some(last) = block.last() else { return };
        let ended = block.split(|byte| *byte == b'\n').skip(1).count();
        self.ended = self.ended.saturating_add(u64::try_from(ended).unwrap_or(u64::MAX));
        self.has_open_line = *last != b'\n';
    }

    fn is_empty(&self) -> bool {
        self.ended == 0 && !self.has_open_line
    }

    /// Returns how many lines there were, the last one without an end among them.
    fn lines(&self) -> u64 {
        self.ended.saturating_add(u64::from(self.has_open_line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(blocks: &[&str], lines: u64) {
        let mut too_late = TooLate::default();
        for block in blocks {
            too_late.count(block.as_bytes());
        }

        assert_eq!((too_late.lines(), too_late.is_empty()), (lines, lines == 0), "{blocks:?}");
    }

    #[test]
    fn what_comes_too_late_is_counted_by_its_lines() {
        check(&[], 0);
        check(&[""], 0);
        check(&["a"], 1);
        check(&["a\n"], 1);
        check(&["the rest of one\n", "two\nthr", "ee\n"], 3);
        check(&["one\n", "\n", "three"], 3);
    }
}
