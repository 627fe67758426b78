//! What stands against a push is told in words that help, and what must not be asked for is refused.

use std::path::Path;

use legwork_e2e::{PATIENCE, Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, GitHttpServer, SshServer};
use serde_json::{Value, json};

const TOKEN: &str = "token-of-the-task";

/// Holds a task in one of its commands until the test lets it go on.
///
/// It is a git server, because git is what every task can reach: it waits for a repository to appear.
struct Gate {
    repositories: BareRepositories,
    server: GitHttpServer,
}

impl Gate {
    async fn close() -> Self {
        let repositories = BareRepositories::new();
        let server = GitHttpServer::start(&repositories).await;
        Self { repositories, server }
    }

    fn command(&self) -> String {
        let url = self.server.url("open");
        format!("until git ls-remote -q {url} > /dev/null 2>&1; do sleep 0.1; done; echo x > x.txt")
    }

    /// Waits until the task stands in front of it: it has been cloned, and is not pushed yet.
    async fn is_reached(&self) {
        assert!(self.server.wait_for(1, PATIENCE).await.is_ok(), "no task has come to the gate");
    }

    fn open(&self) {
        self.repositories.repository("open");
    }
}

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start()
}

fn repository(repositories: &BareRepositories) -> BareRepository {
    let repository = repositories.repository("project");
    repository.commit("main", "first", &[("README.md", b"hello\n")]);
    repository
}

/// Returns a request that lets the work be pushed.
fn over_ssh(server: &SshServer, command: &str) -> Value {
    json!({
        "gitRepo": server.url("project"),
        "sshKey": server.client_key(),
        "preExecutionCommands": [command],
        "postExecutionActions": {"git": {"commit": true, "push": true}},
    })
}

/// The same over http.
fn over_http(server: &GitHttpServer, command: &str) -> Value {
    json!({
        "gitRepo": server.url("project"),
        "gitToken": TOKEN,
        "preExecutionCommands": [command],
        "postExecutionActions": {"git": {"commit": true, "push": true}},
    })
}

