//! Workers as executions of a Cloud Run job.
//!
//! The job is deployed beforehand; an execution is given its task by overriding two variables. Cloud Run
//! sets `CLOUD_RUN_EXECUTION` itself, by which the worker knows its name.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use google_cloud_gax::{
    error::{Error, rpc::Code},
    options::RequestOptionsBuilder as _,
    retry_policy::NeverRetry,
};
use google_cloud_run_v2::{
    client::{Executions, Jobs as JobsClient},
    model::{
        EnvVar, Execution as RunExecution,
        condition::State,
        run_job_request::{Overrides, overrides::ContainerOverride},
    },
};
use legwork_ports::jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy};
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use crate::{
    auth::GoogleAuth,
    error::{ConnectError, Judgement, LOGIN, judge},
    patience::{CALL, patient},
};

/// Cloud Run answers a start once the execution is made, which takes some seconds.
const START: Duration = Duration::from_secs(25);

/// What is called, and which role that takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) role: &'static str,
}

const RUN: Call = Call { name: "start", role: "roles/run.jobsExecutorWithOverrides" };
const CANCEL: Call = Call { name: "cancel", role: "roles/run.jobsExecutorWithOverrides" };
const STATUS: Call = Call { name: "status", role: "roles/run.viewer" };

/// A Cloud Run job. Clones share connections.
#[derive(Clone)]
pub struct CloudRunJobs {
    pub(crate) jobs: JobsClient,
    executions: Executions,
    pub(crate) job: String,
}

impl fmt::Debug for CloudRunJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudRunJobs").field("job", &self.job).finish_non_exhaustive()
    }
}

/// The answer to a start does not say what was started.
#[derive(Debug, thiserror::Error)]
#[error("the answer to a start does not name the execution")]
struct Nameless;

impl CloudRunJobs {
    /// Makes the clients; nothing is asked of Google yet. `job` is the job's whole name:
    /// `projects/…/locations/…/jobs/…`; `endpoint` another one than Google's.
    ///
    /// # Errors
    /// `Client` where the client library refuses the configuration.
    pub async fn connect(
        auth: &GoogleAuth,
        endpoint: Option<&str>,
        job: impl Into<String>,
    ) -> Result<Self, ConnectError> {
        let unusable = |source| ConnectError::Client { service: "Cloud Run", source: Box::new(source) };
        let jobs = patient(JobsClient::builder(), auth, endpoint).build().await.map_err(unusable)?;
        let executions = patient(Executions::builder(), auth, endpoint).build().await.map_err(unusable)?;
        Ok(Self { jobs, executions, job: job.into() })
    }

    /// Returns the whole name of an execution, of whose short name only `CLOUD_RUN_EXECUTION` tells;
    /// nothing where it cannot be one.
    fn whole_name(&self, name: &str) -> Option<String> {
        if is_label(name) {
            return Some(format!("{}/executions/{name}", self.job));
        }
        let parts: Vec<&str> = name.split('/').collect();
        let is_execution =
            matches!(parts.as_slice(), ["projects", _, "locations", _, "jobs", _, "executions", _])
                && parts.iter().all(|part| is_label(part));
        is_execution.then(|| name.to_owned())
    }

    pub(crate) async fn call<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, JobsError> {
        let span = tracing::debug_span!("jobs", call = call.name);
        match timeout(CALL, work).instrument(span).await {
            Ok(done) => done.map_err(|error| self.told(call, error)),
            Err(late) => Err(JobsError::Unavailable { source: Box::new(late) }),
        }
    }

    fn told(&self, call: Call, error: Error) -> JobsError {
        let job = &self.job;
        let advice = match judge(&error) {
            Judgement::Transient => return JobsError::Unavailable { source: Box::new(error) },
            Judgement::Missing => format!(
                "there is no job {job}: run ./scripts/deploy-job.sh, or see PROJECT_ID, REGION and \
                 CLOUDRUN_JOB_NAME"
            ),
            Judgement::Denied => format!(
                "permission denied: grant {} on {job} by ./scripts/setup-service-account.sh",
                call.role
            ),
            Judgement::Stranger => LOGIN.to_owned(),
            Judgement::Conflict | Judgement::Wrong => {
                format!("Cloud Run does not take this call for {job}: run ./scripts/deploy-job.sh again")
            }
        };
        JobsError::Refused { advice, source: Box::new(error) }
    }

    /// Returns the execution, or nothing where there is none of this name.
    async fn find(&self, name: String) -> Result<Option<RunExecution>, JobsError> {
        let request = self.executions.get_execution().set_name(name);
        self.call(STATUS, async { found(request.send().await) }).await
    }
}

