//! An agent that writes as fast as it can.

use std::path::Path;

use legwork_e2e::{ServiceBuilder, modes, reachable};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_flood_is_stored_in_order_and_once() {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .env("LOG_LEVEL", "info")
        .start();

    let id = service.submit(&modes(&["flood lines=200000 bytes=200"]), None, json!({})).await;
    let record = service
        .wait_for(&id, std::time::Duration::from_mins(4), |r| {
            r["status"] != "pending" && r["status"] != "running"
        })
        .await;
    let lines = service.log_lines(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(record["log"]["linesLost"], 0);
    let numbers: Vec<u64> =
        lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64()).collect();
    assert_eq!(numbers.len(), 200_000);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_past_the_limit_is_cut_and_counted() {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start();

    let id = service.submit(&modes(&["huge bytes=9000000"]), None, json!({})).await;
    let record = service.wait_for_end(&id).await;
    let lines = service.log_lines(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(record["log"]["linesTruncated"], 1);
    let cut: Value = lines
        .iter()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .find(|l| !l["truncatedBytes"].is_null())
        .unwrap();
    assert_eq!(cut["type"], "text");
    assert!(cut["content"].as_str().unwrap().len() <= 65_536);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_command_past_the_limit_is_cut_and_counted() {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .env("MAX_LINE_BYTES", "100000")
        .start();
    let command = "printf '%300000s\\n' '' | tr ' ' x; echo short";

    let id = service.submit(&modes(&["ok"]), None, json!({"preExecutionCommands": [command]})).await;
    let record = service.wait_for_end(&id).await;
    let lines: Vec<Value> =
        service.log_lines(&id).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect();

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(record["log"]["linesTruncated"], 1);
    let cut = lines.iter().find(|line| line["type"] == "text").unwrap();
    assert_eq!(cut["truncatedBytes"], 300_000 - 65_536);
    assert_eq!(cut["content"].as_str().unwrap().len(), 65_536);
    assert!(lines.iter().any(|line| line["type"] == "command_output" && line["text"] == "short"));
}

legwork_e2e::also_on_google!(
    every_line_of_a_flood_is_stored_in_order_and_once,
    a_line_past_the_limit_is_cut_and_counted,
    a_line_of_a_command_past_the_limit_is_cut_and_counted,
);
