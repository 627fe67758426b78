//! The commands, one a file: each has its arguments and a `run` that returns an exit code.

pub(crate) mod cancel;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod files;
pub(crate) mod list;
pub(crate) mod listen;
pub(crate) mod logs;
pub(crate) mod reconcile;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod verify;
pub(crate) mod worker;
