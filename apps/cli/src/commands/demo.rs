//! `legwork demo`: the main job on embedded defaults in one command, nothing to configure.

mod agent;
mod background;
mod report;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use legwork_core::{hex, id::TaskId, secret::Secret};
use legwork_wiring::{config::Config, names, values::Values};
use serde_json::json;

use self::{agent::DemoAgent, background::Background, report::Kept};
use crate::{
    client::Client,
    demo_repository::{DemoRepository, GitProgram},
    exit,
    follow::{Follower, Step},
    follow_view::{FollowView, Form},
    task_facts::TaskFacts,
};

/// What a real agent may spend, in US dollars.
const BUDGET_USD: f64 = 0.25;
/// What the agent is asked.
const PROMPT: &str = "Write a friendly two-line greeting for somebody who sees Legwork for the first time \
    into hello.md, and sign the guest book in README.md.";
/// How its work is committed.
const COMMIT_MESSAGE: &str = "Sign the guest book";

/// Runs a task in a git repository of its own and shows what happens: a service, a receiver and the
/// repository on this machine, the live transcript, the commit, the upload, the verified callback.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  legwork demo\n\n\
    A service, a receiver and a small git repository are made on this machine; a task works in the \
    repository, and what it did comes back as a commit, an upload and a verified callback. This needs git. \
    With claude on PATH and ANTHROPIC_API_KEY set the real agent works, for 0.25 USD at most; without, a \
    simulated one, which needs no key and no network.\n\n\
    Everything is kept in a new folder below the system's folder for temporary files, which is named at the end.")]
pub(crate) struct Args {
    /// Key of the real agent; without it, or with `--simulated`, a simulated one works
    #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true, value_name = "KEY")]
    anthropic_api_key: Option<String>,
    /// Use the simulated agent in any case
    #[arg(long)]
    simulated: bool,
    /// Where programs are sought
    #[arg(long, env = "PATH", hide = true, default_value = "/usr/local/bin:/usr/bin:/bin")]
    path: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Sought before anything is made: where it is missing, nothing is left behind.
    let git = GitProgram::find(&args.path)?;
    let folder = make_folder()?;
    let agent = DemoAgent::choose(&args, &folder)?;
    report::announce(&agent)?;

    let repository = DemoRepository::make(git, &folder).await?;
    let config = config(&agent, &folder, &args.path)?;
    let mut background = Background::start(&config, repository.clone()).await?;
    report::step("service", &background.service_url)?;
    report::step("receiver", &background.callback_url)?;
    report::step("repository", &background.repository_url)?;

    let client = background.client()?;
    let task = submit(&client, &agent, &background).await?;
    report::step("accepted", &format!("202, task {task}"))?;
    let (facts, kept) = follow(client, &task).await?;
    let is_kept = kept.tell()?;
    let is_verified = report::callback(background.callback().await)?;
    background.stop(&task).await;

    report::history(&repository.history().await?)?;
    report::where_to_look(&folder, repository.path(), &task)?;
    let code = exit::of_task(&facts);
    let is_shown = is_kept && is_verified;
    Ok(ExitCode::from(if code == 0 && !is_shown { exit::FAILURE } else { code }))
}

fn make_folder() -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("legwork-demo-{}", random_hex::<4>()?));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // The agent may run as a user of its own and has to reach its program; what else is inside is closed.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Returns this many random bytes, in hexadecimal.
fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(hex::encode(&random))
}

/// Where the service keeps everything.
fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn config(agent: &DemoAgent, folder: &Path, path: &str) -> anyhow::Result<Config> {
    let data = data_folder(folder).display().to_string();
    let mut pairs = vec![(names::PATH, path.to_owned()), (names::DATA_DIR, data)];
    if let DemoAgent::Simulated { program } = agent {
        pairs.push((names::CLAUDE_COMMAND, program.display().to_string()));
    }
    let values = Values::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())));
    Config::parse(&values).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::Error::msg(lines.join("; "))
    })
}

async fn submit(client: &Client, agent: &DemoAgent, background: &Background) -> anyhow::Result<TaskId> {
    let request = json!({
        "prompt": PROMPT,
        "anthropicApiKey": agent.key(),
        "callbackUrl": background.callback_url,
        "maxTurns": 10,
        "maxBudgetUsd": BUDGET_USD,
        "timeoutMinutes": 5,
        "gitRepo": background.repository_url,
        "gitToken": background.git_token.expose(),
        "postExecutionActions": {
            "git": {"commit": true, "commitMessage": COMMIT_MESSAGE, "push": true},
            "uploadFiles": {"globPatterns": ["hello.md"]},
        },
        "metadata": {"sentBy": "legwork demo"},
    });
    let answer = client.submit(&Secret::new(request.to_string())).await?;
    let accepted: serde_json::Value = serde_json::from_str(&answer)?;
    let id =
        accepted.get("taskId").and_then(serde_json::Value::as_str).context("the answer has no taskId")?;
    Ok(id.parse()?)
}

/// Shows the task to its end; what was kept of its work is left to be told.
async fn follow(client: Client, task: &TaskId) -> anyhow::Result<(TaskFacts, Kept)> {
    let mut view = FollowView::new(Form::Transcript, "working");
    let mut follower = Follower::new(client, task.clone());
    loop {
        match follower.next().await? {
            Step::Line(line) => view.line(&line)?,
            Step::Notice(notice) => view.notice(&notice),
            Step::End(body) => {
                let mut facts = TaskFacts::parse(&body)?;
                let kept = Kept::take_from(&mut facts);
                view.end(&body, &facts)?;
                return Ok((facts, kept));
            }
        }
    }
}
