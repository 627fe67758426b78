//! What every `Agent` has to keep.
//!
//! The commands are lines of POSIX shell: what is tested is how processes are started, followed and
//! ended, whatever they are. Nothing here waits for a time that is guessed: a test ends when
//! what it waits for is there, and fails when it is not there in time.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use legwork_core::secret::Secret;
use legwork_ports::agent::{
    Agent, AgentCommand, AgentError, AgentExit, AgentRun, ExitKind, FileReach, STDERR_TAIL_BYTES,
    STOP_DEADLINE, Stderr,
};
use tokio::time::{sleep, timeout};

/// How long anything may take that has no limit of its own: a machine may be very busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the test itself may need besides the time that is promised.
const SLACK: Duration = Duration::from_millis(500);

/// An agent, and where its commands run.
#[derive(Debug, Clone)]
pub struct AgentBench {
    /// What is tested.
    pub agent: Arc<dyn Agent>,
    /// Where commands run; `user` may write to it.
    pub directory: PathBuf,
    /// Where their output goes through.
    pub spool: PathBuf,
    /// The user they run as.
    pub user: Option<u32>,
}

impl AgentBench {
    /// Returns a command that runs a line of shell.
    pub fn shell(&self, line: &str) -> AgentCommand {
        let path = Secret::new("/usr/local/bin:/usr/bin:/bin".to_owned());
        AgentCommand {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), line.to_owned()],
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            stdin: Bytes::new(),
            directory: self.directory.clone(),
            spool: self.spool.clone(),
            user: self.user,
            reach: FileReach::default(),
            stderr: Stderr::Tail,
        }
    }

    /// Starts a command that has to start.
    pub async fn start(&self, command: AgentCommand) -> Box<dyn AgentRun> {
        self.agent.start(command).await.expect("the command starts")
    }

    /// Runs a line of shell to its end and returns what it wrote.
    pub async fn run(&self, line: &str) -> (String, AgentExit) {
        let mut run = self.start(self.shell(line)).await;
        let output = read_all(run.as_mut()).await;
        (output, finish(run.as_mut()).await)
    }
}

/// Reads until there is nothing more.
pub async fn read_all(run: &mut dyn AgentRun) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = next(run).await {
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).expect("text")
}

/// Reads until the output holds `text`, and returns it.
pub async fn read_until(run: &mut dyn AgentRun, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        let bytes = next(run).await.expect("more output");
        all.push_str(std::str::from_utf8(&bytes).expect("text"));
    }
    all
}

/// Waits for the end, which has to come in time.
pub async fn finish(run: &mut dyn AgentRun) -> AgentExit {
    timeout(PATIENCE, run.finish()).await.expect("an end in time").expect("an end")
}

async fn next(run: &mut dyn AgentRun) -> Option<Bytes> {
    timeout(PATIENCE, run.read()).await.expect("output in time").expect("output")
}

/// Returns the processes that the output names in lines `pid 123`.
pub fn pids(output: &str) -> Vec<u32> {
    let named = output.lines().filter_map(|line| line.strip_prefix("pid "));
    named.map(|text| text.trim().parse().expect("a process id")).collect()
}

