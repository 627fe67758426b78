//! Telling the receiver: one attempt after another, each claimed in the record before it is made.
//!
//! The worker makes the attempts that fall into its first minutes; what is owed after them stands in
//! `due/` for whoever looks there.

use std::time::Duration;

use bytes::Bytes;
use legwork_core::{
    callback::{CallbackBody, schedule},
    id::{TaskId, Token},
    layout,
    record::{CallbackState, Event, Payload, Record, Status},
    time::Timestamp,
};
use legwork_ports::{
    callbacks::{CallbackAnswer, CallbackError, CallbackPost},
    clock::IdSourceExt as _,
};

use crate::{
    Engine,
    records::{Patience, Step, UpdateError},
};

/// How long a worker stays to make further attempts.
const WORKER_STAYS: Duration = Duration::from_mins(3);
/// How much too early a worker may wake that has slept until an attempt was due: clocks differ in their grain.
const SLEPT: Duration = Duration::from_secs(1);
/// How long after a payload's deletion the object is deleted once more, against a put that landed late: ten
/// minutes, and as many for clocks that are five minutes off, of who says when and of who sees to it.
pub(crate) const DELETE_AGAIN: Duration = Duration::from_mins(20);

/// What became of one attempt.
struct Attempted {
    status: Option<u16>,
    error: Option<String>,
    retry_after: Option<Duration>,
    duration: Duration,
}

