//! `legwork cancel`: asks for a task's end.

use std::process::ExitCode;

use legwork_core::id::TaskId;
use serde::Deserialize;

use crate::{args::ClientOptions, client::Client, client_error::ClientError, output};

/// Cancels a task, whether it waits or runs.
///
/// A running task ends in order: its processes stop, its log is stored, its callback is sent. That
/// takes some seconds; `legwork logs -f` shows it.
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
  legwork cancel nightly-42
  legwork list --status running --json | jq -r '.tasks[].taskId' | xargs -n1 legwork cancel

Exit codes: 0 cancelled or being cancelled, 1 there is no such task or it has ended, 2 usage or
configuration, 69 service unreachable.";

#[derive(Deserialize)]
struct Answer {
    status: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let json = Client::from_options(&args.client)?.cancel(&args.task).await?;
    if args.client.json {
        output::json(&json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Answer = serde_json::from_str(&json).map_err(|error| ClientError::Unexpected {
        what: format!("this is no answer to a cancel: {error}"),
    })?;
    let state = if answer.status == "cancelled" { "is cancelled" } else { "is being cancelled" };
    output::human(&format!("{} {state}", args.task))?;
    Ok(ExitCode::SUCCESS)
}
