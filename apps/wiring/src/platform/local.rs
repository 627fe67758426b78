//! This machine: files, keys in a file, worker processes.

use std::{path::Path, sync::Arc};

use legwork_adapters_local::{
    agent::GuardedAgent,
    files::FileStorage,
    key_file::FileKeys,
    secret_file,
    subprocess_jobs::{SubprocessConfig, SubprocessJobs},
};
use legwork_core::{secret::Secret, signature::SigningSecrets};
use legwork_engine::Engine;
use legwork_ports::workspace::Workspace;

use super::{Observer, PlatformError, Service, Worker, World, own_executable, worker_ports, workspace};
use crate::{
    client::{CALLBACK_SECRET_FILE, TOKEN_FILE},
    config::{Config, TokenSetting},
    names,
};

/// Opens the service: folder, token, secret, keys, and this machine's processes.
pub(super) fn service(config: &Config) -> Result<Service, PlatformError> {
    make_data_dir(&config.data_dir)?;
    let api_token = match &config.api_token {
        TokenSetting::Off => None,
        TokenSetting::Given(token) => Some(token.clone()),
        TokenSetting::FromDataFolder => Some(secret_in(&config.data_dir, TOKEN_FILE)?),
    };
    let jobs = jobs(config)?;
    jobs.announce().map_err(|error| cannot_write(&config.data_dir, &error))?;
    if let Err(error) = jobs.sweep(config.retention) {
        tracing::warn!(error = %error, "old worker logs could not be removed");
    }
    let engine = engine(config, jobs, api_token.as_ref())?;
    Ok(Service { engine, api_token, leftovers: Some(leftovers(config)?), check_host: true })
}

pub(super) fn observer(config: &Config) -> Result<Observer, PlatformError> {
    make_data_dir(&config.data_dir)?;
    let engine = engine(config, jobs(config)?, None)?;
    Ok(Observer { engine, leftovers: Some(leftovers(config)?) })
}

pub(super) fn worker(config: &Config, execution: Option<&str>) -> Result<Worker, PlatformError> {
    make_data_dir(&config.data_dir)?;
    // To be masked, as all that is the service's own.
    let api_token = match &config.api_token {
        TokenSetting::Given(token) => Some(token.clone()),
        TokenSetting::Off | TokenSetting::FromDataFolder => {
            crate::client::local_token(Some(&config.data_dir)).map(Secret::new)
        }
    };
    let engine = engine(config, jobs(config)?, api_token.as_ref())?;
    Ok(Worker {
        engine,
        ports: worker_ports(config)?,
        execution: execution.map(str::to_owned),
        logs_url: execution.and_then(|name| logs_url(&config.data_dir, name)),
    })
}

/// Returns where the log of a worker that the service started is.
fn logs_url(data_dir: &Path, execution: &str) -> Option<String> {
    let path = data_dir.join("worker-logs").join(format!("{execution}.log"));
    path.exists().then(|| format!("file://{}", path.display()))
}

fn leftovers(config: &Config) -> Result<Arc<dyn Workspace>, PlatformError> {
    Ok(Arc::new(workspace(config, GuardedAgent::new(own_executable()?))))
}

fn engine(
    config: &Config,
    jobs: SubprocessJobs,
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
    let storage = FileStorage::open(data_dir).map_err(|error| cannot_write(data_dir, &error))?;
    let keys = FileKeys::open(&data_dir.join("keys.json"))
        .map_err(|error| PlatformError::new("the key file is unusable", &error))?;
    let world = World {
        storage: Arc::new(storage),
        keys: Arc::new(keys),
        jobs: Arc::new(jobs),
        secrets: Some(secrets),
        retention: Some(config.retention),
    };
    super::engine(config, world, api_token)
}

fn jobs(config: &Config) -> Result<SubprocessJobs, PlatformError> {
    let mut env: Vec<_> = config.worker_env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let hidden = std::env::join_paths(&config.hidden)
        .map_err(|error| PlatformError::new("a path that is to be hidden holds a colon", &error))?;
    env.push((names::HIDDEN_PATHS.into(), hidden));
    env.push((names::DATA_DIR.into(), config.data_dir.clone().into_os_string()));
    SubprocessJobs::new(SubprocessConfig {
        executable: own_executable()?,
        args: vec!["worker".into()],
        env,
        data_dir: config.data_dir.clone(),
        slots: config.max_concurrent,
    })
    .map_err(|error| cannot_write(&config.data_dir, &error))
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