impl Attempted {
    fn is_delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Engine {
    /// Returns the callback body of an attempt that has ended.
    pub fn callback_body(&self, record: &Record) -> String {
        CallbackBody::of_record(record, &self.logs_path(&record.task_id)).to_json()
    }

    /// Makes the attempts that fall into the first minutes after the end, the first of which was
    /// claimed by `token` in the swap that ended the attempt. Returns the record, which tells what is
    /// still owed.
    pub(crate) async fn deliver_first(&self, ended: Record, token: Token) -> Result<Record, UpdateError> {
        let began = self.ports().clock.monotonic();
        let mut record = ended;
        let mut token = token;
        while record.callback.state == CallbackState::Pending {
            record = self.attempt(record, &token, Patience::Long).await?;
            let (CallbackState::Pending, Some(next_at)) =
                (record.callback.state, record.callback.next_attempt_at)
            else {
                break;
            };
            let now = self.ports().clock.now();
            let stayed = self.ports().clock.monotonic().saturating_sub(began);
            let pause = next_at.since(now);
            if stayed.saturating_add(pause) > WORKER_STAYS {
                break;
            }
            self.ports().clock.sleep(pause).await;
            token = self.ports().ids.token();
            record = match self.claim_attempt(&record.task_id, &token, SLEPT, Patience::Long).await {
                Ok(record) => record,
                // Somebody else makes it.
                Err(UpdateError::NotAllowed(_)) => break,
                Err(error) => return Err(error),
            };
        }
        Ok(record)
    }

    /// Makes one attempt that was claimed by `token`, if there is somebody to tell, and puts down what is
    /// owed after it. `moot` are times of entries that the end of the attempt has made so.
    pub(crate) async fn deliver_claimed(
        &self,
        record: Record,
        token: &Token,
        moot: Vec<Timestamp>,
    ) -> Result<Record, UpdateError> {
        let record = match record.callback.state {
            CallbackState::Pending => self.attempt(record, token, Patience::Short).await?,
            CallbackState::None
            | CallbackState::Delivered
            | CallbackState::Failed
            | CallbackState::Superseded => record,
        };
        self.put_down_what_is_owed(&record, moot, Patience::Short).await?;
        Ok(record)
    }

    /// Claims the attempt that is due and makes it; nothing where somebody else has claimed it.
    pub(crate) async fn deliver_due(&self, id: &TaskId) -> Result<Option<Record>, UpdateError> {
        let token = self.ports().ids.token();
        match self.claim_attempt(id, &token, Duration::ZERO, Patience::Short).await {
            Ok(record) => self.deliver_claimed(record, &token, Vec::new()).await.map(Some),
            Err(UpdateError::NotAllowed(_) | UpdateError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Counts a claimed attempt without an outcome as failed, and returns the record.
    pub(crate) async fn count_as_failed(&self, id: &TaskId, token: &Token) -> Result<Record, UpdateError> {
        let unanswered = Attempted {
            status: None,
            error: Some("whoever made this attempt gave no outcome".to_owned()),
            retry_after: None,
            duration: schedule::CLAIM_TIMEOUT,
        };
        self.note(id, token, &unanswered, Patience::Short).await
    }

    /// Claims the attempt that is due, or will be within `early`. Somebody else may have made it meanwhile:
    /// the one after it is not due then.
    async fn claim_attempt(
        &self,
        id: &TaskId,
        token: &Token,
        early: Duration,
        patience: Patience,
    ) -> Result<Record, UpdateError> {
        let ports = self.ports();
        let mut moot = None;
        let (record, _) = ports
            .update(
                id,
                patience,
                |record| record.callback.attempts.iter().any(|attempt| attempt.token == *token),
                |record| {
                    let now = ports.clock.now();
                    moot = record.callback.next_attempt_at;
                    let due = record.callback.next_attempt_at.unwrap_or(now);
                    let at = if due <= now.plus(early) { now.max(due) } else { now };
                    let event = Event::CallbackClaimed { token: token.clone(), now: at };
                    let due = record.apply(event.clone())?.callback.next_attempt_at;
                    Ok(Step::swap_with(event, due))
                },
            )
            .await?;
        // The receiver does not wait for it.
        self.remove_moot(id, record.attempt, moot);
        Ok(record)
    }

    /// Makes the claimed attempt and records its outcome.
    async fn attempt(
        &self,
        record: Record,
        token: &Token,
        patience: Patience,
    ) -> Result<Record, UpdateError> {
        let attempted = self.post(&record).await;
        let delivered = attempted.is_delivered();
        let id = &record.task_id;
        let Attempted { status, error, duration, .. } = &attempted;
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if delivered {
            tracing::info!(task.id = %id, status, duration_ms, "callback delivered");
        } else {
            tracing::warn!(task.id = %id, status, error, duration_ms, "callback attempt failed");
        }
        let counted_at = record.callback.next_attempt_at;
        let record = self.note(id, token, &attempted, patience).await?;
        if let Some(at) = counted_at.filter(|at| record.callback.next_attempt_at != Some(*at)) {
            if record.callback.state != CallbackState::Pending {
                // Whoever finds this entry does what is owed, if this process dies here.
                self.owe(&record, patience).await?;
            }
            self.ports().delete_patiently(&layout::due(at, id, record.attempt), patience).await?;
        }
        Ok(record)
    }

    /// Records the outcome of an attempt.
    async fn note(
        &self,
        id: &TaskId,
        token: &Token,
        attempted: &Attempted,
        patience: Patience,
    ) -> Result<Record, UpdateError> {
        let delivered = attempted.is_delivered();
        let ports = self.ports();
        let jitter = ports.ids.jitter();
        let settled = |record: &Record| {
            record.callback.attempts.iter().any(|attempt| {
                attempt.token == *token && attempt.outcome != legwork_core::record::AttemptOutcome::Unknown
            })
        };
        let (record, _) = ports
            .update(id, patience, settled, |record| {
                let now = ports.clock.now();
                if delivered {
                    return Ok(Step::swap(Event::CallbackDelivered {
                        token: token.clone(),
                        status: attempted.status.unwrap_or_default(),
                        duration: attempted.duration,
                        now,
                    }));
                }
                let next_at = next_attempt(record, attempted, jitter, now);
                let event = Event::CallbackFailed {
                    token: token.clone(),
                    status: attempted.status,
                    error: attempted.error.clone(),
                    duration: Some(attempted.duration),
                    next_at,
                };
                Ok(Step::swap_with(event, next_at))
            })
            .await?;
        Ok(record)
    }

    async fn post(&self, record: &Record) -> Attempted {
        let (Some(url), Some(secrets)) = (&record.callback_target, &self.settings().callback_secrets) else {
            return Attempted {
                status: None,
                error: Some("no secret signs callbacks".to_owned()),
                retry_after: None,
                duration: Duration::ZERO,
            };
        };
        let clock = &self.ports().clock;
        let body = self.callback_body(record);
        let headers = secrets.headers(&record.webhook_id(), clock.now().unix_seconds(), &body);
        let post =
            CallbackPost { url: url.clone(), headers, body: Bytes::from(body), deadline: schedule::DEADLINE };
        let began = clock.monotonic();
        let answer = self.ports().callbacks.post(post).await;
        let duration = clock.monotonic().saturating_sub(began);
        match answer {
            Ok(CallbackAnswer { status, retry_after }) => {
                Attempted { status: Some(status), error: None, retry_after, duration }
            }
            Err(error) => {
                Attempted { status: None, error: Some(describe(&error)), retry_after: None, duration }
            }
        }
    }

    /// Before the marker and the entries of a settled attempt go: what its end owes. `moot` are times of
    /// entries that stood for its life.
    pub(crate) async fn put_down_what_is_owed(
        &self,
        record: &Record,
        moot: Vec<Timestamp>,
        patience: Patience,
    ) -> Result<(), UpdateError> {
        self.owe(record, patience).await?;
        self.remove_entries(record, moot, patience).await?;
        let marker = layout::active(&record.task_id, record.attempt);
        Ok(self.ports().delete_patiently(&marker, patience).await?)
    }

    /// Sees to it that what the end of an attempt owes has entries: the next callback attempt, and the end
    /// of its sealed request, which goes at once where nobody needs it any more.
    pub(crate) async fn owe(&self, record: &Record, patience: Patience) -> Result<(), UpdateError> {
        let ports = self.ports();
        let id = &record.task_id;
        if record.callback.state == CallbackState::Pending {
            if let Some(at) = record.callback.next_attempt_at {
                ports.put_due(id, record, at, patience).await?;
            }
        } else if record.status == Status::Completed && record.payload == Payload::Stored {
            self.delete_payload(record, patience).await?;
        }
        let kept_until = record.payload_kept_until(self.settings().payload_retention);
        if let Some(at) = kept_until.filter(|_| record.payload == Payload::Stored) {
            ports.put_due(id, record, at, patience).await?;
        }
        if record.payload == Payload::Deleted {
            // A put of it may have landed after it was deleted.
            ports.delete_patiently(&layout::payload(id), patience).await?;
        }
        Ok(())
    }

    /// Deletes the sealed request for good: the record says so first, and an entry sees to a second
    /// deletion against a put that lands late.
    pub(crate) async fn delete_payload(
        &self,
        record: &Record,
        patience: Patience,
    ) -> Result<(), UpdateError> {
        let ports = self.ports();
        let id = &record.task_id;
        let again_at = ports.clock.now().plus(DELETE_AGAIN);
        let attempt = record.attempt;
        let (record, _) = ports
            .update(
                id,
                patience,
                |record| record.payload == Payload::Deleted,
                |record| {
                    // A later attempt needs it.
                    if record.payload == Payload::Deleted || record.attempt != attempt {
                        return Ok(Step::Leave);
                    }
                    Ok(Step::swap_after(again_at, Event::PayloadDeleted))
                },
            )
            .await?;
        if record.payload == Payload::Deleted {
            ports.delete_patiently(&layout::payload(id), patience).await?;
        }
        Ok(())
    }
}

/// When the next attempt is due after a failed one; nothing: no more.
fn next_attempt(record: &Record, attempted: &Attempted, jitter: f64, now: Timestamp) -> Option<Timestamp> {
    let made = record.callback.made();
    match schedule::next_attempt(made, attempted.retry_after, attempted.status, jitter) {
        schedule::Next::At(pause) => Some(now.plus(pause)),
        schedule::Next::GiveUp => None,
    }
}

fn describe(error: &CallbackError) -> String {
    error.to_string()
}
