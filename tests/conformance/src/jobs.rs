//! What every `Jobs` has to keep that starts workers as processes.
//!
//! The workers are a line of POSIX shell, [`WORKER`]: what is tested is how they are started, found again
//! and ended, whatever they do. Nothing here waits for a time that is guessed, but for the pause
//! between asking and force, which is what is promised.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic"
)]

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use legwork_core::id::{Attempt, TaskId};
use legwork_ports::jobs::{Execution, ExecutionStatus, Job, Jobs, Slot, StartPolicy};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// What the adapter under test has to run as its worker, with `PATH` and, in `MARKS`, an
/// existing folder in the environment. The task's name says what it does; it
/// marks that it has begun with an empty file of that name.
pub const WORKER: &str = r#"
case "$TASK_ID" in
    stubborn*) trap '' TERM ;;
esac
: > "$MARKS/$TASK_ID"
case "$TASK_ID" in
    ends*) exit 0 ;;
    fails*) exit 3 ;;
esac
exec sleep 600
"#;

/// How long anything may take that has no limit of its own: a machine may be very busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between the signal that can be handled and the one that cannot.
const GRACE: Duration = Duration::from_secs(10);
/// What the test itself may need besides the time that is promised.
const SLACK: Duration = Duration::from_secs(5);

/// What is tested.
#[derive(Debug, Clone)]
pub struct JobsBench {
    /// The service's way to workers. It has at least one slot, none of them taken.
    pub jobs: Arc<dyn Jobs>,
    /// The same of another service.
    pub other: Arc<dyn Jobs>,
    /// How many slots both have together; nothing where the platform has none.
    pub slots: Option<u32>,
    /// Where workers mark that they have begun.
    pub marks: PathBuf,
}

/// Makes one `#[tokio::test]` of each function of [`jobs`](crate::jobs) that takes a bench.
#[macro_export]
macro_rules! jobs_suite {
    ($make:path) => {
        $crate::jobs_suite!($make:
            a_worker_is_running_then_ended,
            a_worker_that_fails_has_ended,
            every_start_has_a_name_of_its_own,
            what_was_never_started_is_unknown,
            what_does_not_run_can_be_cancelled,
            any_service_can_cancel,
            who_does_not_end_is_ended_by_force,
            who_is_seen_off_needs_nobody_any_more,
            each_slot_goes_to_one_of_many_callers,
            slots_are_where_somebody_waits_for_them,
            a_worker_holds_its_slot_for_its_life,
            nobody_waits_longer_for_a_slot_than_asked,
        );
    };
    ($make:path: $($test:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            let (bench, _keep) = $make();
            $crate::jobs::$test(&bench).await;
        }
    )*};
}

/// Returns a job whose name says what its worker does.
pub fn job(name: &str) -> Job {
    let task_id: TaskId = name.parse().expect("a task's name");
    let payload_key = format!("sessions/{name}/encrypted-payload.bin");
    Job { task_id, attempt: Attempt::FIRST, payload_key, slot: None }
}

impl JobsBench {
    /// Starts a worker and returns once it has begun.
    pub async fn start(&self, job: Job) -> Execution {
        let mark = self.marks.join(job.task_id.as_str());
        let started = timeout(PATIENCE, self.jobs.start(job)).await.expect("a name at once");
        let execution = started.expect("the worker starts");
        until("the worker begins", async || mark.exists()).await;
        execution
    }

