//! One function per sentence of each port contract, run over every adapter.
//!
//! The macros [`storage_suite!`], [`keys_suite!`] and [`workspace_suite!`] make a test of each function,
//! so that no adapter can leave one out. What is peculiar to an adapter is tested beside it, not here.

pub mod agent;
pub mod callbacks;
pub mod jobs;
pub mod keys;
pub mod storage;
pub mod workspace;
