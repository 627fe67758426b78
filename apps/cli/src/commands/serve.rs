//! `legwork serve`: the API service, and on this machine what starts its workers.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use legwork_api::{ApiSettings, ApiToken, Reconciling};
use legwork_engine::Reconciler;
use legwork_ports::jobs::StartPolicy;
use legwork_wiring::{
    config::{Config, PortsLayer, Problem, ReconcilerSetting},
    names, platform, telemetry,
    values::{EnvFile, Values},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::exit;

/// Arguments of `legwork serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  legwork serve --port 8080\n  \
    curl -H \"Authorization: Bearer $(legwork token)\" http://127.0.0.1:8080/tasks\n\n\
    Every setting has an environment variable; ./.env is read where it belongs to the same user. \
    Flags win over environment. `legwork doctor` checks them.\n\n\
    SETTINGS (and what is presumed; on Google Cloud where that differs)\n  \
    LEGWORK_API_TOKEN          what clients show; made on first use in the data folder (gcp: none, Cloud Run's\n                             \
    IAM stands in front); `off` disables it\n  \
    LEGWORK_ALLOWED_HOSTS      further Host names that are accepted\n  \
    CLOUDRUN_CALLBACK_SECRET   signs callbacks; made on first use; several, comma-separated, to rotate\n  \
    CLAUDE_COMMAND             the agent's program (claude)\n  \
    ANTHROPIC_UPSTREAM_URL     where the credential proxy forwards to (https://api.anthropic.com)\n  \
    ALLOWED_TOOLS, PERMISSION_MODE, DANGEROUSLY_SKIP_PERMISSIONS\n                             \
    defaults for requests that name none (none, acceptEdits, false)\n  \
    MAX_TIMEOUT_MINUTES        upper bound of timeoutMinutes (60)\n  \
    MAX_CONCURRENT_TASKS       tasks that run at once (half the cores)\n  \
    MAX_OPEN_TASKS, MAX_WATCHERS, MAX_BODY_BYTES\n                             \
    bounds of the API (1000, 1000, 2097152)\n  \
    CALLBACK_ALLOW_PRIVATE, CALLBACK_ALLOWED_HOSTS\n                             \
    where callbacks may go (true, any; gcp: false)\n  \
    LOG_LEVEL                  level or filter directives (info)\n  \
    LOG_FLUSH_MS, LOG_CHUNK_LINES, MAX_LOG_BYTES, MAX_LINE_BYTES\n                             \
    how tasks' logs are cut (100, 100, 1 GiB, 8 MiB; gcp: 1000 ms)\n  \
    PAYLOAD_RETENTION_HOURS    how long a failed task can be retried (24; gcp: 0)\n  \
    RECONCILER                 who ends what lost workers leave open: loop, request (by POST /reconcile),\n                             \
    off (loop; gcp: request)\n  \
    RETENTION_DAYS             how long tasks are kept (30)\n  \
    IDLE_TIMEOUT_MINUTES, RESULT_GRACE_SECONDS, KEEP_WORKSPACE\n                             \
    when a silent agent is ended (off, 30), and whether its folder stays (false)\n\n\
    GOOGLE CLOUD (--platform gcp; see docs/deploy-gcp.md)\n  \
    PROJECT_ID, REGION         the project, and where the job is\n  \
    GCS_LOGS_BUCKET            the bucket that everything is kept in\n  \
    KMS_KEY_RING, KMS_KEY_NAME, KMS_LOCATION\n                             \
    the key that requests are sealed with (location: REGION)\n  \
    CLOUDRUN_JOB_NAME          the job whose executions are workers\n  \
    GCS_ENDPOINT, KMS_ENDPOINT, RUN_ENDPOINT, LEGWORK_GCP_ANONYMOUS\n                             \
    other endpoints than Google's, and no credentials: for emulators\n\n\
    Exit codes: 0 stopped by a signal, 2 unusable configuration.")]
pub(crate) struct Args {
    /// Which adapters are wired: local (this machine) or gcp (Google Cloud) [default: local]
    #[arg(long)]
    platform: Option<String>,
    /// Port to listen on; 0: any free one [default: 8080]
    #[arg(long)]
    port: Option<String>,
    /// Address to listen on [default: 127.0.0.1; gcp: 0.0.0.0]
    #[arg(long)]
    host: Option<String>,
    /// Where everything is kept [default: the user's data folder]
    #[arg(long)]
    data_dir: Option<String>,
    /// Tasks that run at once [default: half the cores]
    #[arg(long)]
    max_concurrent_tasks: Option<String>,
    /// Level or filter directives of the service's own log [default: info]
    #[arg(long)]
    log_level: Option<String>,
    /// A file of NAME=VALUE lines to read instead of ./.env
    #[arg(long)]
    env_file: Option<PathBuf>,
}

