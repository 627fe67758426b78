//! Laws of the record, over random lives of tasks.

use alloc::{boxed::Box, format, string::ToString, vec::Vec};
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::record::{Claimed, Outcome, TaskKind};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}

fn token(n: u8) -> Token {
    Token::from_random([n; 16])
}

fn fresh(callback: bool) -> Record {
    Record::create(CreateRecord {
        task_id: "t1".parse().unwrap(),
        kind: TaskKind::Async,
        callback_url: callback.then(|| "http://r/?k=***".to_string()),
        callback_target: callback.then(|| "http://r/?k=v".to_string()),
        now: at(0),
        metadata: serde_json::value::RawValue::from_string("{\"a\":1e21}".to_string()).unwrap(),
        request_digest: "digest".to_string(),
        started_by_submitter: false,
        token: token(0),
    })
}

fn verdict(status: Status) -> Verdict {
    Verdict {
        status,
        exit_code: 0,
        error: None,
        error_code: None,
        error_detail: None,
        result: Some("r".to_string()),
    }
}

fn outcome(status: Status) -> Box<Outcome> {
    Box::new(Outcome {
        verdict: verdict(status),
        summary: Summary::default(),
        uploaded_files: Vec::new(),
        git_commit: None,
        action_errors: Vec::new(),
        log: LogFacts::default(),
        last_chunk: Some(3),
    })
}

