//! The rule by which records move.

use alloc::{string::ToString, vec::Vec};
use core::time::Duration;

use super::{
    AttemptOutcome, CALLBACK_CLAIM, Callback, CallbackAttempt, CallbackState, Claim, CreateRecord,
    DEADLINE_ALLOWANCE, ErrorCode, Event, LogFacts, MAX_STARTS, NotAllowed, Outcome, PastAttempt, Payload,
    Phase, Record, START_PAUSE, Settlement, Starts, Status, Summary, Verdict,
};
use crate::{
    id::{Attempt, Token},
    time::Timestamp,
};

impl Record {
    /// Returns the record of a task that was just accepted.
    pub fn create(new: CreateRecord) -> Self {
        Self {
            task_id: new.task_id,
            status: Status::Pending,
            kind: new.kind,
            attempt: Attempt::FIRST,
            callback_url: new.callback_url,
            created_at: new.now,
            started_at: None,
            completed_at: None,
            cancelled_at: None,
            execution_name: None,
            worker_logs_url: None,
            exit_code: None,
            error: None,
            error_code: None,
            error_detail: None,
            summary: None,
            result: None,
            metadata: new.metadata,
            uploaded_files: Vec::new(),
            git_commit: None,
            action_errors: Vec::new(),
            log: LogFacts::default(),
            callback: Callback::none(),
            history: Vec::new(),
            revision: 1,
            creation: new.token.clone(),
            request_digest: new.request_digest,
            callback_target: new.callback_target,
            starts: first_starts(new.started_by_submitter, new.token, new.now),
            claim: None,
            phase: None,
            verdict: None,
            deadline_at: None,
            finish_by: None,
            cancel_requested_at: None,
            payload: Payload::Stored,
            first_chunk: 1,
            last_chunk: None,
            delivered_at: None,
            end: None,
        }
    }

    /// Returns the record after the event.
    ///
    /// # Errors
    /// [`NotAllowed`] where the record's state does not allow it; the record stands unchanged.
    pub fn apply(&self, event: Event) -> Result<Self, NotAllowed> {
        let mut next = self.clone();
        next.revision = self.revision.saturating_add(1);
        match event {
            Event::Started { token, now } => next.start(token, now)?,
            Event::Claimed(claimed) => {
                next.require(Status::Pending)?;
                next.status = Status::Running;
                next.phase = Some(Phase::Running);
                next.started_at = Some(claimed.now);
                next.deadline_at = Some(claimed.now.plus(claimed.timeout).plus(DEADLINE_ALLOWANCE));
                next.execution_name = Some(claimed.execution_name);
                next.worker_logs_url = claimed.worker_logs_url;
                next.claim = Some(Claim { token: claimed.token, at: claimed.now });
            }
            Event::CancelRequested { now } => {
                next.require(Status::Running)?;
                if next.phase == Some(Phase::Finishing) {
                    return Err(NotAllowed::Finishing);
                }
                next.cancel_requested_at = Some(next.cancel_requested_at.unwrap_or(now));
            }
            Event::Finishing { claim, verdict, summary, finish_by } => {
                next.require_claim(&claim)?;
                if next.phase == Some(Phase::Finishing) {
                    return Err(NotAllowed::Finishing);
                }
                next.phase = Some(Phase::Finishing);
                next.summary = Some(summary);
                next.result.clone_from(&verdict.result);
                next.verdict = Some(verdict);
                next.finish_by = Some(finish_by);
            }
            Event::Ended { claim, outcome, token, now } => {
                next.require_claim(&claim)?;
                next.end(*outcome, token, now);
            }
            Event::Settled { settlement, token, now } => next.settle(&settlement, token, now)?,
            Event::CallbackClaimed { token, now } => next.claim_callback(token, now)?,
            Event::CallbackDelivered { token, status, duration, now } => {
                next.require_terminal()?;
                let attempt = next.attempt_mut(&token)?;
                attempt.outcome = AttemptOutcome::Delivered;
                attempt.status = Some(status);
                attempt.error = None;
                attempt.duration_ms = Some(milliseconds(duration));
                next.callback.state = CallbackState::Delivered;
                next.callback.next_attempt_at = None;
                next.delivered_at = Some(next.delivered_at.unwrap_or(now));
            }
            Event::CallbackFailed { token, status, error, duration, next_at } => {
                next.require_terminal()?;
                let attempt = next.attempt_mut(&token)?;
                if attempt.outcome != AttemptOutcome::Unknown {
                    return Err(NotAllowed::NotTheAttempt);
                }
                attempt.outcome = AttemptOutcome::Failed;
                attempt.status = status;
                attempt.error = error;
                attempt.duration_ms = duration.map(milliseconds);
                if next.callback.state == CallbackState::Pending {
                    next.callback.next_attempt_at = next_at;
                    if next_at.is_none() {
                        // A failing redelivery does not undo an earlier delivery.
                        next.callback.state = if next.delivered_at.is_some() {
                            CallbackState::Delivered
                        } else {
                            CallbackState::Failed
                        };
                    }
                }
            }
            Event::Redelivered { next_at } => {
                next.require_terminal()?;
                if next.callback_target.is_none() {
                    return Err(NotAllowed::NoReceiver);
                }
                if next.callback.state == CallbackState::Pending {
                    return Err(NotAllowed::CallbackPending);
                }
                next.callback.state = CallbackState::Pending;
                next.callback.earlier = u32::try_from(next.callback.attempts.len()).unwrap_or(u32::MAX);
                next.callback.next_attempt_at = Some(next_at);
            }
            Event::PayloadDeleted => {
                if next.status == Status::Pending {
                    return Err(NotAllowed::State { status: next.status });
                }
                next.payload = Payload::Deleted;
            }
            Event::Retried { first_chunk, started_by_caller, token, now } => {
                next.retry(first_chunk, first_starts(started_by_caller, token, now))?;
            }
            Event::Touched => {}
        }
        Ok(next)
    }

