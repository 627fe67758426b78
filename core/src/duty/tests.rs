//! Duties along lives of tasks, and laws of entries.

use alloc::{boxed::Box, string::ToString, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::record::{
    CALLBACK_CLAIM, Claimed, CreateRecord, Event, FINISH_ALLOWANCE, LogFacts, Outcome, Settlement, Summary,
    TaskKind, Verdict,
};

const RETENTION: Duration = Duration::from_hours(24);
const MINUTE: u64 = 60_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}

fn token(n: u8) -> Token {
    Token::from_random([n; 16])
}

fn pending() -> Record {
    Record::create(CreateRecord {
        task_id: "t1".parse().unwrap(),
        kind: TaskKind::Async,
        callback_url: Some("http://r/".to_string()),
        callback_target: Some("http://r/".to_string()),
        now: at(0),
        metadata: serde_json::value::RawValue::from_string("{}".to_string()).unwrap(),
        request_digest: "digest".to_string(),
        started_by_submitter: true,
        token: token(0),
    })
}

fn running() -> Record {
    let claimed = Event::Claimed(Claimed {
        token: token(1),
        now: at(1000),
        execution_name: "e".to_string(),
        worker_logs_url: None,
        timeout: Duration::from_mins(45),
    });
    pending().apply(claimed).unwrap()
}

fn verdict(status: Status) -> Verdict {
    Verdict { status, exit_code: 0, error: None, error_code: None, error_detail: None, result: None }
}

fn ended(status: Status) -> Record {
    let outcome = Outcome {
        verdict: verdict(status),
        summary: Summary::default(),
        uploaded_files: Vec::new(),
        git_commit: None,
        action_errors: Vec::new(),
        log: LogFacts::default(),
        last_chunk: None,
    };
    let end =
        Event::Ended { claim: token(1), outcome: Box::new(outcome), token: token(2), now: at(5 * MINUTE) };
    running().apply(end).unwrap()
}

fn delivered(record: &Record) -> Record {
    let token = record.callback.open_attempt().unwrap().token.clone();
    record
        .apply(Event::CallbackDelivered { token, status: 200, duration: Duration::ZERO, now: at(5 * MINUTE) })
        .unwrap()
}

#[track_caller]
fn check(record: &Record, ms: u64, expected: &Duty) {
    assert_eq!(record.duty(at(ms), RETENTION), *expected);
}

#[test]
fn a_pending_task_is_started_when_its_time_has_come_and_given_up_after_the_last_start() {
    let mut record = pending();
    check(&record, 2 * MINUTE - 1, &Duty::Nothing);
    for start in 2..=MAX_STARTS {
        let due = record.starts.next_at;
        assert_eq!(record.duty(due, RETENTION), Duty::Start);
        record = record.apply(Event::Started { token: token(9), now: due }).unwrap();
        assert_eq!(record.starts.count, start);
    }

    assert_eq!(record.duty(record.starts.next_at, RETENTION), Duty::GiveUpStarting);
}

#[test]
fn a_wish_is_looked_after_until_the_worker_is_finishing() {
    let wished = running().apply(Event::CancelRequested { now: at(2000) }).unwrap();
    let finishing = wished
        .apply(Event::Finishing {
            claim: token(1),
            verdict: verdict(Status::Cancelled),
            summary: Summary::default(),
            finish_by: at(3000).plus(FINISH_ALLOWANCE),
        })
        .unwrap();

    check(&wished, 16_999, &Duty::Nothing);
    check(&wished, 17_000, &Duty::AnswerWish);
    check(&finishing, 17_000, &Duty::Nothing);
    check(&finishing, 3000 + 20 * MINUTE, &Duty::EndUnfinished);
}

#[test]
fn a_deadline_ends_even_a_finishing_task_and_tells_the_requests_limit() {
    let deadline = 1000 + 75 * MINUTE;

    check(&running(), deadline - 1, &Duty::Nothing);
    check(&running(), deadline, &Duty::EndOverdue { minutes: 45 });
}

