//! Ending what nobody else ends: tasks that were stored and not started, workers that are lost,
//! wishes that nobody answers, callbacks and payloads whose time has come.
//!
//! A look lists `active/`, and `due/` up to now, and reads only the records of entries that are due and
//! of markers that are new, changed hands or stand still: its cost grows with open and due work, never
//! with what is over. Any number of reconcilers may look at once; each step is claimed by a swap.
//! What one has to remember between two looks is in `memory.rs`; it is only ever patience, and a
//! new process begins with none.

mod entries;
mod memory;
mod retention;
mod settle;
mod treat;
mod worker;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use legwork_core::{id::TaskId, lost::Patience as Waiting, time::Timestamp};
use legwork_ports::{storage::StorageError, workspace::Workspace};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    memory::Memory,
    treat::{Delivery, Treated},
};
use crate::Engine;

/// How often somebody who stays looks, if nothing is due earlier.
const PERIOD: Duration = Duration::from_secs(10);
/// The shortest pause between two looks.
const BREATH: Duration = Duration::from_millis(250);
/// How long one pass may take in all: less than the minute after which a scheduler calls again.
const PASS: Duration = Duration::from_secs(50);
/// How long a pass goes on looking at what it waits for.
const LOOKS: Duration = Duration::from_secs(42);
/// The pause between two looks of one pass.
const PASS_PERIOD: Duration = Duration::from_secs(5);
/// Tasks that are treated at once.
const AT_ONCE: usize = 16;
/// How long a look is at one task: what hangs is left to the next one.
const TREATED_WITHIN: Duration = Duration::from_mins(1);
/// Callbacks that are made at once: receivers may hang.
const DELIVERIES: usize = 64;
/// Callbacks that are made to one host at once: one that hangs leaves room for others.
const DELIVERIES_PER_HOST: usize = 8;
/// How late in a pass a callback may be begun: it has its time before the pass is over.
const LAST_DELIVERY: Duration = Duration::from_secs(28);
/// How often old tasks are looked for.
const OLD_TASKS_PERIOD: Duration = Duration::from_hours(1);

/// What a pass has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Tasks whose records were read.
    pub examined: u64,
    /// Workers that were started.
    pub started: u64,
    /// Attempts that were ended.
    pub settled: u64,
    /// Executions that were asked to end.
    pub cancelled_executions: u64,
    /// Callback attempts that were begun.
    pub callback_attempts: u64,
    /// Sealed requests that were deleted.
    pub payloads_deleted: u64,
    /// Entries and markers that were removed.
    pub entries_removed: u64,
    /// Old tasks that were removed.
    pub tasks_removed: u64,
    /// Tasks that could not be treated this time.
    pub errors: u64,
}

impl PassReport {
    fn add(&mut self, other: Self) {
        let sum = |mine: &mut u64, others: u64| *mine = mine.saturating_add(others);
        sum(&mut self.examined, other.examined);
        sum(&mut self.started, other.started);
        sum(&mut self.settled, other.settled);
        sum(&mut self.cancelled_executions, other.cancelled_executions);
        sum(&mut self.callback_attempts, other.callback_attempts);
        sum(&mut self.payloads_deleted, other.payloads_deleted);
        sum(&mut self.entries_removed, other.entries_removed);
        sum(&mut self.tasks_removed, other.tasks_removed);
        sum(&mut self.errors, other.errors);
    }
}

/// How long an observer lives, and thus what it can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It stays, and measures by its own clock.
    Stays,
    /// It lives for one pass, and has the store's times of writing to go by.
    Passes,
}

/// One observer of the store.
#[derive(Debug)]
pub struct Reconciler {
    engine: Engine,
    /// Removes what a lost worker has left on this machine.
    leftovers: Option<Arc<dyn Workspace>>,
    life: Life,
    memory: Memory,
    /// Each ends with the host that it was made to.
    deliveries: JoinSet<String>,
    hosts: BTreeMap<String, usize>,
    chores: JoinSet<PassReport>,
}