    fn require(&self, status: Status) -> Result<(), NotAllowed> {
        if self.status == status { Ok(()) } else { Err(NotAllowed::State { status: self.status }) }
    }

    fn require_terminal(&self) -> Result<(), NotAllowed> {
        if self.is_terminal() { Ok(()) } else { Err(NotAllowed::State { status: self.status }) }
    }

    fn require_claim(&self, token: &Token) -> Result<(), NotAllowed> {
        self.require(Status::Running)?;
        if self.is_claimed_by(token) { Ok(()) } else { Err(NotAllowed::NotTheClaim) }
    }

    fn attempt_mut(&mut self, token: &Token) -> Result<&mut CallbackAttempt, NotAllowed> {
        self.callback
            .attempts
            .iter_mut()
            .find(|attempt| attempt.token == *token)
            .ok_or(NotAllowed::NotTheAttempt)
    }

    fn start(&mut self, token: Token, now: Timestamp) -> Result<(), NotAllowed> {
        self.require(Status::Pending)?;
        if self.payload == Payload::Deleted {
            return Err(NotAllowed::PayloadGone);
        }
        if self.starts.next_at > now || self.starts.count >= MAX_STARTS {
            return Err(NotAllowed::NoStartDue);
        }
        let doublings = 1_u32.checked_shl(self.starts.count).unwrap_or(u32::MAX);
        let next_at = now.plus(START_PAUSE.saturating_mul(doublings));
        self.starts = Starts { count: self.starts.count.saturating_add(1), next_at, token };
        Ok(())
    }

    fn end(&mut self, outcome: Outcome, token: Token, now: Timestamp) {
        let Verdict { status, exit_code, error, error_code, error_detail, result } = outcome.verdict;
        let cancelled = status == Status::Cancelled;
        self.status = status;
        self.completed_at = Some(now).filter(|_| !cancelled);
        self.cancelled_at = Some(now).filter(|_| cancelled);
        self.exit_code = Some(exit_code);
        self.error = error;
        self.error_code = error_code;
        self.error_detail = error_detail;
        self.result = result;
        self.summary = Some(Summary {
            duration_ms: self.started_at.map_or(0, |started| milliseconds(now.since(started))),
            started_at: self.started_at,
            completed_at: Some(now),
            cancelled_at: self.cancelled_at,
            ..outcome.summary
        });
        self.uploaded_files = outcome.uploaded_files;
        self.git_commit = outcome.git_commit;
        self.action_errors = outcome.action_errors;
        self.log = outcome.log;
        self.last_chunk = outcome.last_chunk;
        self.phase = None;
        self.verdict = None;
        self.finish_by = None;
        self.end = Some(token.clone());
        if self.callback_target.is_some() {
            self.callback.state = CallbackState::Pending;
            self.push_attempt(token, now);
        }
    }

    /// Ends an attempt on behalf of a worker that cannot. What a finishing worker had found stays.
    fn settle(&mut self, settlement: &Settlement, token: Token, now: Timestamp) -> Result<(), NotAllowed> {
        let wanted = match settlement {
            Settlement::CancelledPending | Settlement::StartFailed | Settlement::SubmissionInterrupted => {
                Status::Pending
            }
            Settlement::WorkerLost | Settlement::DeadlinePassed { .. } => Status::Running,
        };
        self.require(wanted)?;
        let verdict = self.settled_verdict(settlement);
        let outcome = Outcome {
            verdict,
            summary: self.summary.clone().unwrap_or_default(),
            uploaded_files: Vec::new(),
            git_commit: None,
            action_errors: Vec::new(),
            log: self.log,
            last_chunk: None,
        };
        self.end(outcome, token, now);
        Ok(())
    }

