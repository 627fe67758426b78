//! Following a task: order, resumption, latency, the closing event.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test, and latency is measured"
)]

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use futures_util::StreamExt as _;
use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use serde_json::{Value, json};

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start()
}

/// One event as it came over the wire, and when.
#[derive(Debug, Clone)]
struct Event {
    id: String,
    name: String,
    data: String,
    at: SystemTime,
}

/// Reads events until the stream ends, or until `enough` says so.
async fn events(response: reqwest::Response, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut found = Vec::new();
    let mut buffer = String::new();
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        buffer.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        while let Some((block, rest)) = buffer.split_once("\n\n") {
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(|v| v.trim_start().to_owned())
                    .unwrap_or_default()
            };
            if !block.starts_with(':') {
                found.push(Event {
                    id: field("id:"),
                    name: field("event:"),
                    data: field("data:"),
                    at: SystemTime::now(),
                });
            }
            buffer = rest.to_owned();
        }
        if enough(&found) {
            break;
        }
    }
    found
}

async fn follow(service: &Service, id: &str, last: Option<&str>) -> reqwest::Response {
    let mut request = service.request(reqwest::Method::GET, &format!("/tasks/{id}/logs?follow=true"));
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_every_line_once_and_then_one_closing_event() {
    let service = service();
    let id = service.submit(&modes(&["slow lines=30 every_ms=20", "ok"]), None, json!({})).await;

    let seen = events(follow(&service, &id, None).await, |_| false).await;
    let stored = service.log_lines(&id).await;

    let (last, lines) = seen.split_last().unwrap();
    assert_eq!((last.name.as_str(), last.id.as_str()), ("done", "end"));
    assert_eq!(serde_json::from_str::<Value>(&last.data).unwrap()["status"], "completed");
    assert_eq!(lines.iter().map(|event| event.data.clone()).collect::<Vec<_>>(), stored);
    assert!(lines.iter().all(|event| event.name.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let service = service();
    let id = service.submit(&modes(&["slow lines=40 every_ms=25", "ok"]), None, json!({})).await;

    let mut seen = events(follow(&service, &id, None).await, |found| found.len() >= 5).await;
    loop {
        let last = seen.last().unwrap().id.clone();
        if last == "end" {
            break;
        }
        let more = events(follow(&service, &id, Some(&last)).await, |found| found.len() >= 7).await;
        seen.extend(more);
    }
    let closed = follow(&service, &id, Some("end")).await;

    let stored = service.log_lines(&id).await;
    seen.pop();
    assert_eq!(seen.into_iter().map(|event| event.data).collect::<Vec<_>>(), stored);
    assert_eq!(closed.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_streams_to_its_client_and_ends_with_the_callback_body() {
    let service = service();
    let body = json!({"prompt": modes(&["slow lines=10 every_ms=30", "ok"]), "anthropicApiKey": "sk-ant-e2e-0123456789", "taskId": "stream-1"});

    let request = service.request(reqwest::Method::POST, "/run").header("content-type", "application/json");
    let seen = events(request.body(body.to_string()).send().await.unwrap(), |_| false).await;
    let again = service.post("/run", &body).await;

    let (last, lines) = seen.split_last().unwrap();
    assert_eq!(last.name, "done");
    assert_eq!(serde_json::from_str::<Value>(&last.data).unwrap()["taskId"], "stream-1");
    assert!(lines.len() >= 10);
    assert_eq!(service.record("stream-1").await["type"], "sync");
    assert_eq!(again.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_its_run_cancels_the_task() {
    let service = service();
    let body =
        json!({"prompt": modes(&["hang"]), "anthropicApiKey": "sk-ant-e2e-0123456789", "taskId": "left-1"});

    let request = service.request(reqwest::Method::POST, "/run").header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.unwrap();
    service.wait_for("left-1", Duration::from_secs(20), |r| r["status"] == "running").await;
    drop(response);

    assert_eq!(service.wait_for_end("left-1").await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_lines_reach_their_followers_soon() {
    let service = service();
    let id = service.submit(&modes(&["slow lines=40 every_ms=60", "ok"]), None, json!({})).await;

    let began = Instant::now();
    let seen = events(follow(&service, &id, None).await, |_| false).await;

    // The chunk's file tells when it was stored; the agent writes a line every 60 ms, and a chunk waits for
    // 100 ms. A line that came a second late would stand out.
    let gaps: Vec<Duration> =
        seen.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at).unwrap()).collect();
    let mut sorted = gaps.clone();
    sorted.sort();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(sorted[sorted.len() / 2] < Duration::from_millis(300), "{gaps:?}");
}

legwork_e2e::also_on_google!(
    a_follower_sees_every_line_once_and_then_one_closing_event,
    a_follower_that_comes_back_misses_nothing_and_sees_nothing_twice,
    a_run_streams_to_its_client_and_ends_with_the_callback_body,
    a_client_that_leaves_its_run_cancels_the_task,
);
