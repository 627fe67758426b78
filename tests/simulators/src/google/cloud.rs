//! The services together: one bucket, one key and one job, which a test commands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::execution::{ExecutionState, RunExecution, Worker};
use super::faults::{Effect, Fault, Faults};
use super::gcs::{BUCKET, Storage};
use super::gcs_xml::XmlError;
use super::json::JsonError;
use super::kms::{KEY, KeyService};
use super::run::{JOB, JobService};
use super::scheduler::{SchedulerService, Timed};
use super::spans::Spans;
use super::wire::{Call, GoogleRequest, GoogleService};
use crate::local_server::{LocalServer, close_without_answer};
use crate::recording::{Recording, TimedOut};

/// Running simulations of Cloud Storage, Cloud KMS, Cloud Run and Cloud Scheduler; they and the processes that they
/// started stop when this is dropped.
#[derive(Debug)]
pub struct GoogleCloud {
    storage: LocalServer,
    keys: LocalServer,
    jobs: LocalServer,
    scheduler: LocalServer,
    bucket: &'static str,
    key: &'static str,
    job: &'static str,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    faults: Faults,
    requests: Recording<GoogleRequest>,
    spans: Spans,
    storage: Storage,
    keys: KeyService,
    jobs: JobService,
    scheduler: SchedulerService,
}

/// What a request came in by.
#[derive(Debug, Clone)]
struct Door {
    service: GoogleService,
    shared: Arc<Shared>,
}

