//! What is done about one task: its duties, its worker, and the entries that are left of it.

use std::time::Duration;

use legwork_core::{
    duty::{Duty, Fate, STRAY_AFTER, fate},
    id::{Attempt, TaskId, Token},
    record::{Event, Record, Settlement, Status},
    time::Timestamp,
};
use legwork_ports::{clock::IdSourceExt as _, jobs::StartPolicy};

use super::{
    Life, Moment, PassReport, Reconciler,
    entries::Listed,
    memory::{Sight, Wish},
};
use crate::records::{Patience, Step, UpdateError};

/// Duties that one look does about one task: each changes the record, so that the next is another.
const ROUNDS: usize = 6;
/// How long a pending attempt may be without its sealed request, by the observer's own clock.
const BARE: Duration = Duration::from_mins(5);
/// The same for somebody who goes by the store's times of writing.
const BARE_BY_DATE: Duration = Duration::from_mins(10);
/// How long after a wish was first read the worker is still left to itself.
const WISH_LEFT: Duration = Duration::from_secs(20);
/// How long after a write of one's own the record is read once more.
const WISH_READ_AGAIN: Duration = Duration::from_secs(10);
/// How long the marker of an attempt that has ended is left to its worker, which may still be
/// making callback attempts.
const MARKER_LEFT: Duration = Duration::from_secs(30);

/// What a look found of one task.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) entries: Vec<Listed>,
    pub(super) markers: Vec<(Listed, Sight)>,
}

/// What was done about it.
#[derive(Debug, Default)]
pub(super) struct Treated {
    pub(super) report: PassReport,
    pub(super) deliveries: Vec<Delivery>,
}

/// A callback attempt that is to be made.
#[derive(Debug)]
pub(super) enum Delivery {
    /// It has to be claimed first.
    Due { id: TaskId, host: String, since: Timestamp },
    /// It was claimed by the swap that ended the attempt, which made entries at these times moot.
    Claimed { record: Box<Record>, token: Token, moot: Vec<Timestamp> },
}

impl Delivery {
    /// Since when somebody waits for it; nothing where it was claimed.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Due { since, .. } => Some(*since),
            Self::Claimed { .. } => None,
        }
    }

    /// Whom it is made to.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Due { host, .. } => host,
            Self::Claimed { record, .. } => host(record),
        }
    }
}

