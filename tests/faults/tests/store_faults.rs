//! The log of a task, and its end, over stores that go wrong in the middle of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::{ops::Range, sync::Arc, time::Duration};

use common::{Answer, LineAgent, Receiver, World, run};
use legwork_adapters_local::files::FileStorage;
use legwork_core::{
    layout,
    record::{CallbackState, ErrorCode, LogFacts, Record, Status},
};
use legwork_engine::{CancelAnswer, RunEnd, Settings};
use legwork_faults::{
    fakes,
    fault::{Call, Fault, Faults, Scripted},
};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The log has these besides the agent's numbered lines: the service's first one, the agent's first one,
/// and its result.
const OTHER_LINES: u64 = 3;

/// Something goes wrong with all calls of a kind for a while.
#[derive(Debug)]
struct Spell {
    began: Instant,
    during: Range<Duration>,
    fault: Fault,
    /// How the names of the calls begin.
    name: &'static str,
    /// What is in their keys.
    part: &'static str,
}

impl Spell {
    fn new(during: Range<Duration>, fault: Fault) -> Self {
        Self { began: Instant::now(), during, fault, name: "", part: "" }
    }

    fn always(fault: Fault) -> Self {
        Self::new(Duration::ZERO..Duration::MAX, fault)
    }
}

impl Faults for Spell {
    fn decide(&self, call: &Call<'_>) -> Fault {
        let is_meant = call.name.starts_with(self.name) && call.on.contains(self.part);
        if is_meant && self.during.contains(&self.began.elapsed()) { self.fault } else { Fault::None }
    }
}

/// Something goes wrong with every other put of so many.
fn every_other(part: &str, puts: usize, fault: Fault) -> Arc<Scripted> {
    let faults = (0..puts).map(|put: usize| if put.is_multiple_of(2) { fault } else { Fault::None });
    Arc::new(Scripted::new("storage.put", part, faults))
}

/// Small chunks, so that there are many.
fn settings() -> Settings {
    let mut settings = fakes::settings();
    settings.log.chunk_lines = 10;
    settings
}

fn taken_at_once() -> Receiver {
    Receiver::new([], Answer::Status(200))
}

fn in_memory() -> World {
    World::new(taken_at_once(), settings())
}

fn in_files(folder: &tempfile::TempDir) -> World {
    World::over(Arc::new(FileStorage::open(folder.path()).unwrap()), taken_at_once(), settings())
}

fn millis(from: u64, until: u64) -> Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(until)
}

fn seconds(from: u64, until: u64) -> Range<Duration> {
    Duration::from_secs(from)..Duration::from_secs(until)
}

/// Writes ten lines a second for 200 s.
fn long_agent() -> LineAgent {
    LineAgent::new(200, 10, Duration::from_secs(1))
}

/// Writes 500 lines within a second.
fn short_agent() -> LineAgent {
    LineAgent::new(20, 25, Duration::from_millis(50))
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.get("n")?.as_u64()).collect()
}

/// Runs an agent over a store that goes wrong like this, and checks that its log is whole.
async fn check_log_is_whole(world: World, agent: LineAgent, faults: Arc<dyn Faults>) {
    let id = world.submit("t1").await;
    let stop = CancellationToken::new();

    let end = run(world.behind(faults), id.clone(), agent.clone(), stop).await;
    let record = world.record(&id).await;
    let lines = world.log(&id).await;

    assert_eq!(end, RunEnd::Settled(Status::Completed));
    assert_eq!(numbers(&lines), (0..agent.lines()).collect::<Vec<_>>());
    let whole = agent.lines() + OTHER_LINES;
    assert_eq!(u64::try_from(lines.len()).unwrap(), whole);
    assert_eq!(record.log, LogFacts { lines_stored: whole, ..LogFacts::default() });
}