fn claimed(n: u8, ms: u64) -> Event {
    Event::Claimed(Claimed {
        token: token(n),
        now: at(ms),
        execution_name: "e".to_string(),
        worker_logs_url: None,
        timeout: Duration::from_mins(55),
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let terminal = prop_oneof![Just(Status::Completed), Just(Status::Failed), Just(Status::Cancelled)];
    (0_u8..4, 0_u64..20_000_000, terminal, 0_u8..14, any::<bool>()).prop_map(
        |(n, ms, status, which, flag)| match which {
            0 => Event::Started { token: token(n), now: at(ms) },
            1 | 2 => claimed(n, ms),
            3 => Event::CancelRequested { now: at(ms) },
            4 => Event::Finishing {
                claim: token(n),
                verdict: verdict(status),
                summary: Summary::default(),
                finish_by: at(ms),
            },
            5 | 6 => Event::Ended { claim: token(n), outcome: outcome(status), token: token(n), now: at(ms) },
            7 => Event::Settled { settlement: Settlement::WorkerLost, token: token(n), now: at(ms) },
            8 => Event::Settled { settlement: Settlement::CancelledPending, token: token(n), now: at(ms) },
            9 => Event::CallbackClaimed { token: token(n), now: at(ms) },
            10 => Event::CallbackDelivered {
                token: token(n),
                status: 200,
                duration: Duration::ZERO,
                now: at(ms),
            },
            11 => Event::CallbackFailed {
                token: token(n),
                status: Some(500),
                error: None,
                duration: None,
                next_at: flag.then(|| at(ms)),
            },
            12 => Event::Retried { first_chunk: 66, started_by_caller: flag, token: token(n), now: at(ms) },
            _ => Event::Redelivered { next_at: at(ms) },
        },
    )
}

proptest! {
    #[test]
    fn an_attempt_ends_once_and_never_goes_back(events in proptest::collection::vec(any_event(), 0..40)) {
        let mut record = fresh(true);

        for event in events {
            let Ok(next) = record.apply(event) else { continue };

            prop_assert!(next.revision > record.revision);
            prop_assert!(next.attempt >= record.attempt);
            if next.attempt == record.attempt {
                let rank = |status: Status| match status {
                    Status::Pending => 0,
                    Status::Running => 1,
                    Status::Completed | Status::Failed | Status::Cancelled => 2,
                };
                prop_assert!(rank(next.status) >= rank(record.status));
                if record.is_terminal() {
                    prop_assert_eq!(next.status, record.status);
                    prop_assert_eq!(&next.end, &record.end);
                }
            } else {
                prop_assert!(record.is_terminal() && record.status != Status::Completed);
            }
            prop_assert_eq!(next.is_terminal(), next.end.is_some());
            prop_assert!(!next.is_terminal() || next.callback.state != CallbackState::None);
            record = next;
        }
    }

    #[test]
    fn what_is_written_reads_back(events in proptest::collection::vec(any_event(), 0..20)) {
        let mut record = fresh(false);
        for event in events {
            record = record.apply(event).unwrap_or(record);
        }

        let written = record.to_json();
        let read = Record::from_json(&written).unwrap();

        prop_assert_eq!(read.to_json(), written);
    }

    #[test]
    fn nothing_secret_is_shown(events in proptest::collection::vec(any_event(), 0..20)) {
        let mut record = fresh(true);
        for event in events {
            record = record.apply(event).unwrap_or(record);
        }

        let shown = record.view_json();

        for hidden in ["http://r/?k=v", "digest", token(0).as_str(), token(1).as_str(), token(2).as_str()] {
            prop_assert!(!shown.contains(hidden), "{} in {}", hidden, shown);
        }
    }
}

#[test]
fn starts_come_at_growing_pauses_and_end_after_five() {
    let mut record = fresh(true);
    let mut pauses = Vec::new();

    for _ in 0..MAX_STARTS {
        let now = record.starts.next_at;
        record = record.apply(Event::Started { token: token(1), now }).unwrap();
        pauses.push(record.starts.next_at.since(now).as_secs() / 60);
    }

    assert_eq!(pauses, [2, 4, 8, 16, 32]);
    let late = record.starts.next_at;
    assert_eq!(
        record.apply(Event::Started { token: token(1), now: late }).unwrap_err(),
        NotAllowed::NoStartDue
    );
}

#[test]
fn one_swap_ends_an_attempt_and_owes_its_callback() {
    let running = fresh(true).apply(claimed(1, 5)).unwrap();

    let ended = running
        .apply(Event::Ended {
            claim: token(1),
            outcome: outcome(Status::Completed),
            token: token(2),
            now: at(1005),
        })
        .unwrap();

    assert_eq!(ended.callback.state, CallbackState::Pending);
    assert_eq!(ended.callback.open_attempt().unwrap().token, token(2));
    assert_eq!(ended.callback.next_attempt_at, Some(at(61_005)));
    assert_eq!(ended.summary.as_ref().unwrap().duration_ms, 1000);
    assert_eq!(ended.webhook_id(), "t1.1");
}

#[test]
fn a_success_that_comes_late_still_settles_the_callback() {
    let ended = fresh(true)
        .apply(claimed(1, 0))
        .and_then(|r| {
            r.apply(Event::Ended {
                claim: token(1),
                outcome: outcome(Status::Failed),
                token: token(2),
                now: at(1),
            })
        })
        .and_then(|r| {
            r.apply(Event::CallbackFailed {
                token: token(2),
                status: None,
                error: None,
                duration: None,
                next_at: Some(at(70_000)),
            })
        })
        .unwrap();

    let late =
        Event::CallbackDelivered { token: token(2), status: 204, duration: Duration::ZERO, now: at(80_000) };
    let settled = ended.apply(late).unwrap();

    assert_eq!(settled.callback.state, CallbackState::Delivered);
    assert_eq!(settled.callback.next_attempt_at, None);
}

#[test]
fn a_wish_to_cancel_is_refused_once_the_run_is_finishing() {
    let finishing = fresh(true)
        .apply(claimed(1, 0))
        .and_then(|r| {
            r.apply(Event::Finishing {
                claim: token(1),
                verdict: verdict(Status::Completed),
                summary: Summary::default(),
                finish_by: at(9),
            })
        })
        .unwrap();

    let refused = finishing.apply(Event::CancelRequested { now: at(2) }).unwrap_err();

    assert_eq!(refused, NotAllowed::Finishing);
}

#[test]
fn a_worker_lost_while_finishing_keeps_what_was_found() {
    let finishing = fresh(true)
        .apply(claimed(1, 0))
        .and_then(|r| {
            r.apply(Event::Finishing {
                claim: token(1),
                verdict: verdict(Status::Cancelled),
                summary: Summary { turns: 7, ..Summary::default() },
                finish_by: at(9),
            })
        })
        .unwrap();

    let settled = finishing
        .apply(Event::Settled { settlement: Settlement::WorkerLost, token: token(3), now: at(20) })
        .unwrap();

    assert_eq!((settled.status, settled.exit_code), (Status::Cancelled, Some(130)));
    assert_eq!(settled.summary.unwrap().turns, 7);
    assert!(settled.error_detail.unwrap().starts_with("during post-execution actions"));
}

#[test]
fn a_retry_is_refused_until_the_first_callback_attempt_has_an_outcome() {
    let failed = fresh(true)
        .apply(claimed(1, 0))
        .and_then(|r| {
            r.apply(Event::Ended {
                claim: token(1),
                outcome: outcome(Status::Failed),
                token: token(2),
                now: at(1),
            })
        })
        .unwrap();
    let retry = Event::Retried { first_chunk: 68, started_by_caller: false, token: token(3), now: at(2) };

    assert_eq!(failed.apply(retry.clone()).unwrap_err(), NotAllowed::CallbackPending);
    let told = failed
        .apply(Event::CallbackFailed {
            token: token(2),
            status: Some(500),
            error: None,
            duration: None,
            next_at: Some(at(5000)),
        })
        .unwrap();
    let again = told.apply(retry).unwrap();

    assert_eq!((again.status, again.attempt.number(), again.first_chunk), (Status::Pending, 2, 68));
    assert_eq!(again.history.first().unwrap().callback.state, CallbackState::Superseded);
    assert_eq!(format!("{}", again.webhook_id()), "t1.2");
}
