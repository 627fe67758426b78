//! What a deployed job is like, for those who look after it: no task needs it.

use std::time::Duration;

use legwork_ports::jobs::JobsError;

use crate::{CloudRunJobs, run_jobs::Call};

const DESCRIBE: Call = Call { name: "describe", role: "roles/run.viewer" };
const PERMISSIONS: Call = Call { name: "permissions", role: "roles/run.viewer" };

/// What starting, cancelling and asking after executions takes.
const NEEDED: [&str; 4] =
    ["run.jobs.run", "run.jobs.runWithOverrides", "run.executions.get", "run.executions.cancel"];

/// What a deployed job is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFacts {
    /// After how long an execution is ended; nothing where Cloud Run does not say.
    pub timeout: Option<Duration>,
    /// How often a failed execution is repeated; nothing where Cloud Run does not say.
    pub retries: Option<u32>,
    /// The account that workers have.
    pub service_account: String,
}

impl CloudRunJobs {
    /// Returns what the job is like.
    ///
    /// # Errors
    /// `Refused` where there is no such job or it may not be seen; `Unavailable`.
    pub async fn facts(&self) -> Result<JobFacts, JobsError> {
        let request = self.jobs.get_job().set_name(&self.job);
        let job = self.call(DESCRIBE, request.send()).await?;
        let task = job.template.and_then(|template| template.template).unwrap_or_default();
        Ok(JobFacts {
            timeout: task.timeout.and_then(|timeout| Duration::try_from(timeout).ok()),
            retries: task.max_retries().and_then(|count| u32::try_from(*count).ok()),
            service_account: task.service_account,
        })
    }

    /// Returns which of the permissions that the service needs on the job whoever asks does not have.
    ///
    /// # Errors
    /// As [`CloudRunJobs::facts`].
    pub async fn missing_permissions(&self) -> Result<Vec<&'static str>, JobsError> {
        let request = self.jobs.test_iam_permissions().set_resource(&self.job).set_permissions(NEEDED);
        let held = self.call(PERMISSIONS, request.send()).await?.permissions;
        Ok(NEEDED.into_iter().filter(|needed| !held.iter().any(|held| held == needed)).collect())
    }
}