impl GoogleCloud {
    /// Starts each service on a free port of 127.0.0.1, with an empty bucket and no executions.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            faults: Faults::default(),
            requests: Recording::new(),
            spans: Spans::default(),
            storage: Storage::default(),
            keys: KeyService::new(),
            jobs: JobService::new(),
            scheduler: SchedulerService::default(),
        });
        let router = |service| {
            Router::new().fallback(answer).with_state(Door { service, shared: Arc::clone(&shared) })
        };
        Self {
            storage: LocalServer::start(router(GoogleService::Storage)).await,
            keys: LocalServer::start(router(GoogleService::Kms)).await,
            jobs: LocalServer::start(router(GoogleService::Run)).await,
            scheduler: LocalServer::start(router(GoogleService::Scheduler)).await,
            bucket: BUCKET,
            key: KEY,
            job: JOB,
            shared,
        }
    }

    /// Starts `program` for each execution from now on, with this environment and no other; what the
    /// caller overrides and what Cloud Run sets (`CLOUD_RUN_EXECUTION`, `CLOUD_RUN_TASK_ATTEMPT` and
    /// others) is added. The arguments are used where the caller has none of its own.
    #[must_use]
    pub fn with_worker(
        self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
        environment: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.shared.jobs.settings().worker = Some(Worker {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: environment.collect(),
        });
        self
    }

    /// Leaves a cancelled process this long between SIGTERM and SIGKILL, in place of 10 s.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        self.shared.jobs.settings().grace = grace;
        self
    }

    /// Starts a process that failed up to `count` times more, with higher attempt numbers.
    #[must_use]
    pub fn with_retries(self, count: u32) -> Self {
        self.shared.jobs.settings().retries = count;
        self
    }

    /// Answers 429 to more than one write per second and object from now on.
    #[must_use]
    pub fn with_write_limit(self) -> Self {
        self.shared.storage.shelf().limits_writes = true;
        self
    }

    /// Gives at most this many objects in a page of a listing, in place of 1000. 0 is taken as 1.
    #[must_use]
    pub fn with_page_limit(self, count: usize) -> Self {
        self.shared.storage.shelf().page = Some(count.max(1));
        self
    }

    /// Takes this long for every call from now on.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        for service in [GoogleService::Storage, GoogleService::Kms, GoogleService::Run] {
            self.shared.faults.add(Fault::of(service).delayed(latency).always());
        }
        self
    }

    /// Returns the base URL of Cloud Storage, without a slash at the end.
    pub fn gcs_endpoint(&self) -> String {
        self.storage.url()
    }

    /// Returns the base URL of Cloud KMS, without a slash at the end.
    pub fn kms_endpoint(&self) -> String {
        self.keys.url()
    }

    /// Calls an address by the clock from now on, as far as anybody can see: no call is made.
    #[must_use]
    pub fn with_schedule(self, uri: &str) -> Self {
        self.shared.scheduler.schedules().push(Timed { uri: uri.to_owned(), is_paused: false });
        self
    }

    /// Pauses all schedules.
    pub fn pause_schedules(&self) {
        for timed in self.shared.scheduler.schedules().iter_mut() {
            timed.is_paused = true;
        }
    }

    /// Lets nobody do this with the job, as far as anybody asks beforehand: `run.jobs.run` and the like.
    pub fn deny_permission(&self, permission: &str) {
        self.shared.jobs.settings().denied.push(permission.to_owned());
    }

    /// Ends executions after this long where a start does not say otherwise, in place of 95 minutes.
    #[must_use]
    pub fn with_task_timeout(self, timeout: Duration) -> Self {
        self.shared.jobs.settings().timeout = timeout;
        self
    }

    /// Puts an object into the bucket, whatever is there.
    pub fn put_object(&self, key: &str, bytes: impl Into<Bytes>) {
        self.shared.storage.put_object(key, bytes.into());
    }

    /// Returns the base URL of Cloud Scheduler, without a slash at the end.
    pub fn scheduler_endpoint(&self) -> String {
        self.scheduler.url()
    }

    /// Returns the base URL of Cloud Run, without a slash at the end.
    pub fn run_endpoint(&self) -> String {
        self.jobs.url()
    }

    /// Returns the name of the only bucket.
    pub fn bucket(&self) -> &str {
        self.bucket
    }

    /// Returns the full name of the only key.
    pub fn kms_key(&self) -> &str {
        self.key
    }

    /// Returns the full name of the only job.
    pub fn job(&self) -> &str {
        self.job
    }

    /// Returns the environment that leads Legwork here, names and values.
    pub fn environment(&self) -> Vec<(String, String)> {
        let fixed = [
            ("LEGWORK_PLATFORM", "gcp"),
            ("LEGWORK_GCP_ANONYMOUS", "true"),
            ("PROJECT_ID", "p"),
            ("REGION", "l"),
            ("GCS_LOGS_BUCKET", self.bucket),
            ("KMS_LOCATION", "l"),
            ("KMS_KEY_RING", "r"),
            ("KMS_KEY_NAME", "k"),
            ("CLOUDRUN_JOB_NAME", "legwork-worker"),
        ];
        let endpoints = [
            ("GCS_ENDPOINT", self.gcs_endpoint()),
            ("KMS_ENDPOINT", self.kms_endpoint()),
            ("RUN_ENDPOINT", self.run_endpoint()),
            ("SCHEDULER_ENDPOINT", self.scheduler_endpoint()),
        ];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        fixed.into_iter().chain(endpoints.map(|(name, value)| (name.to_owned(), value))).collect()
    }

    /// Returns what is yet to go wrong, to add to it.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Returns all requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<GoogleRequest> {
        self.shared.requests.snapshot()
    }

    /// Returns how many calls since the last time depended on one another, at most: each of them arrived
    /// after the one before it had been answered. Round trips, if every call takes longer than a caller
    /// needs between two that it makes at once.
    pub fn take_longest_chain(&self) -> usize {
        self.shared.spans.take_longest_chain()
    }

    /// Returns all requests as soon as at least `count` have arrived.
    ///
    /// # Errors
    /// [`TimedOut`] where fewer arrive within `timeout`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the wait is dropped.
    pub async fn wait_for(&self, count: usize, timeout: Duration) -> Result<Vec<GoogleRequest>, TimedOut> {
        self.shared.requests.wait_for(count, timeout).await
    }

    /// Returns the keys of all objects, in order.
    pub fn objects(&self) -> Vec<String> {
        self.shared.storage.shelf().objects.keys().cloned().collect()
    }

    /// Returns the bytes of an object, or nothing where there is none.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.shared.storage.shelf().objects.get(key).map(|object| object.bytes.clone())
    }

    /// Returns how many multipart uploads were begun and neither completed nor given up.
    pub fn unfinished_uploads(&self) -> usize {
        self.shared.storage.shelf().uploads.len()
    }

    /// Adds a version to the key, which encrypts from now on, and returns its number.
    pub fn rotate_key(&self) -> usize {
        self.shared.keys.rotate()
    }

    /// Makes a version of the key refuse to work. An unknown one is left alone.
    pub fn disable_key_version(&self, number: usize) {
        self.shared.keys.disable(number);
    }

    /// Returns all executions as they are now, in the order in which they were started.
    pub fn executions(&self) -> Vec<RunExecution> {
        self.shared.jobs.board.borrow().clone()
    }

    /// Returns what the processes of an execution wrote so far, stdout and stderr together.
    pub fn execution_log(&self, name: &str) -> String {
        self.shared.jobs.log(name)
    }

    /// Ends an execution without a process well, and returns whether it did: not where it has ended, is
    /// unknown or has a process.
    pub fn end_execution(&self, name: &str) -> bool {
        self.shared.jobs.end(name, ExecutionState::Succeeded, "")
    }

    /// Ends an execution without a process badly; otherwise as [`GoogleCloud::end_execution`].
    pub fn fail_execution(&self, name: &str) -> bool {
        self.shared.jobs.end(name, ExecutionState::Failed, "exit code 1")
    }

    /// Kills the process of an execution as a lost machine would, without a warning, and returns whether
    /// there was one.
    pub fn kill_execution(&self, name: &str) -> bool {
        self.shared.jobs.kill(name)
    }

    /// Returns an execution once it has ended, or nothing where it has not within `timeout`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the wait is dropped.
    pub async fn wait_for_end(&self, name: &str, timeout: Duration) -> Option<RunExecution> {
        let ended = |execution: &RunExecution| execution.name == name && execution.state.is_final();
        let mut watching = self.shared.jobs.board.subscribe();
        let reached = watching.wait_for(|executions| executions.iter().any(ended));
        if tokio::time::timeout(timeout, reached).await.is_err() {
            return None;
        }
        self.shared.jobs.execution(name)
    }
}