#[tokio::test(start_paused = true)]
async fn puts_that_are_done_and_not_answered_make_no_line_twice() {
    let faults = every_other("sessions/", 100, Fault::ApplyThenFail);

    check_log_is_whole(in_memory(), long_agent(), Arc::<Scripted>::clone(&faults)).await;

    assert_eq!(faults.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn puts_that_land_late_change_no_line() {
    let faults = every_other("sessions/", 100, Fault::FailThenApply(Duration::from_secs(90)));

    check_log_is_whole(in_memory(), long_agent(), Arc::<Scripted>::clone(&faults)).await;

    assert_eq!(faults.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_of_20_ms_gets_every_line() {
    let slow = Spell::always(Fault::Delay(Duration::from_millis(20)));

    check_log_is_whole(in_memory(), long_agent(), Arc::new(slow)).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_of_3_s_gets_every_line() {
    let slow = Spell::always(Fault::Delay(Duration::from_secs(3)));

    check_log_is_whole(in_memory(), long_agent(), Arc::new(slow)).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_two_minutes_loses_no_line() {
    let outage = Spell::new(seconds(30, 150), Fault::Fail);

    check_log_is_whole(in_memory(), long_agent(), Arc::new(outage)).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_for_a_minute_loses_no_line() {
    let full = Spell { name: "storage.put", ..Spell::new(seconds(30, 90), Fault::Full) };

    check_log_is_whole(in_memory(), long_agent(), Arc::new(full)).await;
}

#[tokio::test]
async fn puts_of_files_that_are_done_and_not_answered_make_no_line_twice() {
    let folder = tempfile::tempdir().unwrap();
    let faults = every_other("sessions/", 40, Fault::ApplyThenFail);

    check_log_is_whole(in_files(&folder), short_agent(), Arc::<Scripted>::clone(&faults)).await;

    assert_eq!(faults.left(), 0);
}

#[tokio::test]
async fn puts_of_files_that_land_late_change_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let faults = every_other(".jsonl", 20, Fault::FailThenApply(Duration::from_millis(200)));

    check_log_is_whole(in_files(&folder), short_agent(), Arc::<Scripted>::clone(&faults)).await;

    assert_eq!(faults.left(), 0);
}

#[tokio::test]
async fn slow_files_get_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Spell::always(Fault::Delay(Duration::from_millis(20)));

    check_log_is_whole(in_files(&folder), short_agent(), Arc::new(slow)).await;
}

#[tokio::test]
async fn files_on_a_disk_that_is_full_for_a_while_lose_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let world = in_files(&folder);
    let full = Spell { name: "storage.put", ..Spell::new(millis(300, 800), Fault::Full) };

    check_log_is_whole(world, short_agent(), Arc::new(full)).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_outage_of_more_than_ten_minutes_has_cost_is_counted_and_told() {
    let world = in_memory();
    let id = world.submit("t1").await;
    let agent = LineAgent::new(60, 10, Duration::from_secs(1));
    // The agent ends after a minute; lines are waited for until ten minutes later.
    let outage = Spell::new(millis(30_000, 660_200), Fault::Fail);

    let worker = world.behind(Arc::new(outage));
    let end = run(worker, id.clone(), agent.clone(), CancellationToken::new()).await;
    let log = world.record(&id).await.log;
    let lines = world.log(&id).await;

    assert_eq!(end, RunEnd::Settled(Status::Completed));
    let stored = numbers(&lines);
    let count = u64::try_from(stored.len()).unwrap();
    assert!((200..400).contains(&count), "{count} lines were stored");
    assert_eq!(stored, (0..count).collect::<Vec<_>>());
    // The result is lost as well; the two first lines and the last one are there.
    assert_eq!((log.lines_stored, log.lines_lost), (count + 3, agent.lines() - count + 1));
    let last = lines.last().unwrap();
    let told = format!("{} lines could not be stored in time", log.lines_lost);
    assert_eq!((last["type"].as_str(), last["error"].as_str()), (Some("error"), Some(told.as_str())));
}

/// Tells a worker to stop in an outage in which the store answers like this, five seconds before its end,
/// while its agent floods the log.
async fn check_stop_in_an_outage(fault: Fault) {
    let world = World::new(Receiver::new([], Answer::Never), fakes::settings());
    let id = world.submit("t1").await;
    // A megabyte a second, of which 64 chunks have room; it goes on for the time that a stop may take.
    let pieces = LineAgent::new(600, 100, Duration::from_millis(100));
    let agent = LineAgent { pad: 1000, lingers: Duration::from_secs(3), ..pieces };
    let outage = Arc::new(Spell::new(seconds(2, 25), fault));
    let stop = CancellationToken::new();
    let mut worker = JoinSet::new();
    worker.spawn(run(world.behind(outage), id.clone(), agent.clone(), stop.clone()));

    sleep_until(world.began + Duration::from_secs(20)).await;
    stop.cancel();
    let told_at = Instant::now();
    let record = world.until(&id, Duration::from_secs(9), Record::is_terminal).await;
    let lines = world.log(&id).await;

    // A tree that is told to stop is gone three seconds later.
    let stopped_after = agent.stopped_at().unwrap().saturating_duration_since(told_at);
    assert!(stopped_after <= Duration::from_secs(2), "{stopped_after:?}");
    assert_eq!((record.status, record.error_code), (Status::Failed, Some(ErrorCode::WorkerStopped)));
    assert_eq!(record.callback.state, CallbackState::Pending);
    let owed = layout::due(record.callback.next_attempt_at.unwrap(), &id, record.attempt);
    assert!(world.keys(layout::DUE).await.contains(&owed), "{owed} is not there");
    assert!(record.log.lines_lost > 0, "{:?}", record.log);
    let last = lines.last().and_then(|line| line.get("error")?.as_str());
    let told = format!("{} lines could not be stored in time", record.log.lines_lost);
    assert_eq!(last, Some(told.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_an_outage_ends_a_flood_and_owes_the_callback_within_nine_seconds() {
    check_stop_in_an_outage(Fault::Fail).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_store_hangs_ends_a_flood_and_owes_the_callback_within_nine_seconds() {
    check_stop_in_an_outage(Fault::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_in_an_outage_of_the_workers_is_done_once_the_store_is_back() {
    let world = in_memory();
    let id = world.submit("t1").await;
    let agent = LineAgent::new(300, 10, Duration::from_secs(1));
    let outage = Spell::new(seconds(30, 150), Fault::Fail);
    let worker = world.behind(Arc::new(outage));
    let cancelling = async {
        sleep_until(world.began + Duration::from_mins(1)).await;
        world.service.cancel(&id).await.unwrap()
    };

    let running = run(worker, id.clone(), agent, CancellationToken::new());
    let (end, answer) = tokio::join!(running, cancelling);
    let ended_after = world.began.elapsed().as_secs();
    let record = world.record(&id).await;
    let lines = numbers(&world.log(&id).await);

    assert_eq!((answer, end), (CancelAnswer::Cancelling, RunEnd::Settled(Status::Cancelled)));
    assert_eq!((record.status, record.error_code), (Status::Cancelled, Some(ErrorCode::Cancelled)));
    assert!((150..165).contains(&ended_after), "{ended_after} s");
    // What the agent had written by then is all there.
    assert!(lines.len() >= 1490, "{} lines", lines.len());
    assert_eq!(lines, (0..).take(lines.len()).collect::<Vec<u64>>());
    assert_eq!(record.log.lines_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_stopped_although_its_cancel_cannot_be_recorded_yet() {
    let world = in_memory();
    let id = world.submit("t1").await;
    let agent = long_agent();
    let spell = Spell::new(seconds(30, 90), Fault::Fail);
    let refusing = Spell { name: "storage.put", part: "metadata.json", ..spell };
    let worker = world.behind(Arc::new(refusing));
    let cancelling = async {
        sleep_until(world.began + Duration::from_secs(30)).await;
        world.service.cancel(&id).await.unwrap()
    };

    let running = run(worker, id.clone(), agent.clone(), CancellationToken::new());
    let (end, _) = tokio::join!(running, cancelling);
    let ended_after = world.began.elapsed().as_secs();

    let stopped_after = agent.stopped_at().unwrap().saturating_duration_since(world.began).as_secs();
    assert!((30..=35).contains(&stopped_after), "{stopped_after} s");
    assert_eq!(end, RunEnd::Settled(Status::Cancelled));
    assert!((90..=105).contains(&ended_after), "{ended_after} s");
}
