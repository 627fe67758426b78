//! One life, from its first request until nothing is owed any more.

use std::{sync::Arc, time::Duration};

use legwork_adapters_local::memory::MemoryStorage;
use legwork_core::{id::TaskId, layout, record::Record, request::Route, time::Timestamp};
use legwork_engine::Reconciler;
use legwork_ports::{clock::Clock, storage::Storage as _};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    clock::EPOCH_MS,
    plan::{Plan, Plant, Platform, TaskPlan},
    process::{Luck, Process, beside, reconcile},
    promises::{self, Broken},
    world::{Traced, World},
};
use crate::{fakes, rng::Rng};

/// How long after the trouble every accepted task has to have ended: the longest time limit and its
/// allowance, five starts of growing pauses, and clocks that differ.
const ALL_ENDED_WITHIN: Duration = Duration::from_hours(6);
/// How long a healthy observer may need to find out that a worker is dead: twice 90 s, and 10 min where the
/// job service says nothing and the marker was written shortly before.
const LOST_FOUND_WITHIN: Duration = Duration::from_mins(15);
/// How long an answer may take, and a write that lands late.
const ANSWERED_WITHIN: Duration = Duration::from_mins(4);
/// The same where processes are held.
const ANSWERED_WITHIN_IF_HELD: Duration = Duration::from_mins(25);
/// How long callbacks, retention and late deletions may take after that.
const ALL_QUIET_WITHIN: Duration = Duration::from_hours(200);

/// What was seen in a life that kept all promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// Tasks that were accepted.
    pub accepted: usize,
    /// Attempts that ended.
    pub ended: usize,
    /// Posts to receivers.
    pub posts: u64,
    /// Swaps of records.
    pub swaps: u64,
    /// Tells two lives apart: the number of objects written and when the last was.
    pub trace: u64,
}

/// The store's own clock, in virtual time.
#[derive(Debug)]
struct StoreClock(Instant);

#[async_trait::async_trait]
impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(EPOCH_MS).plus(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }
}

/// Lives the life of a seed.
///
/// # Errors
/// The promises that were broken.
///
/// # Panics
/// Where there is no runtime to be had.
pub fn live(seed: u64, plant: Plant) -> Result<Life, Broken> {
    live_traced(seed, plant, Traced::Nothing)
}

/// Lives the life of a seed once more, and tells its writes where promises are broken.
///
/// # Errors
/// The promises that were broken.
///
/// # Panics
/// As [`live`].
pub fn replay(seed: u64) -> Result<Life, Broken> {
    live_traced(seed, Plant::None, Traced::Writes)
}

fn live_traced(seed: u64, plant: Plant, traced: Traced) -> Result<Life, Broken> {
    #[expect(clippy::expect_used, reason = "without a runtime there is no life")]
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let lived = runtime.block_on(lived(seed, plant, traced));
    // What is held, dead or late ends here.
    runtime.shutdown_background();
    lived
}

async fn lived(number: u64, plant: Plant, traced: Traced) -> Result<Life, Broken> {
    let mut rng = Rng::new(number);
    let plan = Plan::new(&mut rng);
    let settings = legwork_engine::Settings { payload_retention: plan.retention, ..fakes::settings() };
    let store = MemoryStorage::new(Arc::new(StoreClock(Instant::now())));
    let world = World::new(plan, plant, store, settings, rng, traced);

    for (index, task) in world.plan.tasks.iter().enumerate() {
        beside(client(Arc::clone(&world), format!("t{index}"), task.clone()));
    }
    for number in 0..2 {
        beside(reconcile(Arc::clone(&world), world.plan.passes_only || number == 1));
    }
    let dispatching = CancellationToken::new();
    if world.plan.platform == Platform::Machine {
        beside(dispatch(Arc::clone(&world), dispatching.clone()));
    }
    let asked_by = world.plan.tasks.iter().map(TaskPlan::asked_by).fold(Duration::ZERO, Duration::max);
    sleep_until(world.began + world.plan.trouble_ends.max(asked_by)).await;
    // What clients have asked for last is answered by then, or never, and what lands late has landed.
    sleep(if world.plan.holds > 0 { ANSWERED_WITHIN_IF_HELD } else { ANSWERED_WITHIN }).await;
    let ended = settle_all(&world).await;
    dispatching.cancel();
    if let Err(why) = ended {
        return Err(Broken::of(number, &world, vec![why]).await);
    }
    if !quieten(&world).await {
        let left = promises::left_over(&world).await;
        return Err(Broken::of(number, &world, vec![format!("something is owed for ever: {left:?}")]).await);
    }
    let broken = promises::broken(&world).await;
    if !broken.is_empty() {
        return Err(Broken::of(number, &world, broken).await);
    }
    let seen = world.seen();
    let posts = seen.told.values().map(|told| u64::from(told.posts)).sum();
    Ok(Life {
        accepted: seen.accepted.len(),
        ended: seen.ends.len(),
        posts,
        swaps: seen.swaps,
        trace: u64::try_from(world.began.elapsed().as_millis()).unwrap_or(u64::MAX)
            ^ seen.swaps.rotate_left(48),
    })
}

