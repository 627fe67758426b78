//! Meaning and rules of Legwork.
//!
//! Everything here is a value or a pure function of values: what a request may hold, how a
//! task's record moves, what objects are called, how a payload is sealed, what the agent's lines
//! mean, which bytes a callback carries and how they are signed. There is no IO, no clock and no
//! randomness; times and random bytes come in as arguments. The crate is `no_std`, so the
//! compiler refuses files, sockets and environment.
//!
//! Read in the order of the modules below.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod actions;
pub mod callback;
pub mod chunk;
pub mod claude;
pub mod dotenv;
pub mod duty;
pub mod envelope;
pub mod hex;
pub mod id;
pub mod json;
pub mod layout;
pub mod lost;
pub mod record;
pub mod redact;
pub mod request;
pub mod retry;
pub mod secret;
pub mod signature;
pub mod time;
