//! What a hostile agent cannot reach: the service's files and processes, and those of other tasks.
//!
//! The same script of attempts is run inside a task and, as a control, outside of one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test, and the control is a process of its own"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use legwork_e2e::{PATIENCE, Service, ServiceBuilder, modes, processes_mentioning, reachable};
use serde_json::{Value, json};

/// A user without privileges and without a name.
const STRANGER: u32 = 58_499;
/// What another task holds that nobody else may see.
const TREASURE: &str = "the-treasure-of-another-task";
const CALLBACK_SECRET: &str = "confinement-callback-secret";

/// Tries everything and prints a line for each attempt: its name, and whether it came through.
///
/// It ends with what would end it, too.
const ATTEMPTS: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name yes"; else echo "$name no"; fi; }
holds() { tr '\0' '\n' < "$1" | grep -q "$2"; }
try list-data ls "$DATA"
try read-keys cat "$DATA/keys.json"
try read-token cat "$DATA/api-token"
try search-data grep -rq . "$DATA"
try write-data sh -c ': > "$DATA/new"' 
try overwrite-keys sh -c ': >> "$DATA/keys.json"'
try rename-data mv "$DATA" "$DATA.moved"
[ -e "$DATA" ] || mv "$DATA.moved" "$DATA"
try hard-link-keys ln "$DATA/keys.json" linked
try read-keys-by-link sh -c 'ln -s "$DATA/keys.json" soft && cat soft'
try read-keys-by-proc cat "/proc/self/root$DATA/keys.json"
try replace-keys sh -c 'echo x > forged && mv forged "$DATA/forged"'
try list-tasks ls "$VICTIM/.."
try list-task ls "$VICTIM"
try list-task-work ls "$VICTIM/work"
try read-task cat "$VICTIM/work/treasure.txt"
try write-task sh -c ': > "$VICTIM/work/new"' 
try read-task-config cat "$VICTIM/config/settings.json"
try read-task-transcript sh -c 'cat "$VICTIM"/spool/*'
try read-env-file cat "$ENV_FILE"
try read-operators-file cat "$HIDDEN"
try enter-task-by-proc cat "/proc/$VICTIM_PID/cwd/treasure.txt"
try environment-of-task holds "/proc/$VICTIM_PID/environ" ANTHROPIC
try environment-of-service holds "/proc/$SERVICE_PID/environ" PATH
try environment-of-worker holds "/proc/$WORKER_PID/environ" PATH
try memory-of-service sh -c ': < /proc/$SERVICE_PID/mem'
try memory-of-worker sh -c ': < /proc/$WORKER_PID/mem'
try files-of-service ls "/proc/$SERVICE_PID/fd/"
try files-of-worker ls "/proc/$WORKER_PID/fd/"
try root-of-worker ls "/proc/$WORKER_PID/root/"
try read-shared-memory cat "$MEMORY"
try read-temporary-file cat "$TEMPORARY"
try signal-task kill -0 "$VICTIM_PID"
try signal-service kill -0 "$SERVICE_PID"
try signal-worker kill -0 "$WORKER_PID"
try own-folder touch own
try own-temporary-file sh -c 'name=/tmp/own-$$ && : > $name && rm $name'
try machine ls /usr/bin
"#;

/// What is possible in a task with this isolation. Tasks that share the service's user share its memory.
fn harmless(isolation: &Value) -> Vec<&'static str> {
    let has_own_mounts = isolation["mounts"] == "own";
    let (is_shared, is_free) = (isolation["user"] == "shared", isolation["landlock"] == "no");
    let rows = [
        ("machine", true),
        ("own-folder", true),
        ("own-temporary-file", has_own_mounts || is_free),
        ("read-shared-memory", !has_own_mounts && (is_shared || is_free)),
        ("read-temporary-file", !has_own_mounts && is_free),
    ];
    rows.into_iter().filter_map(|(name, is_possible)| is_possible.then_some(name)).collect()
}