/// One part of a name of Google's: domain-scoped projects have `.` and `:` as well.
fn is_label(part: &str) -> bool {
    let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(is_part_of_name)
}

fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if judge(&error) == Judgement::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_ended(execution: &RunExecution) -> bool {
    let is_final = |state: &State| matches!(state, State::ConditionSucceeded | State::ConditionFailed);
    execution.completion_time.is_some()
        || execution
            .conditions
            .iter()
            .any(|condition| condition.r#type == "Completed" && is_final(&condition.state))
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar::new().set_name(name).set_value(value)
}

#[async_trait]
impl Jobs for CloudRunJobs {
    fn start_policy(&self) -> StartPolicy {
        StartPolicy::AtOnce
    }

    fn is_exact(&self) -> bool {
        false
    }

    async fn reserve(&self) -> Result<Option<Slot>, JobsError> {
        Ok(None)
    }

    async fn slot_freed(&self, at_most: Duration) {
        sleep(at_most).await;
    }

    async fn start(&self, job: Job) -> Result<Execution, JobsError> {
        // The one container of the job: it needs no name.
        let container = ContainerOverride::new().set_env([
            variable("TASK_ID", job.task_id.as_str()),
            variable("ENCRYPTED_PAYLOAD_PATH", &job.payload_key),
        ]);
        let overrides = Overrides::new().set_task_count(1).set_container_overrides([container]);
        // Never tried again here: a start has no identity by which Google could tell a second one.
        let request = self
            .jobs
            .run_job()
            .set_name(&self.job)
            .set_overrides(overrides)
            .with_idempotency(false)
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout(START);
        let operation = self.call(RUN, request.send()).await?;
        let started = operation.metadata.as_ref().and_then(|metadata| metadata.to_msg::<RunExecution>().ok());
        let execution = started
            .filter(|execution| !execution.name.is_empty())
            .ok_or_else(|| JobsError::Unavailable { source: Box::new(Nameless) })?;
        let worker_logs_url = Some(execution.log_uri).filter(|url| !url.is_empty());
        Ok(Execution { name: execution.name, worker_logs_url })
    }

    async fn cancel(&self, execution_name: &str) -> Result<(), JobsError> {
        let Some(name) = self.whole_name(execution_name) else { return Ok(()) };
        let request = self.executions.cancel_execution().set_name(&name).with_idempotency(true);
        let asked = self
            .call(CANCEL, async {
                match request.send().await {
                    // Google does not cancel what has ended.
                    Err(error) if error.status().is_some_and(|s| s.code == Code::FailedPrecondition) => {
                        Ok(None)
                    }
                    answer => found(answer),
                }
            })
            .await;
        match asked {
            // Or says so in other words.
            Err(JobsError::Refused { advice, source }) => match self.status(&name).await? {
                ExecutionStatus::Ended => Ok(()),
                ExecutionStatus::Running | ExecutionStatus::Unknown => {
                    Err(JobsError::Refused { advice, source })
                }
            },
            asked => asked.map(drop),
        }
    }

    async fn status(&self, execution_name: &str) -> Result<ExecutionStatus, JobsError> {
        let Some(name) = self.whole_name(execution_name) else { return Ok(ExecutionStatus::Unknown) };
        Ok(match self.find(name).await? {
            None => ExecutionStatus::Unknown,
            Some(execution) if has_ended(&execution) => ExecutionStatus::Ended,
            Some(_) => ExecutionStatus::Running,
        })
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::Condition;

    use super::*;

    fn with_condition(kind: &str, state: State) -> RunExecution {
        RunExecution::new().set_conditions([Condition::new().set_type(kind).set_state(state)])
    }

    #[test]
    fn an_execution_has_ended_once_it_is_completed_in_whatever_way() {
        for state in [State::ConditionSucceeded, State::ConditionFailed] {
            assert!(has_ended(&with_condition("Completed", state)));
        }
    }

    #[test]
    fn an_execution_that_is_being_made_or_runs_has_not_ended() {
        let running = [
            RunExecution::new(),
            with_condition("Completed", State::ConditionPending),
            with_condition("Completed", State::ConditionReconciling),
            with_condition("ContainerReady", State::ConditionSucceeded),
        ];

        for execution in running {
            assert!(!has_ended(&execution), "{execution:?}");
        }
    }

    #[test]
    fn what_is_no_label_cannot_name_anything() {
        for part in ["", ".", "..", "-x", "a/b", "a b", "ü", "a?b", "a%2Fb"] {
            assert!(!is_label(part), "{part:?}");
        }
        for part in ["legwork-abc12", "p", "example.com:p", "us-central1"] {
            assert!(is_label(part), "{part:?}");
        }
    }
}
