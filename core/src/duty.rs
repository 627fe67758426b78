//! What a record asks of whoever looks at it, and which entries below `due/` it relies on.
//!
//! Whoever finds an entry that is due reads the record and does its [`Duty`]; afterwards the entry
//! is kept, waited with or removed by [`fate`]. Both are functions of the record and a time alone.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    id::{Attempt, Token},
    record::{CallbackState, DEADLINE_ALLOWANCE, MAX_STARTS, Payload, Phase, Record, Status},
    time::Timestamp,
};

/// When somebody looks whether the worker has seen a wish to cancel.
pub const WISH_ALLOWANCE: Duration = Duration::from_secs(15);
/// How far past its time an entry or marker has to be before it may go that its record does not ask
/// for: a slower process may still be about to write the record that does.
pub const STRAY_AFTER: Duration = Duration::from_mins(10);

/// What is owed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Nothing, before the next time that the record names.
    Nothing,
    /// A worker is to be started for the pending attempt.
    Start,
    /// No worker came after the last start: the attempt has failed.
    GiveUpStarting,
    /// A wish to cancel has not been answered by the worker.
    AnswerWish,
    /// The worker has not finished by the time that it named.
    EndUnfinished,
    /// The deadline has passed.
    EndOverdue {
        /// The request's time limit.
        minutes: u64,
    },
    /// A callback attempt has no outcome: it counts as failed.
    CountAttempt {
        /// Whose attempt it was.
        token: Token,
    },
    /// The next callback attempt is to be made.
    Deliver,
    /// The sealed request is kept long enough.
    DeletePayload,
}

/// What is to become of an entry that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The record relies on it.
    Keep,
    /// What it stood for is done or moot.
    Remove,
    /// The record does not ask for it: it goes once the record has a new version, so that whoever is
    /// about to rely on it loses its swap and begins again.
    RemoveAfterTouch,
}

impl Record {
    /// Returns what is owed at `now`, with sealed requests of failed and cancelled tasks kept for
    /// `retention`.
    pub fn duty(&self, now: Timestamp, retention: Duration) -> Duty {
        match self.status {
            Status::Pending if self.starts.next_at > now => Duty::Nothing,
            Status::Pending if self.starts.count >= MAX_STARTS => Duty::GiveUpStarting,
            Status::Pending => Duty::Start,
            Status::Running => self.duty_of_running(now),
            Status::Completed | Status::Failed | Status::Cancelled => self.duty_of_settled(now, retention),
        }
    }

    fn duty_of_running(&self, now: Timestamp) -> Duty {
        let passed = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if passed(self.deadline_at) {
            return Duty::EndOverdue { minutes: self.limit_minutes() };
        }
        if self.phase == Some(Phase::Finishing) {
            return if passed(self.finish_by) { Duty::EndUnfinished } else { Duty::Nothing };
        }
        if passed(self.wish_due_at()) { Duty::AnswerWish } else { Duty::Nothing }
    }

    fn duty_of_settled(&self, now: Timestamp, retention: Duration) -> Duty {
        if self.callback.state == CallbackState::Pending
            && self.callback.next_attempt_at.is_none_or(|at| at <= now)
        {
            return match self.callback.open_attempt() {
                Some(attempt) => Duty::CountAttempt { token: attempt.token.clone() },
                None => Duty::Deliver,
            };
        }
        let is_kept = match self.payload_kept_until(retention) {
            Some(until) => until > now,
            None => self.callback.state == CallbackState::Pending,
        };
        if self.payload == Payload::Stored && !is_kept { Duty::DeletePayload } else { Duty::Nothing }
    }

    /// Returns until when the sealed request of a failed or cancelled attempt is kept; nothing for others.
    pub fn payload_kept_until(&self, retention: Duration) -> Option<Timestamp> {
        let ended = match self.status {
            Status::Failed => self.completed_at,
            Status::Cancelled => self.cancelled_at,
            Status::Pending | Status::Running | Status::Completed => None,
        };
        ended.map(|ended| ended.plus(retention))
    }

    /// Returns when somebody looks whether a wish to cancel was answered.
    pub fn wish_due_at(&self) -> Option<Timestamp> {
        self.cancel_requested_at.map(|at| at.plus(WISH_ALLOWANCE))
    }

    /// Returns whether somebody may ask for this attempt's callback to be delivered again.
    fn may_be_redelivered(&self) -> bool {
        self.is_terminal() && self.callback_target.is_some() && self.callback.state != CallbackState::Pending
    }

    /// Returns the times at which a running attempt has entries.
    pub fn times_of_running(&self) -> Vec<Timestamp> {
        [self.deadline_at, self.finish_by, self.wish_due_at()].into_iter().flatten().collect()
    }

    /// Returns the time limit that the running attempt was claimed with.
    pub fn limit_minutes(&self) -> u64 {
        let claimed = self.claim.as_ref().map(|claim| claim.at);
        let span = claimed.zip(self.deadline_at).map_or(Duration::ZERO, |(at, deadline)| deadline.since(at));
        span.saturating_sub(DEADLINE_ALLOWANCE).as_secs() / 60
    }

    /// Returns whether this record relies on an entry at `at` for its current attempt.
    pub fn asks_for(&self, at: Timestamp, retention: Duration) -> bool {
        let named = |times: &[Option<Timestamp>]| times.contains(&Some(at));
        match self.status {
            Status::Pending => self.starts.next_at == at,
            Status::Running => self.times_of_running().contains(&at),
            Status::Completed | Status::Failed | Status::Cancelled => {
                let callback =
                    self.callback.next_attempt_at.filter(|_| self.callback.state == CallbackState::Pending);
                let payload = self.payload_kept_until(retention).filter(|_| self.payload == Payload::Stored);
                named(&[callback, payload])
            }
        }
    }
}

/// Returns what is to become of an entry that was due at `at` for `attempt`, once its record's duty
/// is done and what the record still owes has entries of its own.
pub fn fate(record: &Record, attempt: Attempt, at: Timestamp, now: Timestamp, retention: Duration) -> Fate {
    let has_ended = attempt == record.attempt && record.is_terminal();
    if attempt == record.attempt && record.asks_for(at, retention) {
        Fate::Keep
    } else if has_ended && record.may_be_redelivered() {
        // It may be that of a redelivery, whose swap is about to come.
        Fate::RemoveAfterTouch
    } else if attempt < record.attempt || has_ended {
        Fate::Remove
    } else if at.plus(STRAY_AFTER) <= now {
        Fate::RemoveAfterTouch
    } else {
        Fate::Keep
    }
}

#[cfg(test)]
mod tests;
