//! The real Claude CLI, against the simulator of the Messages API.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::time::Duration;

use legwork_e2e::{Service, ServiceBuilder, processes_mentioning, reachable};
use legwork_simulators::{
    claude_binary,
    messages_api::{MessagesApi, Step},
};
use serde_json::{Value, json};

const KEY: &str = "sk-ant-api03-the-real-key-0123456789";
const OAUTH: &str = "sk-ant-oat01-the-real-token-0123456789";

fn service(api: &MessagesApi) -> Service {
    let claude = reachable(&claude_binary());
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), claude.as_str())
        .env("ANTHROPIC_UPSTREAM_URL", &api.url())
        .start()
}

async fn submit(service: &Service, credential: (&str, &str), more: Value) -> String {
    let mut body = json!({"prompt": "Do what the script says", "callbackUrl": null});
    let members = body.as_object_mut().unwrap();
    members.insert(credential.0.to_owned(), credential.1.into());
    members.extend(more.as_object().cloned().unwrap());
    let answer = service.post("/run-async", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["taskId"].as_str().unwrap().to_owned()
}

fn script() -> Vec<Step> {
    vec![
        Step::bash("env > seen-by-bash.txt; cat seen-by-bash.txt"),
        Step::write("hello.txt", "hello"),
        Step::say("All done."),
    ]
}

#[track_caller]
fn assert_completed(record: &Value, service: &Service) {
    assert_eq!(record["status"], "completed", "{record:#}\n{}", service.worker_logs());
    assert_eq!(record["result"], "All done.");
    assert!(record["summary"]["turns"].as_u64().unwrap() >= 2, "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scripted_task_completes_with_a_key_that_the_agent_never_sees() {
    let api = MessagesApi::start(script()).await;
    let service = service(&api);

    let id = submit(&service, ("anthropicApiKey", KEY), json!({"allowedTools": ["Bash", "Write"]})).await;
    let record = service.wait_for_end(&id).await;
    let log = service.log_lines(&id).await.join("\n");

    assert_completed(&record, &service);
    let turns = api.turns();
    assert!(turns.len() >= 3, "{turns:?}");
    assert!(turns.iter().all(|turn| turn.x_api_key.as_deref() == Some(KEY)));
    for wanted in [
        "\"type\":\"system\"",
        "\"tool_use\"",
        "\"tool\":\"Bash\"",
        "\"tool\":\"Write\"",
        "\"type\":\"result\"",
    ] {
        assert!(log.contains(wanted), "{wanted} in {log}");
    }
    // Bash printed its whole environment: had the key been in it, the model would have been sent it.
    let sent: String = turns.iter().map(|turn| turn.messages.to_string()).collect();
    assert!(sent.contains("ANTHROPIC_BASE_URL"), "{sent}");
    assert!(!sent.contains(KEY) && !log.contains(KEY));
    assert!(processes_mentioning(&id).is_empty() || !record["completedAt"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scripted_task_completes_with_an_oauth_token_that_the_agent_never_sees() {
    let api = MessagesApi::start(script()).await;
    let service = service(&api);

    let id =
        submit(&service, ("anthropicOAuthToken", OAUTH), json!({"allowedTools": ["Bash", "Write"]})).await;
    let record = service.wait_for_end(&id).await;
    let log = service.log_lines(&id).await.join("\n");

    assert_completed(&record, &service);
    let bearer = format!("Bearer {OAUTH}");
    assert!(api.turns().iter().all(|turn| turn.authorization.as_deref() == Some(bearer.as_str())));
    let sent: String = api.turns().iter().map(|turn| turn.messages.to_string()).collect();
    assert!(!sent.contains(OAUTH) && !log.contains(OAUTH));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_ends_the_task_at_once_with_the_clis_reason() {
    let api = MessagesApi::start([Step::unauthorized()]).await;
    let service = service(&api);

    let id = submit(&service, ("anthropicApiKey", KEY), json!({})).await;
    let record = service.wait_for(&id, Duration::from_secs(15), |r| r["status"] == "failed").await;

    assert_eq!(record["errorCode"], "auth_failed", "{record:#}");
    assert_eq!(record["error"], "Claude process exited with code 1");
    assert!(record["errorDetail"].as_str().unwrap().contains("API key"), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_the_real_cli_ends_its_tools_too() {
    let api = MessagesApi::start([Step::bash("setsid sleep 613 & sleep 614")]).await;
    let service = service(&api);
    let id = submit(&service, ("anthropicApiKey", KEY), json!({"allowedTools": ["Bash"]})).await;
    service.wait_for(&id, Duration::from_secs(30), |_| !processes_mentioning("sleep 614").is_empty()).await;

    service.post(&format!("/cancel/{id}"), &json!({})).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!((&record["status"], &record["exitCode"]), (&json!("cancelled"), &json!(130)), "{record:#}");
    assert!(processes_mentioning("sleep 613").is_empty(), "{:?}", processes_mentioning("sleep 613"));
    assert!(processes_mentioning("sleep 614").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_tools_are_told_with_how_to_allow_them() {
    let api = MessagesApi::start([Step::bash("curl http://127.0.0.1:1/"), Step::say("All done.")]).await;
    let service = service(&api);

    let id = submit(&service, ("anthropicApiKey", KEY), json!({})).await;
    let record = service.wait_for_end(&id).await;
    let log = service.log_lines(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(
        log.iter().any(|line| line.contains("\"type\":\"warning\"") && line.contains("allowedTools")),
        "{log:#?}"
    );
}

legwork_e2e::also_on_google!(
    a_scripted_task_completes_with_a_key_that_the_agent_never_sees,
    a_scripted_task_completes_with_an_oauth_token_that_the_agent_never_sees,
    a_refused_credential_ends_the_task_at_once_with_the_clis_reason,
    cancelling_the_real_cli_ends_its_tools_too,
    denied_tools_are_told_with_how_to_allow_them,
);
