//! Simulated peers for tests: what stands on the other side of Legwork's
//! sockets and pipes.
//!
//! * [`messages_api`]: the model's API, scripted, good enough for the real
//!   agent CLI;
//! * [`fake_agent`]: a program in the agent CLI's place that misbehaves on
//!   request;
//! * [`receiver`]: a callback receiver that records what arrives and answers
//!   well or badly;
//! * [`git_server`]: real git servers over SSH and HTTP, with repositories to
//!   clone and to push to;
//! * [`google`]: Google's Cloud Storage, Cloud KMS and Cloud Run, strict and
//!   faulty on command;
//! * [`claude_binary`]: where the real agent CLI is, for tests that run it.
//!
//! Nothing here belongs into a released program, and nothing here knows
//! Legwork: a simulator that shared code with what it tests would share its
//! mistakes.

pub mod fake_agent;
pub mod git_server;
pub mod google;
mod local_server;
pub mod messages_api;
mod real_claude;
pub mod receiver;
mod recording;

pub use real_claude::claude_binary;
pub use recording::TimedOut;
