//! What nobody else ends: workers that were killed, tasks of services that are gone, wishes that their
//! service did not live to see.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use legwork_e2e::{
    PATIENCE, Said, Service, ServiceBuilder, Worker, beside, modes, processes_mentioning, reachable, until,
};
use legwork_simulators::receiver::{Behaviour, Receiver};
use rustix::process::Signal;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_legwork-under-test");
/// How long it may take until a lost worker's receiver was told.
const SOON: Duration = Duration::from_secs(30);
/// An attempt at a callback whose service died meanwhile is made again after a minute.
const AFTER_A_DEATH: Duration = Duration::from_mins(2);

fn builder() -> ServiceBuilder {
    ServiceBuilder::new(PROGRAM, reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent"))).as_str())
}

async fn running(service: &Service, id: &str) -> Worker {
    let record = service.wait_for(id, PATIENCE, |record| record["status"] == "running").await;
    service.worker(&record)
}

/// Runs a task whose agent ends by nothing but a kill and has left children everywhere.
async fn stubborn(service: &Service, receiver: &Receiver) -> (String, Worker) {
    let id = service.submit(&modes(&["children", "ignore-term"]), Some(receiver), json!({})).await;
    let worker = running(service, &id).await;
    until("the agent is at its last words", async || {
        service.log_lines(&id).await.iter().any(|line| line.contains("pid self"))
    })
    .await;
    (id, worker)
}

fn is_told(record: &Value) -> bool {
    record["callback"]["state"] == "delivered"
}

/// Checks that the task has failed by the loss of its worker and that its receiver was told so once.
async fn check_lost(service: &Service, id: &str, receiver: &Receiver) {
    let record = service.record(id).await;
    let end = [&record["status"], &record["error"], &record["errorCode"], &record["exitCode"]];
    assert_eq!(
        end,
        [&json!("failed"), &json!("Worker lost"), &json!("worker_lost"), &json!(1)],
        "{record:#}"
    );
    assert!(is_told(&record), "{record:#}");
    let told = receiver.received();
    let ids: Vec<_> = told.iter().map(|post| post.header("webhook-id")).collect();
    assert_eq!(ids, [Some(format!("{id}.1").as_str())]);
    let body = told[0].json();
    assert_eq!((&body["status"], &body["errorCode"]), (&json!("failed"), &json!("worker_lost")), "{body:#}");
    nothing_is_left(service, id).await;
}

/// Waits until no process, no workspace and no marker of a task is left.
async fn nothing_is_left(service: &Service, id: &str) {
    let workspaces = legwork_wiring::platform::workspaces_dir(&service.data);
    let mentioning = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains(id)).count()
    };
    until("nothing of the task is left", async || {
        processes_mentioning(id).is_empty()
            && mentioning(&workspaces) == 0
            && !service.objects_in("active").iter().any(|name| name.contains(id))
    })
    .await;
}

