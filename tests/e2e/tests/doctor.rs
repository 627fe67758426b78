//! What stands in a task's way is told before any task fails by it, with what mends it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use legwork_simulators::google::{Fault, GoogleCloud, GoogleService};
use serde_json::Value;
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_legwork-under-test");

/// Runs the doctor with this environment and returns its exit code and its findings.
async fn examine(env: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(PROGRAM)
        .args(["doctor", "--json"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(env.iter().copied())
        .current_dir("/")
        .output()
        .await
        .unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    let findings = serde_json::from_str(&said).unwrap_or_else(|_| vec![Value::from(complaint)]);
    (output.status.code(), findings)
}

/// Does so on Google Cloud's simulators; a variable that is given again has the later value.
async fn examine_google(cloud: &GoogleCloud, more: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let ours = cloud.environment();
    let ours = ours.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let secret = [("CLOUDRUN_CALLBACK_SECRET", "e2e-callback-secret")];
    let env: Vec<_> = ours.chain(secret).chain(more.iter().copied()).collect();
    examine(&env).await
}

async fn cloud() -> GoogleCloud {
    GoogleCloud::start().await.with_schedule("https://legwork-abc.a.run.app/reconcile")
}

fn of<'f>(findings: &'f [Value], check: &str) -> &'f Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no finding of {check} in {findings:#?}"))
}

/// Checks that this fails alone, and is mended so.
#[track_caller]
fn check_fails((code, findings): (Option<i32>, Vec<Value>), check: &str, words: &[&str]) {
    let failing: Vec<_> =
        findings.iter().filter(|f| f["outcome"] == "fails").map(|f| f["check"].clone()).collect();
    assert_eq!((code, failing), (Some(1), vec![Value::from(check)]), "{findings:#?}");
    let finding = of(&findings, check);
    for word in words {
        assert!(finding.to_string().contains(word), "{word}: {finding:#}");
    }
    assert!(finding["mend"].is_string(), "{finding:#}");
}

#[tokio::test]
async fn a_whole_google_cloud_works_and_nothing_is_left_of_the_trial() {
    let cloud = cloud().await;

    let (code, findings) = examine_google(&cloud, &[]).await;

    assert_eq!(code, Some(0), "{findings:#?}");
    for check in ["secret", "store", "key", "job", "permissions", "reconciler"] {
        assert_eq!(of(&findings, check)["outcome"], "works", "{findings:#?}");
    }
    // Workers run elsewhere: what holds there is not tried here.
    assert_eq!(of(&findings, "isolation")["outcome"], "untried", "{findings:#?}");
    assert_eq!(findings.len(), 7, "{findings:#?}");
    assert_eq!(cloud.objects(), Vec::<String>::new());
    assert!(cloud.executions().is_empty());
}

#[tokio::test]
async fn what_is_missing_on_google_cloud_is_named_with_the_command_that_makes_it() {
    let cloud = cloud().await;
    let project = "./scripts/setup-project.sh";

    let no_bucket = examine_google(&cloud, &[("GCS_LOGS_BUCKET", "another")]).await;
    let no_key = examine_google(&cloud, &[("KMS_KEY_NAME", "another")]).await;
    let no_job = examine_google(&cloud, &[("CLOUDRUN_JOB_NAME", "another")]).await;
    let no_secret = examine_google(&cloud, &[("CLOUDRUN_CALLBACK_SECRET", "")]).await;
    let no_bucket_named = examine_google(&cloud, &[("GCS_LOGS_BUCKET", "")]).await;

    check_fails(no_bucket, "store", &["there is no bucket another", project]);
    check_fails(no_key, "key", &["cryptoKeys/another", project]);
    // Who may do what with it cannot be told either.
    check_fails(no_job, "job", &["jobs/another", "./scripts/deploy-job.sh"]);
    check_fails(no_secret, "secret", &["missing CLOUDRUN_CALLBACK_SECRET", "./scripts/create-secrets.sh"]);
    check_fails(no_bucket_named, "store", &["GCS_LOGS_BUCKET", project]);
}

