//! `legwork demo`: the main job on embedded defaults in one command, nothing to configure.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use legwork_core::{id::TaskId, secret::Secret};
use legwork_ports::jobs::ExecutionStatus;
use legwork_wiring::{config::Config, names, platform, values::Values};
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    exit,
    follow::{Follower, Step},
    follow_view::{FollowView, Form},
    output,
    receiver::{self, Delivery},
    style::{BOLD, DIM, paint},
    task_facts::TaskFacts,
};

/// What a real agent may spend, in US dollars.
const BUDGET_USD: f64 = 0.25;
/// How long the callback is waited for after the task has ended.
const CALLBACK_PATIENCE: Duration = Duration::from_secs(30);
/// How often, and after which pause, it is looked whether the worker has ended.
const WORKER_LOOKS: u32 = 500;
const WORKER_LOOK: Duration = Duration::from_millis(20);
/// What the agent is asked.
const PROMPT: &str =
    "Write a friendly two-line greeting for somebody who sees Legwork for the first time into hello.md.";

/// Runs a service, a receiver and a task on this machine, shows what happens, and says where to look.
///
/// With `claude` on PATH and `ANTHROPIC_API_KEY` set the real agent works, for 0.25 USD at most; without,
/// a simulated one, which needs no key and no network.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  legwork demo\n\n\
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

/// Who works.
enum DemoAgent {
    Real { key: Secret<String> },
    Simulated { program: PathBuf },
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = make_folder()?;
    let agent = choose_agent(&args, &folder)?;
    announce(&agent)?;

    let receiver_listener =
        TcpListener::bind("127.0.0.1:0").await.context("no free port for the receiver")?;
    let callback_url = format!("http://{}/callback", receiver_listener.local_addr()?);
    let config = config(&agent, &folder, &args.path)?;
    let service = platform::local_service(&config)?;
    let secrets =
        service.engine.settings().callback_secrets.clone().context("the service signs callbacks")?;
    let (deliveries, mut delivered) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(async move {
        drop(receiver::receive(receiver_listener, secrets, axum::http::StatusCode::OK, deliveries).await);
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for the service")?;
    let url = format!("http://{}", listener.local_addr()?);
    let engine = service.engine.clone();
    let dispatching = stop.clone();
    background.spawn(async move { engine.dispatch(dispatching).await });
    let api = legwork_api::ApiSettings {
        token: service.api_token.clone().map_or(legwork_api::ApiToken::Off, legwork_api::ApiToken::Required),
        check_host: true,
        allowed_hosts: Vec::new(),
        max_body_bytes: config.max_body_bytes,
        version: env!("CARGO_PKG_VERSION"),
    };
    let engine = service.engine.clone();
    let serving = stop.clone();
    background.spawn(async move { drop(legwork_api::serve(engine, api, listener, serving).await) });
    step("service", &url)?;
    step("receiver", &callback_url)?;

    let client = Client::new(url.parse()?, service.api_token.clone())?;
    let task = submit(&client, &agent, &callback_url).await?;
    step("accepted", &format!("202, task {task}"))?;
    let facts = follow(client, &task).await?;
    let code = exit::of_task(&facts);
    let told = tokio::time::timeout(CALLBACK_PATIENCE, delivered.recv()).await;
    report_actions(&service, &task).await?;
    let verified = report_callback(told.ok().flatten())?;

    wait_for_worker(&service, &task).await;
    stop.cancel();
    service.engine.settle_background(platform::STOP_PATIENCE).await;
    background.shutdown().await;
    say_where(&folder, &task)?;
    Ok(if verified { ExitCode::from(code) } else { ExitCode::from(exit::FAILURE) })
}

fn make_folder() -> anyhow::Result<PathBuf> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let folder = std::env::temp_dir().join(format!("legwork-demo-{}", legwork_core::hex::encode(&random)));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // The agent may run as a user of its own and has to reach its program; the data folder inside is closed.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn choose_agent(args: &Args, folder: &Path) -> anyhow::Result<DemoAgent> {
    let installed = args.path.split(':').any(|place| Path::new(place).join("claude").is_file());
    let key = args.anthropic_api_key.as_ref().filter(|key| !key.trim().is_empty());
    if let (Some(key), true, false) = (key, installed, args.simulated) {
        return Ok(DemoAgent::Real { key: Secret::new(key.clone()) });
    }
    let programs = folder.join("bin");
    fs::create_dir(&programs)?;
    let copy = programs.join("legwork");
    fs::copy(std::env::current_exe()?, &copy).context("this program cannot be copied")?;
    let program = programs.join("claude");
    fs::write(&program, format!("#!/bin/sh\nexec '{}' __demo-agent \"$@\"\n", copy.display()))?;
    for path in [&programs, &copy, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(DemoAgent::Simulated { program })
}

fn announce(agent: &DemoAgent) -> anyhow::Result<()> {
    let text = match agent {
        DemoAgent::Real { .. } => {
            format!("The real claude works, with your ANTHROPIC_API_KEY and for at most {BUDGET_USD} USD.")
        }
        DemoAgent::Simulated { .. } => "A simulated agent works: it needs no key and asks no model. \
             With claude on PATH and ANTHROPIC_API_KEY set, the real one would."
            .to_owned(),
    };
    output::human(&format!("{}\n{text}\n", paint(BOLD, "Legwork demo")))?;
    Ok(())
}

fn config(agent: &DemoAgent, folder: &Path, path: &str) -> anyhow::Result<Config> {
    let data = folder.join("data");
    let mut pairs = vec![(names::PATH, path.to_owned()), (names::DATA_DIR, data.display().to_string())];
    if let DemoAgent::Simulated { program } = agent {
        pairs.push((names::CLAUDE_COMMAND, program.display().to_string()));
    }
    let values = Values::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())));
    Config::parse(&values).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::Error::msg(lines.join("; "))
    })
}

