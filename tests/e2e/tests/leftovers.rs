//! What is left on this machine of tasks that have ended: nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test, and wait on the real clock"
)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use legwork_e2e::{PATIENCE, Service, ServiceBuilder, modes, processes_mentioning, reachable};
use legwork_simulators::git_server::{BareRepositories, SshServer};
use serde_json::{Value, json};

const TASKS: usize = 200;
/// Of so many tasks one clones, signs, commits and pushes, one cannot clone, and one is cancelled.
const ROUND: usize = 20;
const API_KEY: &str = "sk-ant-api03-of-the-leftovers-0123456789";
const SECRET: &str = "a-secret-of-the-environment";
/// Where it is noted which folder the users of tasks work in.
const LOCKS: &str = "/run/legwork-uids";
/// Where everybody may leave files.
const SHARED_FOLDERS: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"];

/// A task's prompt and request, and how it has to end.
#[derive(Debug, Clone)]
struct Kind {
    prompt: String,
    more: Value,
    ends: (&'static str, Option<&'static str>),
}

/// A task that was submitted.
struct Task {
    id: String,
    kind: Kind,
}

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .env("MAX_CONCURRENT_TASKS", "8")
        .env("LOG_LEVEL", "info")
        .start()
}

fn kind(lines: &[&str], ends: (&'static str, Option<&'static str>), more: Value) -> Kind {
    Kind { prompt: modes(lines), more, ends }
}

/// Tasks that end by themselves, soon. Their number and that of a round have no divisor in common.
fn quick_kinds() -> Vec<Kind> {
    let (well, badly) = (("completed", None), ("failed", Some("agent_failed")));
    let stray = "setsid sleep 600 & (setsid sh -c 'trap \"\" TERM; sleep 600 &'); exit 3";
    let files = "sh command=\"mkdir -p closed/inside; chmod 0 closed; touch $HOME/x $TMPDIR/y; ln -s / all\"";
    vec![
        kind(&["ok"], well, json!({})),
        kind(&["children", "ok"], well, json!({})),
        kind(&["late-children every_ms=10 count=50", "ok"], well, json!({})),
        kind(&["background-noise", "ok"], well, json!({})),
        kind(&["flood lines=500 bytes=200", "stderr-flood lines=500"], well, json!({})),
        kind(&["children", "exit code=3 stderr=boom"], badly, json!({})),
        kind(&["children", "signal name=KILL"], badly, json!({})),
        kind(&["no-output"], badly, json!({})),
        kind(&["ok"], ("failed", Some("command_failed")), json!({"preExecutionCommands": [stray]})),
        kind(
            &["env", "write path=out/a.txt text=kept", files],
            well,
            json!({
                "environmentSecrets": {"SECRET": SECRET},
                "postExecutionActions": {"uploadFiles": {"globPatterns": ["out/**"]}},
            }),
        ),
        kind(&["ok"], well, json!({"slashCommands": {"own": {"content": "x"}}, "cwdRelative": "a/b"})),
    ]
}

/// The task of this number.
fn kind_of(number: usize, quick: &[Kind], server: &SshServer) -> Kind {
    let with_key = |name: &str| json!({"gitRepo": server.url(name), "sshKey": server.client_key()});
    match number % ROUND {
        0 => {
            let mut more = with_key("project");
            more["agentMayUseSshKey"] = true.into();
            more["preExecutionCommands"] = json!(["ssh-add -l; echo work > work.txt"]);
            let git = json!({"commit": true, "push": true, "branch": format!("work-{number}")});
            more["postExecutionActions"] = json!({"git": git});
            kind(&["children", "ok"], ("completed", None), more)
        }
        7 => kind(&["ok"], ("failed", Some("clone_failed")), with_key("nothing")),
        13 => kind(&["children", "ignore-term"], ("cancelled", Some("cancelled")), json!({})),
        _ => quick[number % quick.len()].clone(),
    }
}

