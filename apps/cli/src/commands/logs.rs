//! `legwork logs`: a task's log, so far or to its end.

use std::process::ExitCode;

use legwork_core::id::TaskId;

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
/// With -f it waits for more until the task has ended, over as many connections as that takes.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The task's id.
    task: TaskId,
    /// Wait for more until the task has ended.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    client: ClientOptions,
}

const MANUAL: &str = "\
Examples:
  legwork logs nightly-42
  legwork logs -f nightly-42
  legwork logs nightly-42 --json | jq -r 'select(.type == \"error\").error'

Ctrl-C ends the command and does nothing to the task.

Exit codes: 0 all of the log was shown (however the task went), 1 there is no such task, 2 usage or
configuration, 69 service unreachable.";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::from_options(&args.client)?;
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

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Takes the next bytes and returns the lines that they complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // There is always a last piece: what stands after the last newline.
        let unfinished = pieces.next_back().unwrap_or_default();
        let mut lines = Vec::new();
        for piece in pieces {
            self.0.extend_from_slice(piece);
            lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned());
        }
        self.0.extend_from_slice(unfinished);
        lines
    }

    /// Returns what stands after the last newline, if anything.
    fn rest(self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(text in "[aü\n]{0,30}", cut in any::<prop::sample::Index>()) {
            let at = cut.index(text.len() + 1);
            let (head, tail) = text.as_bytes().split_at(at);
            let mut lines = Lines::default();

            let mut found = lines.push(head);
            found.extend(lines.push(tail));
            found.extend(lines.rest());

            prop_assert_eq!(found, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
