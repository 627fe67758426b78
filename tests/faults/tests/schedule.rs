//! Callbacks in virtual time: when receivers are told, how often, and until when; and what is kept for how
//! long after that.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Answer, LineAgent, Post, Receiver, World};
use legwork_core::{
    layout,
    record::{AttemptOutcome, CallbackState, Payload, Record, Status},
};
use legwork_engine::{QueryError, Reconciler, RedeliverError, RetryError, Settings};
use legwork_faults::{
    fakes,
    fault::{Fault, Scripted},
};
use legwork_ports::storage::StorageError;
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

/// The pauses before the second and each further attempt, in seconds.
const PAUSES: [u64; 11] = [5, 30, 120, 600, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// More than a whole schedule takes.
const WHOLE_SCHEDULE: Duration = Duration::from_hours(80);
/// How long after its time a reconciler may find an attempt that was put down since its last look.
const A_LOOK: u64 = 10;

fn world(answers: impl IntoIterator<Item = Answer>, then: Answer) -> World {
    World::new(Receiver::new(answers, then), fakes::settings())
}

/// Returns whole seconds between posts.
fn pauses(posts: &[Post]) -> Vec<u64> {
    let next = posts.iter().skip(1);
    posts.iter().zip(next).map(|(one, next)| next.at.saturating_sub(one.at).as_secs()).collect()
}

fn is_settled(record: &Record) -> bool {
    record.is_terminal() && record.callback.state != CallbackState::Pending
}

fn outcomes(record: &Record) -> Vec<(AttemptOutcome, Option<u16>)> {
    record.callback.attempts.iter().map(|attempt| (attempt.outcome, attempt.status)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_always_fails_is_told_twelve_times_in_75_hours() {
    let world = world([], Answer::Status(500));
    let id = world.submit("t1").await;

    world.run(&id, LineAgent::brief()).await;
    let by_worker = world.receiver.posts().len();
    let _looking = world.reconcile_beside();
    let record = world.until(&id, WHOLE_SCHEDULE, is_settled).await;
    sleep(WHOLE_SCHEDULE).await;

    // The pause before the fifth one leads out of the worker's three minutes.
    assert_eq!(by_worker, 4);
    assert_eq!(pauses(&world.receiver.posts()), PAUSES);
    assert_eq!(record.callback.state, CallbackState::Failed);
    assert_eq!(outcomes(&record), [(AttemptOutcome::Failed, Some(500)); 12]);
}

#[tokio::test(start_paused = true)]
async fn the_later_of_schedule_and_retry_after_counts_up_to_a_day() {
    let busy = |seconds| Answer::Busy(503, Duration::from_secs(seconds));
    let world = world([busy(1), busy(45), busy(360_000)], Answer::Status(200));
    let id = world.submit("t1").await;

    world.run(&id, LineAgent::brief()).await;
    let _looking = world.reconcile_beside();
    let record = world.until(&id, WHOLE_SCHEDULE, is_settled).await;

    assert_eq!(pauses(&world.receiver.posts()), [5, 45, 86_400]);
    assert_eq!(record.callback.state, CallbackState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_for_good_is_told_once() {
    let world = world([], Answer::Status(410));
    let id = world.submit("t1").await;

    world.run(&id, LineAgent::brief()).await;
    let record = world.record(&id).await;
    let _looking = world.reconcile_beside();
    sleep(WHOLE_SCHEDULE).await;

    assert_eq!(record.callback.state, CallbackState::Failed);
    assert_eq!(world.receiver.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_recovers_is_told_no_more_once_it_has_taken_it() {
    let world = world([Answer::Status(500), Answer::Status(502)], Answer::Status(204));
    let id = world.submit("t1").await;

    world.run(&id, LineAgent::brief()).await;
    let _looking = world.reconcile_beside();
    sleep(WHOLE_SCHEDULE).await;
    let record = world.record(&id).await;

    assert_eq!(pauses(&world.receiver.posts()), [5, 30]);
    let failed = AttemptOutcome::Failed;
    assert_eq!(
        outcomes(&record),
        [(failed, Some(500)), (failed, Some(502)), (AttemptOutcome::Delivered, Some(204))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_has_failed_at_its_deadline() {
    let world = world([Answer::Hangs], Answer::Status(200));
    let id = world.submit("t1").await;

    world.run(&id, LineAgent::brief()).await;
    let record = world.record(&id).await;

    assert_eq!(pauses(&world.receiver.posts()), [25]);
    let first = &record.callback.attempts[0];
    assert_eq!((first.outcome, first.duration_ms), (AttemptOutcome::Failed, Some(20_000)));
    assert_eq!(first.error.as_deref(), Some("no answer within 20 s"));
    assert_eq!(record.callback.state, CallbackState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_process_dies_counts_as_failed_and_the_next_is_made() {
    let world = world([Answer::Never], Answer::Status(200));
    let id = world.submit("t1").await;
    let mut worker = world.run_beside(&id, LineAgent::brief());
    world.receiver.told(1).await;

    worker.shutdown().await;
    let _looking = world.reconcile_beside();
    let record = world.until(&id, WHOLE_SCHEDULE, is_settled).await;

    let delivered = (AttemptOutcome::Delivered, Some(200));
    assert_eq!(outcomes(&record), [(AttemptOutcome::Failed, None), delivered]);
    // A minute for the outcome, then the first pause.
    let pause = pauses(&world.receiver.posts())[0];
    assert!((65..=65 + A_LOOK).contains(&pause), "{pause} s");
}

#[tokio::test(start_paused = true)]
async fn a_success_that_is_told_late_still_settles() {
    let late = Duration::from_secs(63);
    let world = world([Answer::Late(late, 200)], Answer::Status(500));
    let id = world.submit("t1").await;
    let _looking = world.reconcile_beside();
    let _worker = world.run_beside(&id, LineAgent::brief());

    let counted = world
        .until(&id, WHOLE_SCHEDULE, |record| {
            record.callback.attempts.first().is_some_and(|first| first.outcome == AttemptOutcome::Failed)
        })
        .await;
    let settled_before = is_settled(&counted);
    let record = world.until(&id, WHOLE_SCHEDULE, is_settled).await;
    sleep(WHOLE_SCHEDULE).await;

    assert!(!settled_before);
    assert_eq!(record.callback.state, CallbackState::Delivered);
    assert_eq!(outcomes(&record), [(AttemptOutcome::Delivered, Some(200))]);
    assert_eq!(world.receiver.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_tells_the_same_by_a_fresh_schedule_and_undoes_no_delivery() {
    let world = world([Answer::Status(200)], Answer::Status(500));
    let id = world.submit("t1").await;
    world.run(&id, LineAgent::brief()).await;
    let _looking = world.reconcile_beside();

    let begun = world.service.redeliver(&id).await.unwrap();
    let record = world.until(&id, WHOLE_SCHEDULE, is_settled).await;

    assert_eq!(begun.callback.state, CallbackState::Pending);
    assert_eq!(record.callback.state, CallbackState::Delivered);
    let posts = world.receiver.posts();
    let (first, again) = posts.split_first().unwrap();
    assert_eq!(first.webhook_id, "t1.1");
    assert!(again.iter().all(|post| post.webhook_id == first.webhook_id && post.body == first.body));
    let made = pauses(again);
    assert!((5..=5 + A_LOOK).contains(&made[0]), "{made:?}");
    assert_eq!(made[1..], PAUSES[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_is_refused_before_the_end_without_a_receiver_and_while_one_is_made() {
    let world = world([], Answer::Never);
    let open = world.submit("open").await;
    let silent = world.submit_for("silent", None).await;
    world.run(&silent, LineAgent::brief()).await;
    let told = world.submit("told").await;
    let _worker = world.run_beside(&told, LineAgent::brief());
    world.receiver.told(1).await;

    let of_open = world.service.redeliver(&open).await.unwrap_err();
    let of_silent = world.service.redeliver(&silent).await.unwrap_err();
    let of_told = world.service.redeliver(&told).await.unwrap_err();

    assert!(matches!(of_open, RedeliverError::NotTerminal { status: "pending" }), "{of_open}");
    assert!(matches!(of_silent, RedeliverError::NoReceiver), "{of_silent}");
    assert!(matches!(of_told, RedeliverError::Pending), "{of_told}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_what_was_and_supersedes_its_callback() {
    let world = world([Answer::Status(500); 4], Answer::Status(200));
    let id = world.submit("t1").await;
    // Four attempts fail within the worker's three minutes.
    world.run(&id, LineAgent::failing()).await;
    let highest = world.chunks(&id).await.into_iter().max().unwrap();

    world.service.retry(&id).await.unwrap();
    let retried = world.record(&id).await;
    world.run(&id, LineAgent::brief()).await;
    let _looking = world.reconcile_beside();
    sleep(WHOLE_SCHEDULE).await;
    let record = world.record(&id).await;

    assert_eq!((retried.status, retried.first_chunk), (Status::Pending, highest + 65));
    assert_eq!((record.status, record.attempt.number()), (Status::Completed, 2));
    let past = &record.history[0];
    assert_eq!((past.attempt.number(), past.status, past.exit_code), (1, Status::Failed, Some(1)));
    assert_eq!((past.callback.state, past.callback.attempts.len()), (CallbackState::Superseded, 4));
    let told: Vec<String> = world.receiver.posts().into_iter().map(|post| post.webhook_id).collect();
    assert_eq!(told, ["t1.1", "t1.1", "t1.1", "t1.1", "t1.2"]);
    let chunks = world.chunks(&id).await;
    assert!(chunks.contains(&retried.first_chunk), "{chunks:?}");
    assert!(chunks.iter().all(|number| *number <= highest || *number >= retried.first_chunk), "{chunks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_refused_while_the_first_callback_attempt_is_made() {
    let world = world([], Answer::Never);
    let id = world.submit("t1").await;
    let _worker = world.run_beside(&id, LineAgent::failing());
    world.receiver.told(1).await;

    let refused = world.service.retry(&id).await.unwrap_err();

    assert!(matches!(refused, RetryError::CallbackPending), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn only_what_failed_or_was_cancelled_is_retried() {
    let world = world([], Answer::Status(200));
    let pending = world.submit("pending").await;
    let completed = world.submit("completed").await;
    world.run(&completed, LineAgent::brief()).await;

    let of_pending = world.service.retry(&pending).await.unwrap_err();
    let of_completed = world.service.retry(&completed).await.unwrap_err();

    assert!(matches!(of_pending, RetryError::NotRetryable { status: "pending" }), "{of_pending}");
    assert!(matches!(of_completed, RetryError::NotRetryable { status: "completed" }), "{of_completed}");
}

#[tokio::test(start_paused = true)]
async fn the_sealed_request_of_a_failed_task_goes_when_its_time_is_over_and_with_it_the_retry() {
    const KEPT: Duration = Duration::from_hours(1);
    let settings = Settings { payload_retention: KEPT, ..fakes::settings() };
    let world = World::new(Receiver::new([], Answer::Status(200)), settings);
    let id = world.submit("t1").await;
    world.run(&id, LineAgent::failing()).await;
    let _looking = world.reconcile_beside();

    let record = world.until(&id, KEPT * 2, |record| record.payload == Payload::Deleted).await;
    let kept_for = world.began.elapsed();
    let refused = world.service.retry(&id).await.unwrap_err();
    // It is deleted once more twenty minutes later.
    sleep(Duration::from_mins(21)).await;
    let sealed = world.store.get(&layout::payload(&id)).await;
    let owed = world.keys(layout::DUE).await;

    assert_eq!(record.status, Status::Failed);
    assert!((KEPT..KEPT + Duration::from_secs(A_LOOK)).contains(&kept_for), "{kept_for:?}");
    assert!(matches!(refused, RetryError::PayloadGone), "{refused}");
    assert!(matches!(sealed, Err(StorageError::NotFound { .. })), "{sealed:?}");
    assert!(owed.is_empty(), "{owed:?}");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_long_over_go_and_younger_untold_and_open_ones_stay() {
    const DAY: Duration = Duration::from_hours(24);
    let settings = Settings { retention: Some(DAY * 30), ..fakes::settings() };
    let answers = [200, 500, 500, 500, 500, 200].map(Answer::Status);
    let world = World::new(Receiver::new(answers, Answer::Status(500)), settings);
    let old = world.submit("old").await;
    world.run(&old, LineAgent::brief()).await;
    let untold = world.submit("untold").await;
    world.run(&untold, LineAgent::brief()).await;
    let open = world.submit("open").await;
    sleep_until(world.began + DAY * 20).await;
    let young = world.submit("young").await;
    world.run(&young, LineAgent::brief()).await;

    sleep_until(world.began + DAY * 31).await;
    let report = Box::pin(Reconciler::pass(world.service.clone(), None)).await.unwrap();

    assert_eq!((report.tasks_removed, report.errors), (1, 0));
    assert!(matches!(world.service.record(&old).await, Err(QueryError::NotFound)));
    assert!(world.keys(&layout::session(&old)).await.is_empty());
    assert_eq!(world.keys(layout::INDEX).await.len(), 3);
    assert_eq!(world.record(&untold).await.callback.state, CallbackState::Pending);
    assert_eq!(world.record(&open).await.status, Status::Pending);
    assert_eq!(world.record(&young).await.status, Status::Completed);
}

/// The record that removal has read is not the one that stands when it deletes.
#[tokio::test(start_paused = true)]
async fn an_old_task_that_is_retried_while_it_is_removed_stays() {
    const HOUR: Duration = Duration::from_hours(1);
    let settings = Settings { retention: Some(HOUR), payload_retention: HOUR * 24, ..fakes::settings() };
    let world = World::new(Receiver::new([], Answer::Status(200)), settings);
    let id = world.submit("t").await;
    world.run(&id, LineAgent::failing()).await;
    world.until(&id, HOUR, is_settled).await;
    sleep(HOUR * 2).await;
    // Its swap, by which nobody can begin another attempt, takes its time, though less than a pass has.
    let slow = Scripted::new("storage.put", "metadata.json", [Fault::Delay(Duration::from_secs(20))]);
    let (slow, mut removing) = (Arc::new(slow), JoinSet::new());
    let remover = world.behind(Arc::<Scripted>::clone(&slow));
    removing.spawn(async move { Box::pin(Reconciler::pass(remover, None)).await.unwrap() });
    sleep(Duration::from_secs(10)).await;

    world.service.retry(&id).await.unwrap();
    let report = removing.join_next().await.unwrap().unwrap();

    assert_eq!((slow.left(), report.tasks_removed, report.errors), (0, 0, 0));
    let record = world.record(&id).await;
    assert_eq!((record.status, record.attempt.number()), (Status::Pending, 2));
    assert!(world.keys(&layout::session(&id)).await.contains(&layout::payload(&id)));
    assert_eq!(world.keys(layout::INDEX).await.len(), 1);
}