fn request(id: &str, task: &TaskPlan) -> Vec<u8> {
    let mut body = serde_json::json!({
        "taskId": id,
        "prompt": "p",
        "anthropicApiKey": "sk-ant-0123456789",
        "timeoutMinutes": task.timeout_minutes,
        "callbackUrl": task.has_receiver.then(|| format!("http://127.0.0.1:9/{id}")),
    });
    if let (Some(always), Some(members)) = (task.acts_always, body.as_object_mut()) {
        let when = if always { "always" } else { "success" };
        let actions = serde_json::json!({"uploadFiles": {"globPatterns": ["*"]}, "when": when});
        members.insert("postExecutionActions".to_owned(), actions);
    }
    body.to_string().into_bytes()
}

/// What a client does about one task.
async fn client(world: Arc<World>, id: String, task: TaskPlan) {
    let at = |moment: Duration| sleep_until(world.began + moment);
    let Ok(task_id) = id.parse::<TaskId>() else { return };
    let submissions = std::iter::once(task.submitted_at).chain(task.submitted_again_at);
    for moment in submissions {
        let (world, id, task) = (Arc::clone(&world), id.clone(), task.clone());
        beside(async move {
            sleep_until(world.began + moment).await;
            submit(&world, &id, &task).await;
        });
    }
    let mut wishes: Vec<(Duration, Wish)> = Vec::new();
    wishes.extend(task.cancelled_at.iter().map(|moment| (*moment, Wish::Cancel)));
    wishes.extend(task.retried_at.iter().map(|moment| (*moment, Wish::Retry)));
    wishes.extend(task.redelivered_at.iter().map(|moment| (*moment, Wish::Redeliver)));
    wishes.sort_by_key(|(moment, _)| *moment);
    for (moment, wish) in wishes {
        at(moment).await;
        let (world, task_id) = (Arc::clone(&world), task_id.clone());
        beside(async move { ask(&world, &task_id, wish).await });
    }
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Cancel,
    Retry,
    Redeliver,
}

async fn submit(world: &Arc<World>, id: &str, task: &TaskPlan) {
    let process = Process::new(world, Luck::Planned);
    let body = request(id, task);
    let submitting = Box::pin(process.engine.submit(&body, Route::RunAsync));
    tokio::select! {
        biased;
        accepted = submitting => if accepted.is_ok() {
            world.seen().accepted.insert(id.to_owned());
        },
        () = process.gate.died() => {}
    }
}

async fn ask(world: &Arc<World>, id: &TaskId, wish: Wish) {
    let process = Process::new(world, Luck::Planned);
    let asking = async {
        match wish {
            Wish::Cancel => {
                if let Ok(answer) = process.engine.cancel(id).await
                    && let Some(record) = world.record(id.as_str()).await
                {
                    world.note_cancel(id.as_str(), record.attempt, answer);
                }
            }
            Wish::Retry => {
                if process.engine.retry(id).await.is_ok() {
                    world.seen().accepted.insert(id.to_string());
                }
            }
            Wish::Redeliver => drop(process.engine.redeliver(id).await),
        }
        // What goes on in the background goes on.
        process.engine.settle_background(Duration::from_hours(1)).await;
    };
    tokio::select! {
        biased;
        () = Box::pin(asking) => {}
        () = process.gate.died() => {}
    }
}

