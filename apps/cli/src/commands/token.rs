//! `legwork token`: the local service's API token.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use crate::output;

/// Prints the API token of the service on this machine, and makes it on first use.
///
/// It is kept in the data folder, readable by its owner alone. Commands on this machine find it by
/// themselves; other programs send it as `Authorization: Bearer`.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The service's data folder [default: the user's data folder].
    #[arg(long, env = "LEGWORK_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const MANUAL: &str = "\
Example:
  curl -H \"Authorization: Bearer $(legwork token)\" http://127.0.0.1:8080/tasks

Exit codes: 0 success, 1 the token cannot be read or made, 2 usage.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let token = legwork_wiring::client::local_token_or_create(args.data_dir.as_deref());
    output::raw(format!("{}\n", token.context("cannot read or make the API token")?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
