//! What every `Jobs` has to keep.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise is a panic")]

use std::{sync::Arc, time::Duration};

use legwork_core::{id::Attempt, layout};
use legwork_ports::jobs::{Execution, ExecutionStatus, Job, Jobs, Slot};

/// A job service to be tried, and how to make its workers end.
#[derive(Debug, Clone)]
pub struct JobsBench {
    /// Starts workers that run until they are told to end.
    pub long: Arc<dyn Jobs>,
    /// Starts workers that end at once.
    pub short: Arc<dyn Jobs>,
    /// The first service as another process would open it.
    pub other: Arc<dyn Jobs>,
}

/// Makes one `#[tokio::test]` of each function of [`jobs`](crate::jobs).
#[macro_export]
macro_rules! jobs_suite {
    ($make:path) => {
        $crate::jobs_suite!($make:
            a_start_returns_before_the_worker_ends,
            a_worker_that_ended_is_told_so,
            an_execution_that_never_was_is_unknown,
            cancelling_ends_a_worker,
            cancelling_works_from_another_process,
            cancelling_what_has_ended_or_never_was_succeeds,
            each_slot_goes_to_one_of_many_callers,
            a_slot_is_free_again_when_its_worker_ends,
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

fn job(slot: Option<Slot>) -> Job {
    let task_id = "conformance-1".parse().expect("a task id");
    Job { payload_key: layout::payload(&task_id), task_id, attempt: Attempt::FIRST, slot }
}

async fn start(jobs: &dyn Jobs) -> Execution {
    let slot = jobs.reserve().await.expect("slots can be asked for");
    jobs.start(job(slot)).await.expect("a worker starts")
}

async fn wait_until_ended(jobs: &dyn Jobs, name: &str) {
    for _ in 0..300 {
        if jobs.status(name).await.expect("a status") == ExecutionStatus::Ended {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(jobs.status(name).await.expect("a status"), ExecutionStatus::Ended);
}

/// Start returns the execution's name at once, not at its end.
pub async fn a_start_returns_before_the_worker_ends(bench: &JobsBench) {
    let execution = start(&*bench.long).await;

    assert!(!execution.name.is_empty());
    assert_eq!(bench.long.status(&execution.name).await.expect("a status"), ExecutionStatus::Running);
    bench.long.cancel(&execution.name).await.expect("a cancel");
    wait_until_ended(&*bench.long, &execution.name).await;
}

/// A worker that has ended, in whatever way, is `Ended`.
pub async fn a_worker_that_ended_is_told_so(bench: &JobsBench) {
    let execution = start(&*bench.short).await;

    wait_until_ended(&*bench.short, &execution.name).await;
}

/// Unknown is neither running nor ended.
pub async fn an_execution_that_never_was_is_unknown(bench: &JobsBench) {
    for name in ["never-was", "../never-was", ""] {
        assert_eq!(bench.long.status(name).await.expect("a status"), ExecutionStatus::Unknown, "{name}");
    }
}

/// A cancel asks first and then ends by force.
pub async fn cancelling_ends_a_worker(bench: &JobsBench) {
    let execution = start(&*bench.long).await;

    bench.long.cancel(&execution.name).await.expect("a cancel");

    wait_until_ended(&*bench.long, &execution.name).await;
}

/// Whoever has the name may cancel.
pub async fn cancelling_works_from_another_process(bench: &JobsBench) {
    let execution = start(&*bench.long).await;

    bench.other.cancel(&execution.name).await.expect("a cancel");

    wait_until_ended(&*bench.other, &execution.name).await;
}

/// Cancelling one that has ended, or an unknown one, succeeds.
pub async fn cancelling_what_has_ended_or_never_was_succeeds(bench: &JobsBench) {
    let execution = start(&*bench.short).await;
    wait_until_ended(&*bench.short, &execution.name).await;

    bench.short.cancel(&execution.name).await.expect("a cancel of one that has ended");
    bench.short.cancel("never-was").await.expect("a cancel of one that never was");
}

/// Of many callers, in this process or others, one gets each slot.
pub async fn each_slot_goes_to_one_of_many_callers(bench: &JobsBench) {
    let mut taken = Vec::new();
    for _ in 0..10 {
        for jobs in [&bench.long, &bench.other] {
            taken.extend(jobs.reserve().await.expect("slots can be asked for"));
        }
    }

    let mut numbers: Vec<u32> = taken.iter().map(|slot| slot.number).collect();
    numbers.sort_unstable();
    let count = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    assert!(count >= 1);
}

/// A slot is held until every process that inherited it has ended.
pub async fn a_slot_is_free_again_when_its_worker_ends(bench: &JobsBench) {
    let mut started = Vec::new();
    while let Some(slot) = bench.long.reserve().await.expect("slots can be asked for") {
        started.push(bench.long.start(job(Some(slot))).await.expect("a worker starts"));
    }
    assert!(bench.other.reserve().await.expect("slots can be asked for").is_none());

    for execution in &started {
        bench.long.cancel(&execution.name).await.expect("a cancel");
        wait_until_ended(&*bench.long, &execution.name).await;
    }

    assert!(bench.other.reserve().await.expect("slots can be asked for").is_some());
}
