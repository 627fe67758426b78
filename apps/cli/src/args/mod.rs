//! Options that several commands share, and what is made of them.

mod client_options;
mod credentials;
mod draft;
mod environment;
mod input;
mod masked;
mod outcome_options;
mod prompt_file;
mod repository_options;
mod request_body;
mod request_options;
mod setup_options;

pub(crate) use client_options::ClientOptions;
pub(crate) use request_body::RequestBody;
pub(crate) use request_options::RequestOptions;