/// Returns whether a process lives. One that has ended and was not reaped does not.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[track_caller]
fn nobody_lives(output: &str, count: usize) {
    let pids = pids(output);
    assert_eq!(pids.len(), count, "the command names its processes: {output}");
    let left: Vec<u32> = pids.into_iter().filter(|pid| lives(*pid)).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Returns `line 0`, `line 1` and so on, as lines.
fn numbered(count: u32) -> String {
    (0..count).fold(String::new(), |lines, number| lines + &format!("line {number}\n"))
}

/// Everything that the command writes arrives, in order.
pub async fn everything_written_arrives_in_order(bench: &AgentBench) {
    let (output, exit) = bench.run("n=0; while [ $n -lt 5000 ]; do echo line $n; n=$((n+1)); done").await;

    let expected = numbered(5000);
    assert!(output == expected, "{} of {} bytes", output.len(), expected.len());
    assert_eq!(exit.kind, ExitKind::Code(0));
    assert!(!exit.altered, "nobody else wrote");
}

/// What it wrote just before it was killed arrives.
pub async fn what_was_written_before_a_kill_arrives(bench: &AgentBench) {
    let (output, exit) =
        bench.run("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last; kill -9 $$").await;

    assert_eq!(output.len(), 1_000_000 + "\nlast\n".len());
    assert!(output.ends_with("\nlast\n"), "the last line");
    assert_eq!(exit.kind, ExitKind::Signal(9));
}

/// What it writes while it is being stopped arrives.
pub async fn what_is_written_while_stopping_arrives(bench: &AgentBench) {
    let line = "trap 'echo bye; exit 7' INT; echo ready; while :; do sleep 0.02; done";
    let mut run = bench.start(bench.shell(line)).await;
    read_until(run.as_mut(), "ready\n").await;

    run.stop();
    let rest = read_all(run.as_mut()).await;
    let exit = finish(run.as_mut()).await;

    assert_eq!(rest, "bye\n");
    assert_eq!(exit.kind, ExitKind::Code(7));
}

/// Bytes arrive as soon as there are any, while the command runs.
pub async fn output_arrives_while_the_command_runs(bench: &AgentBench) {
    let mut run =
        bench.start(bench.shell("echo first; until [ -e go ]; do sleep 0.02; done; echo second")).await;

    let first = read_until(run.as_mut(), "first\n").await;
    let had_ended = run.has_ended();
    fs::write(bench.directory.join("go"), "").expect("the file that it waits for");
    let rest = read_all(run.as_mut()).await;

    assert_eq!((first.as_str(), rest.as_str(), had_ended), ("first\n", "second\n", false));
    finish(run.as_mut()).await;
    assert!(run.has_ended(), "it has ended");
}

/// Slow reading neither slows the command down nor loses anything.
pub async fn slow_reading_loses_nothing(bench: &AgentBench) {
    let line =
        "n=0; while [ $n -lt 40 ]; do head -c 100000 /dev/zero | tr '\\0' x; n=$((n+1)); done; echo end";
    let mut run = bench.start(bench.shell(line)).await;
    timeout(PATIENCE, async {
        while !run.has_ended() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it ends though nobody reads");

    let mut total_bytes = 0;
    let mut last = Bytes::new();
    while let Some(bytes) = next(run.as_mut()).await {
        assert!(!bytes.is_empty() && bytes.len() <= 256 * 1024, "{} bytes at once", bytes.len());
        total_bytes += bytes.len();
        last = bytes;
    }

    assert_eq!(total_bytes, 4_000_000 + "end\n".len());
    assert!(last.ends_with(b"xend\n"), "the last line");
    assert!(!finish(run.as_mut()).await.altered, "nobody else wrote");
}

/// Dropping the future of a read loses no bytes.
pub async fn a_read_that_is_dropped_loses_nothing(bench: &AgentBench) {
    let line =
        "n=0; while [ $n -lt 400 ]; do echo line $n; n=$((n+1)); [ $((n%40)) -gt 0 ] || sleep 0.01; done";
    let mut run = bench.start(bench.shell(line)).await;

    let mut all = Vec::new();
    let mut patience = Duration::ZERO;
    loop {
        match timeout(patience, run.read()).await {
            Ok(Ok(Some(bytes))) => all.extend_from_slice(&bytes),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => panic!("output: {error}"),
            Err(_dropped) => patience = (patience + Duration::from_micros(50)).min(Duration::from_millis(5)),
        }
    }

    let expected = numbered(400);
    assert_eq!(String::from_utf8(all).expect("text"), expected);
    finish(run.as_mut()).await;
}

/// Nothing is inherited: the environment is exactly the given one.
pub async fn the_environment_is_exactly_the_given_one(bench: &AgentBench) {
    let mut command = bench.shell("");
    "env".clone_into(&mut command.program);
    command.args = Vec::new();
    command.env.insert("GREETING".to_owned(), Secret::new("a b=c \"ä\"".to_owned()));
    command.env.insert("EMPTY".to_owned(), Secret::new(String::new()));
    let expected: BTreeSet<String> =
        command.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
    let mut run = bench.start(command).await;

    let output = read_all(run.as_mut()).await;

    assert_eq!(output.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    finish(run.as_mut()).await;
}

/// Stdin is what was given, whether it is read as it is or opened by its name.
pub async fn stdin_is_what_was_given(bench: &AgentBench) {
    for line in ["cat", "cat /dev/stdin"] {
        let mut command = bench.shell(line);
        command.stdin = Bytes::from("prompt\n".repeat(50_000));
        let mut run = bench.start(command).await;

        let output = read_all(run.as_mut()).await;

        assert!(output == "prompt\n".repeat(50_000), "{line}: {} bytes", output.len());
        finish(run.as_mut()).await;
    }
}

/// Arguments arrive as they are, and the command runs in its folder.
pub async fn arguments_and_folder_are_the_given_ones(bench: &AgentBench) {
    let mut command = bench.shell("pwd -P; for argument; do echo \"<$argument>\"; done");
    command.args.extend(["name", "-x", "a b", "", "$HOME;`id`\n'\""].map(str::to_owned));
    let mut run = bench.start(command).await;

    let output = read_all(run.as_mut()).await;

    let folder = bench.directory.canonicalize().expect("the folder");
    assert_eq!(output, format!("{}\n<-x>\n<a b>\n<>\n<$HOME;`id`\n'\">\n", folder.display()));
    finish(run.as_mut()).await;
}

/// The end tells how the command ended: its code, or the signal that ended it.
pub async fn the_end_tells_code_or_signal(bench: &AgentBench) {
    for (line, expected) in [
        ("exit 0", ExitKind::Code(0)),
        ("exit 3", ExitKind::Code(3)),
        ("exit 143", ExitKind::Code(143)),
        ("kill -TERM $$", ExitKind::Signal(15)),
        ("kill -KILL $$", ExitKind::Signal(9)),
    ] {
        let (_, exit) = bench.run(line).await;

        assert_eq!(exit.kind, expected, "{line}");
    }
}

/// The end has the last of stderr, and stderr is no part of the output.
pub async fn the_end_has_the_last_of_stderr(bench: &AgentBench) {
    let (output, exit) = bench.run("echo out; echo oops >&2").await;
    assert_eq!((output.as_str(), exit.stderr_tail.as_str()), ("out\n", "oops\n"));

    let (_, exit) = bench.run("head -c 3000000 /dev/zero | tr '\\0' e >&2; echo last >&2").await;
    assert_eq!(exit.stderr_tail.len(), STDERR_TAIL_BYTES);
    assert!(exit.stderr_tail.ends_with("eelast\n"), "the last line");
}

/// Where all of stderr is wanted, every byte of it arrives, apart from stdout.
pub async fn the_whole_of_stderr_arrives_where_it_is_wanted(bench: &AgentBench) {
    let line = "i=0; while [ $i -lt 30000 ]; do echo \"message $i, some forty bytes of it, more or less\" >&2; i=$((i+1)); done; echo out";
    let mut run = bench.start(AgentCommand { stderr: Stderr::Whole, ..bench.shell(line) }).await;

    let output = read_all(run.as_mut()).await;
    let mut errors = Vec::new();
    while let Some(bytes) = run.read_stderr().await.expect("stderr") {
        errors.extend_from_slice(&bytes);
    }
    finish(run.as_mut()).await;

    assert_eq!(output, "out\n");
    let expected: Vec<String> =
        (0..30_000).map(|i| format!("message {i}, some forty bytes of it, more or less\n")).collect();
    let expected = expected.concat();
    assert!(String::from_utf8(errors).expect("text") == expected, "all lines, in order");
}

/// A program that is not there, or is none, is told as such, and nothing runs.
pub async fn a_program_that_cannot_be_run_is_missing(bench: &AgentBench) {
    fs::write(bench.directory.join("no-permission"), "#!/bin/sh\n").expect("a file");
    for (program, expected) in [
        ("no-such-program", "PATH"),
        ("/no/such/program", "no such file"),
        ("./no-permission", "not executable"),
        ("", ""),
    ] {
        let mut command = bench.shell("");
        command.program = program.to_owned();

        let started = bench.agent.start(command).await;

        match started {
            Err(AgentError::Missing { program: named, reason }) => {
                assert_eq!(named, program);
                assert!(reason.contains(expected), "{program}: {reason}");
            }
            Err(other) => panic!("{program}: {other:?}"),
            Ok(_) => panic!("{program} runs"),
        }
    }
}

/// A folder that is not there is the machine's failure, not the program's.
pub async fn a_folder_that_is_missing_is_not_taken_for_the_program(bench: &AgentBench) {
    let mut command = bench.shell("echo runs");
    command.directory = bench.directory.join("missing");

    let started = bench.agent.start(command).await;

    assert!(matches!(started, Err(AgentError::Machine { .. })), "{started:?}");
}

/// After a command that ended well, nothing of its tree lives: neither plain children, nor those in
/// a session of their own, nor those whose parents are gone.
pub async fn no_descendant_outlives_a_success(bench: &AgentBench) {
    let (output, exit) = bench.run(CHILDREN).await;

    nobody_lives(&output, 4);
    assert_eq!(exit.kind, ExitKind::Code(0));
}

/// Three kinds of children that stay, and the shell itself.
const CHILDREN: &str = "echo pid $$; sleep 600 & echo pid $!; \
    setsid sh -c 'echo pid $$; exec sleep 600' & \
    (setsid sh -c 'sleep 600 & echo pid $!' &); \
    sleep 0.3";

/// Children that ignore every request to end do not outlive the command either.
pub async fn no_stubborn_descendant_outlives_the_command(bench: &AgentBench) {
    let line = format!(
        "{STUBBORN} & {STUBBORN} & until [ -e both ]; do [ -e a1 ] && [ -e a2 ] && : >both; \
        : >a1; : >a2; sleep 0.1; done; exit 5"
    );

    let mut run = bench.start(bench.shell(&line)).await;
    let output = read_all(run.as_mut()).await;
    let exit = finish(run.as_mut()).await;

    nobody_lives(&output, 2);
    assert_eq!(exit.kind, ExitKind::Code(5));
}

/// Ignores what can be ignored, in a session of its own, and goes on starting others.
const STUBBORN: &str =
    "setsid sh -c 'trap \"\" HUP INT TERM; echo pid $$; while :; do sleep 600 & sleep 0.1; done'";

/// Five seconds after it was asked to stop, nothing of a tree lives that ignores the request.
pub async fn a_stubborn_tree_is_gone_five_seconds_after_stop(bench: &AgentBench) {
    let line =
        format!("trap '' HUP INT TERM; {STUBBORN} & echo pid $$; while :; do sleep 600 & sleep 0.1; done");
    let mut run = bench.start(bench.shell(&line)).await;
    let mut output = String::new();
    while pids(&output).len() < 2 {
        output.push_str(&read_until(run.as_mut(), "\n").await);
    }

    run.stop();
    run.stop();
    let exit = timeout(STOP_DEADLINE + SLACK, run.finish()).await.expect("an end in time").expect("an end");

    nobody_lives(&output, 2);
    assert_eq!(exit.kind, ExitKind::Signal(9));
}

/// Five seconds after it was asked to stop, nothing lives of a tree whose processes always start the
/// next one and end, faster than anybody can look at them.
pub async fn a_tree_that_never_stands_still_is_gone_five_seconds_after_stop(bench: &AgentBench) {
    let line =
        "trap '' HUP INT TERM; comet() { : >>trace; comet & }; comet; comet; comet; echo ready; sleep 600";
    let mut run = bench.start(bench.shell(line)).await;
    read_until(run.as_mut(), "ready\n").await;

    run.stop();
    timeout(STOP_DEADLINE + SLACK, run.finish()).await.expect("an end in time").expect("an end");

    let trace = bench.directory.join("trace");
    fs::remove_file(&trace).expect("the trace that they left");
    sleep(Duration::from_millis(100)).await;
    assert!(!trace.exists(), "something still leaves traces");
}

/// Stopping what has ended does nothing.
pub async fn stopping_what_has_ended_does_nothing(bench: &AgentBench) {
    let mut run = bench.start(bench.shell("echo done; exit 4")).await;
    let output = read_all(run.as_mut()).await;

    run.stop();
    let exit = finish(run.as_mut()).await;
    run.stop();

    assert_eq!((output.as_str(), exit.kind), ("done\n", ExitKind::Code(4)));
}

/// The end is the same whether the output was read or not.
pub async fn the_end_needs_no_reader(bench: &AgentBench) {
    let mut run = bench.start(bench.shell("echo unread; exit 6")).await;

    let exit = finish(run.as_mut()).await;

    assert_eq!(exit.kind, ExitKind::Code(6));
    assert!(run.has_ended(), "it has ended");
}

/// Dropping a run stops its tree.
pub async fn dropping_a_run_stops_its_tree(bench: &AgentBench) {
    let mut run = bench.start(bench.shell("sleep 600 & echo pid $!; echo pid $$; wait")).await;
    let mut output = String::new();
    while pids(&output).len() < 2 {
        output.push_str(&read_until(run.as_mut(), "\n").await);
    }

    drop(run);

    let gone = timeout(STOP_DEADLINE + SLACK, async {
        while pids(&output).into_iter().any(lives) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    gone.await.expect("the tree ends in time");
}

/// Two commands at once, of different users or of the worker's own, keep apart.
pub async fn two_commands_at_once_keep_apart(bench: &AgentBench) {
    let mut one = bench.start(bench.shell("until [ -e go ]; do sleep 0.02; done; cat; echo one")).await;
    let mut command = bench.shell("cat; echo two");
    command.user = None;
    command.stdin = Bytes::from_static(b"for two\n");
    let mut two = bench.start(command).await;

    let second = read_all(two.as_mut()).await;
    let second_exit = finish(two.as_mut()).await;
    let one_had_ended = one.has_ended();
    fs::write(bench.directory.join("go"), "").expect("the file that it waits for");
    let first = read_all(one.as_mut()).await;

    assert_eq!(
        (second.as_str(), second_exit.kind, one_had_ended),
        ("for two\ntwo\n", ExitKind::Code(0), false)
    );
    assert_eq!((first.as_str(), finish(one.as_mut()).await.kind), ("one\n", ExitKind::Code(0)));
}
