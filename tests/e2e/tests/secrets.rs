//! What is secret stays out of everything that is kept or sent.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::{
    messages_api::{MessagesApi, Step},
    receiver::{Behaviour, Receiver},
};
use serde_json::json;

const KEY: &str = "sk-ant-api03-very-secret-0123456789";
const DEPLOY: &str = "deploy \"quoted\" pa$$word/with+signs";
const CALLBACK: &str = "callback-secret-9876543210";
const TOKEN: &str = "api-token-abcdef0123456789";

fn builder() -> ServiceBuilder {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
}

/// The spellings in which a secret is looked for.
fn spellings(secret: &str) -> Vec<String> {
    let quoted = serde_json::to_string(secret).unwrap();
    let escaped = quoted.trim_matches('"').to_owned();
    vec![secret.to_owned(), escaped, STANDARD.encode(secret), hex(secret)]
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for secret in [KEY, DEPLOY, CALLBACK, TOKEN] {
        for spelling in spellings(secret) {
            assert!(!text.contains(&spelling), "{what} holds {spelling}");
        }
    }
}

fn assert_stored_clean(service: &Service) {
    for (path, bytes) in service.stored() {
        if path.to_string_lossy().contains("/objects/") || path.extension().is_some_and(|e| e == "log") {
            assert_clean(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_prints_all_it_finds_prints_no_secret() {
    let service = builder().env("CLOUDRUN_CALLBACK_SECRET", CALLBACK).env("LEGWORK_API_TOKEN", TOKEN).start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let prompt = format!("mode: env\nleak: {KEY}\nleak: {DEPLOY}\nleak: {CALLBACK}\nleak: {TOKEN}");
    let body = json!({
        "prompt": prompt,
        "anthropicApiKey": KEY,
        "callbackUrl": receiver.url(),
        "environmentSecrets": {"DEPLOY": DEPLOY},
    });

    let accepted = service.post("/run-async", &body).await;
    let id = accepted.body["taskId"].as_str().unwrap().to_owned();
    let told = receiver.wait_for(1, Duration::from_mins(1)).await.unwrap();
    let record =
        service.wait_for(&id, Duration::from_secs(10), |r| r["callback"]["state"] == "delivered").await;

    assert_eq!(record["status"], "completed", "{record:#}");
    let log = service.log_lines(&id).await.join("\n");
    assert!(log.contains("***"), "nothing was masked, so nothing was leaked: the test proves nothing");
    assert_clean("the log", &log);
    assert_clean("the callback", std::str::from_utf8(&told[0].body).unwrap());
    assert_clean("the service's log", &service.log());
    assert_clean("the worker's log", &service.worker_logs());
    assert_stored_clean(&service);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_are_common_words_do_no_harm() {
    let service = builder().start();
    let secrets = json!({"environmentSecrets": {"A": "result", "B": "123456", "C": "production"}});

    let id = service.submit(&modes(&["ok text=\"to production\""]), None, secrets).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(record["result"], "to production");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_says_how_many_forms_of_very_long_secrets_are_not_masked() {
    let service = builder().start();
    let long = |n: u32| -> String {
        let pieces = (0..7000_u32).map(|digits| format!("{:x}.", digits.wrapping_mul(2_654_435_761) ^ n));
        pieces.collect::<Vec<_>>().concat()
    };
    let secrets: serde_json::Map<String, serde_json::Value> =
        (0..12).map(|n| (format!("LONG_{n}"), long(n).into())).collect();

    let id = service.submit(&modes(&["ok"]), None, json!({"environmentSecrets": secrets})).await;
    let record = service.wait_for_end(&id).await;
    let lines = service.log_lines(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(lines[0].contains("\"session_init\""), "{}", lines[0]);
    assert!(lines[1].contains("\"type\":\"warning\"") && lines[1].contains("are not masked"), "{}", lines[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_lets_one_token_and_two_paths_through() {
    let api = MessagesApi::start([Step::say("hello")]).await;
    let service = builder().env("ANTHROPIC_UPSTREAM_URL", &api.url()).start();

    let id = service.submit(&modes(&["proxy-probe"]), None, json!({"anthropicApiKey": KEY})).await;
    let record = service.wait_for_end(&id).await;
    let log = service.log_lines(&id).await.join("\n");

    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(log.contains("own POST /v1/models -> 403"), "{log}");
    assert!(log.contains("POST /v1/messages?beta=true -> 200"), "{log}");
    let refused = log.matches("-> 403").count();
    assert!(refused >= 5, "{refused} refusals in {log}");
    let seen = api.requests();
    assert!(seen.iter().all(|request| request.path.starts_with("/v1/messages")), "{seen:?}");
    assert!(seen.iter().all(|request| request.x_api_key.as_deref() == Some(KEY)));
}

legwork_e2e::also_on_google!(
    an_agent_that_prints_all_it_finds_prints_no_secret,
    secrets_that_are_common_words_do_no_harm,
    a_log_says_how_many_forms_of_very_long_secrets_are_not_masked,
    the_proxy_lets_one_token_and_two_paths_through,
);
