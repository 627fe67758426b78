//! The promises, checked after a life: one terminal state for each attempt, told at least once under one
//! name, by one worker, with every line, and nothing left.

use std::fmt;

use legwork_core::{
    layout,
    record::{CallbackState, ErrorCode, LogFacts, Record, Status},
};
use legwork_ports::storage::Storage as _;

use super::world::{End, World};

/// Promises that a life has broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The seed, by which it can be lived again.
    pub seed: u64,
    /// What was broken.
    pub promises: Vec<String>,
    /// The plan, and how things stood.
    pub story: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} broke:", self.seed)?;
        for promise in &self.promises {
            writeln!(f, "  {promise}")?;
        }
        write!(f, "{}", self.story)
    }
}

impl std::error::Error for Broken {}

impl Broken {
    pub(super) async fn of(seed: u64, world: &World, promises: Vec<String>) -> Self {
        let mut story = format!("{:#?}\n", world.plan);
        story.extend(world.writes().iter().map(|write| format!("{write}\n")));
        for index in 0..world.plan.tasks.len() {
            let record = world.record(&format!("t{index}")).await;
            let json = record.map(|record| String::from_utf8_lossy(&record.to_json()).into_owned());
            story.extend([format!("t{index}: {json:?}\n")]);
        }
        story.extend([format!("left: {:?}\n", left_over(world).await)]);
        Self { seed, promises, story }
    }
}

/// Names everything that should be gone.
pub(super) async fn left_over(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    for prefix in [layout::ACTIVE, layout::DUE] {
        let entries = world.store.list(prefix, None, 100).await.unwrap_or_default();
        left.extend(entries.into_iter().map(|entry| entry.key));
    }
    for index in 0..world.plan.tasks.len() {
        let key = format!("sessions/t{index}/encrypted-payload.bin");
        if world.store.get(&key).await.is_ok() {
            left.push(key);
        }
    }
    left
}

/// Returns every promise that was broken.
pub(super) async fn broken(world: &World) -> Vec<String> {
    let mut broken = world.seen().broken.clone();
    let (accepted, ends) = {
        let seen = world.seen();
        (seen.accepted.clone(), seen.ends.clone())
    };
    for id in accepted {
        match world.record(&id).await {
            Some(record) if record.is_terminal() => check_told(world, &record, &mut broken),
            Some(record) => broken.push(format!("{id} is {:?} at the end", record.status)),
            None => broken.push(format!("{id} was accepted and is not there")),
        }
    }
    check_workers(world, &mut broken);
    for end in &ends {
        check_loss(world, end, &mut broken);
        check_lines(world, end, &mut broken).await;
    }
    check_cancels(world, &ends, &mut broken);
    let left = left_over(world).await;
    if !left.is_empty() {
        broken.push(format!("left behind: {left:?}"));
    }
    broken
}

/// The last attempt's callback is delivered, or was tried to its end; where it counts as delivered, a
/// receiver has taken it.
fn check_told(world: &World, record: &Record, broken: &mut Vec<String>) {
    let id = record.webhook_id();
    let told = world.seen().told.get(&id).cloned();
    match record.callback.state {
        CallbackState::None if record.callback_target.is_some() => {
            broken.push(format!("{id} owes no callback"));
        }
        CallbackState::Pending | CallbackState::Superseded => {
            broken.push(format!("{id}'s callback is {:?} at the end", record.callback.state));
        }
        CallbackState::Delivered if told.as_ref().is_none_or(|told| told.taken == 0) => {
            broken.push(format!("{id} counts as delivered, and nobody took it"));
        }
        CallbackState::Failed if told.is_none() => broken.push(format!("{id} was never told")),
        CallbackState::None | CallbackState::Delivered | CallbackState::Failed => {}
    }
}

/// One agent for each attempt.
fn check_workers(world: &World, broken: &mut Vec<String>) {
    for (folder, starts) in &world.seen().agents {
        if *starts > 1 {
            broken.push(format!("{folder} was run by {starts} agents"));
        }
    }
}

/// A worker that nothing happened to ends its attempt itself.
fn check_loss(world: &World, end: &End, broken: &mut Vec<String>) {
    let Some(name) = &end.record.execution_name else { return };
    // Who ends an attempt for somebody else knows nothing of its lines.
    let by_others = end.record.log == LogFacts::default() && end.record.last_chunk.is_none();
    if by_others && world.worker(name).is_some_and(|worker| !worker.gate.was_disturbed()) {
        broken.push(format!("{}.{}: a healthy worker was taken for lost", end.id, end.attempt));
    }
}

/// The lines of an attempt that its own worker ended are all there, once and in order; of others, once and
/// in order.
async fn check_lines(world: &World, end: &End, broken: &mut Vec<String>) {
    let Ok(id) = end.id.parse() else { return };
    let prefix = layout::session(&id);
    let mut numbers: Vec<u64> = Vec::new();
    let first = end.record.first_chunk;
    let later: Vec<u32> = {
        let seen = world.seen();
        let later = seen.ends.iter().filter(|other| other.id == end.id && other.attempt > end.attempt);
        later.map(|other| other.record.first_chunk).collect()
    };
    let entries = world.store.list(&prefix, None, 10_000).await.unwrap_or_default();
    for entry in entries {
        let Some(number) = layout::parse_chunk(&id, &entry.key) else { continue };
        if number < first || later.iter().any(|later| number >= *later) {
            continue;
        }
        let Ok(object) = world.store.get(&entry.key).await else { continue };
        let text = String::from_utf8_lossy(&object.bytes).into_owned();
        numbers.extend(text.lines().filter_map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).ok()?;
            json.get("n")?.as_u64()
        }));
    }
    if !numbers.is_sorted_by(|one, two| one < two) {
        broken.push(format!("{}.{}: lines are out of order or twice: {numbers:?}", end.id, end.attempt));
    }
    let planned = world.task(&end.id).map_or(0, |task| task.agent.lines);
    let is_complete = end.record.status == Status::Completed && end.record.log.lines_lost == 0;
    if is_complete && numbers.len() != usize::try_from(planned).unwrap_or(usize::MAX) {
        let count = numbers.len();
        broken.push(format!("{}.{}: {count} of {planned} lines are there", end.id, end.attempt));
    }
}

/// Whoever was told that a task is cancelled, or being cancelled, was told the truth.
fn check_cancels(world: &World, ends: &[End], broken: &mut Vec<String>) {
    let cancelled = world.seen().cancelled.clone();
    for (id, attempt, answer) in cancelled {
        let Some(end) = ends.iter().find(|end| end.id == id && end.attempt == attempt) else { continue };
        // Past its deadline a task has timed out, whatever else was wished.
        let timed_out = end.record.error_code == Some(ErrorCode::Timeout);
        if end.record.status != Status::Cancelled && !timed_out {
            broken.push(format!("{id}.{attempt}: answered {answer:?}, and ended as {:?}", end.record.status));
        }
    }
}
