//! A task from its submission to its callback, with the simulated agent.

#![expect(clippy::panic, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use legwork_e2e::{Service, ServiceBuilder, modes, processes_mentioning, reachable};
use legwork_simulators::receiver::{Behaviour, Receiver};
use rustix::process::Signal;
use serde_json::{Value, json};

fn builder() -> ServiceBuilder {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
}

fn service() -> Service {
    builder().start()
}

/// Waits until nothing of the task lives and the worker has left.
async fn nothing_lives(id: &str) {
    for _ in 0..200 {
        if processes_mentioning(id).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still alive: {:?}", processes_mentioning(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_completes_its_log_is_whole_and_its_receiver_is_told() {
    let service = service();
    let receiver = Receiver::start(Behaviour::Ok).await;

    let id =
        service.submit(&modes(&["ok"]), Some(&receiver), json!({"metadata": {"k": 1.5, "7": "x"}})).await;
    let told = receiver.wait_for(1, Duration::from_secs(30)).await.unwrap();
    let body = told[0].json();
    let record =
        service.wait_for(&id, Duration::from_secs(10), |r| r["callback"]["state"] == "delivered").await;

    assert_eq!(body["status"], "completed", "{body:#}");
    assert_eq!(body["exitCode"], 0);
    assert_eq!(body["error"], Value::Null);
    assert_eq!(body["metadata"], json!({"7": "x", "k": 1.5}));
    assert_eq!(body["summary"]["turns"].as_u64(), Some(3));
    assert!(body["logsPath"].as_str().unwrap().starts_with(&service.store_url()), "{body:#}");
    assert_eq!(record["callback"]["attempts"][0]["status"], 200);
    let lines = service.log_lines(&id).await;
    let types: Vec<String> = lines
        .iter()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types.first().map(String::as_str), Some("session_init"));
    for wanted in ["system", "assistant", "tool_use", "tool_result", "turn_complete", "result"] {
        assert!(types.iter().any(|t| t == wanted), "{wanted} in {types:?}");
    }
    nothing_lives(&id).await;
    let markers: Vec<_> = service
        .stored()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|p| p.to_string_lossy().contains("/active/"))
        .collect();
    assert!(markers.is_empty(), "{markers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_laid_out_as_promised() {
    let service = service();

    let id = service.submit(&modes(&["ok"]), None, json!({})).await;
    service.wait_for_end(&id).await;

    let session = format!("sessions/{id}");
    let names = service.objects_in(&session);
    let chunk = names.iter().find(|name| name.starts_with("001-")).expect("a first chunk");
    assert_eq!(chunk.len(), "001-YYYYMMDD-HHMMSS.jsonl".len());
    let record = service.object(&format!("{session}/metadata.json")).expect("a record");
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_request_shows_nothing_of_itself() {
    let service = builder().env("MAX_CONCURRENT_TASKS", "1").start();
    let running = service.submit(&modes(&["hang"]), None, json!({})).await;
    service.wait_for(&running, Duration::from_secs(20), |r| r["status"] == "running").await;

    let id = service.submit(&modes(&["ok"]), None, json!({})).await;

    let payload = service.object(&format!("sessions/{id}/encrypted-payload.bin")).expect("a payload");
    let envelope: Value = serde_json::from_slice(&payload).unwrap();
    for member in ["version", "encryptedDek", "iv", "authTag", "encryptedData"] {
        assert!(!envelope[member].is_null(), "{member}");
    }
    assert!(!envelope.to_string().contains("sk-ant"));
    service.post(&format!("/cancel/{running}"), &json!({})).await;
    assert_eq!(service.wait_for_end(&id).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_running_task_ends_it_with_130_and_nothing_of_it_lives() {
    let service = service();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = service.submit(&modes(&["children", "ignore-term"]), Some(&receiver), json!({})).await;
    service.wait_for(&id, Duration::from_secs(20), |r| r["status"] == "running").await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    let answer = service.post(&format!("/cancel/{id}"), &json!({})).await;
    let record = service.wait_for_end(&id).await;
    let again = service.post(&format!("/cancel/{id}"), &json!({})).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["message"], "Task cancelled successfully");
    assert!(["cancelling", "cancelled"].contains(&answer.body["status"].as_str().unwrap()));
    assert_eq!((&record["status"], &record["exitCode"]), (&json!("cancelled"), &json!(130)), "{record:#}");
    assert_eq!(record["error"], "Task cancelled by user");
    assert_eq!(again.body["status"], "cancelled");
    let told = receiver.wait_for(1, Duration::from_secs(10)).await.unwrap();
    assert_eq!(told[0].json()["status"], "cancelled");
    nothing_lives(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_pending_task_ends_it_before_it_starts() {
    let service = builder().env("MAX_CONCURRENT_TASKS", "1").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let first = service.submit(&modes(&["hang"]), None, json!({})).await;
    service.wait_for(&first, Duration::from_secs(20), |r| r["status"] == "running").await;
    let second = service.submit(&modes(&["ok"]), Some(&receiver), json!({})).await;

    let answer = service.post(&format!("/cancel/{second}"), &json!({})).await;
    let told = receiver.wait_for(1, Duration::from_secs(10)).await.unwrap();
    service.post(&format!("/cancel/{first}"), &json!({})).await;
    service.wait_for_end(&first).await;

    assert_eq!(answer.body["status"], "cancelled");
    assert_eq!(told[0].json()["exitCode"], 130);
    assert!(service.record(&second).await["startedAt"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_ends_a_task_with_124() {
    let service = service();
    let id = service.submit(&modes(&["hang"]), None, json!({"timeoutMinutes": 1})).await;

    let record = service
        .wait_for(&id, Duration::from_secs(90), |r| r["status"] != "pending" && r["status"] != "running")
        .await;

    assert_eq!((&record["status"], &record["exitCode"]), (&json!("failed"), &json!(124)), "{record:#}");
    assert_eq!(record["error"], "Process timed out after 1 minutes");
    assert_eq!(record["errorCode"], "timeout");
    nothing_lives(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_without_a_successful_result_is_a_failure() {
    let service = service();
    let cases = [
        ("no-result", 1, "Claude ended without a successful result"),
        ("no-output", 1, "Claude ended without a successful result"),
        ("error-result", 1, "Claude ended without a successful result"),
        ("exit code=3 stderr=boom", 3, "Claude process exited with code 3"),
        ("signal name=SEGV", 139, "Claude process exited with code 139"),
        ("slow lines=3 every_ms=100\nmode: truncate", 1, "Transcript was altered"),
    ];
    for (mode, code, error) in cases {
        let id = service.submit(&modes(&[mode]), None, json!({})).await;

        let record = service.wait_for_end(&id).await;

        assert_eq!(record["status"], "failed", "{mode}: {record:#}");
        assert_eq!(record["exitCode"], code, "{mode}: {record:#}");
        assert_eq!(record["error"], error, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_left_behind_by_a_successful_agent_are_ended() {
    let service = service();

    let id = service.submit(&modes(&["children", "ok"]), None, json!({})).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    nothing_lives(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_lines_are_stored_as_json() {
    let service = service();

    let id = service.submit(&modes(&["not-utf8", "lone-surrogate"]), None, json!({})).await;
    let record = service.wait_for_end(&id).await;
    let lines = service.log_lines(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(lines.iter().any(|line| line.contains("\\ud83d") && line.contains("1e999")), "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_told_again() {
    let service = service();
    let receiver = Receiver::start(Behaviour::Script(vec![Behaviour::Status(500), Behaviour::Ok])).await;

    let id = service.submit(&modes(&["ok"]), Some(&receiver), json!({})).await;
    let told = receiver.wait_for(2, Duration::from_secs(30)).await.unwrap();
    let record =
        service.wait_for(&id, Duration::from_secs(10), |r| r["callback"]["state"] == "delivered").await;

    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
    assert_eq!(told[0].body, told[1].body);
    assert_eq!(record["callback"]["attempts"][0]["outcome"], "failed");
    assert_eq!(record["callback"]["attempts"][1]["outcome"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_not_told_again() {
    let service = service();
    let receiver = Receiver::start(Behaviour::Status(410)).await;

    let id = service.submit(&modes(&["ok"]), Some(&receiver), json!({})).await;
    let record = service.wait_for(&id, Duration::from_secs(30), |r| r["callback"]["state"] == "failed").await;

    assert_eq!(record["status"], "completed");
    assert_eq!(record["callback"]["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_beyond_the_slots_wait_in_order_of_arrival() {
    let service = builder().env("MAX_CONCURRENT_TASKS", "1").start();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(service.submit(&modes(&["ok"]), None, json!({})).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut started = Vec::new();
    for id in &ids {
        started.push(service.wait_for_end(id).await["startedAt"].as_str().unwrap().to_owned());
    }

    let mut sorted = started.clone();
    sorted.sort();
    assert_eq!(started, sorted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_survives_the_end_of_its_service() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let receiver = Receiver::start(Behaviour::Ok).await;
    let mut first = builder().data(&data).start();
    let id = first.submit(&modes(&["slow lines=20 every_ms=100", "ok"]), Some(&receiver), json!({})).await;
    first.wait_for(&id, Duration::from_secs(20), |r| r["status"] == "running").await;

    first.kill();
    let second = builder().data(&data).start();
    let record = second.wait_for_end(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    receiver.wait_for(1, Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_worker_ends_the_agents_whole_tree() {
    let service = service();
    let id = service.submit(&modes(&["children", "ignore-term"]), None, json!({})).await;
    let running = service.wait_for(&id, Duration::from_secs(20), |r| r["status"] == "running").await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    service.worker(&running).signal(Signal::KILL);

    nothing_lives(&id).await;
}

legwork_e2e::also_on_google!(
    a_task_completes_its_log_is_whole_and_its_receiver_is_told,
    the_store_is_laid_out_as_promised,
    cancelling_a_running_task_ends_it_with_130_and_nothing_of_it_lives,
    a_time_limit_ends_a_task_with_124,
    an_exit_without_a_successful_result_is_a_failure,
    children_left_behind_by_a_successful_agent_are_ended,
    odd_lines_are_stored_as_json,
    a_receiver_that_fails_is_told_again,
    a_receiver_that_is_gone_is_not_told_again,
    a_running_task_survives_the_end_of_its_service,
    killing_the_worker_ends_the_agents_whole_tree,
);
