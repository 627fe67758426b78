//! What a life is lived in: the plan, the store, everybody who runs, and what was seen of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use legwork_adapters_local::memory::MemoryStorage;
use legwork_core::{id::Attempt, record::Record};
use legwork_engine::{CancelAnswer, Settings};
use legwork_ports::storage::Storage as _;
use tokio::time::{Instant, sleep};

use super::{
    jobs::Worker,
    plan::{AgentPlan, Plan, Plant, ReceiverPlan, TaskPlan},
};
use crate::rng::Rng;

/// A callback as a receiver took it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) body: Vec<u8>,
    pub(super) taken: u32,
    pub(super) posts: u32,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Swaps of records that break a rule.
    pub(super) broken: Vec<String>,
    /// Tasks that were answered 202.
    pub(super) accepted: BTreeSet<String>,
    /// Cancels that were answered with success: the task, and its attempt by then.
    pub(super) cancelled: Vec<(String, u32, CancelAnswer)>,
    /// Agents that were started, by folder: `{id}.{attempt}`.
    pub(super) agents: BTreeMap<String, u32>,
    /// Callbacks by `webhook-id`.
    pub(super) told: BTreeMap<String, Told>,
    /// Workers by execution.
    pub(super) workers: BTreeMap<String, Worker>,
    /// How attempts ended: task, attempt, status, error code, who had claimed it.
    pub(super) ends: Vec<End>,
    /// Swaps of records.
    pub(super) swaps: u64,
}

/// How one attempt ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) record: Box<Record>,
}

/// Whether a life's writes are kept for somebody to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traced {
    Nothing,
    Writes,
}

/// The world of one life.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) plant: Plant,
    pub(super) began: Instant,
    pub(super) store: MemoryStorage,
    pub(super) settings: Settings,
    pub(super) rng: Mutex<Rng>,
    /// What every slot holds: it is told by nobody here.
    pub(super) lock: File,
    /// All writes so far, where somebody wants to read them.
    writes: Option<Mutex<Vec<String>>>,
    seen: Mutex<Seen>,
}

impl World {
    #[expect(clippy::expect_used, reason = "every machine has it")]
    pub(super) fn new(
        plan: Plan,
        plant: Plant,
        store: MemoryStorage,
        settings: Settings,
        rng: Rng,
        traced: Traced,
    ) -> Arc<Self> {
        Arc::new(Self {
            plan,
            plant,
            began: Instant::now(),
            store,
            settings,
            rng: Mutex::new(rng),
            lock: File::open("/dev/null").expect("every machine has it"),
            writes: (traced == Traced::Writes).then(Mutex::default),
            seen: Mutex::default(),
        })
    }

