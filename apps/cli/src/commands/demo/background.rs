//! What runs beside the demo's task: a service, a receiver of its callback, a server of its repository.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::StatusCode;
use legwork_api::{ApiSettings, ApiToken};
use legwork_core::{id::TaskId, secret::Secret};
use legwork_ports::jobs::ExecutionStatus;
use legwork_wiring::{
    config::Config,
    platform::{self, Service},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::random_hex;
use crate::{
    client::Client,
    demo_repository::{self, DemoRepository},
    receiver::{self, Delivery},
};

/// How long the callback is waited for after the task has ended.
const CALLBACK_PATIENCE: Duration = Duration::from_secs(30);
/// How often, and after which pause, it is looked whether the worker has ended.
const WORKER_LOOKS: u32 = 500;
const WORKER_LOOK: Duration = Duration::from_millis(20);

/// Three servers on free ports of this machine. Dropping this ends them.
#[derive(Debug)]
pub(super) struct Background {
    /// Where the service is asked.
    pub(super) service_url: String,
    /// Where the callback is to go.
    pub(super) callback_url: String,
    /// Where the repository is cloned from and pushed to.
    pub(super) repository_url: String,
    /// What opens the repository.
    pub(super) git_token: Secret<String>,
    service: Service,
    deliveries: mpsc::Receiver<Delivery>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Background {
    pub(super) async fn start(config: &Config, repository: DemoRepository) -> anyhow::Result<Self> {
        let service = platform::service(config).await?;
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();

        let (listener, receiver_origin) = listen("the receiver").await?;
        let secrets = service.engine.settings().callback_secrets.clone();
        let secrets = secrets.context("the service signs no callbacks")?;
        let (sender, deliveries) = mpsc::channel(4);
        running.spawn(async move {
            drop(receiver::receive(listener, secrets, StatusCode::OK, sender).await);
        });

        let (listener, repository_origin) = listen("the repository").await?;
        let git_token = Secret::new(random_hex::<16>()?);
        let token = git_token.clone();
        running.spawn(async move {
            drop(demo_repository::serve(listener, repository, token).await);
        });

        let (listener, service_url) = listen("the service").await?;
        let api = ApiSettings {
            token: service.api_token.clone().map_or(ApiToken::Off, ApiToken::Required),
            check_host: service.check_host,
            allowed_hosts: Vec::new(),
            max_body_bytes: config.max_body_bytes,
            reconciling: legwork_api::Reconciling::Off,
            version: env!("CARGO_PKG_VERSION"),
        };
        let (engine, stopped) = (service.engine.clone(), stop.clone());
        running.spawn(async move { engine.dispatch(stopped).await });
        let (engine, stopped) = (service.engine.clone(), stop.clone());
        running.spawn(async move { drop(legwork_api::serve(engine, api, listener, stopped).await) });

        Ok(Self {
            service_url,
            callback_url: format!("{receiver_origin}/callback"),
            repository_url: format!("{repository_origin}/{}", demo_repository::NAME),
            git_token,
            service,
            deliveries,
            stop,
            running,
        })
    }

    /// Prepares to talk to the service.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.service_url.parse()?, self.service.api_token.clone())?)
    }

    /// Waits for the callback; nothing where none comes.
    pub(super) async fn callback(&mut self) -> Option<Delivery> {
        tokio::time::timeout(CALLBACK_PATIENCE, self.deliveries.recv()).await.ok().flatten()
    }

    /// Ends everything, the task's worker first: nothing writes to the folder any more.
    pub(super) async fn stop(mut self, task: &TaskId) {
        self.wait_for_worker(task).await;
        self.stop.cancel();
        self.service.engine.settle_background(platform::STOP_PATIENCE).await;
        self.running.shutdown().await;
    }

    /// The worker ends by itself after its callback.
    async fn wait_for_worker(&self, task: &TaskId) {
        let name = self.service.engine.record(task).await.ok().and_then(|record| record.execution_name);
        let Some(name) = name else { return };
        for _ in 0..WORKER_LOOKS {
            let status = self.service.engine.ports().jobs.status(&name).await;
            if !matches!(status, Ok(ExecutionStatus::Running)) {
                return;
            }
            tokio::time::sleep(WORKER_LOOK).await;
        }
    }
}

async fn listen(what: &str) -> anyhow::Result<(TcpListener, String)> {
    let bound = TcpListener::bind("127.0.0.1:0").await;
    let listener = bound.with_context(|| format!("no free port for {what}"))?;
    let origin = format!("http://{}", listener.local_addr()?);
    Ok((listener, origin))
}
