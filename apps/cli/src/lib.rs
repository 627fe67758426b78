//! The `legwork` program: its commands, what they print, and a client of the service's HTTP API.
//!
//! A command reads its arguments, asks the service or starts it, and prints. What a task may do,
//! and what becomes of it, is decided elsewhere: no rule about tasks belongs here.
//!
//! Read in the order of the modules below.

mod args;
mod cli;
mod client;
mod client_error;
mod commands;
mod demo_agent;
mod demo_repository;
mod download;
mod exit;
mod follow;
mod follow_view;
mod interrupts;
mod output;
mod receiver;
mod server_url;
mod signature_check;
mod sse_client;
mod style;
mod submission;
mod task_facts;
mod task_view;
mod terminal;
mod transcript_view;
mod wall_clock;
mod worker_log;

pub use cli::{main, main_with};
