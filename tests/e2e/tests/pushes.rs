//! Pushes that meet others' work, rewritten history, or wishes of the request.

#![expect(clippy::indexing_slicing, reason = "helpers of tests read records by their members' names")]

use std::path::Path;

use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, SshServer};
use serde_json::{Value, json};

/// A service, and a server with repositories for it.
struct Bench {
    service: Service,
    server: SshServer,
    repositories: BareRepositories,
}

impl Bench {
    async fn set() -> Self {
        let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
        let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start();
        let repositories = BareRepositories::new();
        Self { service, server: SshServer::start(&repositories).await, repositories }
    }

    /// A repository with two commits, and a branch `moved` that begins with them.
    fn repository(&self, name: &str) -> BareRepository {
        let repository = self.repositories.repository(name);
        let lines: &[u8] = b"one\ntwo\nthree\n";
        repository.commit("main", "first", &[("README.md", b"hello\n"), ("shared.txt", lines)]);
        repository.commit("main", "second", &[("b.txt", b"b\n")]);
        repository.git(&["branch", "moved", "main"]);
        repository
    }

    /// Submits a task that commits and pushes; `git` and `more` are put into the request.
    async fn submit(&self, name: &str, command: &str, git: &Value, more: &Value) -> String {
        let mut request = json!({
            "gitRepo": self.server.url(name),
            "sshKey": self.server.client_key(),
            "preExecutionCommands": [format!("{IDENTITY}; {command}")],
            "postExecutionActions": {"git": {"commit": true, "commitMessage": "work", "push": true}},
        });
        for (name, value) in git.as_object().into_iter().flatten() {
            request["postExecutionActions"]["git"][name] = value.clone();
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        self.service.submit(&modes(&["ok"]), None, request).await
    }

    async fn run(&self, name: &str, command: &str, git: &Value) -> (String, Value) {
        let id = self.submit(name, command, git, &json!({})).await;
        let record = self.service.wait_for_end(&id).await;
        (id, record)
    }
}

/// Lets the agent's own git commit.
const IDENTITY: &str =
    "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b";

/// Makes two pushes wait for one another, so that both are for the same state of the branch.
const RENDEZVOUS: &str =
    "mkdir -p waiting; : > waiting/$$; until [ \"$(ls waiting | wc -l)\" -ge 2 ]; do sleep 0.05; done";

fn error(record: &Value) -> &str {
    record["actionErrors"][0]["error"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_that_push_at_once_both_arrive() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    repository.set_hook("pre-receive", RENDEZVOUS);

    let mut ids = Vec::new();
    for task in ["one", "two"] {
        let message = json!({"commitMessage": task});
        ids.push(bench.submit("project", &format!("echo {task} > {task}.txt"), &message, &json!({})).await);
    }
    let mut recovered = 0;
    for id in ids {
        let record = bench.service.wait_for_end(&id).await;
        assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
        recovered += usize::from(record["gitCommit"]["recovery"]["method"] == "rebase");
    }

    assert_eq!(recovered, 1);
    let mut log = repository.log("main");
    log.sort();
    assert_eq!(log, ["first", "one", "second", "two"]);
    assert_eq!(repository.files("main"), ["README.md", "b.txt", "one.txt", "shared.txt", "two.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_is_put_on_top_of_many_commits_that_it_has_never_seen() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    for number in 0..20 {
        let path = format!("their/{number}.txt");
        repository.commit(
            "moved",
            &format!("their {number}"),
            &[(&path, b"x\n"), ("shared.txt", b"theirs\n")],
        );
    }
    let before = repository.shas("moved");

    let (_, record) = bench.run("project", "echo mine > mine.txt", &json!({"branch": "moved"})).await;

    let commit = &record["gitCommit"];
    assert_eq!((&commit["pushed"], &commit["branch"]), (&json!(true), &json!("moved")), "{record:#}");
    assert_eq!(commit["recovery"]["method"], "rebase", "{record:#}");
    let after = repository.shas("moved");
    assert_eq!(commit["sha"].as_str(), after.first().map(String::as_str));
    assert_eq!(after.get(1..), Some(before.as_slice()));
    assert_eq!(repository.file("moved", "shared.txt").unwrap(), b"theirs\n");
    assert_eq!(repository.file("moved", "mine.txt").unwrap(), b"mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_conflict_is_to_fail_it_is_told_and_nothing_is_pushed() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let theirs = repository.commit("moved", "theirs", &[("their.txt", b"x\n")]);
    let git = json!({"branch": "moved", "conflictStrategy": "fail"});

    let (_, record) = bench.run("project", "echo mine > mine.txt", &git).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(record["gitCommit"]["pushed"], false, "{record:#}");
    assert_eq!(record["gitCommit"].get("recovery"), None, "{record:#}");
    assert_eq!(error(&record), "moved has commits that this task does not know; nothing was overwritten");
    assert_eq!(repository.head("moved"), Some(theirs));
    assert_eq!(repository.branches(), ["main", "moved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_cannot_be_put_on_top_goes_to_a_branch_of_its_own() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    // Longer than any name of a file may be: nobody can check this out.
    let theirs = repository.commit("moved", "theirs", &[("a".repeat(300).as_str(), b"x\n")]);

    let (id, record) = bench.run("project", "echo mine > mine.txt", &json!({"branch": "moved"})).await;

    let own = format!("legwork/{id}");
    let commit = &record["gitCommit"];
    assert_eq!((&commit["pushed"], &commit["branch"]), (&json!(true), &json!(own)), "{record:#}");
    let recovery = &commit["recovery"];
    assert_eq!(
        (&recovery["method"], &recovery["remoteSha"]),
        (&json!("branch"), &json!(theirs)),
        "{record:#}"
    );
    assert_eq!(repository.log(&own), ["work", "second", "first"]);
    assert_eq!(repository.head("moved"), Some(theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_an_agent_rewrites_stays_as_it_is_at_the_remote() {
    let bench = Bench::set().await;
    let rows = [
        ("amended", 1, "echo x > more.txt; git add more.txt; git commit -q --amend -m amended"),
        ("amended-whole", 0, "echo x > more.txt; git add more.txt; git commit -q --amend -m amended"),
        ("reset", 0, "git reset -q --hard HEAD~1"),
        ("squashed", 0, "git reset -q --soft HEAD~1; git commit -q --amend -m squashed"),
        ("rebased", 0, "git rebase -q --root --exec 'git commit -q --amend --no-edit --reset-author'"),
        ("deleted", 1, "git update-ref -d refs/heads/main"),
    ];
    let mut begun = Vec::new();
    for (name, depth, command) in rows {
        let repository = bench.repository(name);
        let before = repository.shas("main");
        let command = format!("{command} && echo work > work.txt");
        let id = bench.submit(name, &command, &json!({}), &json!({"gitDepth": depth})).await;
        begun.push((name, repository, before, id));
    }

    for (name, repository, before, id) in begun {
        let record = bench.service.wait_for_end(&id).await;

        assert_eq!(record["gitCommit"]["pushed"], true, "{name}: {record:#}");
        assert!(repository.shas("main").ends_with(&before), "{name}: {:?}", repository.log("main"));
        let files = repository.files("main");
        for file in ["README.md", "b.txt", "shared.txt", "work.txt"] {
            assert!(files.iter().any(|path| path == file), "{name}: {file} is missing of {files:?}");
        }
        assert_eq!(repository.branches(), ["main", "moved"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_which_a_rebase_leaves_nothing_goes_to_a_branch_of_its_own() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let before = repository.head("main");

    // In a shallow clone the amended commit has no parent, and so nothing that it removes.
    let command = "git rm -q README.md; git commit -q --amend -m amended";
    let (id, record) = bench.run("project", command, &json!({})).await;

    let own = format!("legwork/{id}");
    assert_eq!(record["gitCommit"]["branch"], own.as_str(), "{record:#}");
    assert_eq!(record["gitCommit"]["recovery"]["method"], "branch", "{record:#}");
    assert_eq!(repository.files(&own), ["b.txt", "shared.txt"]);
    assert_eq!(repository.head("main"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_repository_that_both_sides_have_moved_is_at_the_tasks_commit() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let [old, theirs, mine] = ["1", "2", "3"].map(|digit| digit.repeat(40));
    repository.commit_gitlink("main", "lib", &old);
    repository.git(&["branch", "-f", "moved", "main"]);
    repository.commit_gitlink("moved", "lib", &theirs);

    let command = format!("git update-index --cacheinfo 160000,{mine},lib");
    let (_, record) = bench.run("project", &command, &json!({"branch": "moved"})).await;

    assert_eq!(record["gitCommit"]["recovery"]["conflictFiles"], json!(["lib"]), "{record:#}");
    let tree = repository.git(&["ls-tree", "--format=%(objectname) %(path)", "moved", "lib"]);
    assert_eq!(tree, format!("{mine} lib"), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_missing_is_made() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");

    let (_, record) = bench.run("project", "echo x > x.txt", &json!({"branch": "feature/new"})).await;

    assert_eq!(record["gitCommit"]["branch"], "feature/new", "{record:#}");
    assert_eq!(repository.log("feature/new"), ["work", "second", "first"]);
    assert_eq!(repository.log("main"), ["second", "first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_globs_match_is_committed() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let command = "mkdir docs; echo x | tee a.txt docs/b.txt c.md docs/d.md -- -e.txt > /dev/null; \
                   rm shared.txt; git add c.md";
    let globs = json!({"files": ["*.txt", "docs/*.md"]});

    let (_, record) = bench.run("project", command, &globs).await;

    assert_eq!(record["actionErrors"], json!([]), "{record:#}");
    let changed = repository.git(&["diff-tree", "-r", "--name-status", "main~1", "main"]);
    assert_eq!(changed, "A\t-e.txt\nA\ta.txt\nA\tdocs/d.md\nD\tshared.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositorys_own_gitconfig_names_who_commits() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let config: &[u8] = b"[user]\n\tname = Ada\n\temail = ada@example.com\n[include]\n\tpath = ../other\n";
    repository.commit("main", "third", &[(".gitconfig", config)]);

    let (_, record) = bench.run("project", "git config user.name Somebody; echo x > x.txt", &json!({})).await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    assert_eq!(repository.author("main"), "Ada <ada@example.com>");
    assert_eq!(repository.committer("main"), "Ada <ada@example.com>");
}

legwork_e2e::also_on_google!(
    two_tasks_that_push_at_once_both_arrive,
    a_shallow_clone_is_put_on_top_of_many_commits_that_it_has_never_seen,
    where_a_conflict_is_to_fail_it_is_told_and_nothing_is_pushed,
    work_that_cannot_be_put_on_top_goes_to_a_branch_of_its_own,
    history_that_an_agent_rewrites_stays_as_it_is_at_the_remote,
    work_of_which_a_rebase_leaves_nothing_goes_to_a_branch_of_its_own,
    a_link_to_a_repository_that_both_sides_have_moved_is_at_the_tasks_commit,
    a_branch_that_is_missing_is_made,
    only_what_the_globs_match_is_committed,
    the_repositorys_own_gitconfig_names_who_commits,
);
