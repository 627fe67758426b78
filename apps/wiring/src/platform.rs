//! Which adapter stands behind which port: this machine's, or Google Cloud's.
//!
//! "Local" means this machine: a worker on Google Cloud runs the agent, git and the credential proxy with
//! the local adapters as well.

pub(crate) mod google;
mod local;
mod no_bucket;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use legwork_adapters_local::{
    agent::GuardedAgent,
    callback_sender::{CallbackPolicy, HttpCallbacks},
    clock::{SystemClock, SystemIds},
    proxy::{ProxyGateway, ProxyLimits},
    workspace::{LocalWorkspace, MetadataAccess, UidPolicy, WorkspaceConfig},
};
use legwork_core::{secret::Secret, signature::SigningSecrets};
use legwork_engine::{Engine, MissingSetting, Ports, Settings, WorkerPorts};
use legwork_ports::{jobs::Jobs, keys::Keys, storage::Storage, workspace::Workspace};

use crate::config::{Config, Platform};

/// How long a service that was told to stop waits for what it does in the background.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);

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
    pub(crate) fn new(what: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let advice = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self { what: what.into(), advice }
    }

    fn missing(setting: MissingSetting) -> Self {
        let advice =
            "set it in the environment, as ./scripts/deploy-job.sh and ./scripts/deploy-service.sh do";
        Self { what: setting.message().to_owned(), advice: advice.to_owned() }
    }
}

/// What a service is made of.
#[derive(Debug)]
pub struct Service {
    /// Its use cases.
    pub engine: Engine,
    /// What clients have to show; nothing where that is disabled.
    pub api_token: Option<Secret<String>>,
    /// Removes what lost workers have left on this machine; nothing where they run elsewhere.
    pub leftovers: Option<Arc<dyn Workspace>>,
    /// Whether `Host` has to name this machine.
    pub check_host: bool,
}

/// Who ends what nobody else ends, apart from a service.
#[derive(Debug)]
pub struct Observer {
    /// Its use cases.
    pub engine: Engine,
    /// Removes what lost workers have left on this machine; nothing where they run elsewhere.
    pub leftovers: Option<Arc<dyn Workspace>>,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct Worker {
    /// Its use cases.
    pub engine: Engine,
    /// What it runs the agent with.
    pub ports: WorkerPorts,
    /// The name of the execution that it is; nothing where nobody has started it as one.
    pub execution: Option<String>,
    /// Where its own log is to be read.
    pub logs_url: Option<String>,
}

/// Opens a service. Nothing is asked of Google yet.
///
/// # Errors
/// [`PlatformError`] with what to do.
pub async fn service(config: &Config) -> Result<Service, PlatformError> {
    close_memory()
        .map_err(|error| PlatformError::new("the service could not be closed to agents", &error))?;
    match &config.platform {
        Platform::Local => local::service(config),
        Platform::Google(google) => google::service(config, google).await,
    }
}

/// Opens what a reconciler needs that runs apart from a service. It starts no workers on this machine.
///
/// # Errors
/// [`PlatformError`] with what to do.
pub async fn observer(config: &Config) -> Result<Observer, PlatformError> {
    close_memory()
        .map_err(|error| PlatformError::new("the reconciler could not be closed to agents", &error))?;
    match &config.platform {
        Platform::Local => local::observer(config),
        Platform::Google(google) => google::observer(config, google).await,
    }
}

/// Opens what a worker needs. `execution` is the name that the service on this machine has given it.
///
/// # Errors
/// [`PlatformError`] with what to do.
pub async fn worker(config: &Config, execution: Option<&str>) -> Result<Worker, PlatformError> {
    harden().map_err(|error| PlatformError::new("the worker could not be closed to the agent", &error))?;
    match &config.platform {
        Platform::Local => local::worker(config, execution),
        Platform::Google(google) => google::worker(config, google).await,
    }
}

/// What differs between platforms.
struct World {
    storage: Arc<dyn Storage>,
    keys: Arc<dyn Keys>,
    jobs: Arc<dyn Jobs>,
    secrets: Option<SigningSecrets>,
    /// After how long tasks are removed; nothing where the store itself does that.
    retention: Option<Duration>,
}

fn engine(
    config: &Config,
    world: World,
    api_token: Option<&Secret<String>>,
) -> Result<Engine, PlatformError> {
    let World { storage, keys, jobs, secrets, retention } = world;
    let policy = CallbackPolicy {
        allow_private: config.callback_allow_private,
        allowed_hosts: config.callback_allowed_hosts.clone(),
    };
    let callbacks = HttpCallbacks::new(policy)
        .map_err(|error| PlatformError::new("the callback sender could not be made", &error))?;
    let ports = Ports {
        storage,
        keys,
        jobs,
        callbacks: Arc::new(callbacks),
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(SystemIds),
    };
    let mut service_secrets: Vec<Secret<String>> =
        secrets.iter().flat_map(|secrets| secrets.all().to_vec()).collect();
    service_secrets.extend(api_token.cloned());
    Ok(Engine::new(
        (config.layer)(config, ports),
        Settings {
            request_limits: config.request_limits.clone(),
            callback_secrets: secrets,
            missing: config.missing(),
            max_open_tasks: config.max_open_tasks,
            max_watchers: config.max_watchers,
            payload_retention: config.payload_retention,
            retention,
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

fn worker_ports(config: &Config) -> Result<WorkerPorts, PlatformError> {
    let agent = GuardedAgent::new(own_executable()?);
    let workspace = workspace(config, agent.clone());
    Ok(WorkerPorts {
        agent: Arc::new(agent),
        workspace: Arc::new(workspace),
        gateway: Arc::new(ProxyGateway::new(config.upstream.clone(), ProxyLimits::default())),
    })
}

fn workspace(config: &Config, agent: GuardedAgent) -> LocalWorkspace {
    LocalWorkspace::new(WorkspaceConfig {
        base: workspaces_dir(&config.data_dir),
        uids: UidPolicy::detect(),
        agent,
        path: config.agent_path.clone(),
        network: config.git_env.clone(),
        hidden: std::iter::once(&config.data_dir).chain(&config.hidden).cloned().collect(),
        metadata: match config.platform {
            Platform::Local => MetadataAccess::Unguarded,
            Platform::Google(_) => MetadataAccess::Closed,
        },
    })
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
    legwork_adapters_local::agent::tree::become_subreaper()
}

/// Closes this process's memory and environment to others of the same user.
fn close_memory() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Returns where this program is: once an update has put another one in its place, that one.
fn own_executable() -> Result<PathBuf, PlatformError> {
    std::env::current_exe()
        .map(replacement)
        .map_err(|error: io::Error| PlatformError::new("the running program has no path", &error))
}

/// Returns what stands where a program was that the kernel calls deleted (proc(5), `/proc/pid/exe`).
fn replacement(program: PathBuf) -> PathBuf {
    let before = program.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    before.filter(|path| !program.exists() && path.exists()).unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_while_it_runs_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let (there, gone) = (folder.path().join("there"), folder.path().join("gone"));
        std::fs::write(&there, "").unwrap();
        let deleted = |path: &Path| PathBuf::from(format!("{} (deleted)", path.display()));

        assert_eq!(replacement(deleted(&there)), there);
        assert_eq!(replacement(deleted(&gone)), deleted(&gone));
        assert_eq!(replacement(there.clone()), there);
        std::fs::write(deleted(&there), "").unwrap();
        assert_eq!(replacement(deleted(&there)), deleted(&there));
    }
}