async fn pass(service: &Service, arguments: &[&str]) -> Said {
    beside(service, PROGRAM, &[&["reconcile", "--once"][..], arguments].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_task_has_failed_soon_and_nothing_of_it_is_left() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let (id, worker) = stubborn(&service, &receiver).await;

    worker.signal(Signal::KILL);
    service.wait_for(&id, SOON, is_told).await;

    check_lost(&service, &id, &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pass_of_the_command_ends_a_lost_workers_task() {
    let service = builder().env("RECONCILER", "off").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let (id, worker) = stubborn(&service, &receiver).await;
    worker.kill().await;

    let before = service.record(&id).await;
    let said = pass(&service, &[]).await;

    assert_eq!(before["status"], "running", "a service without a reconciler leaves it to others");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("looked at 1 tasks: 1 settled, 1 callbacks tried, "), "{said:?}");
    check_lost(&service, &id, &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pass_of_the_command_is_told_as_json() {
    let service = builder().env("RECONCILER", "off").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let (id, worker) = stubborn(&service, &receiver).await;
    worker.kill().await;

    let said = pass(&service, &["--json"]).await;

    assert_eq!(said.code, Some(0), "{said:?}");
    let counts: Value = serde_json::from_str(&said.stdout).unwrap();
    let expected = json!({
        "examined": 1, "started": 0, "settled": 1, "cancelledExecutions": 0, "callbackAttempts": 1,
        "payloadsDeleted": 0, "entriesRemoved": counts["entriesRemoved"], "tasksRemoved": 0, "errors": 0,
    });
    assert_eq!(counts, expected);
    check_lost(&service, &id, &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_asked_for_a_pass_answers_with_its_counts() {
    let service = builder().env("RECONCILER", "request").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let (id, worker) = stubborn(&service, &receiver).await;
    worker.kill().await;

    let before = service.record(&id).await;
    let answer = service.post("/reconcile", &json!({})).await;
    let again = service.post("/reconcile", &json!({})).await;

    assert_eq!(before["status"], "running", "it waits to be asked");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["settled"], &answer.body["errors"]), (&json!(1), &json!(0)), "{answer:?}");
    assert_eq!((again.status, &again.body["settled"]), (200, &json!(0)), "{again:?}");
    check_lost(&service, &id, &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_reconciler_refuses_a_pass() {
    let service = builder().env("RECONCILER", "off").start();

    let answer = service.post("/reconcile", &json!({})).await;

    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("reconciler_off")), "{answer:?}");
    assert!(answer.body["error"].as_str().unwrap().contains("RECONCILER=off"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_of_the_reconciler_that_is_none_is_told_at_once() {
    let service = builder().start();

    for arguments in [&["serve", "--port", "0"][..], &["reconcile", "--once"]] {
        let said = beside(&service, PROGRAM, arguments, &[("RECONCILER", "sometimes")]).await;

        assert_eq!(said.code, Some(2), "{said:?}");
        assert_eq!(
            said.stderr, "legwork: RECONCILER must be loop, request or off, not \"sometimes\"\n",
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_not_lost_while_it_holds_its_lock() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let agent = modes(&["slow lines=20 every_ms=50", "ok"]);
    let id = service.submit(&agent, Some(&receiver), json!({})).await;
    let worker = running(&service, &id).await;

    worker.signal(Signal::STOP);
    let passes = [pass(&service, &["--json"]).await, pass(&service, &["--json"]).await];
    let meanwhile = service.record(&id).await;
    worker.signal(Signal::CONT);
    let record = service.wait_for(&id, PATIENCE, is_told).await;

    for said in passes {
        let counts: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!((&counts["settled"], &counts["errors"]), (&json!(0), &json!(0)), "{said:?}");
    }
    assert_eq!(meanwhile["status"], "running", "{meanwhile:#}");
    assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_service_is_gone_tells_the_receiver_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let receiver = Receiver::start(Behaviour::Ok).await;
    let mut service = builder().data(&data).start();
    let agent = modes(&["slow lines=20 every_ms=50", "ok"]);
    let id = service.submit(&agent, Some(&receiver), json!({})).await;
    let worker = running(&service, &id).await;

    service.kill();
    let told = receiver.wait_for(1, PATIENCE).await.unwrap();
    worker.ended().await;
    let next = builder().data(&data).start();
    let record = next.record(&id).await;

    assert_eq!(told[0].json()["status"], "completed");
    assert_eq!((&record["status"], is_told(&record)), (&json!("completed"), true), "{record:#}");
    nothing_is_left(&next, &id).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_wait_when_their_service_is_killed_are_run_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let receiver = Receiver::start(Behaviour::Ok).await;
    let one_at_a_time = || builder().env("MAX_CONCURRENT_TASKS", "1").data(&data);
    let mut service = one_at_a_time().start();
    let first = service.submit(&modes(&["slow lines=20 every_ms=50", "ok"]), None, json!({})).await;
    running(&service, &first).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(service.submit(&modes(&["ok"]), Some(&receiver), json!({})).await);
    }

    service.kill();
    let next = one_at_a_time().start();
    let told = receiver.wait_for(3, PATIENCE).await.unwrap();

    let ids: Vec<_> = told.iter().map(|post| post.json()["taskId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, waiting);
    for id in &waiting {
        let record = next.wait_for(id, PATIENCE, is_told).await;
        assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
    }
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_that_were_accepted_hold_though_their_service_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let receiver = Receiver::start(Behaviour::Ok).await;
    let one_at_a_time = || builder().env("MAX_CONCURRENT_TASKS", "1").data(&data);
    let mut service = one_at_a_time().start();
    let (runs, _) = stubborn(&service, &receiver).await;
    let waits = service.submit(&modes(&["ok"]), Some(&receiver), json!({})).await;

    for id in [&waits, &runs] {
        let answer = service.post(&format!("/cancel/{id}"), &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    service.kill();
    let next = one_at_a_time().start();

    for id in [&waits, &runs] {
        let record = next.wait_for(id, AFTER_A_DEATH, is_told).await;
        assert_eq!(
            (&record["status"], &record["exitCode"]),
            (&json!("cancelled"), &json!(130)),
            "{record:#}"
        );
        nothing_is_left(&next, id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_task_whose_worker_is_gone() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let (id, worker) = stubborn(&service, &receiver).await;
    worker.kill().await;

    let answer = service.post(&format!("/cancel/{id}"), &json!({})).await;
    let record = service.wait_for(&id, SOON, is_told).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&record["status"], &record["exitCode"]), (&json!("cancelled"), &json!(130)), "{record:#}");
    assert_eq!(receiver.received().len(), 1);
    nothing_is_left(&service, &id).await;
}

legwork_e2e::also_on_google!(
    a_killed_workers_task_has_failed_soon_and_nothing_of_it_is_left,
    one_pass_of_the_command_ends_a_lost_workers_task,
    a_service_that_is_asked_for_a_pass_answers_with_its_counts,
    a_worker_that_stands_still_is_not_lost_while_it_holds_its_lock,
    a_worker_whose_service_is_gone_tells_the_receiver_alone,
    cancels_that_were_accepted_hold_though_their_service_is_killed,
    a_cancel_reaches_a_task_whose_worker_is_gone,
);
