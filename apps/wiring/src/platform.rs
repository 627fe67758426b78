//! Which adapter stands behind which port on this machine.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use legwork_adapters_local::{
    agent::{GuardedAgent, tree::become_subreaper},
    callback_sender::{CallbackPolicy, HttpCallbacks},
    clock::{SystemClock, SystemIds},
    files::FileStorage,
    key_file::FileKeys,
    proxy::{ProxyGateway, ProxyLimits},
    secret_file,
    subprocess_jobs::{SubprocessConfig, SubprocessJobs},
    workspace::{LocalWorkspace, UidPolicy, WorkspaceConfig},
};
use legwork_core::{secret::Secret, signature::SigningSecrets};
use legwork_engine::{Engine, Ports, Settings, WorkerPorts};
use legwork_ports::{jobs::Jobs, workspace::Workspace};

use crate::{
    client::{CALLBACK_SECRET_FILE, TOKEN_FILE},
    config::{Config, TokenSetting},
};

/// The adapters could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {advice}")]
pub struct PlatformError {
    /// What was to be made.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl PlatformError {
    fn new(what: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let advice = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self { what: what.into(), advice }
    }
}

/// The service on this machine.
#[derive(Debug)]
pub struct LocalService {
    /// Its use cases.
    pub engine: Engine,
    /// What clients have to show; nothing where that is disabled.
    pub api_token: Option<Secret<String>>,
    /// Its worker processes.
    pub jobs: Arc<SubprocessJobs>,
    /// Removes what lost workers have left on this machine.
    pub leftovers: Arc<dyn Workspace>,
}

/// A worker on this machine.
#[derive(Debug)]
pub struct LocalWorker {
    /// Its use cases.
    pub engine: Engine,
    /// What it runs the agent with.
    pub ports: WorkerPorts,
    logs: PathBuf,
}

impl LocalWorker {
    /// Returns where the log of a worker that the service started is.
    pub fn logs_url(&self, execution_name: &str) -> Option<String> {
        let path = self.logs.join(format!("{execution_name}.log"));
        path.exists().then(|| format!("file://{}", path.display()))
    }
}

/// Opens the service: folder, token, secret, keys, and this machine's processes.
///
/// # Errors
/// [`PlatformError`] with what to do.
pub fn local_service(config: &Config) -> Result<LocalService, PlatformError> {
    make_data_dir(&config.data_dir)?;
    close_memory()
        .map_err(|error| PlatformError::new("the service could not be closed to agents", &error))?;
    let api_token = match &config.api_token {
        TokenSetting::Off => None,
        TokenSetting::Given(token) => Some(token.clone()),
        TokenSetting::FromDataFolder => Some(secret_in(&config.data_dir, TOKEN_FILE)?),
    };
    let jobs = Arc::new(jobs(config, true)?);
    if let Err(error) = jobs.sweep(config.retention) {
        tracing::warn!(error = %error, "old worker logs could not be removed");
    }
    let jobs_port: Arc<dyn Jobs> = Arc::<SubprocessJobs>::clone(&jobs);
    let engine = engine(config, jobs_port, api_token.as_ref())?;
    let leftovers = Arc::new(workspace(config, GuardedAgent::new(own_executable()?)));
    Ok(LocalService { engine, api_token, jobs, leftovers })
}

/// Who ends what nobody else ends, on this machine.
#[derive(Debug)]
pub struct LocalObserver {
    /// Its use cases.
    pub engine: Engine,
    /// Removes what lost workers have left on this machine.
    pub leftovers: Arc<dyn Workspace>,
}

/// Opens what a reconciler needs that runs apart from a service. It starts no workers.
///
/// # Errors
/// [`PlatformError`] with what to do.
pub fn local_observer(config: &Config) -> Result<LocalObserver, PlatformError> {
    make_data_dir(&config.data_dir)?;
    close_memory()
        .map_err(|error| PlatformError::new("the reconciler could not be closed to agents", &error))?;
    let engine = engine(config, Arc::new(jobs(config, false)?), None)?;
    let leftovers = Arc::new(workspace(config, GuardedAgent::new(own_executable()?)));
    Ok(LocalObserver { engine, leftovers })
}

/// Opens what a worker needs.
///
/// # Errors
/// [`PlatformError`] with what to do.
pub fn local_worker(config: &Config) -> Result<LocalWorker, PlatformError> {
    make_data_dir(&config.data_dir)?;
    harden().map_err(|error| PlatformError::new("the worker could not be closed to the agent", &error))?;
    let api_token = match &config.api_token {
        TokenSetting::Given(token) => Some(token.clone()),
        TokenSetting::Off | TokenSetting::FromDataFolder => {
            crate::client::local_token(Some(&config.data_dir)).map(Secret::new)
        }
    };
    let engine = engine(config, Arc::new(jobs(config, false)?), api_token.as_ref())?;
    let agent = GuardedAgent::new(own_executable()?);
    let workspace = workspace(config, agent.clone());
    let ports = WorkerPorts {
        agent: Arc::new(agent),
        workspace: Arc::new(workspace),
        gateway: Arc::new(ProxyGateway::new(config.upstream.clone(), ProxyLimits::default())),
    };
    Ok(LocalWorker { engine, ports, logs: config.data_dir.join("worker-logs") })
}

