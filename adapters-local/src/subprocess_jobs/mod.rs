//! Workers as processes of this machine.
//!
//! A worker inherits two locked files and holds them for its life: its execution's lock as standard
//! input, and its slot's as standard output. Whatever ends it frees both, `kill -9` included, so the lock
//! is the exact answer to the question whether it runs. What the worker starts does not inherit them as
//! long as it is given a standard input and output of its own; the worker itself neither reads the one
//! nor writes to the other, and logs to standard error.
//!
//! Workers lead process groups of their own: Ctrl-C on the service's terminal reaches the terminal's
//! foreground group only, and so does the hang-up when the terminal closes. Nothing here is kept in
//! memory that another service on the same data folder would need.
//!
//! Below the data folder: `executions/{name}.lock` says which process it is, `slots/{n}.lock` is one
//! place to run in, `services/{random}.lock` holds how many places a living service allows, and
//! `worker-logs/{name}.log` is what the worker wrote to standard error.

mod executions;
mod jobs;
mod locks;
mod slots;

pub use self::jobs::{SubprocessConfig, SubprocessJobs};
