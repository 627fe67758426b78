//! Tasks that work in a repository: cloned from real servers, committed, pushed, uploaded.
//!
//! What an agent would do is done by the request's own commands, which run as it does.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, GitHttpServer, SshServer};
use serde_json::{Value, json};

const SECRET: &str = "a-secret-of-the-environment";

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start()
}

/// A repository with two commits.
fn repository(repositories: &BareRepositories) -> BareRepository {
    let repository = repositories.repository("project");
    repository.commit("main", "first", &[("README.md", b"hello\n"), ("shared.txt", b"one\ntwo\nthree\n")]);
    let settings: &[u8] = b"{\"env\":{\"ANTHROPIC_BASE_URL\":\"http://127.0.0.1:1\"}}\n";
    repository.commit("main", "second", &[(".claude/settings.json", settings)]);
    repository
}

/// Merges members into a request that commits and pushes.
fn request(more: &Value) -> Value {
    let mut request = json!({
        "environmentSecrets": {"MY_SECRET": SECRET},
        "postExecutionActions": {"git": {"commit": true, "commitMessage": "the task's work", "push": true}},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    request
}

async fn run(service: &Service, more: Value) -> (String, Value) {
    let id = service.submit(&modes(&["ok"]), None, request(&more)).await;
    let record = service.wait_for_end(&id).await;
    (id, record)
}

fn error_of(record: &Value, action: &str) -> String {
    let errors = record["actionErrors"].as_array().into_iter().flatten();
    let found = errors.filter(|error| error["action"] == action).filter_map(|error| error["error"].as_str());
    found.collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn work_over_ssh_is_committed_pushed_and_uploaded_without_what_the_service_put_there() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();

    let (_, record) = run(
        &service,
        json!({
            "gitRepo": server.url("project"),
            "sshKey": server.client_key(),
            "preExecutionCommands": ["test \"$(cat .claude/settings.json)\" = '{}'", "grep -q MY_SECRET .env",
                "echo new > new.txt", "mkdir out && echo log > out/a.log"],
            "slashCommands": {"review": {"content": "Review it"}},
            "postExecutionActions": {
                "git": {"commit": true, "commitMessage": "the task's work", "push": true},
                "uploadFiles": {"globPatterns": ["out/*.log", "**/*.txt", ".env", ".claude/**"], "gcsPrefix": "kept"},
            },
        }),
    )
    .await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(record["actionErrors"], json!([]), "{record:#}");
    assert_eq!(
        (&record["gitCommit"]["pushed"], &record["gitCommit"]["branch"]),
        (&json!(true), &json!("main"))
    );
    assert_eq!(record["gitCommit"]["sha"].as_str(), repository.head("main").as_deref());
    assert_eq!(repository.log("main"), ["the task's work", "second", "first"]);
    assert_eq!(repository.author("main"), "Claude Code <noreply@anthropic.com>");
    let mut files = repository.files("main");
    files.sort();
    assert_eq!(files, [".claude/settings.json", "README.md", "new.txt", "out/a.log", "shared.txt"]);
    let uploaded: Vec<_> =
        record["uploadedFiles"].as_array().unwrap().iter().map(|f| &f["originalPath"]).collect();
    assert_eq!(uploaded, [".claude/settings.json", "new.txt", "out/a.log", "shared.txt"]);
    let place = record["uploadedFiles"][2]["gcsPath"].as_str().unwrap();
    assert!(place.ends_with("/uploads/kept/out/a.log"), "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_repository_over_http_and_a_wrong_one_is_told() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = GitHttpServer::start(&repositories).await.with_token("the-right-token");
    let service = service();
    let with = |token: &str| json!({"gitRepo": server.url("project"), "gitToken": token, "preExecutionCommands": ["echo x > x"]});

    let (_, right) = run(&service, with("the-right-token")).await;
    let (_, wrong) = run(&service, with("another-token")).await;

    assert_eq!(right["gitCommit"]["pushed"], true, "{right:#}");
    assert_eq!(repository.log("main").first().map(String::as_str), Some("the task's work"));
    assert_eq!(
        (&wrong["status"], &wrong["errorCode"]),
        (&json!("failed"), &json!("clone_failed")),
        "{wrong:#}"
    );
    assert!(wrong["error"].as_str().unwrap().contains("access was refused"), "{wrong:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_against_a_clone_is_named() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();
    let cases = [
        (json!({"gitBranch": "missing"}), "there is no branch missing"),
        (json!({"gitRepo": server.url("nothing")}), "there is no such repository"),
        (json!({"sshKey": server.unauthorised_key()}), "the SSH key was refused"),
    ];

    for (more, expected) in cases {
        let mut members = json!({"gitRepo": server.url("project"), "sshKey": server.client_key()});
        for (name, value) in more.as_object().unwrap() {
            members[name] = value.clone();
        }
        let (_, record) = run(&service, members).await;
        assert_eq!(record["errorCode"], "clone_failed", "{record:#}");
        assert!(record["error"].as_str().unwrap().contains(expected), "{expected}: {record:#}");
        assert_eq!(record["exitCode"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_has_moved_on_gets_both_sides_and_the_tasks_lines() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();
    let id = service
        .submit(
            &modes(&["ok"]),
            None,
            request(&json!({
                "gitRepo": server.url("project"),
                "sshKey": server.client_key(),
                "preExecutionCommands": ["printf 'one\\ntask\\nthree\\n' > shared.txt; echo t > task.txt; echo ready; sleep 3"],
            })),
        )
        .await;
    // The clone is over; the commands still run.
    for _ in 0..600 {
        if service.log_lines(&id).await.iter().any(|line| line.contains("\"ready\"")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let theirs = repository.commit(
        "main",
        "theirs",
        &[("shared.txt", b"one\nremote\nthree\n"), ("remote.txt", b"r\n")],
    );

    let record = service.wait_for_end(&id).await;

    let recovery = &record["gitCommit"]["recovery"];
    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    assert_eq!(
        (&recovery["method"], &recovery["remoteSha"]),
        (&json!("rebase"), &json!(theirs)),
        "{record:#}"
    );
    assert_eq!(recovery["conflictFiles"], json!(["shared.txt"]), "{record:#}");
    assert_eq!(repository.log("main"), ["the task's work", "theirs", "second", "first"]);
    assert_eq!(repository.file("main", "shared.txt").unwrap(), b"one\ntask\nthree\n");
    assert!(repository.file("main", "remote.txt").is_some() && repository.file("main", "task.txt").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_branch_deletes_nothing_of_the_remotes_history() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = SshServer::start(&repositories).await;

    let (_, record) = run(
        &service(),
        json!({
            "gitRepo": server.url("project"),
            "sshKey": server.client_key(),
            "preExecutionCommands": ["git checkout -q --orphan other && git rm -rfq . && echo o > orphan.txt && git add orphan.txt \
                && git -c user.name=a -c user.email=a@b commit -qm orphan"],
        }),
    )
    .await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    assert_eq!(repository.log("main"), ["orphan", "second", "first"]);
    assert!(repository.file("main", "README.md").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_were_committed_are_not_pushed_and_copies_of_them_not_uploaded() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();
    let before = repository.head("main");
    let commit = "git -c user.name=a -c user.email=a@b commit -qm leak";

    for command in [
        format!("git add -f .env && {commit}"),
        format!("cp .env config.txt && git add config.txt && {commit}"),
        "echo \"token: $MY_SECRET\" > notes.md".to_owned(),
    ] {
        let (_, record) = run(
            &service,
            json!({
                "gitRepo": server.url("project"),
                "sshKey": server.client_key(),
                "preExecutionCommands": [command],
                "postExecutionActions": {
                    "git": {"commit": true, "push": true},
                    "uploadFiles": {"globPatterns": ["**/*"]},
                },
            }),
        )
        .await;

        assert_eq!(record["status"], "completed", "{record:#}");
        assert_eq!(record["gitCommit"]["pushed"], false, "{record:#}");
        assert!(error_of(&record, "push").contains("nothing was pushed"), "{record:#}");
        assert_eq!(repository.head("main"), before);
    }
    let stored = service.stored();
    let leaks = stored.iter().filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains(SECRET));
    assert_eq!(leaks.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<&std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_is_told_in_the_servers_words() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    repository
        .set_hook("pre-receive", "#!/bin/sh\necho 'GH006: Protected branch update failed' >&2\nexit 1\n");
    let server = SshServer::start(&repositories).await;

    let (_, record) = run(
        &service(),
        json!({
            "gitRepo": server.url("project"),
            "sshKey": server.client_key(),
            "preExecutionCommands": ["echo x > x"],
        }),
    )
    .await;

    assert_eq!(record["gitCommit"]["pushed"], false, "{record:#}");
    assert!(error_of(&record, "push").contains("GH006: Protected branch update failed"), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_fails_the_task_and_its_output_is_in_the_log() {
    let service = service();

    let commands =
        json!({"preExecutionCommands": ["echo fine", "echo out; echo err >&2; exit 3", "echo never"]});
    let id = service.submit(&modes(&["ok"]), None, commands).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(
        (&record["status"], &record["errorCode"]),
        (&json!("failed"), &json!("command_failed")),
        "{record:#}"
    );
    assert!(record["error"].as_str().unwrap().contains("exited with code 3"), "{record:#}");
    assert!(record["errorDetail"].as_str().unwrap().contains("err"), "{record:#}");
    let lines = service.log_lines(&id).await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let output: Vec<_> = lines.iter().filter(|line| line["type"] == "command_output").collect();
    let told: Vec<_> = output
        .iter()
        .map(|line| (line["stream"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("stdout", "fine"), ("stdout", "out"), ("stderr", "err")]);
}

legwork_e2e::also_on_google!(
    work_over_ssh_is_committed_pushed_and_uploaded_without_what_the_service_put_there,
    a_token_opens_a_repository_over_http_and_a_wrong_one_is_told,
    what_stands_against_a_clone_is_named,
    a_branch_that_has_moved_on_gets_both_sides_and_the_tasks_lines,
    an_orphaned_branch_deletes_nothing_of_the_remotes_history,
    secrets_that_were_committed_are_not_pushed_and_copies_of_them_not_uploaded,
    a_protected_branch_is_told_in_the_servers_words,
    a_command_that_fails_fails_the_task_and_its_output_is_in_the_log,
);