#[tokio::test]
async fn a_job_that_would_end_tasks_too_early_is_told() {
    let short = cloud().await.with_task_timeout(Duration::from_mins(30));
    let repeated = cloud().await.with_retries(3);

    let (code, findings) = examine_google(&repeated, &[]).await;

    check_fails(examine_google(&short, &[]).await, "job", &["after 30 min", "needs 95", "deploy-job.sh"]);
    assert_eq!((code, &of(&findings, "job")["outcome"]), (Some(0), &Value::from("warning")), "{findings:#?}");
}

#[tokio::test]
async fn a_permission_that_is_missing_is_named_with_its_role() {
    let cloud = cloud().await;
    cloud.deny_permission("run.jobs.runWithOverrides");
    let closed = self::cloud().await;
    closed.faults().add(Fault::of(GoogleService::Storage).always().refused(403));

    let overrides = examine_google(&cloud, &[]).await;
    let bucket = examine_google(&closed, &[]).await;

    check_fails(
        overrides,
        "permissions",
        &["run.jobs.runWithOverrides", "roles/run.jobsExecutorWithOverrides", "setup-service-account.sh"],
    );
    check_fails(bucket, "store", &["roles/storage.objectUser"]);
}

#[tokio::test]
async fn an_account_that_may_not_open_what_it_wraps_is_no_failure() {
    let cloud = cloud().await;
    cloud.faults().add(Fault::of(GoogleService::Kms).path(":decrypt").always().refused(403));

    let (code, findings) = examine_google(&cloud, &[]).await;

    let key = of(&findings, "key");
    assert_eq!((code, &key["outcome"]), (Some(0), &Value::from("warning")), "{findings:#?}");
    assert!(key.to_string().contains("roles/cloudkms.cryptoKeyDecrypter"), "{key:#}");
}

#[tokio::test]
async fn a_reconciler_that_nobody_calls_is_told() {
    let nobody = GoogleCloud::start().await.with_schedule("https://example.com/other");
    let paused = cloud().await;
    paused.pause_schedules();

    let (code, findings) = examine_google(&nobody, &[("RECONCILER", "loop")]).await;

    check_fails(examine_google(&nobody, &[]).await, "reconciler", &["POST /reconcile", "deploy-service.sh"]);
    check_fails(examine_google(&paused, &[]).await, "reconciler", &["is paused", "deploy-service.sh"]);
    assert_eq!((code, &of(&findings, "reconciler")["outcome"]), (Some(0), &Value::from("works")));
}

#[tokio::test]
async fn this_machine_is_examined_with_its_agent() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let agent = folder.path().join("claude");
    std::fs::write(&agent, "#!/bin/sh\necho 2.1.197 '(Claude Code)'\n").unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let env = [("LEGWORK_DATA_DIR", data.to_str().unwrap()), ("CLAUDE_COMMAND", agent.to_str().unwrap())];

    let (code, findings) = examine(&env).await;
    let (without, missing) = examine(&[env[0], ("CLAUDE_COMMAND", "no-such-agent")]).await;

    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(of(&findings, "agent")["detail"].as_str().unwrap().contains("2.1.197"), "{findings:#?}");
    for check in ["secret", "store", "key", "reconciler"] {
        assert_eq!(of(&findings, check)["outcome"], "works", "{findings:#?}");
    }
    check_fails((without, missing), "agent", &["no-such-agent", "npm install -g @anthropic-ai/claude-code"]);
    assert_eq!(std::fs::read_dir(data.join("objects/doctor")).map_or(0, Iterator::count), 0);
}

#[tokio::test]
async fn what_cannot_be_configured_is_told_as_by_the_service() {
    let (code, said) = examine(&[("LEGWORK_PLATFORM", "gcp")]).await;

    assert_eq!(code, Some(2), "{said:?}");
    assert!(said[0].as_str().unwrap().contains("PROJECT_ID is not set"), "{said:?}");
}
