//! What an observer remembers between two looks: how long something has stood still, by its own clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use legwork_core::{
    id::{Attempt, TaskId, Token},
    lost::Stillness,
    record::{Event, Record, Status},
};

use super::entries::Listed;

/// How long the record of an attempt is trusted that was not running, where its marker stands still: a
/// worker that died between its claim and its first marker is not known to have run.
const OTHERS_TRUSTED: Duration = Duration::from_secs(30);
/// How long an entry is left alone that is due and whose record waits for somebody else.
const WAITING_TRUSTED: Duration = Duration::from_mins(1);

/// One attempt of one task.
type Subject = (TaskId, Attempt);

/// What is remembered. All of it may be lost at any time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sightings: BTreeMap<Subject, Sighting>,
    wishes: BTreeMap<Subject, Wish>,
    /// Since when a pending attempt was seen without its sealed request.
    bare: BTreeMap<Subject, Duration>,
    /// Since when a key was seen without what it belongs to.
    astray: BTreeMap<String, Duration>,
    /// When the record of an entry was last read that waits for somebody else.
    waiting: BTreeMap<String, Duration>,
}

/// What is known of the attempt of a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing yet, or nothing that lasts.
    Nothing,
    /// This worker runs it.
    Running { claim: Token, execution: Option<String> },
}

#[derive(Debug)]
struct Sighting {
    stillness: Stillness,
    known: Known,
    read_at: Duration,
    suspicion: Option<Suspicion>,
}

/// A worker that is taken for lost unless the second look shows otherwise.
#[derive(Debug, Clone)]
pub(super) struct Suspicion {
    /// When something of the observer's own was written.
    pub(super) written_at: Duration,
    /// The version of the record that is to be swapped.
    pub(super) revision: u64,
    /// What it is to be swapped by, and the token in it.
    pub(super) event: Event,
    pub(super) token: Token,
}

/// A wish to cancel that somebody else may still answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// When the wish was first read.
    pub(super) first_read: Duration,
    /// When something of the observer's own was written after that.
    pub(super) written_at: Option<Duration>,
}

/// What is to be done about a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// Read the record.
    Read,
    /// Ask the job service about this execution first: the record is known.
    Ask { execution: String },
}