impl Drop for GoogleCloud {
    fn drop(&mut self) {
        self.shared.jobs.stop();
    }
}

impl Shared {
    /// Carries a call out.
    fn apply(&self, service: GoogleService, call: &Call) -> Response {
        match service {
            GoogleService::Storage => self.storage.answer(call),
            GoogleService::Kms => self.keys.answer(call),
            GoogleService::Run => self.jobs.answer(call),
            GoogleService::Scheduler => self.scheduler.answer(call),
        }
    }
}

async fn answer(State(door): State<Door>, request: Request) -> Response {
    let Door { service, shared } = door;
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return close_without_answer();
    };
    let call = Call::read(head, body);
    shared.requests.push(call.to_request(service));
    let arrived = shared.spans.tick();
    let fate = shared.faults.fate_of(service, &call);
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    shared.spans.add(arrived);
    match fate.effect {
        None | Some(Effect::Delayed(_)) => shared.apply(service, &call),
        Some(Effect::Refused(status)) => refusal(service, status),
        Some(Effect::Lost(status)) => {
            drop(shared.apply(service, &call));
            refusal(service, status)
        }
        Some(Effect::Cut) => close_without_answer(),
        Some(Effect::CutAfter) => {
            drop(shared.apply(service, &call));
            close_without_answer()
        }
    }
}

fn refusal(service: GoogleService, status: u16) -> Response {
    match service {
        GoogleService::Storage => XmlError::of_status(status).into_response(),
        GoogleService::Kms | GoogleService::Run | GoogleService::Scheduler => {
            JsonError::of_status(status).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google::client::{ask, post, try_ask};

    const TARGET: &str = "/legwork-test/a";

    #[tokio::test]
    async fn a_lost_answer_was_carried_out_and_a_refused_one_was_not() {
        let cloud = GoogleCloud::start().await;
        let endpoint = cloud.gcs_endpoint();
        let headers = [("x-goog-if-generation-match", "0")];
        cloud.faults().add(Fault::of(GoogleService::Storage).method("PUT"));
        cloud.faults().add(Fault::of(GoogleService::Storage).method("PUT").lost(503));

        let refused = ask(&endpoint, "PUT", TARGET, &headers, b"a").await;
        let after_refused = cloud.objects().len();
        let lost = ask(&endpoint, "PUT", TARGET, &headers, b"a").await;
        let after_lost = cloud.objects().len();
        let retried = ask(&endpoint, "PUT", TARGET, &headers, b"a").await;

        assert_eq!([refused.status, lost.status, retried.status], [503, 503, 412]);
        assert_eq!((after_refused, after_lost), (0, 1));
        assert_eq!(lost.element("Code").unwrap(), "ServiceUnavailable");
    }

    #[tokio::test]
    async fn a_cut_connection_has_no_answer_and_may_be_carried_out() {
        let cloud = GoogleCloud::start().await;
        let endpoint = cloud.gcs_endpoint();
        cloud.faults().add(Fault::of(GoogleService::Storage).cut());
        cloud.faults().add(Fault::of(GoogleService::Storage).cut_after());

        let before = try_ask(&endpoint, "PUT", TARGET, &[], b"a").await.is_none();
        let left_out = cloud.objects().is_empty();
        let after = try_ask(&endpoint, "PUT", TARGET, &[], b"a").await.is_none();

        assert!(before && left_out && after);
        assert_eq!(cloud.objects(), ["a"]);
    }

    #[tokio::test]
    async fn a_refusal_of_a_service_with_json_is_json() {
        let cloud = GoogleCloud::start().await;
        cloud.faults().add(Fault::of(GoogleService::Kms).path(":encrypt").refused(403));

        let target = format!("/v1/{}:encrypt", cloud.kms_key());
        let refused = post(&cloud.kms_endpoint(), &target, &serde_json::json!({})).await;

        assert_eq!(refused.status, 403);
        assert_eq!(refused.json()["error"]["status"], "PERMISSION_DENIED");
    }

    #[tokio::test]
    async fn requests_are_recorded_with_their_service_and_their_decoded_path() {
        let cloud = GoogleCloud::start().await;

        ask(&cloud.gcs_endpoint(), "PUT", "/legwork%2Dtest/a%2Fb", &[("X-Who", "me")], b"body").await;

        let requests = cloud.wait_for(1, Duration::from_secs(5)).await.unwrap();
        assert_eq!(requests[0].service, GoogleService::Storage);
        assert_eq!(requests[0].path, "/legwork-test/a/b");
        assert_eq!(requests[0].target, "/legwork%2Dtest/a%2Fb");
        assert_eq!(requests[0].header("X-Who"), Some("me"));
        assert_eq!(requests[0].body, "body");
    }
}
