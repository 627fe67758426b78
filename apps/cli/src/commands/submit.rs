//! `legwork submit`: submits a task and leaves.

use std::process::ExitCode;

use crate::{
    args::{ClientOptions, RequestOptions},
    client::Client,
    output,
    style::{BOLD, DIM, paint},
    submission,
    terminal::escape,
};

/// Submits a task to a running service, and does not wait for it.
///
/// Prints the task's id, its status and where its log is kept. An answer that gets lost is asked for
/// again: the task is made once. The credential is `ANTHROPIC_API_KEY` or else `CLAUDE_CODE_OAUTH_TOKEN`
/// from the environment, unless the file names one.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    #[command(flatten)]
    request: RequestOptions,
    #[command(flatten)]
    client: ClientOptions,
}

const MANUAL: &str = "\
Examples:
  legwork submit 'Write a changelog' --callback https://example.org/hook
  legwork submit --file request.json --task-id nightly-42
  legwork submit 'Say hello' --json | jq -r .taskId
  legwork submit 'Fix the failing test' --repo git@github.com:o/r.git --ssh-key ~/.ssh/id_ed25519 \\
    --commit='Fix the test' --push --upload 'coverage/**' --callback https://example.org/hook

With --file, members of a request are read from JSON, and options override them:
  {\"prompt\": \"Fix the failing test\", \"gitRepo\": \"https://github.com/o/r\",
   \"postExecutionActions\": {\"git\": {\"commit\": true, \"push\": true}}}

Exit codes: 0 accepted, 1 refused, 2 usage or configuration, 69 service unreachable.";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.request.print_request {
        output::json(&args.request.into_request()?.masked()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::from_options(&args.client)?;
    client.require_safe_for_credentials()?;
    let request = args.request.into_request()?;
    let submitted = submission::submit(&client, &request).await?;
    if args.client.json {
        output::json(&submitted.json)?;
    } else {
        output::human(&format!("{} {}", paint(BOLD, request.task_id.as_str()), escape(&submitted.status)))?;
        output::human(&paint(DIM, &format!("log in {}", escape(&submitted.logs_path))))?;
        output::human(&paint(DIM, &format!("follow it with: legwork logs -f {}", request.task_id)))?;
    }
    Ok(ExitCode::SUCCESS)
}
