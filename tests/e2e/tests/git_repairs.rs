//! Tasks in repositories that are made difficult: by what the request names, by what its commands and its
//! agent leave behind, and by what others push meanwhile.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::{path::Path, time::Duration};

use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, GitHttpServer};
use serde_json::{Value, json};

const SECRET: &str = "a-secret-of-the-environment";
const STEERING: &str = r#"{"env":{"STEERED":"1"}}"#;

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start()
}

fn repository(repositories: &BareRepositories) -> BareRepository {
    let repository = repositories.repository("project");
    repository.commit("main", "first", &[("README.md", b"hello\n")]);
    repository
}

/// Runs a task that commits and pushes, unless its request says otherwise.
async fn run(service: &Service, agent: &str, more: &Value) -> (String, Value) {
    let git = json!({"commit": true, "commitMessage": "the task's work", "push": true});
    let mut request =
        json!({"environmentSecrets": {"MY_SECRET": SECRET}, "postExecutionActions": {"git": git}});
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    let id = service.submit(&modes(&[agent]), None, request).await;
    let record = service.wait_for_end(&id).await;
    (id, record)
}

fn error_of(record: &Value, action: &str) -> String {
    let errors = record["actionErrors"].as_array().into_iter().flatten();
    let found = errors.filter(|error| error["action"] == action).filter_map(|error| error["error"].as_str());
    found.collect::<Vec<_>>().join("; ")
}

