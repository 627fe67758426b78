//! This machine behind the ports: files, keys, processes, callbacks.
//!
//! Adapters translate and do no more: what a thing means is decided in `legwork-core`, in which
//! order things happen in `legwork-engine`. On Google Cloud the worker uses `agent`, `workspace`,
//! `proxy` and `callback_sender` from here as well.

pub mod agent;
pub mod callback_sender;
pub mod clock;
pub mod files;
pub mod key_file;
pub mod memory;
pub mod proxy;
pub mod secret_file;
pub mod subprocess_jobs;
pub mod workspace;