    fn settled_verdict(&self, settlement: &Settlement) -> Verdict {
        let finishing = self.phase == Some(Phase::Finishing);
        let stored = self.verdict.as_ref().map(|verdict| verdict.status);
        let cancelled = match settlement {
            Settlement::CancelledPending => true,
            Settlement::WorkerLost => {
                stored == Some(Status::Cancelled) || (!finishing && self.cancel_requested_at.is_some())
            }
            Settlement::StartFailed
            | Settlement::SubmissionInterrupted
            | Settlement::DeadlinePassed { .. } => false,
        };
        let (exit_code, error, error_code) = if cancelled {
            (130, "Task cancelled by user".to_string(), ErrorCode::Cancelled)
        } else {
            match settlement {
                Settlement::StartFailed => {
                    (1, "Worker could not be started".to_string(), ErrorCode::StartFailed)
                }
                Settlement::SubmissionInterrupted => {
                    (1, "Submission was interrupted".to_string(), ErrorCode::StartFailed)
                }
                Settlement::DeadlinePassed { minutes } => {
                    (124, alloc::format!("Process timed out after {minutes} minutes"), ErrorCode::Timeout)
                }
                Settlement::CancelledPending | Settlement::WorkerLost => {
                    (1, "Worker lost".to_string(), ErrorCode::WorkerLost)
                }
            }
        };
        Verdict {
            status: if cancelled { Status::Cancelled } else { Status::Failed },
            exit_code,
            error: Some(error),
            error_code: Some(error_code),
            error_detail: finishing.then(|| {
                "during post-execution actions: commit, push or uploads may have happened".to_string()
            }),
            result: self.result.clone(),
        }
    }

    fn claim_callback(&mut self, token: Token, now: Timestamp) -> Result<(), NotAllowed> {
        self.require_terminal()?;
        if self.callback.state != CallbackState::Pending || self.callback.open_attempt().is_some() {
            return Err(NotAllowed::NotTheAttempt);
        }
        if self.callback.next_attempt_at.is_some_and(|at| at > now) {
            return Err(NotAllowed::CallbackPending);
        }
        self.push_attempt(token, now);
        Ok(())
    }

    fn push_attempt(&mut self, token: Token, now: Timestamp) {
        let n = u32::try_from(self.callback.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.callback.attempts.push(CallbackAttempt {
            n,
            at: now,
            token,
            outcome: AttemptOutcome::Unknown,
            status: None,
            error: None,
            duration_ms: None,
        });
        self.callback.next_attempt_at = Some(now.plus(CALLBACK_CLAIM));
    }

    fn retry(&mut self, first_chunk: u32, starts: Starts) -> Result<(), NotAllowed> {
        if !matches!(self.status, Status::Failed | Status::Cancelled) {
            return Err(NotAllowed::State { status: self.status });
        }
        let untold = self.callback.state == CallbackState::Pending
            && self.callback.attempts.iter().all(|attempt| attempt.outcome == AttemptOutcome::Unknown);
        if untold {
            return Err(NotAllowed::CallbackPending);
        }
        if self.payload == Payload::Deleted {
            return Err(NotAllowed::PayloadGone);
        }
        let mut callback = core::mem::replace(&mut self.callback, Callback::none());
        if callback.state == CallbackState::Pending {
            callback.state = CallbackState::Superseded;
            callback.next_attempt_at = None;
        }
        self.history.push(PastAttempt {
            attempt: self.attempt,
            status: self.status,
            exit_code: self.exit_code.take(),
            error: self.error.take(),
            started_at: self.started_at.take(),
            completed_at: self.completed_at.take(),
            cancelled_at: self.cancelled_at.take(),
            callback,
        });
        self.status = Status::Pending;
        self.attempt = self.attempt.next();
        self.starts = starts;
        self.first_chunk = first_chunk;
        self.last_chunk = None;
        self.execution_name = None;
        self.worker_logs_url = None;
        self.error_code = None;
        self.error_detail = None;
        self.summary = None;
        self.result = None;
        self.uploaded_files = Vec::new();
        self.git_commit = None;
        self.action_errors = Vec::new();
        self.log = LogFacts::default();
        self.claim = None;
        self.deadline_at = None;
        self.cancel_requested_at = None;
        self.delivered_at = None;
        self.end = None;
        Ok(())
    }
}

/// A caller that starts the worker itself counts as the first start; where slots decide, none was made.
fn first_starts(by_caller: bool, token: Token, now: Timestamp) -> Starts {
    if by_caller {
        Starts { count: 1, next_at: now.plus(START_PAUSE), token }
    } else {
        Starts { count: 0, next_at: now, token }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
