//! `legwork run`: submits a task and stays with it to its end.

use std::{process::ExitCode, time::Duration};

use futures_util::future::BoxFuture;
use legwork_core::id::TaskId;
use tokio::time::Instant;

use crate::{
    args::{ClientOptions, RequestOptions},
    client::Client,
    client_error::ClientError,
    exit,
    follow::{Follower, Step},
    follow_view::{FollowView, Form},
    interrupts::Interrupts,
    output::{self, OutputError},
    style::{BOLD, DIM, paint},
    submission,
    task_facts::TaskFacts,
};

/// How long a first Ctrl-C waits for a second before it cancels: a cancel cannot be taken back.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

/// Runs a task on a running service and shows its transcript until it has ended.
///
/// On a terminal the transcript is readable; through a pipe its lines are JSON as the service keeps
/// them; with --json only the closing JSON is printed, which is the callback's body. A connection that
/// breaks is made again, and nothing is lost or shown twice.
///
/// Ctrl-C cancels the task. A second Ctrl-C within 2 seconds leaves it running instead; later it
/// leaves without waiting for the end.
///
/// The credential is `ANTHROPIC_API_KEY` or else `CLAUDE_CODE_OAUTH_TOKEN` from the environment, unless
/// the file names one.
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
  legwork run 'Say hello'
  legwork run 'Run the tests and fix what fails' --allow 'Bash(cargo *)' --max-turns 40
  git diff | legwork run - --model sonnet | jq -r 'select(.type == \"assistant\").text // empty'
  legwork run --file request.json --json | jq .summary
  legwork run 'Fix the failing test' --repo https://github.com/o/r --git-token-file token.txt \\
    --pre 'npm ci' --commit='Fix the test' --push=fix-test --upload 'coverage/**'

Exit codes: 0 the task completed, 1 it failed, 2 usage or configuration, 69 service unreachable,
124 the task timed out, 130 it was cancelled or left running.";

/// How the command ended.
enum Ending {
    /// The task ended.
    Task(Box<TaskFacts>),
    /// The user left.
    Left,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.request.print_request {
        output::json(&args.request.into_request()?.masked()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::from_options(&args.client)?;
    client.require_safe_for_credentials()?;
    let request = args.request.into_request()?;
    let task = request.task_id.clone();
    let form = match (args.client.json, output::is_terminal()) {
        (true, _) => Form::EndOnly,
        (false, true) => Form::Transcript,
        (false, false) => Form::JsonLines,
    };
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        submitted = submission::submit(&client, &request) => drop(submitted?),
        // The request may have arrived: only the service knows.
        () = interrupts.next() => {
            output::note(&format!("Interrupted. If the task was accepted, it runs: legwork status {task}"));
            return Ok(ExitCode::from(exit::CANCELLED));
        }
    }
    drop(request);
    output::note(&format!("{} {}", paint(DIM, "task"), paint(BOLD, task.as_str())));
    match follow(client, &task, form, interrupts).await {
        Ok(Ending::Task(task)) => Ok(ExitCode::from(exit::of_task(&task))),
        Ok(Ending::Left) => Ok(ExitCode::from(exit::CANCELLED)),
        // The reader has left, and how the task will end is open: 0 would promise too much.
        Err(error) if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed) => {
            Ok(ExitCode::from(exit::FAILURE))
        }
        Err(error) => Err(error),
    }
}

async fn follow(
    client: Client,
    task: &TaskId,
    form: Form,
    mut interrupts: Interrupts,
) -> anyhow::Result<Ending> {
    let mut view = FollowView::new(form, "waiting for a worker");
    let mut follower = Follower::new(client.clone(), task.clone());
    let mut cancelling = Cancelling::NotAsked;
    loop {
        tokio::select! {
            // Dropped waits lose nothing: follower and interrupts keep what arrived, and the cancel
            // is a future that lives on in `cancelling`.
            step = follower.next() => match step? {
                Step::Line(line) => {
                    view.line(&line)?;
                    if cancelling.is_not_asked() {
                        view.doing("working");
                    }
                }
                Step::Notice(notice) => view.notice(&notice),
                Step::End(body) => {
                    let facts = TaskFacts::parse(&body)?;
                    view.end(&body, &facts)?;
                    return Ok(Ending::Task(Box::new(facts)));
                }
            },
            () = interrupts.next() => {
                if !cancelling.is_not_asked() {
                    view.notice(&farewell(task, &cancelling));
                    return Ok(Ending::Left);
                }
                view.notice("Cancelling in 2 s; Ctrl-C again leaves the task running.");
                view.doing("cancelling");
                cancelling = Cancelling::Pondering { until: Instant::now() + SECOND_THOUGHTS };
            }
            answer = cancelling.progress(&client, task) => if let Err(error) = answer {
                view.notice(&format!("Cannot cancel: {error}. Ctrl-C leaves, the end is awaited otherwise."));
            },
        }
    }
}

fn farewell(task: &TaskId, cancelling: &Cancelling) -> String {
    let state = match cancelling {
        Cancelling::NotAsked | Cancelling::Pondering { .. } => "runs on",
        Cancelling::Asking(_) | Cancelling::Asked => "was told to end",
    };
    format!("Task {task} {state}. Follow it again with: legwork logs -f {task}")
}

/// How far a cancel has come.
enum Cancelling {
    /// No Ctrl-C yet.
    NotAsked,
    /// One Ctrl-C; a second one would take it back.
    Pondering { until: Instant },
    /// The service is being told.
    Asking(BoxFuture<'static, Result<String, ClientError>>),
    /// The service was told, or could not be.
    Asked,
}

impl Cancelling {
    fn is_not_asked(&self) -> bool {
        matches!(self, Self::NotAsked)
    }

    /// Drives the cancel and returns once, with the service's answer; never where there is nothing to
    /// drive.
    ///
    /// # Cancel safety
    /// Each stage is kept in `self`, so a dropped wait goes on where it was.
    async fn progress(&mut self, client: &Client, task: &TaskId) -> Result<String, ClientError> {
        if let Self::Pondering { until } = self {
            tokio::time::sleep_until(*until).await;
            let (client, task) = (client.clone(), task.clone());
            *self = Self::Asking(Box::pin(async move { client.cancel(&task).await }));
        }
        if let Self::Asking(answer) = self {
            let answer = answer.await;
            *self = Self::Asked;
            return answer;
        }
        std::future::pending().await
    }
}
