//! `legwork logs`: a task's log, so far or to its end.

mod lines;
mod worker;

use std::process::ExitCode;

use legwork_core::id::TaskId;

use self::lines::Lines;
use crate::{
    args::ClientOptions,
    client::{Client, LogForm},
    follow::{Follower, Step},
    follow_view::{FollowView, Form},
    output::{self, OutputError},
    task_facts::TaskFacts,
    task_view,
    transcript_view::TranscriptView,
};

/// Shows a task's log: as a transcript on a terminal, as JSON lines through a pipe.
///
/// With -f it waits for more until the task has ended, over as many connections as that takes. With
/// --worker it shows what the worker wrote about its own work: for a service on this machine the file
/// itself, if this user may read it, and else where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The task's id.
    task: TaskId,
    /// Wait for more until the task has ended.
    #[arg(short, long)]
    follow: bool,
    /// Show the worker's own log in place of the task's.
    #[arg(long)]
    worker: bool,
    #[command(flatten)]
    client: ClientOptions,
}

const MANUAL: &str = "\
Examples:
  legwork logs nightly-42
  legwork logs -f nightly-42
  legwork logs nightly-42 --json | jq -r 'select(.type == \"error\").error'
  legwork logs nightly-42 --worker

Ctrl-C ends the command and does nothing to the task.

Exit codes: 0 all of the log was shown (however the task went), or where the worker's log is; 1 there is
no such task or no such log, 2 usage or configuration, 69 service unreachable.";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::from_options(&args.client)?;
    if args.worker {
        worker::show(&client, &args.task, args.follow, args.client.data_dir.as_deref()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let as_json = args.client.json || !output::is_terminal();
    match (args.follow, as_json) {
        (true, true) => follow(client, args.task, Form::JsonLines).await?,
        (true, false) => follow(client, args.task, Form::Transcript).await?,
        (false, true) => print_lines(&client, &args.task).await?,
        (false, false) => print_transcript(&client, &args.task).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(client: Client, task: TaskId, form: Form) -> anyhow::Result<()> {
    let mut follower = Follower::new(client, task);
    let mut view = FollowView::new(form, "following");
    loop {
        match follower.next().await? {
            Step::Line(line) => view.line(&line)?,
            Step::Notice(notice) => view.notice(&notice),
            Step::End(body) => return Ok(view.end(&body, &TaskFacts::parse(&body)?)?),
        }
    }
}

async fn print_lines(client: &Client, task: &TaskId) -> anyhow::Result<()> {
    each_line(client, task, output::json).await
}

async fn print_transcript(client: &Client, task: &TaskId) -> anyhow::Result<()> {
    let mut transcript = TranscriptView::default();
    let print = |line: &str| transcript.render(line).map_or(Ok(()), |shown| output::human(&shown));
    each_line(client, task, print).await?;
    let task = TaskFacts::parse(&client.record(task).await?)?;
    Ok(output::human(&format!("\n{}", task_view::ending(&task)))?)
}

/// Gives each line of the log so far to `print`, as soon as it has arrived.
async fn each_line(
    client: &Client,
    task: &TaskId,
    mut print: impl FnMut(&str) -> Result<(), OutputError>,
) -> anyhow::Result<()> {
    let mut log = client.open_log(task, LogForm::Lines).await?;
    let mut lines = Lines::default();
    while let Some(bytes) = log.next().await? {
        for line in lines.push(&bytes) {
            print(&line)?;
        }
    }
    match lines.rest() {
        Some(line) => Ok(print(&line)?),
        None => Ok(()),
    }
}
