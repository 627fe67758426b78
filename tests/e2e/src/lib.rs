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

pub mod crash;
mod processes;
mod service;

pub use processes::{Reachable, processes_mentioning, reachable};
pub use service::{Answer, Service, ServiceBuilder};

/// How long a test waits for anything before it fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// The prompt of a simulated agent: its modes, a line each.
pub fn modes(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("mode: {line}")).collect();
    lines.join("\n")
}
