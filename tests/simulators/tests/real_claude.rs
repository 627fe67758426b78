//! The simulated API in front of the real agent CLI: proves that the
//! simulation is one the CLI takes for the real thing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use legwork_simulators::claude_binary;
use legwork_simulators::messages_api::{Asked, MessagesApi, Script, Step};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// A run of the CLI that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(90);

struct Run {
    code: Option<i32>,
    lines: Vec<Value>,
    stderr: String,
}

impl Run {
    /// The last `result` line.
    fn result(&self) -> &Value {
        let mut lines = self.lines.iter().rev();
        lines
            .find(|line| line["type"] == "result")
            .unwrap_or_else(|| panic!("no result; stderr: {}", self.stderr))
    }
}

/// Runs the CLI in `folder` against `api`, with retries cut to two.
async fn run_claude(api: &MessagesApi, folder: &Path) -> Run {
    let home = folder.join("home");
    let workspace = folder.join("workspace");
    let temporary = folder.join("tmp");
    for made in [&home, &workspace, &temporary] {
        std::fs::create_dir(made).unwrap();
    }
    let mut child = tokio::process::Command::new(claude_binary())
        .args(["-p", "--verbose", "--output-format", "stream-json", "--max-turns", "4"])
        .args(["--permission-mode", "acceptEdits", "--allowedTools", "Bash,Write"])
        .env_clear()
        .env("HOME", &home)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("ANTHROPIC_BASE_URL", api.url())
        .env("ANTHROPIC_API_KEY", "simulated-key")
        .env("CLAUDE_CODE_TMPDIR", &temporary)
        .env("CLAUDE_CODE_MAX_RETRIES", "2")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .env("IS_SANDBOX", "1")
        .current_dir(&workspace)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Do what you are told.").await.unwrap();
    let output =
        tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the CLI ends").unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Run {
        code: output.status.code(),
        lines: stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test]
async fn the_cli_carries_out_scripted_tool_calls() {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("workspace/note.txt");
    let api = MessagesApi::start([
        Step::bash("echo hello > out.txt"),
        Step::SayAndTool {
            text: "Now the note.".into(),
            name: "Write".into(),
            input: serde_json::json!({"file_path": written, "content": "a note\n"}),
        },
        Step::say("All is written."),
    ])
    .await;

    let run = run_claude(&api, folder.path()).await;

    let turns = api.turns();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.result()["is_error"], false);
    assert_eq!(run.result()["result"], "All is written.");
    assert_eq!(std::fs::read_to_string(folder.path().join("workspace/out.txt")).unwrap(), "hello\n");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), "a note\n");
    assert_eq!(turns.len(), 3);
    assert!(turns[2].messages.to_string().contains("tool_result"));
    for turn in &turns {
        assert_eq!((turn.path.as_str(), turn.query.as_deref()), ("/v1/messages", Some("beta=true")));
        assert_eq!((turn.x_api_key.as_deref(), turn.authorization.as_deref()), (Some("simulated-key"), None));
    }
    assert!(api.requests().iter().any(|seen| seen.asked == Asked::Other && seen.method == "HEAD"));
}

#[tokio::test]
async fn the_cli_recovers_from_trouble_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let api = MessagesApi::start([
        Step::overloaded(),
        Step::rate_limited(1),
        Step::CutAfterFirstDelta,
        Step::Stall(Duration::from_millis(500)),
    ])
    .await;

    let run = run_claude(&api, folder.path()).await;

    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.result()["result"], "This took its time");
    assert_eq!(api.turns().len(), 4);
}

#[tokio::test]
async fn the_cli_gives_up_on_a_wrong_key() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = Step::unauthorized().header("x-should-retry", "false");
    let api = MessagesApi::start(Script::new([refusal]).repeating_last()).await;

    let run = run_claude(&api, folder.path()).await;

    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(run.result()["is_error"], true);
    assert_eq!(run.result()["api_error_status"], 401);
    assert_eq!(api.turns().len(), 1);
}

#[tokio::test]
async fn forever_ends_only_at_the_limit_of_turns() {
    let folder = tempfile::tempdir().unwrap();
    let api = MessagesApi::start([Step::Forever]).await;

    let run = run_claude(&api, folder.path()).await;

    let results = run.lines.iter().filter(|line| line["type"] == "user");
    let failed = results.filter(|line| line["message"]["content"][0]["is_error"] == true).count();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(run.result()["subtype"], "error_max_turns");
    assert_eq!(failed, 0);
}