/// The paths of the uploaded files.
fn uploaded(record: &Value) -> Vec<&str> {
    let files = record["uploadedFiles"].as_array().into_iter().flatten();
    files.filter_map(|file| file["originalPath"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_merges_onto_the_services_files_stays_in_the_repository() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    repository.git(&["branch", "theirs", "main"]);
    let brought: [(&str, &[u8]); 2] =
        [(".env", b"THEIRS=1\n"), (".claude/settings.local.json", b"{\"a\":1}\n")];
    repository.commit("theirs", "brings files", &brought);
    let server = GitHttpServer::start(&repositories).await;

    let merge = r#"sh command="git merge -q origin/theirs && echo new > new.txt""#;
    let (_, record) = run(&service(), merge, &json!({"gitRepo": server.url("project"), "gitDepth": 0})).await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    assert_eq!(record["actionErrors"], json!([]), "{record:#}");
    assert_eq!(repository.log("main"), ["the task's work", "brings files", "first"]);
    assert_eq!(repository.file("main", "new.txt").as_deref(), Some(b"new\n".as_slice()));
    for (path, content) in brought {
        assert_eq!(repository.file("main", path).as_deref(), Some(content), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_a_command_brings_do_not_steer_the_agent() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = GitHttpServer::start(&repositories).await;
    let service = service();
    let write = |folder: &str| {
        format!("mkdir -p {folder}/.claude && echo '{STEERING}' > {folder}/.claude/settings.json")
    };
    let relink = format!("cd .. && {} && rm -rf app && ln -s other app", write("other"));

    for (cwd, command, told) in [
        (Value::Null, write("."), ".claude/settings.json"),
        (json!("app"), relink, "other/.claude/settings.json"),
    ] {
        let more = json!({
            "gitRepo": server.url("project"),
            "cwdRelative": cwd,
            "preExecutionCommands": [command],
            "postExecutionActions": null,
        });
        let (id, record) = run(&service, "read path=.claude/settings.json", &more).await;

        assert_eq!(record["status"], "completed", "{record:#}");
        let log = service.log_lines(&id).await.join("\n");
        assert!(log.contains("read .claude/settings.json: {}"), "{told}: {log}");
        assert!(
            log.contains(&format!("{told}, as preExecutionCommands left it, is covered")),
            "{told}: {log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_the_services_files_are_not_uploaded_however_short_the_secrets() {
    let service = service();
    let more = json!({
        "environmentSecrets": {"PIN": "1234"},
        "preExecutionCommands": ["mkdir out && cp .env out/copy.txt && echo fine > out/fine.txt"],
        "postExecutionActions": {"uploadFiles": {"globPatterns": ["out/*"]}},
    });

    let (_, record) = run(&service, "ok", &more).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(uploaded(&record), ["out/fine.txt"], "{record:#}");
    assert!(error_of(&record, "upload").contains("out/copy.txt: it holds a secret"), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_names_and_messages_are_masked() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = GitHttpServer::start(&repositories).await;
    let service = service();
    let more = json!({
        "gitRepo": server.url("project"),
        "preExecutionCommands": ["echo x > \"of $MY_SECRET.txt\" && echo x > plain.txt"],
        "postExecutionActions": {
            "git": {"commit": true, "commitMessage": format!("Use {SECRET}")},
            "uploadFiles": {"globPatterns": ["*.txt"]},
        },
    });

    let (_, record) = run(&service, "ok", &more).await;

    assert_eq!(record["gitCommit"]["message"], "Use ***", "{record:#}");
    assert_eq!(uploaded(&record), ["plain.txt"], "{record:#}");
    let told = error_of(&record, "upload");
    assert!(told.contains("of ***.txt: its name holds a secret"), "{told}");
    let leaks = service.stored().into_iter().filter(|(path, bytes)| {
        path.to_string_lossy().contains(SECRET) || String::from_utf8_lossy(bytes).contains(SECRET)
    });
    assert_eq!(leaks.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_address_names_logs_in_and_is_told_nowhere() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = GitHttpServer::start(&repositories).await.with_token("the-right-token");
    let service = service();

    for (info, user) in [("me%40work:the-right-token@", "me@work"), ("the-right-token@", "x-access-token")] {
        let url = server.url("project").replace("http://", &format!("http://{info}"));
        let write = format!("echo {user} > user.txt; git remote get-url origin");
        let (id, record) =
            run(&service, "ok", &json!({"gitRepo": url, "preExecutionCommands": [write]})).await;

        assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
        assert_eq!(server.users().last().map(String::as_str), Some(user));
        let log = service.log_lines(&id).await.join("\n");
        assert!(log.contains(&server.url("project")), "the address is told: {log}");
        let said = [record.to_string(), log, service.log(), service.worker_logs()].concat();
        assert!(!said.contains("the-right-token") && !said.contains("me%40work"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_another_ones_name_is_in_the_way_of_is_told() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let before = repository.head("main");
    let server = GitHttpServer::start(&repositories).await;
    let more = json!({
        "gitRepo": server.url("project"),
        "preExecutionCommands": ["echo x > x"],
        "postExecutionActions": {"git": {"commit": true, "push": true, "branch": "main/topic"}},
    });

    let (_, record) = run(&service(), "ok", &more).await;

    assert_eq!(record["gitCommit"]["pushed"], false, "{record:#}");
    let told = error_of(&record, "push");
    assert!(told.contains("the remote refused it") && told.contains("'refs/heads/main' exists"), "{told}");
    assert_eq!((repository.branches(), repository.head("main")), (vec!["main".to_owned()], before));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_the_branch_has_already_is_told_and_not_pushed() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = GitHttpServer::start(&repositories).await;
    let service = service();
    let wait = "until git ls-remote --exit-code origin refs/heads/go; do sleep 0.1; done";
    let request = json!({
        "gitRepo": server.url("project"),
        "preExecutionCommands": [format!("echo same > new.txt; echo ready; {wait}")],
        "postExecutionActions": {"git": {"commit": true, "push": true}},
    });

    let id = service.submit(&modes(&["ok"]), None, request).await;
    // The clone is over; the command waits for a branch.
    for _ in 0..600 {
        if service.log_lines(&id).await.iter().any(|line| line.contains("\"ready\"")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let theirs = repository.commit("main", "theirs", &[("new.txt", b"same\n")]);
    repository.git(&["branch", "go", "main"]);
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["gitCommit"]["pushed"], false, "{record:#}");
    assert!(error_of(&record, "push").contains("main has the same changes already"), "{record:#}");
    assert_eq!(repository.head("main"), Some(theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_the_task_made_is_left_out_and_told() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = GitHttpServer::start(&repositories).await;
    let more = json!({
        "gitRepo": server.url("project"),
        "preExecutionCommands": ["git init -q inner && echo x > inner/x && echo y > y"],
    });

    let (_, record) = run(&service(), "ok", &more).await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    assert!(error_of(&record, "commit").contains("inner is a repository of its own"), "{record:#}");
    assert_eq!(repository.files("main"), ["README.md", "y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_that_match_nothing_of_what_has_changed_are_told() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = GitHttpServer::start(&repositories).await;
    let more = json!({
        "gitRepo": server.url("project"),
        "preExecutionCommands": ["echo x > x"],
        "postExecutionActions": {"git": {"commit": true, "files": ["docs/**"]}},
    });

    let (_, record) = run(&service(), "ok", &more).await;

    assert_eq!(record["gitCommit"], Value::Null, "{record:#}");
    assert!(error_of(&record, "commit").contains("none of 1 changed files"), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_commits_without_an_identity_of_its_own() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = GitHttpServer::start(&repositories).await;

    let commit = r#"sh command="echo x > x && git add x && git commit -qm own""#;
    let (_, record) = run(&service(), commit, &json!({"gitRepo": server.url("project")})).await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    assert_eq!(repository.log("main"), ["own", "first"]);
    assert_eq!(repository.author("main"), "Claude Code <noreply@anthropic.com>");
}

legwork_e2e::also_on_google!(
    what_the_agent_merges_onto_the_services_files_stays_in_the_repository,
    settings_that_a_command_brings_do_not_steer_the_agent,
    copies_of_the_services_files_are_not_uploaded_however_short_the_secrets,
    secrets_in_names_and_messages_are_masked,
    whoever_the_address_names_logs_in_and_is_told_nowhere,
    a_branch_that_another_ones_name_is_in_the_way_of_is_told,
    work_that_the_branch_has_already_is_told_and_not_pushed,
    a_repository_that_the_task_made_is_left_out_and_told,
    globs_that_match_nothing_of_what_has_changed_are_told,
    an_agent_commits_without_an_identity_of_its_own,
);
