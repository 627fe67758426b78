//! Real git servers with repositories to clone from and push to.
//!
//! * [`BareRepositories`]: a folder of bare repositories that tests fill and
//!   look into, made by git itself;
//! * [`SshServer`]: serves them with OpenSSH's server;
//! * [`GitHttpServer`]: serves them over smart HTTP with `git http-backend`,
//!   well or badly.
//!
//! Nothing here speaks git's protocols itself: what a client gets past here it
//! gets past in the world. All of it works as root and as any other user that
//! has a login shell, and ends with its owner. The servers accept connections on
//! the test's runtime: a test must not block that while a client asks.

mod backend;
#[cfg(test)]
mod client;
mod http_server;
mod keys;
mod program;
mod repositories;
mod repository;
mod sessions;
mod ssh_server;

pub use http_server::{GitHttpServer, GitRequest};
pub use repositories::BareRepositories;
pub use repository::BareRepository;
pub use ssh_server::SshServer;