async fn submit(client: &Client, agent: &DemoAgent, callback_url: &str) -> anyhow::Result<TaskId> {
    let key = match agent {
        DemoAgent::Real { key } => key.expose().as_str(),
        DemoAgent::Simulated { .. } => "simulated-key",
    };
    let request = json!({
        "prompt": PROMPT,
        "anthropicApiKey": key,
        "callbackUrl": callback_url,
        "maxTurns": 10,
        "maxBudgetUsd": BUDGET_USD,
        "timeoutMinutes": 5,
        "postExecutionActions": {"uploadFiles": {"globPatterns": ["*.md"]}},
        "metadata": {"sentBy": "legwork demo"},
    });
    let answer = client.submit(&Secret::new(request.to_string())).await?;
    let accepted: serde_json::Value = serde_json::from_str(&answer)?;
    let id =
        accepted.get("taskId").and_then(serde_json::Value::as_str).context("the answer has no taskId")?;
    Ok(id.parse()?)
}

async fn follow(client: Client, task: &TaskId) -> anyhow::Result<TaskFacts> {
    let mut view = FollowView::new(Form::Transcript, "working");
    let mut follower = Follower::new(client, task.clone());
    loop {
        match follower.next().await? {
            Step::Line(line) => view.line(&line)?,
            Step::Notice(notice) => view.notice(&notice),
            Step::End(body) => {
                let facts = TaskFacts::parse(&body)?;
                view.end(&body, &facts)?;
                return Ok(facts);
            }
        }
    }
}

/// The worker ends after its callback. It is waited for, so that nothing writes to the folder any more
/// when its name is told.
async fn wait_for_worker(service: &platform::LocalService, task: &TaskId) {
    let name = service.engine.record(task).await.ok().and_then(|record| record.execution_name);
    let Some(name) = name else { return };
    for _ in 0..WORKER_LOOKS {
        if !matches!(service.engine.ports().jobs.status(&name).await, Ok(ExecutionStatus::Running)) {
            return;
        }
        tokio::time::sleep(WORKER_LOOK).await;
    }
}

/// Says what was kept of the work.
async fn report_actions(service: &platform::LocalService, task: &TaskId) -> anyhow::Result<()> {
    let record = service.engine.record(task).await?;
    for file in &record.uploaded_files {
        step("upload", &format!("{} ({} bytes)", file.original_path, file.size_bytes))?;
    }
    for failed in &record.action_errors {
        step(&failed.action, &failed.error)?;
    }
    Ok(())
}

fn report_callback(delivery: Option<Delivery>) -> anyhow::Result<bool> {
    let Some(delivery) = delivery else {
        step("callback", "none came; the worker's log says why")?;
        return Ok(false);
    };
    let id = delivery.webhook_id.as_deref().unwrap_or("without id");
    match delivery.verified {
        Ok(_) => {
            step("callback", &format!("{id}, {} bytes, signature verified", delivery.body.len()))?;
            Ok(true)
        }
        Err(error) => {
            step("callback", &format!("{id}, not verified: {error}"))?;
            Ok(false)
        }
    }
}

fn say_where(folder: &Path, task: &TaskId) -> anyhow::Result<()> {
    let data = folder.join("data");
    let session = data.join("objects/sessions").join(task.as_str());
    let lines = [
        String::new(),
        paint(BOLD, "Look at"),
        format!("  {}/   the log, the record and the sealed request", session.display()),
        format!("  {}/   the files that it uploaded", session.join("uploads").display()),
        format!("  {}/   what the worker wrote about its work", data.join("worker-logs").display()),
        String::new(),
        paint(BOLD, "Try next"),
        "  legwork serve                            a service of your own on this machine".to_owned(),
        "  legwork run 'What is in this folder?'    a task on it, followed to its end".to_owned(),
        "  legwork listen                           a receiver that verifies callbacks".to_owned(),
        format!("  rm -r {}       {}", folder.display(), paint(DIM, "removes all of this")),
    ];
    output::human(&lines.join("\n"))?;
    Ok(())
}

fn step(what: &str, text: &str) -> anyhow::Result<()> {
    output::human(&format!("{} {text}", paint(DIM, &format!("{what:>9}"))))?;
    Ok(())
}
