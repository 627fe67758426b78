//! Deterministic lives of tasks: the real use cases over memory, in virtual time, under a seed.
//!
//! A life has services, workers and reconcilers that crash before and after any call of a port, stall for
//! minutes and have wrong clocks; a store whose writes fail, are applied and fail, or land late; job
//! services that start a worker twice or never; receivers that refuse; clients that send twice,
//! cancel and retry. When the trouble is over one healthy reconciler goes on until nothing is owed,
//! and the promises are checked (`promises.rs`).
//!
//! One thread, virtual time and numbers from a seed: the same seed lives the same life.

mod agent;
mod clock;
mod gate;
mod jobs;
mod life;
mod plan;
mod process;
mod promises;
mod receiver;
mod store;
mod world;

pub use life::{Life, live, replay};
pub use plan::Plant;
pub use promises::Broken;
