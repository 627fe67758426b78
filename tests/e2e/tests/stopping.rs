//! A worker that is told to stop at the worst of times.

use std::{path::Path, time::Duration};

use legwork_e2e::{ServiceBuilder, reachable, stop_a_flood};
use legwork_simulators::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

/// How soon nothing of the process tree may live any more.
const TREE_GONE: Duration = Duration::from_secs(5);
/// How soon the callback is owed, and what a busy machine may take besides.
const OWED: Duration = Duration::from_secs(9 + 3);

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_worker_told_to_stop_in_a_flood_over_a_slow_store_ends_in_time_and_counts_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let builder = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .env("LOG_LEVEL", "info");
    let receiver = Receiver::start(Behaviour::Ok).await;

    let stopping = stop_a_flood(builder, &data, &receiver).await;
    let told = receiver.wait_for(1, Duration::from_secs(30)).await.unwrap();
    let lines = stopping.service.log_lines(&stopping.id).await;

    let (record, owed) = (&stopping.record, stopping.owed);
    assert!(stopping.tree_gone.is_some_and(|took| took < TREE_GONE), "{:?}", stopping.tree_gone);
    assert!(owed < OWED, "{owed:?}: {record:#}");
    let end = [&record["status"], &record["error"], &record["errorCode"]];
    assert_eq!(end, [&json!("failed"), &json!("Worker was stopped"), &json!("worker_stopped")], "{record:#}");
    assert!(["pending", "delivered"].map(Value::from).contains(&record["callback"]["state"]), "{record:#}");
    assert_eq!(told[0].json()["errorCode"], "worker_stopped");
    let numbers: Vec<u64> =
        lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64()).collect();
    assert!(numbers.len() > 1000 && numbers.is_sorted_by(|one, next| one < next), "{}", numbers.len());
    let (stored, lost) =
        (record["log"]["linesStored"].as_u64(), record["log"]["linesLost"].as_u64().unwrap());
    // What was under way at the end may have been stored without anybody's hearing of it.
    assert!(stored.unwrap() <= u64::try_from(lines.len()).unwrap(), "{} of {record:#}", lines.len());
    assert!(lost > 0, "{record:#}");
    let closing: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(closing["type"], "error", "{closing}");
    assert_eq!(closing["error"], format!("{lost} lines could not be stored in time"));
}

legwork_e2e::also_on_google!(
    alone_a_worker_told_to_stop_in_a_flood_over_a_slow_store_ends_in_time_and_counts_what_is_missing,
);