fn workspace(config: &Config, agent: GuardedAgent) -> LocalWorkspace {
    LocalWorkspace::new(WorkspaceConfig {
        base: workspaces_dir(&config.data_dir),
        uids: UidPolicy::detect(),
        agent,
        path: config.agent_path.clone(),
        network: config.git_env.clone(),
        hidden: std::iter::once(&config.data_dir).chain(&config.hidden).cloned().collect(),
    })
}

fn engine(
    config: &Config,
    jobs: Arc<dyn Jobs>,
    api_token: Option<&Secret<String>>,
) -> Result<Engine, PlatformError> {
    let data_dir = &config.data_dir;
    let secrets = if let Some(secrets) = &config.callback_secrets {
        secrets.clone()
    } else {
        let secret = secret_in(data_dir, CALLBACK_SECRET_FILE)?;
        SigningSecrets::parse(secret.expose())
            .map_err(|error| PlatformError::new(format!("{CALLBACK_SECRET_FILE} is unusable"), &error))?
    };
    let ports = Ports {
        storage: Arc::new(FileStorage::open(data_dir).map_err(|error| cannot_write(data_dir, &error))?),
        keys: Arc::new(
            FileKeys::open(&data_dir.join("keys.json"))
                .map_err(|error| PlatformError::new("the key file is unusable", &error))?,
        ),
        jobs,
        callbacks: Arc::new(
            HttpCallbacks::new(CallbackPolicy {
                allow_private: config.callback_allow_private,
                allowed_hosts: config.callback_allowed_hosts.clone(),
            })
            .map_err(|error| PlatformError::new("the callback sender could not be made", &error))?,
        ),
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(SystemIds),
    };
    let ports = (config.layer)(config, ports);
    let mut service_secrets: Vec<Secret<String>> = secrets.all().to_vec();
    service_secrets.extend(api_token.cloned());
    Ok(Engine::new(
        ports,
        Settings {
            request_limits: config.request_limits.clone(),
            callback_secrets: Some(secrets),
            missing: None,
            max_open_tasks: config.max_open_tasks,
            max_watchers: config.max_watchers,
            max_concurrent: usize::try_from(config.max_concurrent.get()).unwrap_or(usize::MAX),
            payload_retention: config.payload_retention,
            retention: Some(config.retention),
            log: config.log.clone(),
            idle_timeout: config.idle_timeout,
            result_grace: config.result_grace,
            agent_program: config.claude_command.clone(),
            agent_path: config.agent_path.clone(),
            service_secrets,
            keep_workspace: config.keep_workspace,
        },
    ))
}

fn jobs(config: &Config, announce: bool) -> Result<SubprocessJobs, PlatformError> {
    let mut env: Vec<_> = config.worker_env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let hidden = std::env::join_paths(&config.hidden)
        .map_err(|error| PlatformError::new("a path that is to be hidden holds a colon", &error))?;
    env.push((crate::names::HIDDEN_PATHS.into(), hidden));
    env.push((crate::names::DATA_DIR.into(), config.data_dir.clone().into_os_string()));
    let jobs = SubprocessJobs::new(SubprocessConfig {
        executable: own_executable()?,
        args: vec!["worker".into()],
        env,
        data_dir: config.data_dir.clone(),
        slots: config.max_concurrent,
    })
    .map_err(|error| cannot_write(&config.data_dir, &error))?;
    if announce {
        jobs.announce().map_err(|error| cannot_write(&config.data_dir, &error))?;
    }
    Ok(jobs)
}

/// Returns where workspaces are: not in the data folder, which is closed to the agent.
pub fn workspaces_dir(data_dir: &Path) -> PathBuf {
    let name = legwork_core::hex::encode(&legwork_core::signature::hmac_sha256(
        b"workspaces",
        data_dir.as_os_str().as_encoded_bytes(),
    ));
    let short = name.get(..12).unwrap_or(&name).to_owned();
    std::env::temp_dir().join(format!("legwork-{}-{short}", rustix::process::geteuid().as_raw()))
}

/// A worker's memory and environment are nobody else's to read, and what its guard leaves behind becomes
/// its own child.
fn harden() -> io::Result<()> {
    close_memory()?;
    become_subreaper()
}

/// Closes this process's memory and environment to others of the same user.
fn close_memory() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

fn make_data_dir(path: &Path) -> Result<(), PlatformError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &(dyn std::error::Error + 'static)) -> PlatformError {
    PlatformError::new(
        format!(
            "the data folder {} cannot be written; make it writable or set LEGWORK_DATA_DIR",
            path.display()
        ),
        error,
    )
}

fn secret_in(data_dir: &Path, file: &str) -> Result<Secret<String>, PlatformError> {
    secret_file::read_or_create(&data_dir.join(file), secret_file::random_hex)
        .map_err(|error| PlatformError::new(format!("{} is unusable", data_dir.join(file).display()), &error))
}

fn own_executable() -> Result<PathBuf, PlatformError> {
    std::env::current_exe()
        .map_err(|error: io::Error| PlatformError::new("the running program has no path", &error))
}

/// How long a service that was told to stop waits for what it does in the background.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);