#[test]
fn a_callback_without_an_outcome_counts_as_failed_and_the_next_is_made_in_its_time() {
    let ended = ended(Status::Completed);
    let claim_over = 5 * MINUTE + u64::try_from(CALLBACK_CLAIM.as_millis()).unwrap();
    check(&ended, claim_over - 1, &Duty::Nothing);
    check(&ended, claim_over, &Duty::CountAttempt { token: token(2) });

    let failed = ended
        .apply(Event::CallbackFailed {
            token: token(2),
            status: None,
            error: None,
            duration: None,
            next_at: Some(at(10 * MINUTE)),
        })
        .unwrap();

    check(&failed, 10 * MINUTE - 1, &Duty::Nothing);
    check(&failed, 10 * MINUTE, &Duty::Deliver);
}

#[test]
fn a_payload_goes_when_a_completed_task_is_told_and_when_a_failed_ones_retention_is_over() {
    let day = 24 * 60 * MINUTE;

    check(&delivered(&ended(Status::Completed)), 5 * MINUTE, &Duty::DeletePayload);
    check(&delivered(&ended(Status::Failed)), 5 * MINUTE + day - 1, &Duty::Nothing);
    check(&delivered(&ended(Status::Failed)), 5 * MINUTE + day, &Duty::DeletePayload);
    check(&delivered(&ended(Status::Cancelled)), 5 * MINUTE + day, &Duty::DeletePayload);
    let gone = delivered(&ended(Status::Completed)).apply(Event::PayloadDeleted).unwrap();
    check(&gone, 5 * MINUTE + day, &Duty::Nothing);
}

#[test]
fn a_settled_task_owes_what_a_worker_would_have_owed() {
    let lost =
        running().apply(Event::Settled { settlement: Settlement::WorkerLost, token: token(3), now: at(9) });
    let lost = lost.unwrap();

    assert!(lost.asks_for(lost.callback.next_attempt_at.unwrap(), RETENTION));
    assert!(lost.asks_for(at(9).plus(RETENTION), RETENTION));
}

fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        Just(pending()),
        Just(running()),
        Just(running().apply(Event::CancelRequested { now: at(2000) }).unwrap()),
        Just(ended(Status::Completed)),
        Just(ended(Status::Failed)),
        Just(delivered(&ended(Status::Cancelled))),
    ]
}

proptest! {
    /// Whoever has nothing to do before the next entry may sleep until then.
    #[test]
    fn a_duty_begins_only_at_a_time_that_has_an_entry(record in records(), ms in 0_u64..200_000_000) {
        let before = record.duty(at(ms), RETENTION);
        let after = record.duty(at(ms + 1), RETENTION);

        prop_assert!(
            before == after || record.asks_for(at(ms + 1), RETENTION),
            "{:?} becomes {:?} without an entry",
            before,
            after
        );
    }

    #[test]
    fn an_entry_that_the_record_asks_for_is_never_removed(record in records(), ms in 0_u64..200_000_000, now in 0_u64..400_000_000) {
        let entry = at(ms);

        let fate = fate(&record, record.attempt, entry, at(now), RETENTION);

        prop_assert!(fate == Fate::Keep || !record.asks_for(entry, RETENTION));
    }

    #[test]
    fn an_entry_of_an_attempt_to_come_is_touched_first(record in records(), now in 0_u64..400_000_000) {
        let fate = fate(&record, record.attempt.next(), at(0), at(now), RETENTION);

        let expected = if now >= 10 * MINUTE { Fate::RemoveAfterTouch } else { Fate::Keep };
        prop_assert_eq!(fate, expected);
    }

    #[test]
    fn an_entry_of_a_former_attempt_goes_at_once(ms in 0_u64..400_000_000) {
        let retried = delivered(&ended(Status::Failed))
            .apply(Event::Retried { first_chunk: 66, started_by_caller: false, token: token(4), now: at(ms) })
            .unwrap();

        prop_assert_eq!(fate(&retried, Attempt::FIRST, at(ms), at(ms), RETENTION), Fate::Remove);
    }

    #[test]
    fn an_entry_that_may_be_a_redeliverys_goes_only_with_a_touch(ms in 0_u64..400_000_000) {
        let told = delivered(&ended(Status::Failed));
        let entry = at(ms);
        prop_assume!(!told.asks_for(entry, RETENTION));

        prop_assert_eq!(fate(&told, told.attempt, entry, entry, RETENTION), Fate::RemoveAfterTouch);
    }
}
