//! JSON as JavaScript reads and writes it.
//!
//! Requests come from JavaScript, the agent's lines are written by it, and callbacks are parsed
//! and written again by handlers in it before they verify a signature. So texts are accepted
//! exactly where `JSON.parse` accepts them, and written exactly as `JSON.stringify` writes them.
//! A line may be megabytes of opening brackets: nothing here recurses, in parsing, walking,
//! writing or dropping.
//!
//! What values mean (which members a request has, what is masked) is not decided here.

mod document;
mod leaves;
mod node;
mod normalise;
mod scan;
mod text;
mod write;

pub use document::Document;
pub use leaves::{Leaf, Leaves};
pub use node::{Items, Kind, MAX_SAFE_INTEGER, Member, Members, Node};
pub use normalise::normalise;
pub use scan::ParseError;
pub(crate) use write::written_len;
pub use write::{write_number, write_string};
