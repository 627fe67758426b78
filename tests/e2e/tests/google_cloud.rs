//! What only a cloud does: answers that are lost, outages, round trips, executions that the platform starts
//! twice, stops, or loses.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use legwork_e2e::{Cloud, PATIENCE, Service, ServiceBuilder, beside, modes, reachable, until};
use legwork_simulators::{
    google::{ExecutionState, Fault, GoogleService},
    receiver::{Behaviour, Receiver},
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_legwork-under-test");
/// A call takes so long where it is counted which calls wait for which.
const CALL: Duration = Duration::from_millis(300);
const TASKS: u64 = 10_000;

fn builder() -> ServiceBuilder {
    ServiceBuilder::new(PROGRAM, reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent"))).as_str()).on_google()
}

fn cloud(service: &Service) -> &Cloud {
    service.cloud.as_deref().unwrap()
}

fn is_told(record: &Value) -> bool {
    record["callback"]["state"] == "delivered"
}

/// Checks that a task's log is that of one attempt, with each of so many lines once and in order.
async fn check_lines(service: &Service, id: &str, count: usize) {
    let lines = service.log_lines(id).await;
    let numbers: Vec<usize> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| usize::try_from(line["n"].as_u64()?).ok())
        .collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{} lines", lines.len());
    assert_eq!(lines.iter().filter(|line| line.contains("\"session_init\"")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_a_task_takes_four_round_trips() {
    let service = builder().env("RECONCILER", "off").worker("/bin/true").start();
    let google = cloud(&service).google();
    for kind in [GoogleService::Storage, GoogleService::Kms, GoogleService::Run] {
        google.faults().add(Fault::of(kind).delayed(CALL).always());
    }
    google.take_longest_chain();

    service.submit(&modes(&["ok"]), None, json!({})).await;

    let chain = google.take_longest_chain();
    assert!(chain <= 4, "{chain} round trips: {:#?}", paths(&google.requests()));
    assert_eq!(google.executions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_ten_thousand_tasks_costs_one_listing_and_its_records_at_once() {
    let service = builder().env("RECONCILER", "off").worker("/bin/true").start();
    let google = cloud(&service).google();
    let id = service.submit(&modes(&["ok"]), None, json!({})).await;
    let record: Value =
        serde_json::from_slice(&service.object(&format!("sessions/{id}/metadata.json")).unwrap()).unwrap();
    for number in 0..TASKS {
        let mut copy = record.clone();
        copy["taskId"] = json!(format!("task-{number}"));
        google.put_object(&format!("sessions/task-{number}/metadata.json"), copy.to_string());
        google.put_object(&format!("index/{:013}-task-{number}", 1_000_000_000_000_u64 + number), "");
    }
    google.faults().add(Fault::of(GoogleService::Storage).delayed(CALL).always());
    let before = google.requests().len();
    google.take_longest_chain();

    let page = service.get("/tasks?limit=50").await;

    let asked = paths(&google.requests()[before..]);
    assert_eq!(page.body["tasks"].as_array().unwrap().len(), 50, "{page:?}");
    assert!(page.body["nextCursor"].is_string(), "{page:?}");
    let listings = asked.iter().filter(|path| path.contains("list-type")).count();
    assert_eq!((listings, asked.len()), (1, 51), "{asked:#?}");
    assert_eq!(google.take_longest_chain(), 2, "{asked:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_stored_once_and_in_order_though_every_tenth_answer_is_lost() {
    let service = builder().env("LOG_CHUNK_LINES", "20").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    cloud(&service).google().faults().add(Fault::of(GoogleService::Storage).one_in(10).always().lost(503));

    let id = service.submit(&modes(&["flood lines=4000 bytes=200"]), Some(&receiver), json!({})).await;
    let record = service.wait_for(&id, PATIENCE, is_told).await;

    assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
    check_lines(&service, &id, 4000).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_three_seconds_a_call_keeps_every_line_in_order() {
    let service = builder().env("LOG_CHUNK_LINES", "20").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let slow = Fault::of(GoogleService::Storage).delayed(Duration::from_secs(3)).always();
    cloud(&service).google().faults().add(slow);

    let id = service.submit(&modes(&["flood lines=2000 bytes=200"]), Some(&receiver), json!({})).await;
    let record = service.wait_for(&id, Duration::from_mins(4), is_told).await;

    cloud(&service).google().faults().clear();
    assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
    check_lines(&service, &id, 2000).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_two_minutes_in_the_middle_of_a_run_loses_no_line() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = service.submit(&modes(&["slow lines=300 every_ms=500"]), Some(&receiver), json!({})).await;
    service.wait_for(&id, PATIENCE, |record| record["status"] == "running").await;
    until("lines are stored", async || service.log_lines(&id).await.len() > 5).await;
    let faults = cloud(&service).google().faults();

    faults.add(Fault::of(GoogleService::Storage).always().refused(503));
    tokio::time::sleep(Duration::from_mins(2)).await;
    faults.clear();
    let record = service.wait_for(&id, Duration::from_mins(3), is_told).await;

    assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
    check_lines(&service, &id, 300).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_google_refuses_for_a_while_is_resumed_by_the_same_request() {
    let service = builder().start();
    let faults = cloud(&service).google().faults();
    let body = |id: &str| json!({"taskId": id, "prompt": modes(&["ok"]), "anthropicApiKey": "sk-ant-e2e-0123456789", "callbackUrl": null});
    let cases = [
        ("store", Fault::of(GoogleService::Storage).always()),
        ("keys", Fault::of(GoogleService::Kms).always()),
        ("jobs", Fault::of(GoogleService::Run).always()),
    ];
    for (id, fault) in cases {
        faults.add(fault.refused(503));
        let refused = service.post("/run-async", &body(id)).await;
        faults.clear();

        let resumed = service.post("/run-async", &body(id)).await;

        assert_eq!(
            (refused.status, refused.headers.get("retry-after").map(String::as_str)),
            (503, Some("5")),
            "{id}: {refused:?}"
        );
        assert_eq!(resumed.status, 202, "{id}: {resumed:?}");
    }
    // What may have been started is not started again before two minutes have passed.
    for id in ["store", "keys", "jobs"] {
        let record =
            service.wait_for(id, Duration::from_mins(4), |record| record["status"] == "completed").await;
        assert_eq!(record["attempt"], 1, "{record:#}");
        let lines = service.log_lines(id).await;
        assert_eq!(lines.iter().filter(|line| line.contains("\"session_init\"")).count(), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_will_not_do_is_told_with_the_role_that_is_missing() {
    let service = builder().env("RECONCILER", "off").start();
    let faults = cloud(&service).google().faults();
    let body = json!({"prompt": "mode: ok", "anthropicApiKey": "sk-ant-e2e-0123456789", "callbackUrl": null});
    let cases = [
        (GoogleService::Storage, "roles/storage.objectUser"),
        (GoogleService::Kms, "roles/cloudkms.cryptoKeyEncrypter"),
        (GoogleService::Run, "roles/run.jobsExecutorWithOverrides"),
    ];
    for (kind, role) in cases {
        faults.add(Fault::of(kind).always().refused(403));

        let refused = service.post("/run-async", &body).await;

        faults.clear();
        assert_eq!(refused.status, 502, "{refused:?}");
        assert!(refused.body["error"].as_str().unwrap().contains(role), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_started_although_its_answer_was_lost_runs_its_task_once() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    cloud(&service).google().faults().add(Fault::of(GoogleService::Run).path(":run").lost(503));
    let body = json!({
        "taskId": "doubt", "prompt": modes(&["slow lines=20 every_ms=100"]), "callbackUrl": receiver.url(),
        "anthropicApiKey": "sk-ant-e2e-0123456789",
    });

    let doubtful = service.post("/run-async", &body).await;
    let again = service.post("/run-async", &body).await;
    let record = service.wait_for("doubt", PATIENCE, is_told).await;

    assert_eq!((doubtful.status, again.status), (503, 202), "{doubtful:?} {again:?}");
    assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
    check_lines(&service, "doubt", 20).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_execution_of_one_task_leaves_without_a_trace() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = service.submit(&modes(&["slow lines=20 every_ms=100"]), Some(&receiver), json!({})).await;
    service.wait_for(&id, PATIENCE, |record| record["status"] == "running").await;

    let second = cloud(&service).start_again().await;
    let end = cloud(&service).ended(&second).await;
    let record = service.wait_for(&id, PATIENCE, is_told).await;

    assert_eq!(end, ExecutionState::Succeeded, "{}", service.worker_logs());
    assert_ne!(record["executionName"], json!(second));
    check_lines(&service, &id, 20).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_somebody_cancels_by_hand_fails_its_task_in_order() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = service.submit(&modes(&["children", "ignore-term"]), Some(&receiver), json!({})).await;
    let running = service.wait_for(&id, PATIENCE, |record| record["status"] == "running").await;

    cloud(&service).cancel(running["executionName"].as_str().unwrap()).await;
    let record = service.wait_for(&id, PATIENCE, is_told).await;

    assert_eq!(
        (&record["status"], &record["errorCode"]),
        (&json!("failed"), &json!("worker_stopped")),
        "{record:#}"
    );
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_looks_only_when_it_is_asked_finds_a_lost_worker_by_one_pass() {
    let service = builder().env("RECONCILER", "request").start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let id = service.submit(&modes(&["hang"]), Some(&receiver), json!({})).await;
    let running = service.wait_for(&id, PATIENCE, |record| record["status"] == "running").await;
    service.worker(&running).kill().await;

    let answer = service.post("/reconcile", &json!({})).await;
    let record = service.wait_for(&id, PATIENCE, is_told).await;

    assert_eq!((answer.status, &answer.body["settled"]), (200, &json!(1)), "{answer:?}");
    assert_eq!(record["errorCode"], "worker_lost", "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_where_its_log_is_and_how_it_is_held() {
    let service = builder().start();
    let id = service.submit(&modes(&["ok"]), None, json!({})).await;

    let record = service.wait_for_end(&id).await;

    let execution = record["executionName"].as_str().unwrap();
    assert!(execution.starts_with("projects/p/locations/l/jobs/legwork-worker/executions/"), "{record:#}");
    let url = record["workerLogsUrl"].as_str().unwrap();
    assert!(url.starts_with("https://console.cloud.google.com/") && url.contains("project=p"), "{url}");
    let first: Value = serde_json::from_str(&service.log_lines(&id).await[0]).unwrap();
    let word = first["isolation"]["metadata"].as_str().unwrap();
    assert!(["blocked", "reachable"].contains(&word), "{first:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_as_cloud_logging_reads_them() {
    let service = builder().start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let body = json!({"prompt": "mode: ok", "anthropicApiKey": "sk-ant-e2e-0123456789", "callbackUrl": null});
    let request =
        service.request(reqwest::Method::POST, "/run-async").header("content-type", "application/json");
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));

    let answer: Value =
        serde_json::from_slice(&request.body(body.to_string()).send().await.unwrap().bytes().await.unwrap())
            .unwrap();
    let id = answer["taskId"].as_str().unwrap();
    service.wait_for_end(id).await;

    let parse = |text: String| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    };
    let accepted = parse(service.log()).into_iter().find(|line| line["message"] == "task accepted").unwrap();
    let ended =
        parse(service.worker_logs()).into_iter().find(|line| line["message"] == "task ended").unwrap();
    assert_eq!((&accepted["severity"], &accepted["task.id"]), (&json!("INFO"), &json!(id)), "{accepted}");
    assert_eq!(accepted["logging.googleapis.com/trace"], format!("projects/p/traces/{trace}"), "{accepted}");
    assert_eq!((&ended["task.id"], &ended["status"]), (&json!(id), &json!("completed")), "{ended}");
    assert!(ended["duration_ms"].is_u64(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bucket_or_a_secret_the_service_says_what_is_missing_and_a_worker_ends() {
    for (name, message) in [
        ("GCS_LOGS_BUCKET", "Async task support not configured (missing GCS_LOGS_BUCKET)"),
        ("CLOUDRUN_CALLBACK_SECRET", "Async task support not configured (missing CLOUDRUN_CALLBACK_SECRET)"),
    ] {
        let service = builder().without(name).start();
        let body = json!({"prompt": "mode: ok", "anthropicApiKey": "sk-ant-e2e-0123456789", "callbackUrl": "https://example.com/"});

        let refused = service.post("/run-async", &body).await;
        let health = service.get("/health").await;
        let pass = beside(&service, PROGRAM, &["reconcile", "--once"], &[(name, "")]).await;

        assert_eq!((refused.status, &refused.body["error"]), (500, &json!(message)), "{refused:?}");
        assert_eq!(health.status, 200);
        assert_eq!(pass.code, Some(2), "{pass:?}");
        assert!(pass.stderr.contains(message), "{pass:?}");
    }
}

fn paths(calls: &[legwork_simulators::google::GoogleRequest]) -> Vec<String> {
    calls.iter().map(|call| format!("{} {}", call.method, call.target)).collect()
}