impl Reconciler {
    /// Returns an observer that has seen nothing yet. `leftovers` removes what a lost worker has left on
    /// this machine, where workers run on it.
    pub fn new(engine: Engine, leftovers: Option<Arc<dyn Workspace>>) -> Self {
        Self {
            engine,
            leftovers,
            life: Life::Stays,
            memory: Memory::default(),
            deliveries: JoinSet::new(),
            hosts: BTreeMap::new(),
            chores: JoinSet::new(),
        }
    }

    /// Looks every 10 s, and earlier where something falls due or a callback attempt has ended, until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let clock = Arc::clone(&self.engine.ports().clock);
        let mut old_tasks_at = clock.monotonic();
        while !stop.is_cancelled() {
            if clock.monotonic() >= old_tasks_at && self.chores.is_empty() {
                let engine = self.engine.clone();
                self.chores.spawn(async move { engine.remove_old_tasks().await });
                old_tasks_at = clock.monotonic().saturating_add(OLD_TASKS_PERIOD);
            }
            let looked = tokio::select! {
                biased;
                // A look that is dropped is one in which its process died.
                () = stop.cancelled() => break,
                looked = self.look() => looked,
            };
            let pause = match looked {
                Ok(look) => look.pause(clock.now()),
                Err(error) => {
                    tracing::warn!(error = %error, "the store could not be looked through");
                    PERIOD
                }
            };
            // Whatever happens: others need the store, too.
            clock.sleep(BREATH.min(pause)).await;
            tokio::select! {
                biased;
                // Dropping a sleep loses nothing; what a delivery has made due is looked at.
                () = stop.cancelled() => {}
                Some(ended) = self.deliveries.join_next() => self.note_delivered(ended),
                Some(_removed) = self.chores.join_next() => {}
                () = clock.sleep(pause.saturating_sub(BREATH)) => {}
            }
        }
        // A callback attempt that breaks off counts as failed a minute later, and is made again.
        self.deliveries.shutdown().await;
        self.chores.shutdown().await;
    }

    /// Makes one pass, as somebody who begins anew each time: at most 50 s.
    ///
    /// # Errors
    /// Where the store cannot be listed.
    pub async fn pass(
        engine: Engine,
        leftovers: Option<Arc<dyn Workspace>>,
    ) -> Result<PassReport, StorageError> {
        let clock = Arc::clone(&engine.ports().clock);
        let began = clock.monotonic();
        let mut this = Self { life: Life::Passes, ..Self::new(engine, leftovers) };
        let mut report = PassReport::default();
        let passing = async {
            loop {
                let look = this.look().await?;
                report.add(look.report);
                let elapsed = clock.monotonic().saturating_sub(began);
                let has_more = look.left_callbacks && elapsed < LAST_DELIVERY;
                if (!has_more && !this.memory.waits_for_something()) || elapsed >= LOOKS {
                    break;
                }
                tokio::select! {
                    biased;
                    Some(ended) = this.deliveries.join_next(), if has_more => this.note_delivered(ended),
                    () = clock.sleep(PASS_PERIOD) => {}
                }
            }
            while this.deliveries.join_next().await.is_some() {}
            report.add(this.engine.remove_old_tasks().await);
            Ok(())
        };
        tokio::select! {
            biased;
            // What is cut short is done by the next pass.
            done = passing => done?,
            () = clock.sleep(PASS) => {}
        }
        Ok(report)
    }

    /// Looks once at everything that is open or due. [`Reconciler::run`] does so again and again.
    ///
    /// # Errors
    /// Where the store cannot be listed.
    pub async fn look(&mut self) -> Result<Look, StorageError> {
        while let Some(ended) = self.deliveries.try_join_next() {
            self.note_delivered(ended);
        }
        let ports = self.engine.ports();
        let (now, monotonic) = (ports.clock.now(), ports.clock.monotonic());
        let listed = futures_util::try_join!(entries::active(ports), entries::due(ports, now));
        let (active, due) = listed.inspect_err(|_| self.memory.blink(monotonic))?;
        self.memory.forget_all_but(&active, &due.entries);

        let mut work: BTreeMap<TaskId, treat::Work> = BTreeMap::new();
        for entry in due.entries {
            work.entry(entry.marker.id.clone()).or_default().entries.push(entry);
        }
        for entry in active {
            if let Some(sight) = self.memory.see(&entry, monotonic) {
                work.entry(entry.marker.id.clone()).or_default().markers.push((entry, sight));
            }
        }
        let now = Moment { wall: now, monotonic };
        let treated = {
            let this = &*self;
            let treating: Vec<_> =
                work.into_iter().map(|(id, work)| this.treat_in_time(id, work, now)).collect();
            stream::iter(treating).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await
        };
        let (mut report, mut deliveries) = (PassReport::default(), Vec::new());
        for Treated { report: one, deliveries: some } in treated {
            report.add(one);
            deliveries.extend(some);
        }
        // Those that have waited longest first; those that were claimed before all.
        deliveries.sort_by_key(Delivery::since);
        let mut left_callbacks = false;
        for delivery in deliveries {
            if self.deliver(delivery) {
                report.callback_attempts = report.callback_attempts.saturating_add(1);
            } else {
                left_callbacks = true;
            }
        }
        Ok(Look { report, next_due: due.next, left_callbacks })
    }

    /// Dropping a treatment is dying in it: whatever it had begun is found again.
    async fn treat_in_time(&self, id: TaskId, work: treat::Work, now: Moment) -> Treated {
        let late = self.engine.ports().clock.sleep(TREATED_WITHIN);
        tokio::select! {
            biased;
            treated = self.treat(id.clone(), work, now) => treated,
            () = late => {
                tracing::warn!(task.id = %id, "a task took too long and is left to the next look");
                Treated { report: PassReport { errors: 1, ..PassReport::default() }, ..Treated::default() }
            }
        }
    }

    /// Makes a callback attempt beside the looks, and tells whether it was begun.
    fn deliver(&mut self, delivery: Delivery) -> bool {
        let host = delivery.host().to_owned();
        let to_host = self.hosts.get(&host).copied().unwrap_or_default();
        let is_full = self.deliveries.len() >= DELIVERIES || to_host >= DELIVERIES_PER_HOST;
        // One that was claimed is made in any case: nobody else does.
        if is_full && matches!(delivery, Delivery::Due { .. }) {
            return false;
        }
        self.hosts.insert(host.clone(), to_host.saturating_add(1));
        let engine = self.engine.clone();
        self.deliveries.spawn(async move {
            let (id, made) = match delivery {
                Delivery::Due { id, .. } => {
                    let made = engine.deliver_due(&id).await.map(drop);
                    (id, made)
                }
                Delivery::Claimed { record, token, moot } => {
                    let id = record.task_id.clone();
                    (id, engine.deliver_claimed(*record, &token, moot).await.map(drop))
                }
            };
            if let Err(error) = made {
                tracing::warn!(task.id = %id, error = %error, "a callback is left to a later look");
            }
            host
        });
        true
    }

    fn note_delivered(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(host) => {
                if let Some(count) = self.hosts.get_mut(&host) {
                    *count = count.saturating_sub(1);
                }
                self.hosts.retain(|_, count| *count > 0);
            }
            Err(error) => {
                tracing::error!(error = %error, "a callback attempt broke off");
                // Which host it was made to is not known any more.
                self.hosts.clear();
            }
        }
    }

    fn waiting(&self) -> Waiting {
        match self.life {
            Life::Stays => Waiting::STAYING,
            Life::Passes => Waiting::PASSING,
        }
    }
}

/// When a look was taken.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: Timestamp,
    monotonic: Duration,
}

/// What came of a look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// What was done.
    pub report: PassReport,
    /// When the next thing falls due that was not due yet.
    pub next_due: Option<Timestamp>,
    /// Callbacks are due that were not begun: there are as many under way as may be.
    pub left_callbacks: bool,
}

impl Look {
    /// Returns how long nothing is to be done.
    fn pause(&self, now: Timestamp) -> Duration {
        let until_due = self.next_due.map_or(PERIOD, |at| at.since(now));
        until_due.clamp(BREATH, PERIOD)
    }
}
