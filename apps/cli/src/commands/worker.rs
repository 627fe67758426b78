//! `legwork worker`: executes one task and exits.

use std::process::ExitCode;

use anyhow::Context as _;
use legwork_wiring::{
    config::{Config, PortsLayer},
    telemetry,
    values::{EnvFile, Values},
};

/// Arguments of `legwork worker`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The service starts workers by itself. By hand:\n  \
    TASK_ID=nightly-42 ENCRYPTED_PAYLOAD_PATH=sessions/nightly-42/encrypted-payload.bin legwork worker\n\n\
    Exits with 0 once the task is settled or was claimed by another worker.")]
pub(crate) struct Args {}

/// Runs the task that the environment names.
pub(crate) async fn run(_args: Args, layer: PortsLayer) -> anyhow::Result<ExitCode> {
    let values = Values::read([], &EnvFile::Never).map_err(anyhow::Error::msg)?;
    let config = match Config::parse(&values) {
        Ok(config) => Config { layer, ..config },
        Err(problems) => return Ok(super::serve::report(&problems)),
    };
    telemetry::start(&config).map_err(anyhow::Error::msg)?;
    legwork_worker::run(&config, &values).await.context("worker")
}