/// Serves until told to stop.
pub(crate) async fn run(args: Args, layer: PortsLayer) -> anyhow::Result<ExitCode> {
    let flags = [
        (names::PLATFORM, args.platform),
        (names::PORT, args.port),
        (names::HOST, args.host),
        (names::DATA_DIR, args.data_dir),
        (names::MAX_CONCURRENT_TASKS, args.max_concurrent_tasks),
        (names::LOG_LEVEL, args.log_level),
    ];
    let config = match configure(flags, args.env_file) {
        Ok(config) => Config { layer, ..config },
        Err(problems) => return Ok(report(&problems)),
    };
    let listener = match TcpListener::bind((config.host.as_str(), config.port)).await {
        Ok(listener) => listener,
        Err(error) => {
            let advice = format!(
                "cannot listen on {}:{}: {error}; choose another with --port or PORT, --host or HOST",
                config.host, config.port
            );
            return Ok(report(&[Problem(advice)]));
        }
    };
    let stop = stop_on_signals()?;
    match serve(&config, listener, stop).await? {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(problem) => Ok(report(&[problem])),
    }
}

/// Serves on this listener until stopped.
pub(crate) async fn serve(
    config: &Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<Result<(), Problem>> {
    let service = match platform::service(config).await {
        Ok(service) => service,
        Err(error) => return Ok(Err(Problem(error.to_string()))),
    };
    let address = listener.local_addr()?;
    let settings = ApiSettings {
        token: service.api_token.clone().map_or(ApiToken::Off, ApiToken::Required),
        check_host: service.check_host,
        allowed_hosts: config.allowed_hosts.clone(),
        max_body_bytes: config.max_body_bytes,
        reconciling: match config.reconciler {
            ReconcilerSetting::Loop | ReconcilerSetting::Request => {
                Reconciling::Allowed { leftovers: service.leftovers.clone() }
            }
            ReconcilerSetting::Off => Reconciling::Off,
        },
        version: env!("CARGO_PKG_VERSION"),
    };
    let store = service.engine.ports().storage.url("");
    tracing::info!(address = %format!("http://{address}"), %store, "serving");
    let mut background = JoinSet::new();
    if service.engine.ports().jobs.start_policy() == StartPolicy::WhenSlotFree {
        let engine = service.engine.clone();
        let stopped = stop.clone();
        background.spawn(async move { engine.dispatch(stopped).await });
    }
    if config.reconciler == ReconcilerSetting::Loop {
        let reconciler = Reconciler::new(service.engine.clone(), service.leftovers.clone());
        background.spawn(reconciler.run(stop.clone()));
    }
    let served = legwork_api::serve(service.engine.clone(), settings, listener, stop.clone()).await;
    stop.cancel();
    while background.join_next().await.is_some() {}
    service.engine.settle_background(platform::STOP_PATIENCE).await;
    tracing::info!("stopped; running tasks go on");
    served?;
    Ok(Ok(()))
}

/// Returns a token that is cancelled by SIGTERM or SIGINT.
pub(crate) fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "hears signals for as long as the process lives")]
    drop(tokio::spawn(async move {
        tokio::select! {
            // Either signal will do.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    }));
    Ok(stop)
}

/// Reads the settings and starts the log.
pub(crate) fn configure(
    flags: impl IntoIterator<Item = (&'static str, Option<String>)>,
    env_file: Option<PathBuf>,
) -> Result<Config, Vec<Problem>> {
    let config = settings(flags, env_file)?;
    telemetry::start(&config).map_err(|problem| vec![Problem(problem)])?;
    if let Some(file) = &config.env_file {
        tracing::info!(file = %file.display(), "settings read");
    }
    Ok(config)
}

/// Reads the settings.
pub(crate) fn settings(
    flags: impl IntoIterator<Item = (&'static str, Option<String>)>,
    env_file: Option<PathBuf>,
) -> Result<Config, Vec<Problem>> {
    let file = env_file.map_or(EnvFile::IfOurs, EnvFile::Named);
    let values = Values::read(flags, &file).map_err(|problem| vec![Problem(problem)])?;
    Config::parse(&values)
}

/// Writes one line per mistake.
pub(crate) fn report(problems: &[Problem]) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for problem in problems {
        // There is nobody to tell where stderr is closed.
        drop(writeln!(stderr, "legwork: {problem}"));
    }
    ExitCode::from(exit::USAGE)
}
