//! Options that several commands share, and what is made of them.

mod client_options;
mod credentials;
mod request_body;
mod request_options;

pub(crate) use client_options::ClientOptions;
pub(crate) use request_body::RequestBody;
pub(crate) use request_options::RequestOptions;
