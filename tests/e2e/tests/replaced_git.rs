//! What stands in the place of `.git` when the run is over may be anything: broken, foreign, elsewhere.
//!
//! Either the work is pushed all the same, or it is told why not. The remote loses nothing.

#![expect(
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test; records are read by their members' names"
)]

use std::path::Path;

use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, SshServer};
use serde_json::{Value, json};

const SETTINGS: &[u8] = b"{\"env\":{\"A\":\"1\"}}\n";

/// How the actions of a task end.
#[derive(Debug, Clone, Copy)]
enum End {
    Pushed,
    /// An error is told that holds these words.
    Told(&'static str),
}
use End::{Pushed, Told};

const NO_REPOSITORY: End = Told("the workspace is no repository that git can use");

/// What an agent, or a tool that was ended at the wrong moment, leaves behind.
const ROWS: [(&str, &str, End); 20] = [
    ("index-locked", "touch .git/index.lock", Pushed),
    ("head-locked", "touch .git/HEAD.lock", Pushed),
    ("no-index", "rm .git/index", Pushed),
    ("index-broken", "echo garbage > .git/index", Told("index file")),
    ("gone", "rm -rf .git", NO_REPOSITORY),
    ("anew", "rm -rf .git; git init -q", Pushed),
    ("other-names", "rm -rf .git; git init -q --object-format=sha256", Told("push")),
    ("moved", "mv .git ~/elsewhere; echo \"gitdir: $HOME/elsewhere\" > .git", Pushed),
    ("linked", "mv .git ~/elsewhere; ln -s ~/elsewhere .git", Pushed),
    ("file-out", "rm -rf .git; echo 'gitdir: /etc' > .git", NO_REPOSITORY),
    ("link-out", "rm -rf .git; ln -s / .git", NO_REPOSITORY),
    ("work-tree", "git config core.worktree /etc", Pushed),
    ("no-work-tree", "git config core.worktree /nonexistent", Pushed),
    ("bare", "git config core.bare true", Pushed),
    ("config-broken", "echo '[broken' > .git/config", Told("bad config line")),
    ("extension", "git config core.repositoryformatversion 1; git config extensions.x y", Told("extension")),
    ("head-broken", "echo garbage > .git/HEAD", NO_REPOSITORY),
    ("unborn", "git symbolic-ref HEAD refs/heads/unborn", Pushed),
    ("detached", "git checkout -q --detach", Pushed),
    ("replaced", "git replace --graft HEAD", Pushed),
];

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start()
}

/// A repository whose settings the service covers during the run.
fn repository(repositories: &BareRepositories, name: &str) -> BareRepository {
    let repository = repositories.repository(name);
    repository.commit("main", "first", &[("README.md", b"hello\n")]);
    repository.commit("main", "second", &[(".claude/settings.json", SETTINGS)]);
    repository
}

fn request(server: &SshServer, name: &str, command: &str) -> Value {
    json!({
        "gitRepo": server.url(name),
        "sshKey": server.client_key(),
        "preExecutionCommands": ["echo work > work.txt", command],
        "postExecutionActions": {"git": {"commit": true, "commitMessage": name, "push": true}},
    })
}

/// Asserts that the task ended as it should, and that the remote has lost nothing.
#[track_caller]
fn check(name: &str, end: End, before: &[String], repository: &BareRepository, record: &Value) {
    assert_eq!(record["status"], "completed", "{name}: {record:#}");
    let after = repository.shas("main");
    let pushed = &record["gitCommit"]["pushed"];
    match end {
        Pushed => {
            assert_eq!((pushed, &record["actionErrors"]), (&json!(true), &json!([])), "{name}: {record:#}");
            assert_eq!(after.get(1..), Some(before), "{name}: {record:#}");
            assert_eq!(repository.message("main"), name, "{name}: {record:#}");
            assert_eq!(
                repository.files("main"),
                [".claude/settings.json", "README.md", "work.txt"],
                "{name}: {record:#}"
            );
            let settings = repository.file("main", ".claude/settings.json");
            assert_eq!(settings.as_deref(), Some(SETTINGS), "{name}: {record:#}");
        }
        Told(words) => {
            assert_ne!(pushed, &json!(true), "{name}: {record:#}");
            assert_eq!(after, before, "{name}: {record:#}");
            let told = &record["actionErrors"][0];
            let told = format!("{}: {}", told["action"], told["error"]);
            assert!(told.contains(words), "{name}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_the_place_of_git_the_work_is_pushed_or_it_is_told_why_not() {
    let repositories = BareRepositories::new();
    let server = SshServer::start(&repositories).await;
    let service = service();
    let mut begun = Vec::new();
    for (name, command, end) in ROWS {
        let repository = repository(&repositories, name);
        let before = repository.shas("main");
        let id = service.submit(&modes(&["ok"]), None, request(&server, name, command)).await;
        begun.push((id, name, end, before, repository));
    }

    for (id, name, end, before, repository) in begun {
        let record = service.wait_for_end(&id).await;

        check(name, end, &before, &repository, &record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_uploaded_where_nothing_can_be_committed() {
    let repositories = BareRepositories::new();
    repository(&repositories, "project");
    let server = SshServer::start(&repositories).await;
    let service = service();
    let mut request = request(&server, "project", "rm -rf .git");
    request["postExecutionActions"]["uploadFiles"] = json!({"globPatterns": ["*.txt"]});

    let id = service.submit(&modes(&["ok"]), None, request).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["actionErrors"][0]["action"], "commit", "{record:#}");
    assert_eq!(record["uploadedFiles"][0]["originalPath"], "work.txt", "{record:#}");
}

legwork_e2e::also_on_google!(
    whatever_stands_in_the_place_of_git_the_work_is_pushed_or_it_is_told_why_not,
    files_are_uploaded_where_nothing_can_be_committed,
);
