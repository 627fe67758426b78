//! Services on the simulators of Google Cloud: one cloud for all services of a data folder.
//!
//! The cloud has a runtime of its own, so that it goes on whatever the test's does, and is started without
//! waiting in one.

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use legwork_simulators::google::{ExecutionState, GoogleCloud, RunExecution};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::PATIENCE;

thread_local! {
    static ON_GOOGLE: Cell<bool> = const { Cell::new(false) };
}

/// The clouds that are in use, by data folder.
static CLOUDS: Mutex<BTreeMap<PathBuf, Weak<Cloud>>> = Mutex::new(BTreeMap::new());

/// Runs a test once more, its services on Google Cloud's simulators.
pub fn on_google(test: fn()) {
    ON_GOOGLE.set(true);
    test();
    ON_GOOGLE.set(false);
}

/// Tells whether the services of this test are on Google Cloud's simulators.
pub fn is_on_google() -> bool {
    ON_GOOGLE.get()
}

/// Makes tests of this file run once more with their services on Google Cloud's simulators.
#[macro_export]
macro_rules! also_on_google {
    ($($test:ident),+ $(,)?) => {
        mod on_google {
            $(#[test]
            fn $test() {
                $crate::on_google(super::$test);
            })+
        }
    };
}

/// Running simulators. They end with the value, and the workers with them.
#[derive(Debug)]
pub struct Cloud {
    google: Option<GoogleCloud>,
    runtime: Option<Runtime>,
}

impl Cloud {
    /// Returns the cloud of this data folder, starting one where there is none. Its workers run the program
    /// with this environment.
    pub(crate) fn of(data: &Path, program: &Path, env: &BTreeMap<String, String>) -> Arc<Self> {
        let mut clouds = CLOUDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cloud) = clouds.get(data).and_then(Weak::upgrade) {
            return cloud;
        }
        let cloud = Arc::new(Self::start(data, program, env));
        clouds.insert(data.to_owned(), Arc::downgrade(&cloud));
        cloud
    }

    fn start(data: &Path, program: &Path, env: &BTreeMap<String, String>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let starting = runtime.handle().clone();
        let starts = std::thread::spawn(move || starting.block_on(GoogleCloud::start()));
        let google = starts.join().expect("the simulators start").with_write_limit();
        let data = ("LEGWORK_DATA_DIR".to_owned(), data.display().to_string());
        let ours = google.environment();
        let env = env.clone().into_iter().chain(ours).chain([data]);
        let google = google.with_worker(program, ["worker"], env.collect::<Vec<_>>());
        Self { google: Some(google), runtime: Some(runtime) }
    }

    /// Returns the simulators.
    pub fn google(&self) -> &GoogleCloud {
        self.google.as_ref().expect("they end with the value")
    }

    /// Returns what all workers have written to their logs.
    pub(crate) fn worker_logs(&self) -> String {
        let executions = self.google().executions();
        executions.iter().map(|execution| self.google().execution_log(&execution.name)).collect()
    }

    /// Returns an execution.
    pub(crate) fn execution(&self, name: &str) -> RunExecution {
        let mut executions = self.google().executions().into_iter();
        executions.find(|execution| execution.name == name).expect("the execution was started")
    }

    /// Counts the executions that run.
    pub(crate) fn living(&self) -> usize {
        let executions = self.google().executions();
        executions.iter().filter(|execution| !execution.state.is_final()).count()
    }

    /// Starts what was started last once more, as a platform may, and returns the execution's name.
    pub async fn start_again(&self) -> String {
        let last = self.google().executions().pop().expect("something was started");
        let variables = last.environment.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let container = json!({"env": variables.collect::<Vec<_>>()});
        let body = json!({"overrides": {"containerOverrides": [container]}});
        let answer = self.ask(&format!("{}:run", self.google().job()), &body).await;
        answer["metadata"]["name"].as_str().expect("an execution").to_owned()
    }

    /// Cancels an execution, as a person may.
    pub async fn cancel(&self, name: &str) {
        self.ask(&format!("{name}:cancel"), &json!({})).await;
    }

    async fn ask(&self, what: &str, body: &Value) -> Value {
        let url = format!("{}/v2/{what}", self.google().run_endpoint());
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = http.post(url).header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
        serde_json::from_slice(&answer).expect("JSON")
    }

    /// Waits until an execution has ended, and returns how.
    pub async fn ended(&self, name: &str) -> ExecutionState {
        let at_most: Duration = PATIENCE;
        self.google().wait_for_end(name, at_most).await.expect("the worker has ended").state
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.google.take());
        // A test may drop it where nothing may wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
