//! Configuration, telemetry, and which adapter stands behind which port.
//!
//! This is the only crate that reads environment and configuration files, and the only one besides
//! tests that sees adapters.

pub mod client;
pub mod config;
pub mod doctor;
pub mod names;
pub mod platform;
pub mod telemetry;
pub mod values;

use std::{ffi::OsString, process::ExitCode};

/// Chooses ring as the one provider of cryptography for TLS. Every program calls it first.
pub fn install_tls() {
    // Only a second call fails, and then the same provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Runs one of the hidden programs that guard and confine the agent, if these are its arguments;
/// nothing otherwise. Has to come before anything else in `main`: they run with a cleared environment
/// and must not start threads first.
pub fn helper_main(args: &[OsString]) -> Option<ExitCode> {
    let (name, rest) = args.get(1..)?.split_first()?;
    match name.to_str()? {
        "__guard" => Some(legwork_adapters_local::agent::guard::main(rest.iter().cloned())),
        "__exec" => Some(legwork_adapters_local::agent::exec::main(rest.iter().cloned())),
        _ => None,
    }
}
