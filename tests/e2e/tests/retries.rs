//! Running a task again, and telling its receiver again, because somebody asks for it.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use legwork_e2e::{PATIENCE, Service, ServiceBuilder, beside, modes, reachable};
use legwork_simulators::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_legwork-under-test");

fn builder() -> ServiceBuilder {
    ServiceBuilder::new(PROGRAM, reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent"))).as_str())
        .env("PAYLOAD_RETENTION_HOURS", "24")
}

/// Runs a task that fails, or as this mode says, until its receiver was told.
async fn ended(service: &Service, mode: &str, receiver: &Receiver) -> String {
    let id = service.submit(&modes(&[mode]), Some(receiver), json!({})).await;
    service.wait_for(&id, PATIENCE, |record| record["callback"]["state"] == "delivered").await;
    id
}

/// Asks and checks that it is refused so.
async fn check_refused(service: &Service, path: &str, status: u16, code: &str) {
    let answer = service.post(path, &json!({})).await;

    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{path}: {answer:?}");
    assert!(answer.body["error"].is_string(), "{path}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_runs_again_and_keeps_what_it_was() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = ended(&service, "exit code=3", &receiver).await;

    let answer = service.post(&format!("/tasks/{id}/retry"), &json!({})).await;
    let told = receiver.wait_for(2, PATIENCE).await.unwrap();
    let again = |record: &Value| record["attempt"] == 2 && record["callback"]["state"] == "delivered";
    let record = service.wait_for(&id, PATIENCE, again).await;

    assert_eq!((answer.status, &answer.body["taskId"]), (202, &json!(id)), "{answer:?}");
    assert_eq!(answer.body["status"], "pending", "{answer:?}");
    assert_eq!((&record["status"], &record["exitCode"]), (&json!("failed"), &json!(3)), "{record:#}");
    let history = record["history"].as_array().unwrap();
    assert_eq!(history.len(), 1, "{record:#}");
    let first = &history[0];
    assert_eq!((&first["attempt"], &first["exitCode"]), (&json!(1), &json!(3)), "{record:#}");
    assert_eq!(first["callback"]["state"], "delivered", "{record:#}");
    let ids: Vec<_> = told.iter().filter_map(|post| post.header("webhook-id")).collect();
    assert_eq!(ids, [format!("{id}.1"), format!("{id}.2")]);
    assert_eq!(
        (told[0].json()["attempt"].clone(), told[1].json()["attempt"].clone()),
        (json!(null), json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_retried_task_holds_both_attempts_in_order() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = ended(&service, "error-result text=\"No such luck\"", &receiver).await;

    service.post(&format!("/tasks/{id}/retry"), &json!({})).await;
    receiver.wait_for(2, PATIENCE).await.unwrap();
    let lines: Vec<Value> =
        service.log_lines(&id).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect();

    let hellos = lines.iter().filter(|line| line["type"] == "session_init");
    let attempts: Vec<_> = hellos.map(|line| line["attempt"].as_u64()).collect();
    assert_eq!(attempts, [Some(1), Some(2)], "{lines:#?}");
    let results = lines.iter().filter(|line| line["type"] == "result").count();
    assert_eq!(results, 2, "{lines:#?}");
    let second = lines.iter().rposition(|line| line["type"] == "session_init").unwrap();
    assert!(lines[..second].iter().any(|line| line["type"] == "result"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_can_be_retried() {
    let service = builder().start();
    let id = service.submit(&modes(&["hang"]), None, json!({})).await;
    service.wait_for(&id, PATIENCE, |record| record["status"] == "running").await;
    service.post(&format!("/cancel/{id}"), &json!({})).await;
    service.wait_for_end(&id).await;

    let answer = service.post(&format!("/tasks/{id}/retry"), &json!({})).await;
    let runs = |record: &Value| record["attempt"] == 2 && record["status"] == "running";
    let record = service.wait_for(&id, PATIENCE, runs).await;

    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(record["history"][0]["status"], "cancelled", "{record:#}");
    assert!(record["cancelRequestedAt"].is_null() && record["cancelledAt"].is_null(), "{record:#}");
    service.post(&format!("/cancel/{id}"), &json!({})).await;
    assert_eq!(service.wait_for_end(&id).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_again_is_refused_with_its_reason() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let completed = ended(&service, "ok", &receiver).await;
    let running = service.submit(&modes(&["hang"]), None, json!({})).await;

    check_refused(&service, &format!("/tasks/{completed}/retry"), 409, "not_retryable").await;
    check_refused(&service, &format!("/tasks/{running}/retry"), 409, "not_retryable").await;
    check_refused(&service, "/tasks/unknown/retry", 404, "task_not_found").await;
    check_refused(&service, "/tasks/a%20b/retry", 400, "invalid_task_id").await;

    service.post(&format!("/cancel/{running}"), &json!({})).await;
    service.wait_for_end(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_request_is_not_kept_cannot_run_again() {
    let service = builder().env("PAYLOAD_RETENTION_HOURS", "0").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = ended(&service, "exit code=3", &receiver).await;

    check_refused(&service, &format!("/tasks/{id}/retry"), 409, "payload_gone").await;
    let said = beside(&service, PROGRAM, &["retry", &id], &[]).await;

    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("send the task anew"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_receiver_is_being_told_neither_a_retry_nor_another_delivery_begins() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Slow(Duration::from_secs(8))).await;
    let id = service.submit(&modes(&["exit code=3"]), Some(&receiver), json!({})).await;
    receiver.wait_for(1, PATIENCE).await.unwrap();

    check_refused(&service, &format!("/tasks/{id}/retry"), 409, "callback_pending").await;
    check_refused(&service, &format!("/tasks/{id}/callback"), 409, "callback_pending").await;

    service.wait_for(&id, PATIENCE, |record| record["callback"]["state"] == "delivered").await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_again_by_the_same_id_and_body() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = ended(&service, "ok", &receiver).await;

    let answer = service.post(&format!("/tasks/{id}/callback"), &json!({})).await;
    let told = receiver.wait_for(2, PATIENCE).await.unwrap();
    let twice = |record: &Value| {
        let callback = &record["callback"];
        callback["state"] == "delivered" && callback["attempts"].as_array().is_some_and(|all| all.len() == 2)
    };
    let record = service.wait_for(&id, PATIENCE, twice).await;

    let webhook_id = format!("{id}.1");
    assert_eq!((answer.status, &answer.body["webhookId"]), (202, &json!(webhook_id)), "{answer:?}");
    assert_eq!(told[0].header("webhook-id"), Some(webhook_id.as_str()));
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
    assert_eq!(told[0].body, told[1].body);
    assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_given_up_is_told_when_somebody_asks_for_it() {
    let service = builder().start();
    let answers = vec![Behaviour::Status(410), Behaviour::Ok];
    let receiver = Receiver::start(Behaviour::Script(answers)).await;
    let id = service.submit(&modes(&["ok"]), Some(&receiver), json!({})).await;
    service.wait_for(&id, PATIENCE, |record| record["callback"]["state"] == "failed").await;

    let answer = service.post(&format!("/tasks/{id}/callback"), &json!({})).await;
    let told = receiver.wait_for(2, PATIENCE).await.unwrap();
    service.wait_for(&id, PATIENCE, |record| record["callback"]["state"] == "delivered").await;

    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(told[0].body, told[1].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_again_is_refused_with_its_reason() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let running = service.submit(&modes(&["hang"]), Some(&receiver), json!({})).await;
    let without = service.submit(&modes(&["ok"]), None, json!({})).await;
    service.wait_for_end(&without).await;

    check_refused(&service, &format!("/tasks/{running}/callback"), 409, "not_terminal").await;
    check_refused(&service, &format!("/tasks/{without}/callback"), 409, "no_callback").await;
    check_refused(&service, "/tasks/unknown/callback", 404, "task_not_found").await;
    check_refused(&service, "/tasks/a%20b/callback", 400, "invalid_task_id").await;

    service.post(&format!("/cancel/{running}"), &json!({})).await;
    service.wait_for_end(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shells_retry_tells_by_its_exit_code() {
    let mut service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let failed = ended(&service, "exit code=3", &receiver).await;
    let completed = ended(&service, "ok", &receiver).await;

    let retried = beside(&service, PROGRAM, &["retry", &failed], &[]).await;
    receiver.wait_for(3, PATIENCE).await.unwrap();
    let again = |record: &Value| record["attempt"] == 2 && record["callback"]["state"] == "delivered";
    service.wait_for(&failed, PATIENCE, again).await;
    let as_json = beside(&service, PROGRAM, &["retry", "--json", &failed], &[]).await;
    let not_retryable = beside(&service, PROGRAM, &["retry", &completed], &[]).await;
    let unknown = beside(&service, PROGRAM, &["retry", "unknown"], &[]).await;
    let no_id = beside(&service, PROGRAM, &["retry", "a b"], &[]).await;
    let no_token = beside(&service, PROGRAM, &["retry", &failed, "--token", "wrong"], &[]).await;
    service.wait_for(&failed, PATIENCE, |record| record["attempt"] == 3).await;
    service.wait_for_end(&failed).await;
    service.kill();
    let nobody_there = beside(&service, PROGRAM, &["retry", &failed], &[]).await;

    assert_eq!((retried.code, retried.stdout), (Some(0), format!("{failed} waits to run again\n")));
    let accepted: Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!((as_json.code, &accepted["status"]), (Some(0), &json!("pending")), "{accepted}");
    let codes = [not_retryable.code, unknown.code, no_id.code, no_token.code, nobody_there.code];
    assert_eq!(codes, [Some(1), Some(1), Some(2), Some(2), Some(69)]);
    assert!(not_retryable.stderr.contains("this one is completed"), "{not_retryable:?}");
    assert!(unknown.stderr.contains("Task not found"), "{unknown:?}");
}

legwork_e2e::also_on_google!(
    a_failed_task_runs_again_and_keeps_what_it_was,
    the_log_of_a_retried_task_holds_both_attempts_in_order,
    a_cancelled_task_can_be_retried,
    what_cannot_run_again_is_refused_with_its_reason,
    a_task_whose_request_is_not_kept_cannot_run_again,
    while_a_receiver_is_being_told_neither_a_retry_nor_another_delivery_begins,
    a_receiver_is_told_again_by_the_same_id_and_body,
    a_receiver_that_was_given_up_is_told_when_somebody_asks_for_it,
    what_cannot_be_told_again_is_refused_with_its_reason,
    the_shells_retry_tells_by_its_exit_code,
);