/// Returns the host and port of a record's receiver.
fn host(record: &Record) -> &str {
    let target = record.callback_target.as_deref().unwrap_or_default();
    let after_scheme = target.split_once("://").map_or(target, |(_, rest)| rest);
    after_scheme.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a duty changed the record.
enum Done {
    /// It did: there may be another one.
    Changed(Box<Record>),
    /// Somebody else has it, or it takes time.
    Rests,
}

impl Reconciler {
    /// Does what there is to do about one task. What fails is left to the next look.
    pub(super) async fn treat(&self, id: TaskId, mut work: Work, now: Moment) -> Treated {
        let mut treated = Treated::default();
        work.entries.retain(|entry| !self.memory.is_waiting(&entry.key, now.monotonic));
        let is_unread = work.markers.iter().any(|(_, sight)| *sight == Sight::Read);
        let well = work.entries.is_empty() && !is_unread && self.all_well(&id, &work, now).await;
        if well {
            return treated;
        }
        treated.report.examined = 1;
        if let Err(error) = self.treat_read(&id, &work, now, &mut treated).await {
            tracing::warn!(task.id = %id, error = %error, "a task is left to the next look");
            treated.report.errors = 1;
        }
        treated
    }

    async fn treat_read(
        &self,
        id: &TaskId,
        work: &Work,
        now: Moment,
        treated: &mut Treated,
    ) -> Result<(), UpdateError> {
        let Some((mut record, written)) = self.engine.ports().read_dated(id).await? else {
            return self.treat_astray(work, now, treated).await;
        };
        let mut rests = true;
        for _ in 0..ROUNDS {
            match self.do_duty(&record, written, now, treated).await? {
                Done::Changed(next) => record = *next,
                Done::Rests => break,
            }
            rests = false;
        }
        for (marker, _) in &work.markers {
            let attempt = marker.marker.attempt;
            let standing = self.memory.learn(attempt, Some(&record), id, now.monotonic);
            let is_current = attempt == record.attempt;
            if is_current && record.status == Status::Running {
                self.check_worker(&record, marker, written, now, treated).await?;
            } else if !is_current || record.is_terminal() {
                let still = self.age(marker.modified, standing.still, now);
                self.clear_marker(&record, marker, still, treated).await?;
            }
        }
        let is_listed = work.entries.iter().any(|entry| entry.marker.at == Some(record.starts.next_at));
        if record.status == Status::Pending && !work.markers.is_empty() && !is_listed {
            // Whoever starts it goes by its entry, which may have been lost with its submitter.
            self.engine.ports().put_due(id, &record, record.starts.next_at, Patience::Short).await?;
        }
        for entry in &work.entries {
            self.clear_entry(&record, entry, rests, now, treated).await?;
        }
        Ok(())
    }

    /// Does what the record asks for now.
    async fn do_duty(
        &self,
        record: &Record,
        written: Timestamp,
        now: Moment,
        treated: &mut Treated,
    ) -> Result<Done, UpdateError> {
        let id = &record.task_id;
        let settings = self.engine.settings();
        match record.duty(now.wall, settings.payload_retention) {
            Duty::Nothing => Ok(Done::Rests),
            Duty::Start => self.start(record, written, now, treated).await,
            Duty::GiveUpStarting => self.settle(record, Settlement::StartFailed, treated).await.map(changed),
            Duty::AnswerWish => self.answer_wish(record, now, treated).await,
            // A worker on this machine ends in its own time, whose clock sleeps with it.
            Duty::EndUnfinished if self.engine.ports().jobs.is_exact() => Ok(Done::Rests),
            Duty::EndUnfinished => {
                self.cancel_execution(record, treated).await;
                Ok(Done::Rests)
            }
            Duty::EndOverdue { minutes } => self.end_overdue(record, minutes, treated).await.map(changed),
            Duty::CountAttempt { token } => match self.engine.count_as_failed(id, &token).await {
                Ok(record) => Ok(Done::Changed(Box::new(record))),
                Err(UpdateError::NotAllowed(_)) => Ok(Done::Rests),
                Err(error) => Err(error),
            },
            Duty::Deliver => {
                let since = record.callback.next_attempt_at.unwrap_or(now.wall);
                treated.deliveries.push(Delivery::Due {
                    id: id.clone(),
                    host: host(record).to_owned(),
                    since,
                });
                Ok(Done::Rests)
            }
            Duty::DeletePayload => {
                self.engine.delete_payload(record, Patience::Short).await?;
                treated.report.payloads_deleted = treated.report.payloads_deleted.saturating_add(1);
                Ok(self
                    .engine
                    .ports()
                    .read_record(id)
                    .await?
                    .map_or(Done::Rests, |(record, _)| Done::Changed(Box::new(record))))
            }
        }
    }

    /// Starts a worker, where its request is there; where slots decide, whoever holds one starts it.
    async fn start(
        &self,
        record: &Record,
        written: Timestamp,
        now: Moment,
        treated: &mut Treated,
    ) -> Result<Done, UpdateError> {
        let id = &record.task_id;
        if !self.engine.has_payload(id).await? {
            let since = self.memory.bare_since(&(id.clone(), record.attempt), now.monotonic);
            let is_interrupted = match self.life {
                Life::Stays => now.monotonic.saturating_sub(since) >= BARE,
                Life::Passes => now.wall.since(written) >= BARE_BY_DATE,
            };
            if is_interrupted {
                return self.settle(record, Settlement::SubmissionInterrupted, treated).await.map(changed);
            }
            return Ok(Done::Rests);
        }
        if self.engine.ports().jobs.start_policy() == StartPolicy::WhenSlotFree {
            return Ok(Done::Rests);
        }
        match self.engine.take_start(record).await {
            Ok(record) => {
                self.engine.start_in(None, &record).await;
                treated.report.started = treated.report.started.saturating_add(1);
                Ok(Done::Changed(Box::new(record)))
            }
            Err(UpdateError::NotAllowed(_) | UpdateError::Missing) => Ok(Done::Rests),
            Err(error) => Err(error),
        }
    }

    /// Ends an execution whose worker does not answer a wish: after a time of its own, something of the
    /// observer's that was written, and another look.
    async fn answer_wish(
        &self,
        record: &Record,
        now: Moment,
        treated: &mut Treated,
    ) -> Result<Done, UpdateError> {
        let subject = (record.task_id.clone(), record.attempt);
        let wish = self.memory.wish(&subject, now.monotonic);
        match wish.written_at {
            None if now.monotonic.saturating_sub(wish.first_read) >= WISH_LEFT => {
                if let Some(at) = record.wish_due_at() {
                    self.engine.ports().put_due(&record.task_id, record, at, Patience::Short).await?;
                }
                let written_at = Some(self.engine.ports().clock.monotonic());
                self.memory.note_wish(&subject, Wish { written_at, ..wish });
            }
            Some(at) if now.monotonic.saturating_sub(at) >= WISH_READ_AGAIN => {
                self.cancel_execution(record, treated).await;
                // Asked again if that changes nothing.
                self.memory.note_wish(&subject, Wish { first_read: now.monotonic, written_at: None });
            }
            None | Some(_) => {}
        }
        Ok(Done::Rests)
    }

    /// Removes the marker of an attempt that is over, once what it owes has entries, or of one that never
    /// came.
    async fn clear_marker(
        &self,
        record: &Record,
        marker: &Listed,
        still: Duration,
        treated: &mut Treated,
    ) -> Result<(), UpdateError> {
        if marker.marker.attempt > record.attempt {
            if still < STRAY_AFTER || !self.touch(record).await? {
                return Ok(());
            }
            return self.remove_stray(marker, treated).await;
        } else if still < MARKER_LEFT {
            return Ok(());
        } else if record.is_terminal() {
            self.engine.owe(record, Patience::Short).await?;
        }
        self.remove(&marker.key, treated).await
    }

    /// Removes the marker of an attempt that never came, and puts it again where that has begun meanwhile:
    /// whoever began it may have found its marker there.
    async fn remove_stray(&self, marker: &Listed, treated: &mut Treated) -> Result<(), UpdateError> {
        self.remove(&marker.key, treated).await?;
        let read = self.engine.ports().read_patiently(&marker.marker.id, Patience::Short).await?;
        if let Some((record, _)) = read
            && record.attempt == marker.marker.attempt
            && !record.is_terminal()
        {
            self.engine.put_active(&record).await?;
        }
        Ok(())
    }

    /// Removes an entry that is done with.
    async fn clear_entry(
        &self,
        record: &Record,
        entry: &Listed,
        rests: bool,
        now: Moment,
        treated: &mut Treated,
    ) -> Result<(), UpdateError> {
        let Some(at) = entry.marker.at else { return Ok(()) };
        let retention = self.engine.settings().payload_retention;
        let fate = fate(record, entry.marker.attempt, at, now.wall, retention);
        match fate {
            Fate::Keep => {
                if rests && record.status == Status::Pending || self.is_the_workers(record) {
                    self.memory.wait(&entry.key, now.monotonic);
                }
                return Ok(());
            }
            Fate::Remove if entry.marker.attempt == record.attempt => {
                self.engine.owe(record, Patience::Short).await?;
            }
            Fate::Remove => {}
            Fate::RemoveAfterTouch => {
                if record.is_terminal() || record.payload == legwork_core::record::Payload::Deleted {
                    self.engine.owe(record, Patience::Short).await?;
                }
                if !self.touch(record).await? {
                    return Ok(());
                }
            }
        }
        self.remove(&entry.key, treated).await
    }

    /// A worker on this machine keeps its deadline itself.
    fn is_the_workers(&self, record: &Record) -> bool {
        record.status == Status::Running
            && record.cancel_requested_at.is_none()
            && self.engine.ports().jobs.is_exact()
    }

    /// Removes entries and markers of a record that is not there, once nobody can be about to write it.
    async fn treat_astray(&self, work: &Work, now: Moment, treated: &mut Treated) -> Result<(), UpdateError> {
        let is_old = |listed: &Listed| {
            let since = self.memory.astray_since(&listed.key, now.monotonic);
            self.age(listed.modified, now.monotonic.saturating_sub(since), now) >= STRAY_AFTER
        };
        for entry in work.entries.iter().filter(|entry| is_old(entry)) {
            self.remove(&entry.key, treated).await?;
        }
        for (marker, _) in work.markers.iter().filter(|(marker, _)| is_old(marker)) {
            self.remove_stray(marker, treated).await?;
        }
        Ok(())
    }

    /// Gives the record a new version, so that whoever is about to swap the old one begins again.
    async fn touch(&self, record: &Record) -> Result<bool, UpdateError> {
        let revision = record.revision;
        let touched = self
            .engine
            .ports()
            .update(
                &record.task_id,
                Patience::Short,
                |record| record.revision > revision,
                |record| {
                    let is_as_read = record.revision == revision;
                    Ok(if is_as_read { Step::swap(Event::Touched) } else { Step::Leave })
                },
            )
            .await;
        match touched {
            Ok((_, changed)) => Ok(changed),
            Err(UpdateError::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, key: &str, treated: &mut Treated) -> Result<(), UpdateError> {
        self.engine.ports().delete_patiently(key, Patience::Short).await?;
        treated.report.entries_removed = treated.report.entries_removed.saturating_add(1);
        Ok(())
    }

    /// Returns how old something is that was last written at `modified` and seen to stand for `still`.
    pub(super) fn age(&self, modified: Timestamp, still: Duration, now: Moment) -> Duration {
        match self.life {
            Life::Stays => still,
            Life::Passes => now.wall.since(modified),
        }
    }

    /// Asks the job service to end an execution. What it refuses is asked again by a later look.
    pub(super) async fn cancel_execution(&self, record: &Record, treated: &mut Treated) -> bool {
        let Some(name) = &record.execution_name else { return true };
        tracing::info!(task.id = %record.task_id, execution = %name, "ending an execution");
        match self.engine.ports().jobs.cancel(name).await {
            Ok(()) => {
                treated.report.cancelled_executions = treated.report.cancelled_executions.saturating_add(1);
                true
            }
            Err(error) => {
                tracing::warn!(task.id = %record.task_id, execution = %name, error = %error, "an execution could not be ended");
                false
            }
        }
    }

    /// Returns a token and the event by which an attempt is settled.
    pub(super) fn settlement(&self, settlement: Settlement, now: Timestamp) -> (Token, Event) {
        let token = self.engine.ports().ids.token();
        (token.clone(), Event::Settled { settlement, token, now })
    }
}

/// A subject as the memory names it.
pub(super) fn subject(record: &Record) -> (TaskId, Attempt) {
    (record.task_id.clone(), record.attempt)
}

fn changed(record: Option<Box<Record>>) -> Done {
    record.map_or(Done::Rests, Done::Changed)
}