    /// Notes a write, if somebody wants to read it.
    pub(super) fn note_write(&self, what: impl FnOnce() -> String) {
        if let Some(writes) = &self.writes {
            let line = format!("{:>12.3?} {}", self.began.elapsed(), what());
            writes.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    /// Returns the writes that were noted.
    pub(super) fn writes(&self) -> Vec<String> {
        let writes = self.writes.as_ref().map(|writes| writes.lock().unwrap_or_else(PoisonError::into_inner));
        writes.map(|writes| writes.clone()).unwrap_or_default()
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_rng<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        self.with_rng(|rng| rng.below(end))
    }

    /// How long a call takes.
    pub(super) fn latency(&self) -> Duration {
        self.with_rng(|rng| if rng.percent(3) { rng.millis(200, 3000) } else { rng.millis(1, 40) })
    }

    /// Whether things go wrong now.
    pub(super) fn is_troubled(&self) -> bool {
        self.began.elapsed() < self.plan.trouble_ends
    }

    /// Whether the store answers nobody now.
    pub(super) fn is_out(&self) -> bool {
        let now = self.began.elapsed();
        self.plan.outage.is_some_and(|(at, lasts)| (at..at + lasts).contains(&now))
    }

    /// Whether this store tells of changes.
    pub(super) fn tells_of_changes(&self) -> bool {
        self.plan.platform == super::plan::Platform::Machine
    }

    pub(super) fn has_odd_start(&self) -> bool {
        self.is_troubled() && self.below(100) < self.plan.odd_starts
    }

    pub(super) fn worker(&self, name: &str) -> Option<Worker> {
        self.seen().workers.get(name).cloned()
    }

    pub(super) fn running_workers(&self) -> usize {
        self.seen().workers.values().filter(|worker| worker.ended_at().is_none()).count()
    }

    /// Returns the plan of a task by its id: `t{index}`.
    pub(super) fn task(&self, id: &str) -> Option<&TaskPlan> {
        let index: usize = id.strip_prefix('t')?.parse().ok()?;
        self.plan.tasks.get(index)
    }

    /// Notes that an agent was started in a folder, and returns what it does.
    pub(super) fn agent_starts(&self, folder: &str) -> AgentPlan {
        *self.seen().agents.entry(folder.to_owned()).or_default() += 1;
        let id = folder.rsplit_once('.').map_or(folder, |(id, _)| id);
        self.task(id).map_or(AgentPlan { lines: 1, takes: Duration::ZERO, succeeds: true }, |task| task.agent)
    }

    /// Watches a swap of a record that was applied.
    pub(super) fn note_swap(&self, before: Option<&Record>, next: &Record) {
        let mut seen = self.seen();
        seen.swaps += 1;
        if let Some(before) = before
            && let Some(rule) = broken_rule(before, next)
        {
            let broken = format!("{}: {rule}: {:?} to {:?}", next.task_id, before.status, next.status);
            seen.broken.push(broken);
        }
        let was_over = before.is_some_and(|before| before.is_terminal() && before.attempt == next.attempt);
        if next.is_terminal() && !was_over {
            seen.ends.push(End {
                id: next.task_id.to_string(),
                attempt: next.attempt.number(),
                record: Box::new(next.clone()),
            });
        }
    }

    /// A receiver is told: returns the status it answers, 0 for none in time.
    pub(super) async fn receive(&self, webhook_id: &str, body: &[u8]) -> u16 {
        let id = webhook_id.rsplit_once('.').map_or(webhook_id, |(id, _)| id);
        self.note_told(webhook_id, body).await;
        let receiver =
            self.task(id).map_or(ReceiverPlan { takes_percent: 100, is_gone: false }, |task| task.receiver);
        let status = self.with_rng(|rng| match receiver {
            ReceiverPlan { is_gone: true, .. } => 410,
            ReceiverPlan { takes_percent, .. } if rng.percent(takes_percent) => 200,
            ReceiverPlan { .. } => match rng.below(4) {
                0 => 0,
                1 => 429,
                _ => 500,
            },
        });
        if status == 200
            && let Some(told) = self.seen().told.get_mut(webhook_id)
        {
            told.taken += 1;
        }
        status
    }

    /// Notes what a receiver is told, and whether it could have been read by then.
    async fn note_told(&self, webhook_id: &str, body: &[u8]) {
        let (id, attempt) = webhook_id.rsplit_once('.').unwrap_or((webhook_id, "0"));
        let key = format!("sessions/{id}/metadata.json");
        let stored = self.store.get(&key).await.ok().and_then(|object| Record::from_json(&object.bytes).ok());
        let attempt: u32 = attempt.parse().unwrap_or(0);
        let is_readable = stored.is_some_and(|record| {
            record.attempt.number() > attempt || (record.attempt.number() == attempt && record.is_terminal())
        });
        let mut seen = self.seen();
        if !is_readable {
            seen.broken.push(format!("{webhook_id} was told before its end could be read"));
        }
        let told = seen.told.entry(webhook_id.to_owned()).or_insert_with(|| Told {
            body: body.to_vec(),
            taken: 0,
            posts: 0,
        });
        told.posts += 1;
        if told.body != body {
            let (one, two) =
                (String::from_utf8_lossy(&told.body).into_owned(), String::from_utf8_lossy(body));
            let broken = format!("{webhook_id} was told twice, differently: {one} and {two}");
            seen.broken.push(broken);
        }
    }

    /// What is planted by [`Plant::DeliverBeforeSwap`].
    pub(super) async fn told_early(&self, next: &Record) {
        self.note_told(&next.webhook_id(), b"early").await;
        sleep(Duration::from_millis(1)).await;
    }

    /// Returns a task's record as it is stored.
    pub(super) async fn record(&self, id: &str) -> Option<Record> {
        let object = self.store.get(&format!("sessions/{id}/metadata.json")).await.ok()?;
        Record::from_json(&object.bytes).ok()
    }

    /// Notes that a cancel was answered with success, for the attempt that the record is at now.
    pub(super) fn note_cancel(&self, id: &str, attempt: Attempt, answer: CancelAnswer) {
        self.seen().cancelled.push((id.to_owned(), attempt.number(), answer));
    }
}

/// Names the rule that a swap breaks, if it breaks one.
fn broken_rule(before: &Record, next: &Record) -> Option<&'static str> {
    if next.revision != before.revision + 1 {
        return Some("a swap was made over another one");
    }
    if next.attempt < before.attempt {
        return Some("an attempt came back");
    }
    if next.attempt > before.attempt {
        return (!before.is_terminal()).then_some("a task was retried that had not ended");
    }
    let rank = |record: &Record| (record.claim.is_some(), record.is_terminal());
    if before.is_terminal() && (next.status != before.status || next.end != before.end) {
        return Some("an attempt ended twice");
    }
    if rank(next) < rank(before) {
        return Some("a state went back");
    }
    if before.claim.is_some() && next.claim != before.claim {
        return Some("a claim was taken over");
    }
    None
}
