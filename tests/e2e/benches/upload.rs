//! How much memory a worker needs for an upload of any size: a sparse file of 3 GB, or of as many as the
//! first argument says.
//!
//! `cargo bench -p legwork-e2e --bench upload`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a program that prints what it measures"
)]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use legwork_e2e::{ServiceBuilder, modes, reachable};
use serde_json::{Value, json};

/// The memory that a process has used at most and uses now, in MiB.
fn memory(pid: i64) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
    };
    Some((of("VmHWM:")?, of("VmRSS:")?))
}

#[tokio::main]
async fn main() {
    let gigabytes: u64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3);
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start();
    let began = Instant::now();
    let id = service
        .submit(
            &modes(&["ok"]),
            None,
            json!({
                "preExecutionCommands": [format!("truncate -s {gigabytes}G large.bin")],
                "postExecutionActions": {"uploadFiles": {"globPatterns": ["large.bin"]}},
            }),
        )
        .await;
    let (mut base, mut peak) = (0, 0);
    let record = loop {
        let record = service.record(&id).await;
        let execution = record["executionName"].as_str().unwrap_or_default().to_owned();
        let lock = fs::read(service.data.join(format!("executions/{execution}.lock"))).unwrap_or_default();
        let description: Value = serde_json::from_slice(&lock).unwrap_or(Value::Null);
        if let Some((high, now)) = description["pid"].as_i64().and_then(memory) {
            if record["phase"] == "running" {
                base = now;
            }
            peak = peak.max(high);
        }
        if record["completedAt"].is_string() {
            break record;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let size = record["uploadedFiles"][0]["sizeBytes"].as_u64().unwrap();
    println!(
        "{size} bytes uploaded in {:.1} s; the worker used {base} MiB before and {peak} MiB at most",
        began.elapsed().as_secs_f64()
    );
    assert!(peak < base + 64, "more than the 64 MiB that are promised");
}
