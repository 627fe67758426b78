//! `legwork retry`: runs a task again.

use std::process::ExitCode;

use legwork_core::id::TaskId;

use crate::{args::ClientOptions, client::Client, output};

/// Runs a failed or cancelled task again.
///
/// The service keeps the sealed request of such a task for a while (`PAYLOAD_RETENTION_HOURS`), so
/// nothing needs to be sent again. The new attempt has its own workspace and callback; its log goes on
/// where the last one ended.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The task's id.
    task: TaskId,
    #[command(flatten)]
    client: ClientOptions,
}

const MANUAL: &str = "\
Examples:
  legwork retry nightly-42
  legwork retry nightly-42 && legwork logs -f nightly-42

Exit codes: 0 it waits to run again, 1 it cannot be retried (the message says why), 2 usage or
configuration, 69 service unreachable.";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let json = Client::from_options(&args.client)?.retry(&args.task).await?;
    if args.client.json {
        output::json(&json)?;
    } else {
        output::human(&format!("{} waits to run again", args.task))?;
    }
    Ok(ExitCode::SUCCESS)
}
