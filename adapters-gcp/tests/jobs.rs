//! Executions of a Cloud Run job: the port's contract, and what is peculiar to the service.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use std::sync::Arc;

use legwork_adapters_gcp::{CloudRunJobs, GoogleAuth};
use legwork_conformance::jobs::{JobsBench, WORKER, job, status, until_ended};
use legwork_ports::jobs::{Execution, ExecutionStatus, Jobs as _, JobsError};
use legwork_simulators::google::{Fault, GoogleCloud, GoogleService};
use tempfile::TempDir;

use crate::common::{Cloud, start, start_with};

async fn jobs(cloud: &GoogleCloud, job: &str) -> CloudRunJobs {
    CloudRunJobs::connect(&GoogleAuth::anonymous(), Some(&cloud.run_endpoint()), job).await.unwrap()
}

fn service() -> (CloudRunJobs, Cloud) {
    start(async |cloud: &GoogleCloud| jobs(cloud, cloud.job()).await)
}

fn bench() -> (JobsBench, (Cloud, TempDir)) {
    let folder = tempfile::tempdir().unwrap();
    let marks = folder.path().to_owned();
    let environment = [
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("MARKS".to_owned(), marks.display().to_string()),
    ];
    let ((one, other), cloud) = start_with(
        move |cloud| cloud.with_worker("/bin/sh", ["-c", WORKER], environment),
        async |cloud: &GoogleCloud| (jobs(cloud, cloud.job()).await, jobs(cloud, cloud.job()).await),
    );
    let bench = JobsBench { jobs: Arc::new(one), other: Arc::new(other), slots: None, marks };
    (bench, (cloud, folder))
}

// All but that a worker holds its slot: there are none.
legwork_conformance::jobs_suite!(bench:
    a_worker_is_running_then_ended,
    a_worker_that_fails_has_ended,
    every_start_has_a_name_of_its_own,
    what_was_never_started_is_unknown,
    what_does_not_run_can_be_cancelled,
    any_service_can_cancel,
    who_does_not_end_is_ended_by_force,
    each_slot_goes_to_one_of_many_callers,
    slots_are_where_somebody_waits_for_them,
    nobody_waits_longer_for_a_slot_than_asked,
);

#[tokio::test]
async fn an_execution_runs_until_it_is_cancelled() {
    let (jobs, _cloud) = service();
    let execution = jobs.start(job("task-1")).await.unwrap();
    let before = status(&jobs, &execution).await;

    for _ in 0..2 {
        jobs.cancel(&execution.name).await.unwrap();
    }

    until_ended(&jobs, &execution).await;
    assert_eq!(before, ExecutionStatus::Running);
}

#[tokio::test]
async fn an_execution_is_named_below_its_job() {
    let ((jobs, name), _cloud) =
        start(async |cloud: &GoogleCloud| (jobs(cloud, cloud.job()).await, cloud.job().to_owned()));

    let execution = jobs.start(job("task-1")).await.unwrap();

    assert!(execution.name.starts_with(&format!("{name}/executions/")), "{}", execution.name);
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_is_not_tried_again() {
    let ((jobs, requests), _cloud) = start(async |cloud: &GoogleCloud| {
        cloud.faults().add(Fault::of(GoogleService::Run).path(":run").lost(503));
        let jobs = jobs(cloud, cloud.job()).await;
        let error = jobs.start(job("task-1")).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        (jobs, cloud.requests().len())
    });

    jobs.start(job("task-1")).await.unwrap();

    assert_eq!(requests, 1);
}

#[tokio::test]
async fn an_execution_is_known_by_the_short_name_that_its_worker_has() {
    let (jobs, _cloud) = service();
    let execution = jobs.start(job("task-1")).await.unwrap();
    let short = execution.name.rsplit('/').next().unwrap().to_owned();
    let execution = Execution { name: short, worker_logs_url: None };

    let before = status(&jobs, &execution).await;
    jobs.cancel(&execution.name).await.unwrap();

    until_ended(&jobs, &execution).await;
    assert_eq!(before, ExecutionStatus::Running);
}

#[tokio::test]
async fn a_missing_job_is_told_with_what_makes_it() {
    let (jobs, _cloud) = start(async |cloud: &GoogleCloud| jobs(cloud, &format!("{}-x", cloud.job())).await);

    let error = jobs.start(job("task-1")).await.unwrap_err();

    assert!(
        matches!(&error, JobsError::Refused { advice, .. }
            if advice.contains("there is no job") && advice.contains("./scripts/deploy-job.sh")),
        "{error}"
    );
}
