//! `legwork status`: one task's record.

use std::process::ExitCode;

use legwork_core::id::TaskId;

use crate::{args::ClientOptions, client::Client, output, task_facts::TaskFacts, task_view};

/// Shows where a task stands: its status, times, outcome, commit, files and callback.
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
  legwork status nightly-42
  legwork status nightly-42 --json | jq .callback.state

Exit codes: 0 found (however the task went), 1 not found, 2 usage or configuration, 69 service
unreachable.";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let json = Client::from_options(&args.client)?.record(&args.task).await?;
    if args.client.json {
        output::json(&json)?;
    } else {
        output::human(&task_view::record(&TaskFacts::parse(&json)?))?;
    }
    Ok(ExitCode::SUCCESS)
}
