//! What Google Cloud needs besides store and key: the job, and what calls the reconciler.

use std::time::Duration;

use legwork_adapters_gcp::{CloudRunJobs, CloudScheduler, ConnectError, JobFacts, ScheduleError};
use legwork_ports::jobs::JobsError;

use super::{Chain, Finding, TRY_AGAIN, in_time};
use crate::{
    config::{Config, GoogleConfig, ReconcilerSetting},
    platform::{PlatformError, google::auth},
};

/// What an execution needs beyond the longest `timeoutMinutes`: the last lines, actions, callbacks.
const AFTER_THE_AGENT: Duration = Duration::from_mins(35);
const DEPLOY_JOB: &str = "./scripts/deploy-job.sh";
const DEPLOY_SERVICE: &str = "./scripts/deploy-service.sh";

pub(super) async fn examine(config: &Config, google: &GoogleConfig) -> Result<Vec<Finding>, PlatformError> {
    let auth = auth(google)?;
    let unusable = |error: ConnectError| PlatformError::new("Google Cloud cannot be reached", &error);
    let endpoints = &google.endpoints;
    let jobs =
        CloudRunJobs::connect(&auth, endpoints.jobs.as_deref(), &google.job).await.map_err(unusable)?;
    let scheduler = CloudScheduler::connect(&auth, endpoints.scheduler.as_deref(), &google.schedules)
        .await
        .map_err(unusable)?;
    let (job, permissions, reconciler) = tokio::join!(
        in_time("job", job(config, &jobs)),
        in_time("permissions", permissions(&jobs)),
        in_time("reconciler", reconciler(config, &scheduler)),
    );
    Ok(vec![job, permissions, reconciler, isolation()])
}

async fn job(config: &Config, jobs: &CloudRunJobs) -> Finding {
    let needed = Duration::from_secs(u64::from(config.request_limits.max_timeout_minutes).saturating_mul(60))
        .saturating_add(AFTER_THE_AGENT);
    let JobFacts { timeout, retries, service_account } = match jobs.facts().await {
        Ok(facts) => facts,
        Err(JobsError::Refused { advice, source }) => {
            return Finding::fails("job", Chain(source.as_ref()).to_string(), advice);
        }
        Err(error) => return Finding::fails("job", Chain(&error).to_string(), TRY_AGAIN),
    };
    let minutes = |time: Duration| time.as_secs().div_euclid(60);
    if let Some(short) = timeout.filter(|timeout| *timeout < needed) {
        return Finding::fails(
            "job",
            format!(
                "executions are ended after {} min, and a task of {} min needs {}",
                minutes(short),
                config.request_limits.max_timeout_minutes,
                minutes(needed)
            ),
            format!("run {DEPLOY_JOB} with the MAX_TIMEOUT_MINUTES of the service"),
        );
    }
    if let Some(count) = retries.filter(|count| *count > 0) {
        return Finding::warning(
            "job",
            format!(
                "Cloud Run repeats a failed execution up to {count} times, for nothing: its task is over"
            ),
            format!("run {DEPLOY_JOB}, which deploys it with --max-retries=0"),
        );
    }
    Finding::works("job", format!("executions run as {service_account}"))
}

async fn permissions(jobs: &CloudRunJobs) -> Finding {
    match jobs.missing_permissions().await {
        Ok(missing) if missing.is_empty() => {
            Finding::works("permissions", "executions may be started, looked at and cancelled")
        }
        Ok(missing) => Finding::fails(
            "permissions",
            format!("whoever asks here lacks {} on the job", missing.join(", ")),
            "grant roles/run.jobsExecutorWithOverrides and roles/run.viewer on the job: run \
             ./scripts/setup-service-account.sh, or ask as the service's own account",
        ),
        Err(error) => Finding::warning(
            "permissions",
            Chain(&error).to_string(),
            "ask as somebody who may see the job, such as the service's own account",
        ),
    }
}

/// A service that looks by itself needs nobody to call it; another one is called by the clock.
async fn reconciler(config: &Config, scheduler: &CloudScheduler) -> Finding {
    match config.reconciler {
        ReconcilerSetting::Loop => {
            return Finding::works("reconciler", "the service looks after its tasks by itself");
        }
        ReconcilerSetting::Off => {
            return Finding::warning(
                "reconciler",
                "the service does not look after its tasks",
                "let `legwork reconcile` run somewhere, or set RECONCILER=request",
            );
        }
        ReconcilerSetting::Request => {}
    }
    let calls = match scheduler.calls().await {
        Ok(calls) => calls,
        Err(ScheduleError { advice, source }) => {
            return Finding::warning("reconciler", Chain(source.as_ref()).to_string(), advice);
        }
    };
    let mut ours = calls.into_iter().filter(|call| call.posts && call.uri.ends_with("/reconcile"));
    match (ours.clone().find(|call| call.is_enabled), ours.next()) {
        (Some(call), _) => Finding::works(
            "reconciler",
            format!("{} calls {} at {:?}", short(&call.name), call.uri, call.times),
        ),
        (None, Some(call)) => Finding::fails(
            "reconciler",
            format!("{} is paused: nobody looks after tasks whose worker is lost", short(&call.name)),
            format!("run {DEPLOY_SERVICE}, which lets it go on"),
        ),
        (None, None) => Finding::fails(
            "reconciler",
            "nothing calls POST /reconcile: lost workers, due callbacks and late starts are seen by nobody",
            format!("run {DEPLOY_SERVICE}, which makes a schedule for that"),
        ),
    }
}

/// The last part of a name.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Workers run elsewhere; what they have reached they say themselves.
fn isolation() -> Finding {
    Finding::untried(
        "isolation",
        "workers tell it in the first line of each task's log: see `metadata` and `user` there",
    )
}