/// A service, a task of somebody, and what an attacker would have to know.
struct Bench {
    service: Service,
    victim: String,
    knowledge: BTreeMap<&'static str, String>,
    _operator: tempfile::TempDir,
    _left: [tempfile::NamedTempFile; 2],
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Leaves a file where everybody may, for everybody to read.
fn left_in(folder: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().prefix("left-").tempfile_in(folder).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    file
}

async fn bench(user: Option<u32>) -> Bench {
    let operator = tempfile::tempdir().unwrap();
    let hidden = operator.path().join("operators-file");
    fs::write(&hidden, "not for agents").unwrap();
    let env_file = operator.path().join(".env");
    fs::write(&env_file, format!("CLOUDRUN_CALLBACK_SECRET={CALLBACK_SECRET}\n")).unwrap();
    if let Some(user) = user {
        for path in [operator.path(), &hidden, &env_file] {
            std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
        }
    }
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let program = reachable(Path::new(env!("CARGO_BIN_EXE_legwork-under-test")));
    let builder = ServiceBuilder::new(program.as_str(), agent.as_str())
        .env("LEGWORK_HIDDEN_PATHS", &format!("{}:{}", hidden.display(), env_file.display()));
    let service = user.into_iter().fold(builder, ServiceBuilder::user).start();

    let hold = format!("sh command={:?}", format!("echo {TREASURE} > treasure.txt; exec sleep 600"));
    let victim = service.submit(&modes(&[hold.as_str()]), None, json!({})).await;
    let folder = folder_of(&service, &victim).await;
    let treasure = folder.join("work/treasure.txt");
    wait_until(|| treasure.exists()).await;
    wait_until(|| sleeper(&folder).is_some()).await;
    let victim_pid = sleeper(&folder).unwrap();
    let left = ["/dev/shm", "/tmp"].map(left_in);
    let knowledge = BTreeMap::from([
        ("DATA", service.data.display().to_string()),
        ("VICTIM", folder.display().to_string()),
        ("VICTIM_PID", victim_pid.to_string()),
        ("SERVICE_PID", service.pid().to_string()),
        ("WORKER_PID", worker_above(victim_pid).to_string()),
        ("HIDDEN", hidden.display().to_string()),
        ("ENV_FILE", env_file.display().to_string()),
        ("MEMORY", left[0].path().display().to_string()),
        ("TEMPORARY", left[1].path().display().to_string()),
    ]);
    Bench { service, victim, knowledge, _operator: operator, _left: left }
}

impl Bench {
    /// Runs the attempts in a task of their own.
    async fn inside(&self) -> (BTreeMap<String, bool>, Value) {
        let exports = self.knowledge.iter().map(|(name, value)| format!("export {name}='{value}'\n"));
        let mut script = exports.collect::<Vec<_>>().concat();
        script.push_str(ATTEMPTS);
        let more = json!({"preExecutionCommands": [script]});
        let id = self.service.submit(&modes(&["ok"]), None, more).await;
        let record = self.service.wait_for_end(&id).await;
        assert_eq!(record["status"], "completed", "{record:#}\n{}", self.service.worker_logs());
        let lines: Vec<Value> = self
            .service
            .log_lines(&id)
            .await
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let text: String = lines
            .iter()
            .filter(|line| line["type"] == "command_output" && line["stream"] == "stdout")
            .map(|line| line["text"].as_str().unwrap().to_owned() + "\n")
            .collect();
        (read(&text), lines.into_iter().next().unwrap())
    }

    /// Runs them as this user outside of any task.
    fn outside(&self, user: Option<u32>) -> BTreeMap<String, bool> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        if let Some(user) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(user)).unwrap();
            command.uid(user).gid(user);
        }
        let output =
            command.args(["-c", ATTEMPTS]).envs(&self.knowledge).current_dir(folder.path()).output().unwrap();
        read(&String::from_utf8(output.stdout).unwrap())
    }

    /// Asserts that nothing of the other task has suffered.
    async fn victim_is_well(&self) {
        let record = self.service.record(&self.victim).await;
        assert_eq!(record["status"], "running", "{record:#}");
        let treasure = Path::new(self.knowledge.get("VICTIM").unwrap()).join("work/treasure.txt");
        assert_eq!(fs::read_to_string(treasure).unwrap().trim(), TREASURE);
        self.service.post(&format!("/cancel/{}", self.victim), &json!({})).await;
        let record = self.service.wait_for_end(&self.victim).await;
        assert_eq!(record["status"], "cancelled", "{record:#}");
    }
}

fn read(text: &str) -> BTreeMap<String, bool> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, came_through)| (name.to_owned(), came_through.trim() == "yes")).collect()
}

