//! The job as a client on the wire sees it, with and without processes.

use super::*;
use crate::google::GoogleCloud;
use crate::google::client::{Answer, ask, post};

/// An execution that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("BASE", "base")];

/// The services with a shell script as the job's program.
async fn with_script(script: &str) -> GoogleCloud {
    GoogleCloud::start().await.with_worker("/bin/sh", ["-c", script], ENVIRONMENT)
}

/// Starts an execution with one variable and returns its name.
async fn run(cloud: &GoogleCloud) -> String {
    let container = json!({"env": [{"name": "RUN_ID", "value": "r-1"}]});
    let overrides = json!({"containerOverrides": [container], "taskCount": 1, "timeout": "3600s"});
    let answer =
        post(&cloud.run_endpoint(), &format!("/v2/{JOB}:run"), &json!({"overrides": overrides})).await;
    answer.json()["metadata"]["name"].as_str().unwrap().to_owned()
}

async fn cancel(cloud: &GoogleCloud, name: &str) -> Answer {
    post(&cloud.run_endpoint(), &format!("/v2/{name}:cancel"), &json!({})).await
}

async fn status(cloud: &GoogleCloud, name: &str) -> Value {
    ask(&cloud.run_endpoint(), "GET", &format!("/v2/{name}"), &[], b"").await.json()
}

/// Returns once the log of an execution has this line.
async fn said(cloud: &GoogleCloud, name: &str, line: &str) {
    let has_line = async {
        while !cloud.execution_log(name).lines().any(|said| said == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, has_line).await.expect("the line in time");
}

#[tokio::test]
async fn an_operation_names_the_execution_that_was_started() {
    let cloud = GoogleCloud::start().await;

    let started = post(&cloud.run_endpoint(), &format!("/v2/{JOB}:run?%24alt=json"), &json!({})).await.json();

    let name = format!("{JOB}/executions/legwork-worker-00001");
    let operation = status(&cloud, started["name"].as_str().unwrap()).await;
    assert_eq!(started["done"], false);
    assert_eq!(started["metadata"]["@type"], EXECUTION_TYPE);
    assert_eq!(started["metadata"]["name"], name);
    assert_eq!(operation["metadata"]["name"], name);
    assert_eq!(status(&cloud, &name).await["runningCount"], 1);
}

#[tokio::test]
async fn an_execution_without_a_program_runs_until_it_is_ended() {
    let cloud = GoogleCloud::start().await;
    let name = run(&cloud).await;
    let before = status(&cloud, &name).await;

    let ended = cloud.end_execution(&name);

    let after = status(&cloud, &name).await;
    assert!(ended);
    assert_eq!(before["conditions"][0]["state"], "CONDITION_RECONCILING");
    assert_eq!(before["completionTime"], Value::Null);
    assert_eq!(after["conditions"][0]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(after["succeededCount"], 1);
    assert!(after["completionTime"].is_string());
    assert_eq!(cloud.executions()[0].environment, [("RUN_ID".to_owned(), "r-1".to_owned())]);
}

#[tokio::test]
async fn a_process_has_the_jobs_environment_the_overrides_and_cloud_runs_own() {
    let script = r#"echo "$BASE $RUN_ID $CLOUD_RUN_EXECUTION $CLOUD_RUN_TASK_ATTEMPT ${HOME-none}""#;
    let cloud = with_script(script).await;

    let name = run(&cloud).await;
    let ended = cloud.wait_for_end(&name, PATIENCE).await.unwrap();

    assert_eq!(ended.state, ExecutionState::Succeeded);
    assert_eq!(cloud.execution_log(&name), "base r-1 legwork-worker-00001 0 none\n");
}

#[tokio::test]
async fn a_process_that_fails_is_started_again_as_often_as_the_job_allows() {
    let cloud = with_script("echo $CLOUD_RUN_TASK_ATTEMPT; exit 3").await.with_retries(2);

    let name = run(&cloud).await;
    let ended = cloud.wait_for_end(&name, PATIENCE).await.unwrap();

    assert_eq!((ended.state, ended.attempt), (ExecutionState::Failed, 2));
    assert_eq!(ended.reason, "exit code 3");
    assert_eq!(cloud.execution_log(&name), "0\n1\n2\n");
    assert_eq!(status(&cloud, &name).await["failedCount"], 1);
}

#[tokio::test]
async fn a_cancelled_process_may_end_by_itself() {
    let cloud = with_script("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done").await;
    let name = run(&cloud).await;
    said(&cloud, &name, "up").await;

    let answer = cancel(&cloud, &name).await;
    let ended = cloud.wait_for_end(&name, PATIENCE).await.unwrap();

    assert_eq!(answer.status, 200);
    assert_eq!(ended.state, ExecutionState::Cancelled);
    assert_eq!(cloud.execution_log(&name), "up\nbye\n");
    assert_eq!(status(&cloud, &name).await["cancelledCount"], 1);
}

#[tokio::test]
async fn a_cancelled_process_that_stays_is_killed() {
    let cloud = with_script("trap '' TERM; echo up; while :; do sleep 0.01; done").await;
    let cloud = cloud.with_grace(Duration::from_millis(50));
    let name = run(&cloud).await;
    said(&cloud, &name, "up").await;

    cancel(&cloud, &name).await;

    let ended = cloud.wait_for_end(&name, PATIENCE).await.unwrap();
    assert_eq!(ended.state, ExecutionState::Cancelled);
}

#[tokio::test]
async fn a_killed_process_failed() {
    let cloud = with_script("echo up; exec sleep 60").await;
    let name = run(&cloud).await;
    said(&cloud, &name, "up").await;

    let killed = cloud.kill_execution(&name);

    let ended = cloud.wait_for_end(&name, PATIENCE).await.unwrap();
    assert!(killed);
    assert_eq!((ended.state, ended.reason.as_str()), (ExecutionState::Failed, "terminated by signal 9"));
}

#[tokio::test]
async fn a_process_that_takes_too_long_failed() {
    let cloud = with_script("exec sleep 60").await;
    let body = json!({"overrides": {"timeout": "0.05s"}});
    let started = post(&cloud.run_endpoint(), &format!("/v2/{JOB}:run"), &body).await.json();
    let name = started["metadata"]["name"].as_str().unwrap();

    let ended = cloud.wait_for_end(name, PATIENCE).await.unwrap();

    assert_eq!(ended.state, ExecutionState::Failed);
    assert_eq!(ended.reason, "the configured timeout was reached");
}

#[tokio::test]
async fn what_is_unknown_or_over_is_refused() {
    let cloud = GoogleCloud::start().await;
    let endpoint = cloud.run_endpoint();
    let name = run(&cloud).await;
    cloud.end_execution(&name);

    let job = post(&endpoint, "/v2/projects/p/locations/l/jobs/x:run", &json!({})).await;
    let execution = ask(&endpoint, "GET", &format!("/v2/{JOB}/executions/x"), &[], b"").await;
    let member = post(&endpoint, &format!("/v2/{JOB}:run"), &json!({"override": {}})).await;
    let over = cancel(&cloud, &name).await;

    assert_eq!([job.status, execution.status, member.status, over.status], [404, 404, 400, 400]);
    assert_eq!(over.json()["error"]["status"], "FAILED_PRECONDITION");
    assert_eq!(cloud.executions().len(), 1);
}