/// Cancels a task: some at once, some as soon as they run, some when they will not end.
async fn cancel(service: &Service, task: &Task, turn: usize) {
    match turn % 3 {
        0 => {}
        1 => drop(service.wait_for(&task.id, PATIENCE, |record| record["status"] == "running").await),
        _ => {
            let began = Instant::now();
            while !service.log_lines(&task.id).await.iter().any(|line| line.contains("pid stubborn")) {
                assert!(began.elapsed() < PATIENCE, "waited too long for {}", task.id);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let answer = service.post(&format!("/cancel/{}", task.id), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Waits until nothing is found any more.
async fn none_left(find: impl Fn() -> Vec<String>) {
    let began = Instant::now();
    loop {
        let left = find();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "still there: {left:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the user that the task had for itself, if it had one.
fn user(log: &[Value]) -> Option<u32> {
    log.first()?["isolation"]["user"].as_str()?.strip_prefix("own uid ")?.parse().ok()
}

/// Returns the folder in which workspaces are, if the agent has come to say where it is.
fn base(log: &[Value], id: &str) -> Option<PathBuf> {
    let folder = Path::new(log.iter().find(|line| line["subtype"] == "init")?["cwd"].as_str()?);
    let name = format!("{id}.1");
    let root =
        folder.ancestors().find(|folder| folder.file_name().is_some_and(|own| own == name.as_str()))?;
    root.parent().map(Path::to_path_buf)
}

async fn log(service: &Service, id: &str) -> Vec<Value> {
    let lines = service.log_lines(id).await;
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn processes_of(users: &BTreeSet<u32>) -> Vec<String> {
    let status = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("status")).ok();
    let is_theirs = |status: &String| {
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        ids.split_whitespace().any(|id| id.parse().is_ok_and(|id: u32| users.contains(&id)))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(status).filter(is_theirs).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn files_of(users: &BTreeSet<u32>, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let theirs = entries.filter(|entry| entry.metadata().is_ok_and(|found| users.contains(&found.uid())));
    theirs.map(|entry| entry.path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_nothing_is_left_of_two_hundred_tasks_however_they_end() {
    let repositories = BareRepositories::new();
    let repository = repositories.repository("project");
    repository.commit("main", "First", &[("README.md", b"hello\n")]);
    let server = SshServer::start(&repositories).await;
    let service = service();
    let quick = quick_kinds();

    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let kind = kind_of(number, &quick, &server);
        let mut more = kind.more.clone();
        more["anthropicApiKey"] = API_KEY.into();
        let id = service.submit(&kind.prompt, None, more).await;
        tasks.push(Task { id, kind });
    }
    let endless = tasks.iter().filter(|task| task.kind.ends.0 == "cancelled");
    for (turn, task) in endless.enumerate() {
        cancel(&service, task, turn).await;
    }
    let (mut users, mut bases) = (BTreeSet::new(), BTreeSet::new());
    for Task { id, kind } in &tasks {
        let record = service.wait_for_end(id).await;
        assert_eq!(
            (record["status"].as_str().unwrap(), record["errorCode"].as_str()),
            kind.ends,
            "{record:#}"
        );
        let log = log(&service, id).await;
        users.extend(user(&log));
        bases.extend(base(&log, id));
    }

    assert_eq!(bases.len(), 1, "{bases:?}");
    assert_eq!(repository.branches().len(), 1 + TASKS / ROUND);
    let base = bases.first().unwrap();
    // A task is told to have ended before its worker has put everything down.
    none_left(|| service.objects_in("active")).await;
    none_left(|| processes_mentioning(base.to_str().unwrap())).await;
    none_left(|| processes_of(&users)).await;
    assert_eq!(names(base), Vec::<String>::new());
    assert_eq!(names(&service.data.join("tmp")), Vec::<String>::new());
    for folder in SHARED_FOLDERS {
        assert_eq!(files_of(&users, folder), Vec::<PathBuf>::new());
    }
    for user in users {
        let noted = fs::read_to_string(format!("{LOCKS}/{user}.lock")).unwrap();
        assert!(!noted.contains(base.to_str().unwrap()), "{user} is still that of {noted}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    for name in service.objects_in("due") {
        let (at, _) = name.split_once('-').unwrap();
        assert!(at.parse::<u128>().unwrap() > now, "{name} was due before {now}");
    }
    let key = server.client_key();
    let secrets = key.lines().filter(|line| !line.starts_with("-----")).chain([API_KEY, SECRET]);
    let stored = service.stored();
    let stored: Vec<_> = stored.iter().map(|(path, bytes)| (path, String::from_utf8_lossy(bytes))).collect();
    for secret in secrets {
        let found: Vec<_> =
            stored.iter().filter(|(_, text)| text.contains(secret)).map(|(path, _)| path).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_finds_nothing_of_another_in_shared_memory() {
    let service = service();
    let run = async |command: &str| {
        let mode = format!("sh command={command:?}");
        let id = service.submit(&modes(&[mode.as_str()]), None, json!({})).await;
        service.wait_for_end(&id).await;
        let log = log(&service, &id).await;
        let result = log.iter().find(|line| line["type"] == "tool_result").unwrap();
        (user(&log), result["output"].as_str().unwrap().to_owned())
    };
    let (own_user, _) = run("true").await;
    if own_user.is_none() {
        // Under one user for all, tasks share what that user has, as the documentation says.
        assert_ne!(fs::metadata("/proc/self").unwrap().uid(), 0);
        return;
    }

    let (_, left) =
        run("echo left > /dev/shm/left-by-a-task; ipcmk --shmem 4096; ls -A /dev/shm; ipcs --shmems").await;
    let (user, found) = run("ls -A /dev/shm; ipcs --shmems").await;

    assert!(left.contains("left-by-a-task") && left.contains("0x"), "nothing was left: {left}");
    assert!(!found.contains("left-by-a-task") && !found.contains("0x"), "{found}");
    assert_eq!(files_of(&user.into_iter().collect(), "/dev/shm"), Vec::<PathBuf>::new());
}

legwork_e2e::also_on_google!(a_task_finds_nothing_of_another_in_shared_memory,);
