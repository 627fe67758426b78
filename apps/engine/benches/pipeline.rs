//! How many lines a second the log pipeline stores, and with how much memory: `cargo bench -p legwork-engine`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program that prints what it measures"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{LineAgent, NoJobs, REQUEST, SlowStorage, engine, worker};
use legwork_core::request::Route;
use legwork_engine::{WorkerJob, run_task};
use tokio_util::sync::CancellationToken;

const LINES: u32 = 200_000;
const ROUNDS: usize = 5;

/// Peak resident memory of this process so far, in MiB (proc(5), `VmHWM`).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn round(write_takes: Duration) -> f64 {
    let (engine, _keep) = engine(SlowStorage::new(write_takes), Arc::new(NoJobs));
    let id = engine.submit(REQUEST, Route::RunAsync).await.unwrap().task_id;
    let job = WorkerJob { task_id: id, execution_name: "bench".to_owned(), worker_logs_url: None };
    let agent = worker(LineAgent { lines: u64::from(LINES), line_bytes: 200 });

    let began = Instant::now();
    Box::pin(run_task(&engine, &agent, job, CancellationToken::new())).await.unwrap();
    f64::from(LINES) / began.elapsed().as_secs_f64()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for write_takes in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(50)] {
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| runtime.block_on(round(write_takes))).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates.get(ROUNDS / 2).copied().unwrap_or_default();
        println!(
            "{LINES} lines of 200 bytes, {write_takes:?} per write: {median:.0} lines/s (median of {ROUNDS})"
        );
    }
    // The store is in memory as well: what is stored counts, and is let go after each round.
    println!("peak resident memory, the stored log of 40 MB included: {} MiB", peak_mib());
}