/// Asserts that the task went well but for its push, of which this is told, and that nothing was pushed.
#[track_caller]
fn check(record: &Value, repository: &BareRepository, words: &[&str]) {
    let commit = record.get("gitCommit").and_then(|commit| commit.get("pushed"));
    assert_eq!(
        (record.get("status"), commit),
        (Some(&json!("completed")), Some(&json!(false))),
        "{record:#}"
    );
    let error = record.pointer("/actionErrors/0");
    assert_eq!(error.and_then(|error| error.get("action")), Some(&json!("push")), "{record:#}");
    let told = error.and_then(|error| error.get("error")).and_then(Value::as_str).unwrap_or_default();
    for expected in words {
        assert!(told.contains(*expected), "{expected} is missing of {told}");
    }
    assert_eq!(repository.log("main"), ["first"], "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_that_has_changed_since_the_clone_gets_no_push() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let mut server = SshServer::start(&repositories).await;
    let (service, gate) = (service(), Gate::close().await);
    let id = service.submit(&modes(&["ok"]), None, over_ssh(&server, &gate.command())).await;
    gate.is_reached().await;
    let commands = server.commands().len();

    server.change_host_key();
    gate.open();
    let record = service.wait_for_end(&id).await;

    check(&record, &repository, &["the host key is not the known one"]);
    assert_eq!(server.commands().len(), commands, "somebody logged in: {:?}", server.commands());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_been_revoked_since_the_clone_is_told() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = GitHttpServer::start(&repositories).await.with_token(TOKEN);
    let (service, gate) = (service(), Gate::close().await);
    let id = service.submit(&modes(&["ok"]), None, over_http(&server, &gate.command())).await;
    gate.is_reached().await;

    server.change_token("another-token");
    gate.open();
    let record = service.wait_for_end(&id).await;

    check(&record, &repository, &["access was refused", "Invalid username or token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_told_so() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = GitHttpServer::start(&repositories).await.with_token(TOKEN).read_only();
    let service = service();

    let id = service.submit(&modes(&["ok"]), None, over_http(&server, "echo x > x.txt")).await;
    let record = service.wait_for_end(&id).await;

    check(&record, &repository, &["access was refused", "Write access to repository not granted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_is_told_over_http_too_and_another_one_is_pushed_to() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    repository.protect("main");
    let server = GitHttpServer::start(&repositories).await.with_token(TOKEN);
    let service = service();
    let mut request = over_http(&server, "echo x > x.txt");

    let id = service.submit(&modes(&["ok"]), None, request.clone()).await;
    let protected = service.wait_for_end(&id).await;
    request["postExecutionActions"]["git"]["branch"] = json!("proposal");
    let id = service.submit(&modes(&["ok"]), None, request).await;
    let free = service.wait_for_end(&id).await;

    let words = ["GH006: Protected branch update failed", "must be made through a pull request"];
    check(&protected, &repository, &words);
    assert_eq!(free["gitCommit"]["pushed"], true, "{free:#}");
    assert_eq!(repository.branches(), ["main", "proposal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_sends_elsewhere_does_not_send_the_token_there() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let elsewhere = GitHttpServer::start(&repositories).await.with_token(TOKEN);
    let server = GitHttpServer::start(&repositories).await.redirect_to(&elsewhere.base());
    let service = service();

    let id = service.submit(&modes(&["ok"]), None, over_http(&server, "true")).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["errorCode"], "clone_failed", "{record:#}");
    let asked = elsewhere.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.authorization().is_none()), "{asked:?}");
    assert_eq!(repository.log("main"), ["first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_git_would_take_for_options_or_programs_are_refused_at_once() {
    let service = service();
    let repositories = [
        "--upload-pack=touch x",
        "-oProxyCommand=x@h:r",
        "u@-oProxyCommand=x:r",
        "u@h:-x",
        "ssh://-oProxyCommand=x/r",
        "ssh://-x@h/r",
        "ext::sh -c id",
        "fd::17",
        "u@h::x",
        "file:///etc",
        "/etc",
        "../x",
        "git://h/r",
        "ssh+ext://h/r",
        "https://h/r\n[core]",
        "h:r",
    ];
    let branches =
        ["--upload-pack=x", "-x", "a..b", "a:b", "@{-1}", "a b", "HEAD", "x.lock", "a\n", "refs/../x", ""];
    let paths = ["/etc", "../x", "a/../b", "a//b", "a\\b", "a\nb", ".", ""];
    let git = |branch: &str| json!({"git": {"push": true, "branch": branch}});
    let upload = |prefix: &str| json!({"uploadFiles": {"globPatterns": ["*"], "gcsPrefix": prefix}});
    let glob = |glob: &str| json!({"git": {"commit": true, "files": [glob]}});
    let mut rows: Vec<(&str, Value)> = Vec::new();
    rows.extend(repositories.map(|value| ("gitRepo", json!({"gitRepo": value}))));
    rows.extend(branches.map(|value| ("gitBranch", json!({"gitBranch": value}))));
    rows.extend(branches.map(|value| ("git.branch", json!({"postExecutionActions": git(value)}))));
    rows.extend(paths.map(|value| ("cwdRelative", json!({"cwdRelative": value}))));
    rows.extend(paths.map(|value| ("gcsPrefix", json!({"postExecutionActions": upload(value)}))));
    rows.extend(["", "a\0b"].map(|value| ("git.files[0]", json!({"postExecutionActions": glob(value)}))));

    for (member, more) in rows {
        let mut request = json!({
            "prompt": "mode: ok",
            "anthropicApiKey": "sk-ant-e2e-0123456789",
            "callbackUrl": null,
            "gitRepo": "https://h.example/o/r.git",
        });
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        let answer = service.post("/run-async", &request).await;

        assert_eq!(answer.status, 400, "{more}: {answer:?}");
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(&format!("{member} must ")), "{more}: {error}");
    }
}

legwork_e2e::also_on_google!(
    a_host_key_that_has_changed_since_the_clone_gets_no_push,
    a_token_that_has_been_revoked_since_the_clone_is_told,
    who_may_only_read_is_told_so,
    a_protected_branch_is_told_over_http_too_and_another_one_is_pushed_to,
    a_remote_that_sends_elsewhere_does_not_send_the_token_there,
    names_that_git_would_take_for_options_or_programs_are_refused_at_once,
);
