//! `legwork list`: many tasks, newest first.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    args::ClientOptions, client::Client, client_error::ClientError, output, task_facts::TaskFacts, task_view,
};

/// The most tasks that the service puts on one page.
const MAX_PAGE: usize = 200;

/// Lists tasks, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// Only tasks with this status.
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(STATUSES))]
    status: Option<String>,
    /// The most tasks to list.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all tasks, however many there are.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    client: ClientOptions,
}

const STATUSES: [&str; 5] = ["pending", "running", "completed", "failed", "cancelled"];

const MANUAL: &str = "\
Examples:
  legwork list
  legwork list --status failed --limit 5
  legwork list --all --json | jq -r '.tasks[].taskId'

With --json: {\"tasks\": [records], \"nextCursor\"}, the cursor being null where no task is left.

Exit codes: 0 success, 2 usage or configuration, 69 service unreachable.";

/// A page of tasks, or several put together.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tasks: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::from_options(&args.client)?;
    let wanted = if args.all { usize::MAX } else { usize::try_from(args.limit)? };
    let found = collect(&client, args.status.as_deref(), wanted).await?;
    if args.client.json {
        output::json(&serde_json::to_string(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let tasks: Vec<TaskFacts> =
        found.tasks.iter().map(|task| TaskFacts::parse(task.get())).collect::<Result<_, _>>()?;
    if tasks.is_empty() {
        output::note("no tasks");
    } else {
        output::human(&task_view::table(&tasks))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for page after page. A page may hold fewer tasks than were asked for and still not be the last.
async fn collect(client: &Client, status: Option<&str>, wanted: usize) -> Result<Page, ClientError> {
    let mut found = Page { tasks: Vec::new(), next_cursor: None };
    loop {
        let missing = wanted.saturating_sub(found.tasks.len());
        let json = client.list(status, missing.min(MAX_PAGE), found.next_cursor.as_deref()).await?;
        let page: Page = serde_json::from_str(&json)
            .map_err(|error| unexpected(&format!("this is no list of tasks: {error}")))?;
        if page.next_cursor.is_some() && page.next_cursor == found.next_cursor {
            return Err(unexpected("the service's list of tasks does not get on"));
        }
        found.tasks.extend(page.tasks);
        found.next_cursor = page.next_cursor;
        if found.next_cursor.is_none() || found.tasks.len() >= wanted {
            return Ok(found);
        }
    }
}

fn unexpected(what: &str) -> ClientError {
    ClientError::Unexpected { what: what.to_owned() }
}
