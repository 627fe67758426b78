//! Hearing the agent out: its bytes become lines, lines become log, and whatever ends the run early
//! stops its whole tree while everything it still writes is heard.

use std::time::Duration;

use legwork_core::{
    chunk::LineSplitter,
    claude::{
        transcript::Transcript,
        verdict::{Exit, Stopped},
    },
    record::{ErrorCode, Status, Verdict},
    redact::Redactor,
};
use legwork_ports::agent::{AgentError, AgentRun, ExitKind};
use tokio_util::sync::CancellationToken;

use super::stage::STOPPED_LINES_DEADLINE;
use crate::{
    Engine, Settings,
    claim::ClaimedAttempt,
    logs::{LineBatch, LogWriter},
    oversight::Orders,
};

/// How long the tree may live on while the record that says `finishing` cannot be written.
const SWAP_FIRST: Duration = Duration::from_secs(2);
/// How long the wish to cancel is looked for after the worker was told to stop.
const LOOK_FOR_WISH: Duration = Duration::from_secs(1);

/// Why a run was stopped before its agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Somebody wished it.
    Cancelled,
    /// The time limit passed.
    Timeout,
    /// No line came for too long.
    Idle,
    /// The worker was told to stop.
    WorkerStopped,
    /// The agent lived on after its result.
    AfterResult,
    /// The attempt is somebody else's now.
    ClaimLost,
}

impl StopReason {
    pub(super) fn for_verdict(self, timeout_minutes: u32, settings: &Settings) -> Option<Stopped> {
        match self {
            Self::Cancelled => Some(Stopped::Cancelled),
            Self::Timeout => Some(Stopped::Timeout { minutes: timeout_minutes }),
            Self::Idle => {
                let minutes = settings.idle_timeout.map_or(0, |idle| idle.as_secs() / 60);
                Some(Stopped::Idle { minutes: u32::try_from(minutes).unwrap_or(u32::MAX) })
            }
            Self::WorkerStopped => Some(Stopped::WorkerStopped),
            Self::AfterResult | Self::ClaimLost => None,
        }
    }
}

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
    pub(super) claimed: &'a ClaimedAttempt,
    pub(super) orders: &'a Orders,
    pub(super) stop: &'a CancellationToken,
    pub(super) redactor: &'a Redactor,
    pub(super) log: &'a LogWriter,
    pub(super) timeout: Duration,
}

impl Conversation<'_> {
    /// Hears the agent until it has ended, or was stopped and everything it wrote is heard.
    pub(super) async fn hear(&self, run: &mut dyn AgentRun) -> Result<Heard, AgentError> {
        let clock = &self.engine.ports().clock;
        let mut splitter = LineSplitter::new(self.engine.settings().log.max_line_bytes);
        let mut transcript = Transcript::new();
        let mut stopped = None;
        // The limit runs from the claim: what came before the agent counts.
        let spent = clock.now().since(self.claimed.record.started_at.unwrap_or_else(|| clock.now()));
        let timeout_at = clock.monotonic().saturating_add(self.timeout.saturating_sub(spent));
        let mut heard_at = clock.monotonic();
        loop {
            let silence_ends = self.silence_ends(heard_at, &transcript);
            let now = clock.monotonic();
            let reason = tokio::select! {
                // Reading is cancel safe, and the other arms only wait.
                read = run.read() => match read? {
                    Some(bytes) => {
                        heard_at = clock.monotonic();
                        self.store(&mut splitter, &mut transcript, &bytes).await;
                        continue;
                    }
                    None => break,
                },
                () = self.orders.lost.cancelled(), if stopped.is_none() => StopReason::ClaimLost,
                () = self.orders.cancel.cancelled(), if stopped.is_none() => StopReason::Cancelled,
                () = self.stop.cancelled(), if stopped.is_none() => self.told_to_stop().await,
                () = clock.sleep(timeout_at.saturating_sub(now)), if stopped.is_none() => StopReason::Timeout,
                () = clock.sleep(silence_ends.map_or(Duration::ZERO, |(at, _)| at.saturating_sub(now))),
                    if stopped.is_none() && silence_ends.is_some() =>
                    silence_ends.map_or(StopReason::Idle, |(_, reason)| reason),
            };
            tracing::info!(task.id = %self.claimed.record.task_id, ?reason, "stopping the agent");
            stopped = Some(self.end_early(reason, run, &transcript).await);
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

    /// The worker was told to stop: a cancel if one was wished, else a failure.
    async fn told_to_stop(&self) -> StopReason {
        let ports = self.engine.ports();
        self.log.give_up_at(ports.clock.monotonic().saturating_add(STOPPED_LINES_DEADLINE));
        let wished = tokio::select! {
            // Without an answer in time the worker stops as it was told.
            read = ports.read_record(&self.claimed.record.task_id) => {
                matches!(read, Ok(Some((record, _))) if record.cancel_requested_at.is_some())
            }
            () = ports.clock.sleep(LOOK_FOR_WISH) => false,
        };
        if wished || self.orders.cancel.is_cancelled() {
            StopReason::Cancelled
        } else {
            StopReason::WorkerStopped
        }
    }

    async fn end_early(
        &self,
        reason: StopReason,
        run: &mut dyn AgentRun,
        transcript: &Transcript,
    ) -> StopReason {
        if reason != StopReason::Cancelled {
            run.stop();
            return reason;
        }
        let verdict = Verdict {
            status: Status::Cancelled,
            exit_code: 130,
            error: Some("Task cancelled by user".to_owned()),
            error_code: Some(ErrorCode::Cancelled),
            error_detail: None,
            result: None,
        };
        let swap = self.engine.begin_finishing(self.claimed, verdict, transcript.summary());
        let mut swap = std::pin::pin!(swap);
        let swapped = tokio::select! {
            // The swap goes on after the stop: it is not dropped.
            swapped = &mut swap => Some(swapped),
            () = self.engine.ports().clock.sleep(SWAP_FIRST) => None,
        };
        run.stop();
        let swapped = match swapped {
            Some(swapped) => swapped,
            None => swap.await,
        };
        match swapped {
            Ok(false) => StopReason::ClaimLost,
            Ok(true) => reason,
            Err(error) => {
                tracing::warn!(task.id = %self.claimed.record.task_id, error = %error, "finishing could not be recorded");
                reason
            }
        }
    }
}
