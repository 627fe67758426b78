//! The agent's only way to the model's API, with a credential that the agent never holds.
//!
//! A [`CredentialProxy`] listens on the loopback for one task. It admits who shows the task's token
//! to two paths, builds a new request out of known headers, puts the real credential in, and
//! streams the answer back. Everything else is refused: what the agent's user can reach here must
//! not become a way to anywhere else.
//!
//! What must not be here: which model or path a task may use beyond that, and anything about money.

mod admission;
mod config;
mod forward;
mod gateway;
mod reply;
mod server;
mod usage;

pub use config::{ProxyConfig, ProxyLimits, UpstreamCredential};
pub use gateway::ProxyGateway;
pub use server::CredentialProxy;
