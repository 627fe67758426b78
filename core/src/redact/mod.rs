//! Finds secrets in text from outside and puts `***` in their place.
//!
//! A [`Redactor`] is built once per task from everything that must not be shown. It works on
//! text, and on lines of JSON, where it changes string values and numbers only: masking raw
//! bytes would turn `"type":"result"` into `"type":"***"` for a secret called `result`. It
//! guards against accidents, not against an agent that wants to leak: who may read a secret can
//! spell it in a way that nobody thought of.

mod line;
mod redactor;
mod search;
mod spellings;
mod words;

pub use line::Edits;
pub use redactor::{MAX_SPELLINGS, MAX_SPELLINGS_BYTES, MIN_SECRET_BYTES, Redactor, SecretKind};
pub use search::Search;
pub use words::{MIN_ENVIRONMENT_CHARS, is_common_word};
