//! A worker that is told to stop while its agent floods it and its store is slow.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use legwork_simulators::receiver::Receiver;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    PATIENCE, Service, ServiceBuilder, Worker, crash::latency_file, modes, processes_mentioning, until,
};

/// How long each write into the store takes.
const WRITE_TAKES_MS: u32 = 200;

/// How a worker stopped, measured from the signal.
#[derive(Debug)]
pub struct Stopping {
    /// The service, which still runs.
    pub service: Service,
    /// The task.
    pub id: String,
    /// When nothing of the agent's process tree lived any more; nothing where the record came first.
    pub tree_gone: Option<Duration>,
    /// When the record told of the end, and with it of the callback that is owed.
    pub owed: Duration,
    /// The record as it was then.
    pub record: Value,
}

/// Starts a flood on this data folder, tells its worker to stop and returns how it did.
pub async fn stop_a_flood(builder: ServiceBuilder, data: &Path, receiver: &Receiver) -> Stopping {
    fs::write(latency_file(data), WRITE_TAKES_MS.to_string()).expect("a file beside the data folder");
    let service = builder.data(data).start();
    let agent = modes(&["children", "flood lines=1000000000 bytes=200"]);
    let id = service.submit(&agent, Some(receiver), json!({})).await;
    let running = service.wait_for(&id, PATIENCE, |record| record["status"] == "running").await;
    let worker = service.worker(&running);
    // By then there is more in the agent's file than the store takes.
    until("a thousand lines are stored", async || service.log_lines(&id).await.len() > 1000).await;
    assert!(!tree(&id, &worker).is_empty(), "the agent is not seen");

    let told = Instant::now();
    worker.signal(Signal::TERM);
    let mut tree_gone = None;
    let record = loop {
        if tree_gone.is_none() && tree(&id, &worker).is_empty() {
            tree_gone = Some(told.elapsed());
        }
        let record = service.record(&id).await;
        if record["status"] != "running" {
            break record;
        }
        assert!(told.elapsed() < PATIENCE, "it does not stop: {record:#}\n{}", service.worker_logs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let owed = told.elapsed();
    worker.ended().await;
    Stopping { service, id, tree_gone, owed, record }
}

/// Returns the task's processes but for the worker.
fn tree(id: &str, worker: &Worker) -> Vec<String> {
    let worker = format!("{}: ", worker.pid());
    processes_mentioning(id).into_iter().filter(|process| !process.starts_with(&worker)).collect()
}
