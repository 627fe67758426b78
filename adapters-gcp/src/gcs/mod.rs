//! Objects in a bucket of Cloud Storage.
//!
//! Versions are generations. A swap whose answer was lost is made certain here: each conditional write
//! carries a random mark in the object's metadata, so that a try that was applied is told from another
//! writer's. Checksums are sent and compared both ways, which the client library does not do.

mod object;
mod sign;
mod storage;
mod upload;
mod wire;

pub use self::storage::{GcsConfig, GcsStorage};
