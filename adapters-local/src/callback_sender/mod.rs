//! Sends callbacks over HTTP, to addresses that are judged when they are connected to.
//!
//! Whether an address may be reached is decided in `legwork-core`; here it is only seen to that nothing
//! is connected to that was not asked about. When to send again is not decided here either.

mod resolve;
mod retry_after;
mod sender;
mod words;

pub use self::sender::{CallbackPolicy, HttpCallbacks};
