//! Modes about processes: what is left behind, what cannot be stopped, how
//! the program dies.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::stage::Stage;

/// Leaves three children behind, each harder to find than the one before.
pub(super) fn children(stage: &mut Stage, seconds: u64) -> io::Result<()> {
    leave_behind(stage, "plain", &format!("sleep {seconds} {QUIET} & echo $!"))?;
    leave_behind(stage, "setsid", &format!("setsid sleep {seconds} {QUIET} & echo $!"))?;
    // The shell that setsid starts leads the session and is gone at once.
    leave_behind(stage, "daemon", &format!("setsid sh -c 'sleep {seconds} {QUIET} & echo $!'"))
}

/// Leaves a process that ignores INT and TERM and goes on starting others.
pub(super) fn late_children(stage: &mut Stage, every_ms: u64, count: u64) -> io::Result<()> {
    let body = format!(
        r#"trap "" INT TERM; n=0; while [ $n -lt {count} ]; do sleep 600 & sleep {}; n=$((n+1)); done; sleep 600"#,
        seconds(every_ms)
    );
    leave_behind(stage, "spawner", &format!("setsid sh -c '{body}' {QUIET} & echo $!"))
}

/// Leaves a process that writes to our stdout after we are done with it.
pub(super) fn background_noise(stage: &mut Stage, every_ms: u64, count: u64) -> io::Result<()> {
    stage.begin()?;
    let line = r#"{\"type\":\"system\",\"subtype\":\"noise\",\"n\":$n}"#;
    let body = format!(
        r#"n=0; while [ $n -lt {count} ]; do echo "{line}"; sleep {}; n=$((n+1)); done"#,
        seconds(every_ms)
    );
    let child = shell(&body)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(stage.transcript.try_clone()?)
        .spawn()?;
    stage.say(&format!("pid noise {}", child.id()))
}

/// Never ends; neither INT nor TERM ends it or its child.
pub(super) fn ignore_term(stage: &mut Stage) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    {
        let _entered = runtime.enter();
        // A handler once installed stays: these signals have no effect any more.
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            drop(signal(kind)?);
        }
    }
    leave_behind(
        stage,
        "stubborn",
        &format!(r#"sh -c 'trap "" INT TERM; while :; do sleep 1; done' {QUIET} & echo $!"#),
    )?;
    stage.say(&format!("pid self {}", getpid().as_raw_nonzero()))?;
    sleep_for_ever()
}

/// Runs a command as the Bash tool would: output in a tool result.
pub(super) fn shell_tool(stage: &mut Stage, command: &str) -> io::Result<()> {
    stage.flush()?;
    let output = shell(&format!("{{ {command}\n}} 2>&1")).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text =
        if output.status.success() { text.into_owned() } else { format!("{} ({text})", output.status) };
    stage.tool_turn("Bash", &json!({"command": command}), &text)
}

/// Ends this process by a signal.
pub(super) fn die_by(name: &str) -> io::Result<()> {
    let signal = match name {
        "SEGV" => Signal::SEGV,
        "KILL" => Signal::KILL,
        "TERM" => Signal::TERM,
        "ABRT" => Signal::ABORT,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        other => return Err(io::Error::other(format!("unknown signal {other:?}"))),
    };
    loop {
        // The runtime's handler takes the first SEGV, to look for an overflown stack; the second one kills.
        kill_process(getpid(), signal)?;
        pause(Duration::from_millis(5));
    }
}

/// Does nothing, for ever.
pub(super) fn sleep_for_ever() -> ! {
    loop {
        pause(Duration::from_hours(1));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated program waits on the real clock, without a runtime"
)]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Takes a child off our pipes, which would otherwise stay open with it.
const QUIET: &str = "</dev/null >/dev/null 2>&1";

/// Runs a shell line that starts a process and prints its id; says the id.
fn leave_behind(stage: &mut Stage, kind: &str, line: &str) -> io::Result<()> {
    stage.flush()?;
    let output = shell(line).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    stage.say(&format!("pid {kind} {}", String::from_utf8_lossy(&output.stdout).trim()))
}

/// Milliseconds as the seconds that `sleep` takes.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[expect(
    clippy::disallowed_types,
    reason = "starting processes that nobody looks after is what is simulated"
)]
fn shell(line: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(line);
    command
}
