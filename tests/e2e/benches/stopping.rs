//! How long a worker that is told to stop takes while its agent floods it and each write into its store
//! takes 200 ms: until the process tree is gone, and until the record tells of the end and the callback is
//! owed. Promised are 5 s and 9 s.
//!
//! `cargo bench -p legwork-e2e --bench stopping`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints what it measures")]

use std::{path::Path, time::Duration};

use legwork_e2e::{ServiceBuilder, reachable, stop_a_flood};
use legwork_simulators::receiver::{Behaviour, Receiver};

const ROUNDS: usize = 20;

async fn round() -> (Duration, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let builder = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .env("LOG_LEVEL", "info");
    let receiver = Receiver::start(Behaviour::Ok).await;

    let stopping = stop_a_flood(builder, &folder.path().join("data"), &receiver).await;
    (stopping.tree_gone.unwrap(), stopping.owed)
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    println!("{what}: {median:.2?} (median of {ROUNDS}), {longest:.2?} at most");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let rounds: Vec<_> = (0..ROUNDS).map(|_| runtime.block_on(round())).collect();
    let (tree_gone, owed): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    told("until the process tree is gone", tree_gone);
    told("until the callback is owed", owed);
}