fn came_through(attempts: &BTreeMap<String, bool>) -> Vec<&str> {
    attempts.iter().filter(|(_, yes)| **yes).map(|(name, _)| name.as_str()).collect()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Finds the folder of a task's first attempt.
async fn folder_of(service: &Service, id: &str) -> PathBuf {
    let name = format!("{id}.1");
    let below =
        |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let find = || {
        let bases: Vec<PathBuf> = below(&std::env::temp_dir()).collect();
        // An execution on Google Cloud has a disk of its own.
        let disks = bases.iter().filter(|base| base.to_string_lossy().contains("legwork-disk-"));
        let bases = disks.flat_map(|disk| below(disk)).chain(bases.iter().cloned());
        bases.map(|base| base.join(&name)).find(|root| root.join("work").exists())
    };
    let began = std::time::Instant::now();
    loop {
        if let Some(root) = find() {
            return root;
        }
        if began.elapsed() > PATIENCE {
            let record = service.record(id).await;
            panic!("there is no folder: {record:#}\n{}\n{}", service.log(), service.worker_logs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Finds the process that holds the other task's folder.
fn sleeper(folder: &Path) -> Option<u32> {
    let found = processes_mentioning(folder.to_str().unwrap());
    let line = found.iter().find(|line| line.contains("sleep 600") && !line.contains("sh -c"))?;
    line.split_once(':')?.0.parse().ok()
}

/// Finds the worker that a process of an agent runs below.
fn worker_above(mut pid: u32) -> u32 {
    loop {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        if command.split('\0').nth(1) == Some("worker") {
            return pid;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        pid = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_ne!(pid, 0, "there is no worker above");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_nothing_of_the_service_and_of_other_tasks() {
    let bench = bench(None).await;

    let (attempts, first_line) = bench.inside().await;

    assert!(attempts.len() >= 30, "{attempts:?}");
    assert_eq!(came_through(&attempts), harmless(&first_line["isolation"]), "{first_line}");
    let user = first_line["isolation"]["user"].as_str().unwrap();
    assert_eq!(user.starts_with("own uid"), is_root(), "{first_line}");
    bench.victim_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_under_the_services_own_user_reaches_nothing_where_there_is_landlock() {
    // Whoever is no superuser has seen this in the test above; it costs nothing to see it again.
    let user = is_root().then_some(STRANGER);
    let bench = bench(user).await;

    let (attempts, first_line) = bench.inside().await;
    let control = bench.outside(user);

    let isolation = &first_line["isolation"];
    assert_eq!(isolation["user"], "shared", "{first_line}");
    let kernel = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if kernel.contains("landlock") || isolation["landlock"] != "no" {
        assert_eq!(came_through(&attempts), harmless(isolation), "{first_line}");
    } else {
        assert_eq!(came_through(&attempts), came_through(&control), "{first_line}");
    }
    // Outside of a task the same user gets at the files, and sees the processes.
    for name in [
        "list-data",
        "read-keys",
        "write-data",
        "rename-data",
        "hard-link-keys",
        "read-task",
        "write-task",
        "read-env-file",
        "read-operators-file",
        "read-shared-memory",
        "read-temporary-file",
        "environment-of-task",
        "signal-task",
        "signal-service",
        "signal-worker",
    ] {
        assert_eq!(control.get(name), Some(&true), "{name}: {control:?}");
    }
    // What is not dumpable is closed to its own user, too.
    for name in ["environment-of-service", "environment-of-worker", "memory-of-service"] {
        assert_eq!(control.get(name), Some(&false), "{name}: {control:?}");
    }
    bench.victim_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_signals_everybody_ends_only_its_own_processes() {
    let first = bench(None).await;
    let (_, first_line) = first.inside().await;
    let has_landlock = first_line["isolation"]["landlock"] != "no";
    if !has_landlock && !is_root() {
        // It would end this test and whatever else its user runs, as the documentation says.
        assert_eq!(first_line["isolation"]["user"], "shared");
        return;
    }
    let benches =
        if has_landlock && is_root() { vec![first, bench(Some(STRANGER)).await] } else { vec![first] };
    for bench in benches {
        let kill = json!({"preExecutionCommands": ["sleep 600 & kill -KILL -1; wait $!; test $? = 137"]});

        let id = bench.service.submit(&modes(&["ok"]), None, kill).await;
        let record = bench.service.wait_for_end(&id).await;

        assert_eq!(record["status"], "completed", "{record:#}");
        bench.victim_is_well().await;
    }
}

legwork_e2e::also_on_google!(
    an_agent_reaches_nothing_of_the_service_and_of_other_tasks,
    an_agent_that_signals_everybody_ends_only_its_own_processes,
);
