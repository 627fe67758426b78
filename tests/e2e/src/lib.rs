//! What the end-to-end tests share: a service in a process of its own, and how to talk to it.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test support: what fails here fails the test, and real processes and clocks are the point"
)]

mod cloud;
mod commands;
pub mod crash;
mod processes;
mod service;
mod stopping;
mod workers;

pub use cloud::{Cloud, is_on_google, on_google};
pub use commands::{Said, beside};
pub use processes::{Reachable, processes_mentioning, reachable};
pub use service::{Answer, Service, ServiceBuilder};
pub use stopping::{Stopping, stop_a_flood};
pub use workers::{Worker, living_workers};

/// How long a test waits for anything before it fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// The prompt of a simulated agent: its modes, a line each.
pub fn modes(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("mode: {line}")).collect();
    lines.join("\n")
}

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let began = std::time::Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
