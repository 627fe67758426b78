//! What may end a run before its agent ends: a cancel, the time limit, the worker's own end, the
//! claim's loss.

use std::time::Duration;

use legwork_core::{
    claude::{
        facts::Facts,
        verdict::{self, Exit, Stopped, VerdictInputs},
    },
    record::{Summary, Verdict},
};
use tokio_util::sync::CancellationToken;

use crate::{Engine, Settings, claim::ClaimedAttempt, logs::LogWriter, oversight::Orders};

/// How long the worker has after it was told to stop.
pub(super) const AFTER_STOP: Duration = Duration::from_secs(8);
/// How long lines have: the record has to follow them within the same time.
pub(super) const LINES_AFTER_STOP: Duration = Duration::from_secs(7);
/// How long what runs may go on while the record that says `finishing` cannot be written.
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

/// What has happened, before anybody has thought about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    Lost,
    CancelWished,
    ToldToStop,
    TimeIsUp,
}

/// Watches for what ends a run early.
pub(super) struct Interruptions<'a> {
    pub(super) engine: &'a Engine,
    pub(super) claimed: &'a ClaimedAttempt,
    pub(super) orders: &'a Orders,
    pub(super) stop: &'a CancellationToken,
    pub(super) log: &'a LogWriter,
    /// When the time is up, by the monotonic clock.
    pub(super) timeout_at: Duration,
}

impl Interruptions<'_> {
    /// How much time is left.
    pub(super) fn left(&self) -> Duration {
        self.timeout_at.saturating_sub(self.engine.ports().clock.monotonic())
    }

    /// Waits until something happens.
    ///
    /// # Cancel safety
    /// It only waits.
    pub(super) async fn next(&self) -> Trigger {
        tokio::select! {
           biased;
            () = self.orders.lost.cancelled() => Trigger::Lost,
            () = self.orders.cancel.cancelled() => Trigger::CancelWished,
            () = self.stop.cancelled() => Trigger::ToldToStop,
            () = self.engine.ports().clock.sleep(self.left()) => Trigger::TimeIsUp,
        }
    }

    /// Decides what it means, has it recorded where others have to know it first, and stops what runs.
    pub(super) async fn end_early(
        &self,
        trigger: Trigger,
        summary: Summary,
        stop_it: impl FnOnce(),
    ) -> StopReason {
        let reason = match trigger {
            Trigger::Lost => StopReason::ClaimLost,
            Trigger::CancelWished => StopReason::Cancelled,
            Trigger::ToldToStop => self.told_to_stop().await,
            Trigger::TimeIsUp => StopReason::Timeout,
        };
        tracing::info!(task.id = %self.claimed.record.task_id, ?reason, "stopping the run");
        if reason != StopReason::Cancelled {
            stop_it();
            return reason;
        }
        let swap = self.engine.begin_finishing(self.claimed, stopped(Stopped::Cancelled), summary);
        let mut swap = std::pin::pin!(swap);
        let swapped = tokio::select! {
            biased;
            // The swap goes on after the stop: it is not dropped.
            swapped = &mut swap => Some(swapped),
            () = self.engine.ports().clock.sleep(SWAP_FIRST) => None,
        };
        stop_it();
        let swapped = match swapped {
            Some(swapped) => swapped,
            None => swap.await,
        };
        match swapped {
            Ok(None) => StopReason::ClaimLost,
            Ok(Some(_)) => reason,
            Err(error) => {
                tracing::warn!(task.id = %self.claimed.record.task_id, error = %error, "finishing could not be recorded");
                reason
            }
        }
    }

    /// The worker was told to stop: a cancel if one was wished, else a failure.
    async fn told_to_stop(&self) -> StopReason {
        let ports = self.engine.ports();
        self.log.limit().hurry(ports.clock.monotonic().saturating_add(LINES_AFTER_STOP));
        let wished = tokio::select! {
            biased;
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
}

/// The verdict over a run that was stopped before its agent had a word.
pub(super) fn stopped(stopped: Stopped) -> Verdict {
    verdict::verdict(&VerdictInputs {
        exit: Exit::Code(0),
        stopped: Some(stopped),
        transcript: &Facts::default(),
        altered: false,
        stderr_tail: "",
    })
}
