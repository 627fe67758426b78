//! The use cases of Legwork over its ports, one a file.
//!
//! Read `submit`, `run`, `watch` and `cancel` first: each reads like the walkthrough in
//! ARCHITECTURE.md. Decisions are pure functions of `legwork-core`; a use case only fetches, asks,
//! does and records. The store is the only truth: an [`Engine`] keeps nothing that a restart would
//! lose, so any number of them may serve the same store.

mod cancel;
mod chunks;
mod claim;
mod deliver;
mod dispatch;
mod feed;
mod heartbeat;
mod logs;
mod oversight;
mod query;
mod reconcile;
mod records;
mod redeliver;
mod retry;
mod run;
mod settings;
mod submit;
mod uploads;
mod watch;

pub use cancel::{CancelAnswer, CancelError};
pub use query::{OpenTasks, QueryError, TaskPage};
pub use reconcile::{Look, PassReport, Reconciler};
pub use redeliver::RedeliverError;
pub use retry::RetryError;
pub use run::{RunEnd, RunError, WorkerJob, run_task};
pub use settings::{LogSettings, MissingSetting, Settings};
pub use submit::{Accepted, SubmitError};
pub use uploads::{ListedUpload, OpenedUpload, StoredUpload, UploadPage, content_type};
pub use watch::{ParsePositionError, Position, WatchError, WatchItem};

use std::sync::Arc;

use legwork_ports::{
    agent::Agent,
    callbacks::Callbacks,
    clock::{Clock, IdSource},
    gateway::Gateway,
    jobs::Jobs,
    keys::Keys,
    storage::Storage,
    workspace::Workspace,
};

use tokio_util::task::TaskTracker;

use crate::{feed::Feeds, submit::OpenTaskGate};

/// What every use case needs from the world.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Holds records, payloads, markers and logs.
    pub storage: Arc<dyn Storage>,
    /// Wraps data keys.
    pub keys: Arc<dyn Keys>,
    /// Starts workers.
    pub jobs: Arc<dyn Jobs>,
    /// Tells receivers.
    pub callbacks: Arc<dyn Callbacks>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes unpredictable values.
    pub ids: Arc<dyn IdSource>,
}

/// What a worker needs besides.
#[derive(Debug, Clone)]
pub struct WorkerPorts {
    /// Runs the agent.
    pub agent: Arc<dyn Agent>,
    /// Makes the folder in which it works.
    pub workspace: Arc<dyn Workspace>,
    /// Lets it reach the model's API.
    pub gateway: Arc<dyn Gateway>,
}

/// The service's use cases. Clones are cheap and share what they watch.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ports: Ports,
    settings: Settings,
    feeds: Feeds,
    gate: OpenTaskGate,
    /// Deliveries that outlive the request that caused them.
    background: TaskTracker,
}

impl Engine {
    /// Returns the use cases over these ports.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let feeds = Feeds::new(settings.max_watchers);
        Self {
            inner: Arc::new(Inner {
                ports,
                settings,
                feeds,
                gate: OpenTaskGate::default(),
                background: TaskTracker::new(),
            }),
        }
    }

    /// Waits for deliveries under way, at most this long; the rest stands in the store.
    pub async fn settle_background(&self, at_most: std::time::Duration) {
        self.inner.background.close();
        let deadline = self.ports().clock.sleep(at_most);
        tokio::select! {
            biased;
            // Dropping either loses nothing: what is not delivered is owed in the store.
            () = self.inner.background.wait() => {}
            () = deadline => {}
        }
    }

    /// Returns the settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Returns the ports it was made with.
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }
}
