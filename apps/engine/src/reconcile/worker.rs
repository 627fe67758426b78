//! Whether the worker of a running attempt is lost.

use std::time::Duration;

use legwork_core::{
    id::TaskId,
    lost::{Step, Word, judge},
    record::{Record, Settlement},
    time::Timestamp,
};
use legwork_ports::jobs::ExecutionStatus;

use super::{
    Life, Moment, Reconciler,
    entries::Listed,
    memory::{Sight, Suspicion},
    treat::{Treated, Work, subject},
};
use crate::records::{Patience, UpdateError};

impl Reconciler {
    /// Asks the job service about attempts whose records are known, and returns whether nothing more is to
    /// be done about them now.
    pub(super) async fn all_well(&self, id: &TaskId, work: &Work, now: Moment) -> bool {
        for (marker, sight) in &work.markers {
            let Sight::Ask { execution } = sight else { return false };
            let said = self.word(Some(execution)).await;
            let standing = self.memory.standing(&(id.clone(), marker.marker.attempt));
            let still = self.age(marker.modified, standing.still, now);
            let suspected_for = standing.suspicion.map(|it| now.monotonic.saturating_sub(it.written_at));
            let is_seen = said == Word::Running && self.engine.ports().jobs.is_exact();
            if !is_seen && judge(said, still, suspected_for, self.waiting()) != Step::Wait {
                return false;
            }
        }
        true
    }

    /// Judges a running attempt whose record was just read, and does what follows.
    pub(super) async fn check_worker(
        &self,
        record: &Record,
        marker: &Listed,
        written: Timestamp,
        now: Moment,
        treated: &mut Treated,
    ) -> Result<(), UpdateError> {
        let subject = subject(record);
        let standing = self.memory.standing(&subject);
        let still = self.stillness(marker, written, standing.still, now);
        // Of another version: it does not count.
        let suspicion = standing.suspicion.filter(|it| it.revision == record.revision);
        let suspected_for = suspicion.as_ref().map(|it| now.monotonic.saturating_sub(it.written_at));
        // Asked after the version that is to be swapped was read.
        let word = self.word(record.execution_name.as_deref()).await;
        match judge(word, still, suspected_for, self.waiting()) {
            // Where the process itself is seen to live, it keeps its deadline itself.
            _ if word == Word::Running && self.engine.ports().jobs.is_exact() => {}
            Step::Wait => {}
            Step::Settle => {
                self.settle(record, Settlement::WorkerLost, treated).await?;
            }
            Step::Suspect => self.suspect(record).await?,
            step @ (Step::SettleSuspect | Step::CancelAndSettleSuspect) => {
                let is_ended = step == Step::SettleSuspect || self.cancel_execution(record, treated).await;
                if let (true, Some(Suspicion { event, token, .. })) = (is_ended, suspicion) {
                    self.settle_by(record, event, token, treated).await?;
                    self.memory.suspect(&subject, None);
                }
            }
        }
        Ok(())
    }

    /// How long the marker has stood still: for who goes by dates, as long as neither it nor the record was
    /// written.
    fn stillness(&self, marker: &Listed, written: Timestamp, still: Duration, now: Moment) -> Duration {
        match self.life {
            Life::Stays => still,
            Life::Passes => now.wall.since(marker.modified).min(now.wall.since(written)),
        }
    }

    async fn word(&self, execution: Option<&str>) -> Word {
        let Some(name) = execution else { return Word::Silent };
        match self.engine.ports().jobs.status(name).await {
            Ok(ExecutionStatus::Running) => Word::Running,
            Ok(ExecutionStatus::Ended) => Word::Ended,
            Ok(ExecutionStatus::Unknown) => Word::Silent,
            Err(error) => {
                tracing::debug!(execution = name, error = %error, "the job service says nothing");
                Word::Silent
            }
        }
    }

    /// Writes the entry that the end would rely on, and remembers by what it would come.
    async fn suspect(&self, record: &Record) -> Result<(), UpdateError> {
        let ports = self.engine.ports();
        let planned = ports.clock.now().plus(self.waiting().second_look);
        let (token, event) = self.settlement(Settlement::WorkerLost, planned);
        let ended = record.apply(event.clone())?;
        // Without a receiver it stands for nothing, and is removed with the attempt.
        let at = ended.callback.next_attempt_at.unwrap_or(planned);
        ports.put_due(&record.task_id, record, at, Patience::Short).await?;
        tracing::info!(task.id = %record.task_id, "a worker has not been heard of");
        let written_at = ports.clock.monotonic();
        let suspicion = Suspicion { written_at, revision: record.revision, event, token };
        self.memory.suspect(&subject(record), Some(suspicion));
        Ok(())
    }
}