/// How a marker stands, to somebody who has just read its record.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) still: Duration,
    pub(super) suspicion: Option<Suspicion>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a look has failed.
    pub(super) fn blink(&self, now: Duration) {
        for sighting in self.lock().sightings.values_mut() {
            sighting.stillness.blink(now);
            sighting.suspicion = None;
        }
    }

    /// Forgets what is not there any more.
    pub(super) fn forget_all_but(&self, active: &[Listed], due: &[Listed]) {
        let subject = |listed: &Listed| (listed.marker.id.clone(), listed.marker.attempt);
        let active_subjects: BTreeSet<Subject> = active.iter().map(subject).collect();
        let due_subjects: BTreeSet<Subject> = due.iter().map(subject).collect();
        let keys: BTreeSet<&str> = active.iter().chain(due).map(|listed| listed.key.as_str()).collect();
        let mut inner = self.lock();
        inner.sightings.retain(|subject, _| active_subjects.contains(subject));
        inner.wishes.retain(|subject, _| due_subjects.contains(subject));
        inner.bare.retain(|subject, _| due_subjects.contains(subject) || active_subjects.contains(subject));
        inner.astray.retain(|key, _| keys.contains(key.as_str()));
        inner.waiting.retain(|key, _| keys.contains(key.as_str()));
    }

    /// Looks at a marker; returns what is to be done about it, if anything.
    pub(super) fn see(&self, marker: &Listed, now: Duration) -> Option<Sight> {
        let subject = (marker.marker.id.clone(), marker.marker.attempt);
        let mut inner = self.lock();
        let Some(sighting) = inner.sightings.get_mut(&subject) else {
            let stillness = Stillness::new(&marker.change_mark, now);
            let sighting = Sighting { stillness, known: Known::Nothing, read_at: now, suspicion: None };
            inner.sightings.insert(subject, sighting);
            return Some(Sight::Read);
        };
        let changed = sighting.stillness.look(&marker.change_mark, now);
        if changed {
            sighting.suspicion = None;
        }
        let unread_for = now.saturating_sub(sighting.read_at);
        match &sighting.known {
            // It beats.
            Known::Running { .. } if changed => None,
            Known::Running { execution: Some(execution), .. } => {
                Some(Sight::Ask { execution: execution.clone() })
            }
            Known::Running { execution: None, .. } => Some(Sight::Read),
            Known::Nothing => (changed || unread_for >= OTHERS_TRUSTED).then_some(Sight::Read),
        }
    }

    /// Notes what the record of a marker's attempt says, and returns how the marker stands.
    pub(super) fn learn(
        &self,
        attempt: Attempt,
        record: Option<&Record>,
        id: &TaskId,
        now: Duration,
    ) -> Standing {
        let known = match record {
            Some(record) if record.attempt == attempt => match (record.status, &record.claim) {
                (Status::Running, Some(claim)) => {
                    Known::Running { claim: claim.token.clone(), execution: record.execution_name.clone() }
                }
                _ => Known::Nothing,
            },
            Some(_) | None => Known::Nothing,
        };
        let mut inner = self.lock();
        let Some(sighting) = inner.sightings.get_mut(&(id.clone(), attempt)) else {
            return Standing { still: Duration::ZERO, suspicion: None };
        };
        sighting.read_at = now;
        if sighting.known != known {
            // Counted from the first look after the claim was first read.
            sighting.stillness.blink(now);
            sighting.suspicion = None;
            sighting.known = known;
        }
        Standing { still: sighting.stillness.lasted(), suspicion: sighting.suspicion.clone() }
    }

    /// Returns how long a running attempt's marker has stood still, and how long ago it was suspected.
    pub(super) fn standing(&self, subject: &Subject) -> Standing {
        let inner = self.lock();
        match inner.sightings.get(subject) {
            None => Standing { still: Duration::ZERO, suspicion: None },
            Some(sighting) => {
                Standing { still: sighting.stillness.lasted(), suspicion: sighting.suspicion.clone() }
            }
        }
    }

    /// Takes a worker for lost, unless the second look shows otherwise; or does so no more.
    pub(super) fn suspect(&self, subject: &Subject, suspicion: Option<Suspicion>) {
        if let Some(sighting) = self.lock().sightings.get_mut(subject) {
            sighting.suspicion = suspicion;
        }
    }

    /// Returns what is remembered of a wish, which was read just now.
    pub(super) fn wish(&self, subject: &Subject, now: Duration) -> Wish {
        *self.lock().wishes.entry(subject.clone()).or_insert(Wish { first_read: now, written_at: None })
    }

    /// Notes what has become of a wish.
    pub(super) fn note_wish(&self, subject: &Subject, wish: Wish) {
        self.lock().wishes.insert(subject.clone(), wish);
    }

    /// Returns since when a pending attempt was seen without its sealed request.
    pub(super) fn bare_since(&self, subject: &Subject, now: Duration) -> Duration {
        *self.lock().bare.entry(subject.clone()).or_insert(now)
    }

    /// Returns since when a key was seen without what it belongs to.
    pub(super) fn astray_since(&self, key: &str, now: Duration) -> Duration {
        *self.lock().astray.entry(key.to_owned()).or_insert(now)
    }

    /// Tells whether an entry may be left alone for now, because its record waits for somebody else.
    pub(super) fn is_waiting(&self, key: &str, now: Duration) -> bool {
        self.lock().waiting.get(key).is_some_and(|at| now.saturating_sub(*at) < WAITING_TRUSTED)
    }

    /// Notes that the record of an entry waits for somebody else.
    pub(super) fn wait(&self, key: &str, now: Duration) {
        self.lock().waiting.insert(key.to_owned(), now);
    }

    /// Tells whether there is something that only time can decide.
    pub(super) fn waits_for_something(&self) -> bool {
        let inner = self.lock();
        !inner.wishes.is_empty() || inner.sightings.values().any(|sighting| sighting.suspicion.is_some())
    }
}
