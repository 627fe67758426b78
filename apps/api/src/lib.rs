//! The HTTP API over the engine: routes and formats, and who may ask.
//!
//! No rule about tasks lives here. A request passes the guard (host, origin, token), then its route
//! asks the engine and writes what it answers.

mod answer;
mod body;
mod guard;
mod leaving;
mod routes;
mod server;
mod settings;
mod sse;
mod trace;

pub use server::serve;
pub use settings::{ApiSettings, ApiToken, Reconciling};