    /// Ends a worker and waits until it has.
    pub async fn end(&self, execution: &Execution) {
        self.jobs.cancel(&execution.name).await.expect("it can be cancelled");
        until_ended(self.jobs.as_ref(), execution).await;
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Waits until the service says that an execution has ended.
pub async fn until_ended(jobs: &dyn Jobs, execution: &Execution) {
    until("the worker ends", async || status(jobs, execution).await == ExecutionStatus::Ended).await;
}

/// Returns what the service says of an execution.
pub async fn status(jobs: &dyn Jobs, execution: &Execution) -> ExecutionStatus {
    jobs.status(&execution.name).await.expect("an answer")
}

/// Starting returns while the worker runs, and every service sees it running, then ended.
pub async fn a_worker_is_running_then_ended(bench: &JobsBench) {
    let execution = bench.start(job("runs")).await;

    let seen =
        [status(bench.jobs.as_ref(), &execution).await, status(bench.other.as_ref(), &execution).await];
    bench.end(&execution).await;

    assert_eq!(seen, [ExecutionStatus::Running; 2]);
    assert_eq!(status(bench.other.as_ref(), &execution).await, ExecutionStatus::Ended);
}

/// An execution has ended in whatever way it did.
pub async fn a_worker_that_fails_has_ended(bench: &JobsBench) {
    let execution = bench.start(job("fails")).await;

    until_ended(bench.jobs.as_ref(), &execution).await;

    assert_eq!(status(bench.other.as_ref(), &execution).await, ExecutionStatus::Ended);
}

/// Two executions of one attempt are two.
pub async fn every_start_has_a_name_of_its_own(bench: &JobsBench) {
    let first = bench.start(job("ends")).await;
    let second = bench.start(job("ends")).await;

    assert_ne!(first.name, second.name);
}

/// An execution that the service never knew is neither running nor ended.
pub async fn what_was_never_started_is_unknown(bench: &JobsBench) {
    for name in ["never-started", "", "..", "../etc/passwd", "a/b"] {
        let status = bench.jobs.status(name).await.expect("an answer");

        assert_eq!(status, ExecutionStatus::Unknown, "{name:?}");
    }
}

/// Cancelling what has ended, and what never was, succeeds.
pub async fn what_does_not_run_can_be_cancelled(bench: &JobsBench) {
    let execution = bench.start(job("ends")).await;
    until_ended(bench.jobs.as_ref(), &execution).await;

    for name in [execution.name.as_str(), "never-started", "", "../etc/passwd"] {
        bench.jobs.cancel(name).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}

/// A worker can be cancelled by a service that did not start it, and twice.
pub async fn any_service_can_cancel(bench: &JobsBench) {
    let execution = bench.start(job("runs")).await;

    bench.other.cancel(&execution.name).await.expect("the other service can");
    bench.jobs.cancel(&execution.name).await.expect("again");

    until_ended(bench.jobs.as_ref(), &execution).await;
}

/// Cancelling asks, and returns then; 10 s later it forces.
pub async fn who_does_not_end_is_ended_by_force(bench: &JobsBench) {
    let execution = bench.start(job("stubborn")).await;
    let begun = Instant::now();

    bench.jobs.cancel(&execution.name).await.expect("it can be asked");
    let asked = begun.elapsed();
    until_ended(bench.other.as_ref(), &execution).await;
    let ended = begun.elapsed();

    assert!(asked < GRACE, "asking does not wait for the end, but took {asked:?}");
    assert!(ended >= GRACE && ended < GRACE + SLACK, "it ended after {ended:?}");
}

/// After seeing off what was cancelled, this process may end: where it uses force itself, it has.
pub async fn who_is_seen_off_needs_nobody_any_more(bench: &JobsBench) {
    let execution = bench.start(job("stubborn")).await;
    bench.jobs.cancel(&execution.name).await.expect("it can be asked");

    let begun = Instant::now();
    bench.jobs.see_off().await;
    let waited = begun.elapsed();

    if bench.slots.is_some() {
        assert_eq!(status(bench.other.as_ref(), &execution).await, ExecutionStatus::Ended);
    }
    assert!(waited < GRACE + SLACK, "it took {waited:?}");
    until_ended(bench.other.as_ref(), &execution).await;
}

/// Of many callers one gets each slot, and who gives it back lets another one have it.
pub async fn each_slot_goes_to_one_of_many_callers(bench: &JobsBench) {
    let mut callers = JoinSet::new();
    for number in 0..40 {
        let jobs = Arc::clone(if number % 2 == 0 { &bench.jobs } else { &bench.other });
        callers.spawn(async move { jobs.reserve().await.expect("an answer") });
    }
    let mut slots: Vec<Slot> = callers.join_all().await.into_iter().flatten().collect();

    let numbers: BTreeSet<u32> = slots.iter().map(|slot| slot.number).collect();
    assert_eq!(numbers, (0..bench.slots.unwrap_or_default()).collect());
    assert_eq!(slots.len(), numbers.len(), "no slot is given twice");

    if let Some(number) = slots.pop().map(|slot| slot.number) {
        let again = bench.other.reserve().await.expect("an answer").expect("a free slot");
        assert_eq!(again.number, number);
    }
}

/// Platforms that start at once have no slots to give, others have.
pub async fn slots_are_where_somebody_waits_for_them(bench: &JobsBench) {
    let has_slots = bench.slots.is_some();

    assert_eq!(bench.jobs.start_policy() == StartPolicy::WhenSlotFree, has_slots);
    assert_eq!(bench.jobs.capacity().await, bench.slots.and_then(|count| usize::try_from(count).ok()));
    assert_eq!(bench.jobs.reserve().await.expect("an answer").is_some(), has_slots);
}

/// A worker holds its slot for its life; who waits is woken by its end.
pub async fn a_worker_holds_its_slot_for_its_life(bench: &JobsBench) {
    let mut held = take_all(bench.jobs.as_ref()).await;
    let slot = held.pop().expect("at least one slot");
    let number = slot.number;
    let execution = bench.start(Job { slot: Some(slot), ..job("runs") }).await;

    let while_it_runs = bench.other.reserve().await.expect("an answer");
    let ((), ()) = tokio::join!(bench.end(&execution), bench.other.slot_freed(PATIENCE));
    let mut afterwards = None;
    until("its slot is free", async || {
        afterwards = bench.other.reserve().await.expect("an answer");
        afterwards.is_some()
    })
    .await;

    assert!(while_it_runs.is_none(), "all slots are taken");
    assert_eq!(afterwards.map(|slot| slot.number), Some(number));
}

/// Waiting for a slot ends when the time is over.
pub async fn nobody_waits_longer_for_a_slot_than_asked(bench: &JobsBench) {
    let _held = take_all(bench.jobs.as_ref()).await;
    let begun = Instant::now();

    bench.jobs.slot_freed(Duration::from_millis(700)).await;

    assert!(begun.elapsed() < SLACK, "it took {:?}", begun.elapsed());
}

async fn take_all(jobs: &dyn Jobs) -> Vec<Slot> {
    let mut slots = Vec::new();
    while let Some(slot) = jobs.reserve().await.expect("an answer") {
        slots.push(slot);
    }
    slots
}
