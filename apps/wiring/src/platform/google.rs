//! Google Cloud: a bucket, a key of Cloud KMS, executions of a Cloud Run job.

use std::sync::Arc;

use legwork_adapters_gcp::{CloudRunJobs, ConnectError, GcsConfig, GcsStorage, GoogleAuth, KmsKeys};
use legwork_adapters_local::clock::{SystemClock, SystemIds};
use legwork_core::secret::Secret;
use legwork_engine::Engine;
use legwork_ports::storage::Storage;

use super::{Observer, PlatformError, Service, Worker, World, no_bucket::NoBucket, worker_ports};
use crate::config::{Config, GoogleConfig, GoogleCredentials, TokenSetting};

/// Opens the service. Without a bucket or a secret it serves all the same, and says so to whoever asks.
pub(super) async fn service(config: &Config, google: &GoogleConfig) -> Result<Service, PlatformError> {
    if let Some(missing) = config.missing() {
        tracing::warn!("{}", missing.message());
    }
    let api_token = api_token(config);
    let engine = engine(config, google, api_token.as_ref()).await?;
    Ok(Service { engine, api_token, leftovers: None, check_host: false })
}

pub(super) async fn observer(config: &Config, google: &GoogleConfig) -> Result<Observer, PlatformError> {
    let engine = complete_engine(config, google).await?;
    Ok(Observer { engine, leftovers: None })
}

pub(super) async fn worker(config: &Config, google: &GoogleConfig) -> Result<Worker, PlatformError> {
    let engine = complete_engine(config, google).await?;
    let ports = worker_ports(config)?;
    let Some(short) = &google.execution else {
        return Ok(Worker { engine, ports, execution: None, logs_url: None });
    };
    let GoogleConfig { job, region, project, .. } = google;
    Ok(Worker {
        engine,
        ports,
        execution: Some(format!("{job}/executions/{short}")),
        logs_url: Some(format!(
            "https://console.cloud.google.com/run/jobs/executions/details/{region}/{short}/logs?project={project}"
        )),
    })
}

fn api_token(config: &Config) -> Option<Secret<String>> {
    match &config.api_token {
        TokenSetting::Given(token) => Some(token.clone()),
        TokenSetting::Off | TokenSetting::FromDataFolder => None,
    }
}

/// Returns the use cases for processes that can do nothing where a setting is missing.
async fn complete_engine(config: &Config, google: &GoogleConfig) -> Result<Engine, PlatformError> {
    match config.missing() {
        Some(missing) => Err(PlatformError::missing(missing)),
        None => engine(config, google, api_token(config).as_ref()).await,
    }
}

/// Returns who the programs are for Google.
pub(crate) fn auth(google: &GoogleConfig) -> Result<GoogleAuth, PlatformError> {
    match google.credentials {
        GoogleCredentials::Anonymous => Ok(GoogleAuth::anonymous()),
        GoogleCredentials::ApplicationDefault => GoogleAuth::application_default().map_err(cannot_connect),
    }
}

async fn engine(
    config: &Config,
    google: &GoogleConfig,
    api_token: Option<&Secret<String>>,
) -> Result<Engine, PlatformError> {
    let auth = auth(google)?;
    let endpoints = &google.endpoints;
    let storage: Arc<dyn Storage> = match &google.bucket {
        None => Arc::new(NoBucket),
        Some(bucket) => {
            let bucket = GcsConfig {
                bucket: bucket.clone(),
                endpoint: endpoints.storage.clone(),
                look_again: GcsStorage::LOOK_AGAIN,
            };
            let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(SystemIds));
            Arc::new(GcsStorage::new(&auth, bucket, clock, ids).map_err(cannot_connect)?)
        }
    };
    let keys =
        KmsKeys::connect(&auth, endpoints.keys.as_deref(), &google.key).await.map_err(cannot_connect)?;
    let jobs =
        CloudRunJobs::connect(&auth, endpoints.jobs.as_deref(), &google.job).await.map_err(cannot_connect)?;
    let world = World {
        storage,
        keys: Arc::new(keys),
        jobs: Arc::new(jobs),
        secrets: config.callback_secrets.clone(),
        // The bucket's lifecycle removes what is old.
        retention: None,
    };
    super::engine(config, world, api_token)
}

#[expect(clippy::needless_pass_by_value, reason = "so that it fits map_err")]
fn cannot_connect(error: ConnectError) -> PlatformError {
    PlatformError::new("Google Cloud cannot be reached", &error)
}
