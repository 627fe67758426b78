//! What a receiver is told of a task's end, and when it is told again.
//!
//! The body is made once per attempt at a delivery from what the record holds, always to the same
//! bytes. Signing it is [`crate::signature`]'s; sending it is the shell's.

mod body;
mod bounded;
pub mod schedule;

pub use body::{BODY_BYTES, CallbackBody, METADATA_BYTES};
