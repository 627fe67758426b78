//! Repositories and workspaces that hold what nobody expects: links, odd names, files that are none.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test; records are read by their members' names"
)]

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, GitHttpServer, SshServer};
use serde_json::{Value, json};

const SECRET: &str = "a-secret-of-the-environment";
/// How long a task with very many files may take on a machine with a slow disk.
const LONG: Duration = Duration::from_mins(4);

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

    /// A repository with one file.
    fn repository(&self, name: &str) -> BareRepository {
        let repository = self.repositories.repository(name);
        repository.commit("main", "first", &[("README.md", b"hello\n")]);
        repository
    }

    async fn submit(&self, name: &str, command: &str, more: &Value) -> String {
        let mut request = json!({
            "gitRepo": self.server.url(name),
            "sshKey": self.server.client_key(),
            "preExecutionCommands": [command],
            "postExecutionActions": {
                "git": {"commit": true, "commitMessage": "the task's work", "push": true},
                "uploadFiles": {"globPatterns": ["**/*"]},
            },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        self.service.submit(&modes(&["ok"]), None, request).await
    }

    async fn run(&self, name: &str, command: &str, more: &Value) -> Value {
        let id = self.submit(name, command, more).await;
        self.service.wait_for_end(&id).await
    }
}

fn uploaded(record: &Value) -> Vec<&str> {
    let files = record["uploadedFiles"].as_array().into_iter().flatten();
    files.filter_map(|file| file["originalPath"].as_str()).collect()
}

fn errors(record: &Value) -> Vec<String> {
    let errors = record["actionErrors"].as_array().into_iter().flatten();
    errors
        .map(|error| format!("{}: {}", error["action"].as_str().unwrap(), error["error"].as_str().unwrap()))
        .collect()
}

/// All that a folder holds: paths and contents.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_place_of_the_services_files_are_not_followed_and_are_back_in_the_commit() {
    let bench = Bench::set().await;
    let outside = tempfile::tempdir().unwrap();
    for path in ["env", "mcp.json", "claude/settings.json", "claude/commands/review.md"] {
        fs::create_dir_all(outside.path().join(path).parent().unwrap()).unwrap();
        fs::write(outside.path().join(path), "of somebody").unwrap();
    }
    let before = contents(outside.path());
    let to = |path: &str| outside.path().join(path).display().to_string();
    let rows = [
        ("folder", vec![(".env", to("env")), (".mcp.json", to("mcp.json")), (".claude", to("claude"))]),
        (
            "files",
            vec![
                (".claude/settings.json", to("claude/settings.json")),
                (".claude/settings.local.json", to("missing")),
                (".claude/commands", to("claude/commands")),
                (".mcp.json", to("mcp.json")),
            ],
        ),
    ];

    for (name, links) in rows {
        let repository = bench.repository(name);
        for (path, target) in &links {
            repository.commit_symlink("main", path, target);
        }
        let command = "test ! -L .env && grep -q MY_SECRET .env && test \"$(cat .claude/settings.json)\" = '{}' \
                       && test ! -L .claude/commands && echo work > work.txt";
        let more = json!({
            "environmentSecrets": {"MY_SECRET": SECRET},
            "slashCommands": {"review": {"content": "Review it"}},
        });
        let record = bench.run(name, command, &more).await;

        assert_eq!(record["gitCommit"]["pushed"], true, "{name}: {record:#}");
        assert_eq!(errors(&record), [""; 0], "{name}: {record:#}");
        for (path, target) in &links {
            let kind = repository.git(&["ls-tree", "--format=%(objectmode)", "main", path]);
            assert_eq!(kind, "120000", "{name}: {path}");
            assert_eq!(repository.file("main", path).unwrap(), target.as_bytes(), "{name}: {path}");
        }
        assert_eq!(repository.files("main").len(), links.len() + 2, "{name}: {:?}", repository.files("main"));
        assert_eq!(uploaded(&record), ["README.md", "work.txt"], "{name}");
        assert_eq!(contents(outside.path()), before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_folder_behind_a_link_to_the_outside_is_refused() {
    let bench = Bench::set().await;
    let outside = tempfile::tempdir().unwrap();
    let repository = bench.repository("project");
    repository.commit_symlink("main", "app", outside.path().to_str().unwrap());

    let record = bench.run("project", "echo x > x", &json!({"cwdRelative": "app/below"})).await;

    assert_eq!(record["status"], "failed", "{record:#}");
    assert!(record["errorDetail"].as_str().unwrap().contains("a link leaves the workspace"), "{record:#}");
    let written = contents(outside.path());
    assert!(written.is_empty(), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_within_the_repository_are_not_fetched_and_stay_as_they_are() {
    let bench = Bench::set().await;
    let elsewhere = GitHttpServer::start(&BareRepositories::new()).await;
    let repository = bench.repository("project");
    let (one, other) = ("1".repeat(40), "2".repeat(40));
    repository.commit_submodule("main", "lib", &elsewhere.url("lib"), &one);
    repository.commit_gitlink("main", "stray", &other);
    let empty = "test -d lib && test -d stray && test -z \"$(ls -A lib)$(ls -A stray)\" && echo x > x";

    for depth in [0, 1] {
        let record = bench.run("project", empty, &json!({"gitDepth": depth})).await;
        assert_eq!(record["status"], "completed", "{record:#}");
        assert_eq!(errors(&record), [""; 0], "{record:#}");
    }

    let tree = repository.git(&["ls-tree", "--format=%(objecttype) %(objectname) %(path)", "main"]);
    assert!(tree.contains(&format!("commit {one} lib\ncommit {other} stray")), "{tree}");
    assert_eq!(repository.log("main").first().map(String::as_str), Some("the task's work"));
    let asked = elsewhere.requests();
    assert!(asked.is_empty(), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_reaches_into_the_git_folder_is_not_checked_out() {
    let bench = Bench::set().await;

    for (name, folder) in [("lower", ".git"), ("upper", ".GIT"), ("above", "..")] {
        let repository = bench.repository(name);
        let make = |entry: String| repository.git_with_input(&["mktree"], entry.as_bytes());
        let blob = repository.git_with_input(&["hash-object", "-w", "--stdin"], b"[core]\n");
        let inner = make(format!("100644 blob {blob}\tconfig\n"));
        let tree = make(format!("040000 tree {inner}\t{folder}\n"));
        let commit = repository.git(&["commit-tree", &tree, "-m", "evil"]);
        repository.git(&["update-ref", "refs/heads/main", &commit]);

        let record = bench.run(name, "true", &json!({})).await;

        assert_eq!(record["errorCode"], "clone_failed", "{folder}: {record:#}");
        let told = record["errorDetail"].as_str().unwrap();
        assert!(told.contains(&format!("invalid path '{folder}/config'")), "{folder}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_thousand_files_only_what_has_changed_is_committed() {
    let bench = Bench::set().await;
    let repository = bench.repositories.repository("project");
    let mut stream = String::from(
        "blob\nmark :1\ndata 2\nx\n\ncommit refs/heads/main\ncommitter U <u@example.com> 0 +0000\ndata 5\nfirst\n",
    );
    for number in 0..100_000 {
        writeln!(stream, "M 100644 :1 d{}/f{}", number / 1000, number % 1000).unwrap();
    }
    repository.git_with_input(&["fast-import", "--quiet"], stream.as_bytes());
    let command = "echo new > d5/new; rm d7/f7; echo changed > d9/f9";

    let upload = json!({"git": {"commit": true, "push": true}, "uploadFiles": {"globPatterns": ["d5/new"]}});
    let id = bench.submit("project", command, &json!({"postExecutionActions": upload})).await;
    let record = bench.service.wait_for(&id, LONG, |record| !record["completedAt"].is_null()).await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    let changed = repository.git(&["diff-tree", "-r", "--name-status", "main~1", "main"]);
    assert_eq!(changed, "A\td5/new\nD\td7/f7\nM\td9/f9");
    assert_eq!(uploaded(&record), ["d5/new"], "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_pushed_byte_for_byte_and_uploaded_where_they_can_be_names_of_objects() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let command = "printf a > \"$(printf 'new\\nline')\"; printf b > \"$(printf 'latin\\351')\"; \
                   printf c > 'back\\slash'; printf d > -rf; printf e > ':(glob)x'; printf f > 'ü b.txt'";

    let record = bench.run("project", command, &json!({})).await;

    assert_eq!(record["gitCommit"]["pushed"], true, "{record:#}");
    // As git quotes what is not printable ASCII.
    let listed = repository.git(&["ls-tree", "-r", "--name-only", "main"]);
    let names: Vec<&str> = listed.lines().collect();
    let expected = [
        "-rf",
        ":(glob)x",
        "README.md",
        "\"back\\\\slash\"",
        "\"latin\\351\"",
        "\"new\\nline\"",
        "\"\\303\\274 b.txt\"",
    ];
    assert_eq!(names, expected);
    assert_eq!(uploaded(&record), ["-rf", ":(glob)x", "README.md", "ü b.txt"], "{record:#}");
    let told = ["back\\slash", "latin\u{fffd}", "new\nline"];
    let mut errors = errors(&record);
    errors.sort();
    assert_eq!(errors, told.map(|name| format!("upload: {name} is no name for an upload")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_regular_files_of_the_workspace_is_uploaded() {
    let bench = Bench::set().await;
    let repository = bench.repository("project");
    let command = "mkfifo x.log && ln -s /etc/passwd y.log && ln -s / root && ln -s . loop \
                   && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s.log\")' && test -S s.log \
                   && echo fine > z.log";
    let globs = json!(["**/*", "root/etc/passwd", "loop/**", ".git/**"]);
    let actions = json!({"git": {"commit": true, "push": true}, "uploadFiles": {"globPatterns": globs}});

    let record = bench.run("project", command, &json!({"postExecutionActions": actions})).await;

    assert_eq!(errors(&record), [""; 0], "{record:#}");
    assert_eq!(uploaded(&record), ["README.md", "z.log"], "{record:#}");
    assert_eq!(repository.files("main"), ["README.md", "loop", "root", "y.log", "z.log"]);
    assert_eq!(repository.file("main", "y.log").unwrap(), b"/etc/passwd");
}

/// Returns all that a repository holds, whether a branch reaches it or not.
fn objects(repository: &BareRepository) -> String {
    repository.git(&["cat-file", "--batch-all-objects", "--batch"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracked_env_file_is_back_in_the_commit_whatever_was_done_to_the_services() {
    let bench = Bench::set().await;
    let rows = [
        ("left", "true"),
        ("edited", "echo MORE=1 >> .env"),
        ("removed", "rm .env"),
        ("added", "git add -f .env; true"),
        ("untracked", "git rm -q --cached .env; true"),
        ("cleaned", "git clean -qfdx"),
        ("stashed", "git -c user.name=a -c user.email=a@b stash -q -u -a; true"),
    ];

    let mut begun = Vec::new();
    for (name, command) in rows {
        let repository = bench.repository(name);
        repository.commit("main", "second", &[(".env", b"TRACKED=1\n")]);
        let command = format!("grep -q MY_SECRET .env || exit 1; {command}; echo work > work.txt");
        let more = json!({"environmentSecrets": {"MY_SECRET": SECRET}});
        begun.push((name, repository, bench.submit(name, &command, &more).await));
    }

    for (name, repository, id) in begun {
        let record = bench.service.wait_for_end(&id).await;

        assert_eq!(record["gitCommit"]["pushed"], true, "{name}: {record:#}");
        assert_eq!(errors(&record), [""; 0], "{name}: {record:#}");
        assert_eq!(repository.files("main"), [".env", "README.md", "work.txt"], "{name}");
        assert_eq!(repository.file("main", ".env").unwrap(), b"TRACKED=1\n", "{name}");
        assert_eq!(uploaded(&record), [".env", "README.md", "work.txt"], "{name}");
        assert!(!objects(&repository).contains(SECRET), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_leaves_by_no_other_name_and_in_no_other_spelling() {
    let bench = Bench::set().await;
    let commit = "git -c user.name=a -c user.email=a@b commit -q";
    let rows = [
        ("renamed", "mv .env other; git add -A".to_owned()),
        ("base64", "base64 .env > other".to_owned()),
        ("hex", "od -An -v -tx1 .env | tr -d ' \\n' > other".to_owned()),
        ("message", format!("{commit} --allow-empty -m \"with $MY_SECRET\"")),
        ("author", format!("{commit} --allow-empty --author \"$MY_SECRET <a@b>\" -m x")),
        ("name", "echo x > \"$MY_SECRET\"".to_owned()),
        ("folder", "mkdir \"$MY_SECRET\" && echo x > \"$MY_SECRET/x\"".to_owned()),
        ("link", "ln -s \"$MY_SECRET\" other".to_owned()),
        (
            "removed-again",
            format!("cp .env other; git add other; {commit} -m one; git rm -q other; {commit} -m two"),
        ),
    ];

    let mut begun = Vec::new();
    for (name, command) in rows {
        let repository = bench.repository(name);
        let more = json!({"environmentSecrets": {"MY_SECRET": SECRET}});
        begun.push((name, repository, bench.submit(name, &command, &more).await));
    }

    for (name, repository, id) in begun {
        let record = bench.service.wait_for_end(&id).await;

        assert_eq!(record["status"], "completed", "{name}: {record:#}");
        assert_eq!(record["gitCommit"]["pushed"], false, "{name}: {record:#}");
        assert!(errors(&record)[0].starts_with("push: nothing was pushed"), "{name}: {record:#}");
        assert_eq!(repository.log("main"), ["first"], "{name}");
        assert_eq!(uploaded(&record), ["README.md"], "{name}");
    }
    for (path, bytes) in bench.service.stored() {
        let text = format!("{} {}", path.display(), String::from_utf8_lossy(&bytes));
        assert!(!text.contains(SECRET), "{}", path.display());
    }
}

legwork_e2e::also_on_google!(
    links_in_the_place_of_the_services_files_are_not_followed_and_are_back_in_the_commit,
    a_working_folder_behind_a_link_to_the_outside_is_refused,
    repositories_within_the_repository_are_not_fetched_and_stay_as_they_are,
    a_tree_that_reaches_into_the_git_folder_is_not_checked_out,
    of_a_hundred_thousand_files_only_what_has_changed_is_committed,
    odd_names_are_pushed_byte_for_byte_and_uploaded_where_they_can_be_names_of_objects,
    nothing_but_regular_files_of_the_workspace_is_uploaded,
    a_tracked_env_file_is_back_in_the_commit_whatever_was_done_to_the_services,
    a_secret_leaves_by_no_other_name_and_in_no_other_spelling,
);
