//! The model's API as the agent CLI sees it: scripted answers, streamed or
//! whole, good and bad.
//!
//! A [`Script`] is a row of [`Step`]s. Each request of the main conversation
//! (one that offers tools) takes the next step. Side requests, which offer
//! none (a title, a topic, a probe), get a short text and take no step, so
//! that a test need not know how many of them a version of the CLI makes. A
//! subagent's requests offer tools and so take steps too.
//!
//! Every request is recorded as a [`Seen`], whatever its path. No credential
//! is checked: tests look at what was seen, and play a 401 where they want one.

mod reply;
mod script;
mod seen;
mod server;

pub use reply::{INPUT_TOKENS, OUTPUT_TOKENS};
pub use script::{Script, Step};
pub use seen::{Asked, Seen};
pub use server::MessagesApi;
