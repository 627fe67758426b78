//! What is known about the agent's CLI: how it is told its task, what its lines mean, and
//! whether it succeeded.
//!
//! The CLI's version changes without notice, so every member of its lines is optional here.
//! Starting and stopping the process is an adapter's work; nothing here waits or writes.

pub mod command;
pub mod facts;
pub mod files;
pub mod log_line;
pub mod transcript;
pub mod verdict;