/// Starts pending tasks as slots free, by one service after another.
async fn dispatch(world: Arc<World>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let process = Process::new(&world, Luck::Planned);
        tokio::select! {
            biased;
            () = process.gate.died() => {}
            () = process.engine.dispatch(stop.clone()) => {}
        }
        sleep(Duration::from_secs(5)).await;
    }
}

/// Lets one healthy reconciler look until every task that is there has ended.
async fn settle_all(world: &Arc<World>) -> Result<(), String> {
    let process = Process::new(world, Luck::Good);
    let mut reconciler = Reconciler::new(process.engine.clone(), None);
    let began = Instant::now();
    while began.elapsed() < ALL_ENDED_WITHIN {
        let _looked = reconciler.look().await;
        if all_ended(world).await {
            // Attempts at callbacks that are under way end within their deadline.
            sleep(Duration::from_mins(4)).await;
            if all_ended(world).await {
                return Ok(());
            }
        }
        if began.elapsed() > LOST_FOUND_WITHIN
            && let Some(id) = unfound(world).await
        {
            return Err(format!("{id}'s worker is dead, and nobody has found out"));
        }
        sleep(Duration::from_secs(10)).await;
    }
    Err("not every accepted task has ended".to_owned())
}

/// Names a task that counts as running though its worker has long been dead.
async fn unfound(world: &World) -> Option<String> {
    for index in 0..world.plan.tasks.len() {
        let id = format!("t{index}");
        let Some(record) = world.record(&id).await else { continue };
        let worker = record.execution_name.as_deref().and_then(|name| world.worker(name));
        let died = worker.and_then(|worker| worker.ended_at());
        let is_running = record.claim.is_some() && !record.is_terminal();
        if is_running && died.is_some_and(|at| at.elapsed() > LOST_FOUND_WITHIN) {
            return Some(id);
        }
    }
    None
}

async fn all_ended(world: &World) -> bool {
    for index in 0..world.plan.tasks.len() {
        let id = format!("t{index}");
        let is_accepted = world.seen().accepted.contains(&id);
        let has_ended = match world.record(&id).await {
            Some(record) => record.is_terminal() || (!is_accepted && is_unheard_of(world, &record).await),
            None => !is_accepted,
        };
        if !has_ended {
            return false;
        }
    }
    true
}

/// A record whose submitter died before anything else: nobody was answered, nothing is listed, and the same
/// request resumes it.
async fn is_unheard_of(world: &World, record: &Record) -> bool {
    let keys = [
        layout::payload(&record.task_id),
        layout::active(&record.task_id, record.attempt),
        layout::index(record.created_at, &record.task_id),
    ];
    for key in keys {
        if world.store.get(&key).await.is_ok() {
            return false;
        }
    }
    true
}

/// Lets it go on until nothing is open and nothing is owed.
async fn quieten(world: &Arc<World>) -> bool {
    let process = Process::new(world, Luck::Good);
    let mut reconciler = Reconciler::new(process.engine.clone(), None);
    let deadline = Instant::now() + ALL_QUIET_WITHIN;
    while Instant::now() < deadline {
        let Ok(look) = reconciler.look().await else { continue };
        let active = world.store.list(layout::ACTIVE, None, 10).await.unwrap_or_default();
        let due = world.store.list(layout::DUE, None, 10).await.unwrap_or_default();
        if active.is_empty() && due.is_empty() {
            return true;
        }
        let now = process.engine.ports().clock.now();
        let until_due = look.next_due.map_or(Duration::from_secs(10), |at| at.since(now));
        // While something is open or overdue, it is looked at again soon.
        let is_overdue = look.report.examined > 0 || !active.is_empty();
        let pause = if is_overdue { Duration::from_secs(10) } else { until_due };
        sleep(pause.max(Duration::from_millis(250))).await;
    }
    false
}
