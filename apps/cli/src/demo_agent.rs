//! A simulated agent: what `legwork demo` runs where there is no `claude` or no key.
//!
//! It speaks as the real one does (`--output-format stream-json`), slowly enough to watch, and does
//! three real things in its folder: it runs a command, writes a file and adds a line to another. It
//! asks no model.

use std::{
    io::{self, Read as _, Write as _},
    process::{ExitCode, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// The file that it writes.
const FILE: &str = "hello.md";
/// What it writes: the two lines that it is asked for.
const GREETING: &str = "# Hello\n\n\
    Nice of you to stop by. Put the kettle on, or close the lid: the work goes on without you.\n\
    When it is done, Legwork rings, and it keeps ringing until somebody answers.\n";
/// The file that it adds a line to.
const GUEST_BOOK: &str = "README.md";
/// The line.
const SIGNATURE: &str = "- a simulated agent, who has no model but does have manners";
/// How much of the prompt is read, in bytes.
const MAX_PROMPT_BYTES: u64 = 1024 * 1024;
/// What the simulated model is called.
const MODEL: &str = "simulated";
/// How long the command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Acts as the agent's program, whatever its arguments: prompt on standard input, lines on standard
/// output.
pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(act())) {
        Ok(code) => code,
        Err(error) => {
            // Where standard error is gone too, the exit code has to do.
            let _told = writeln!(io::stderr(), "the simulated agent failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn act() -> io::Result<ExitCode> {
    let mut prompt = Vec::new();
    io::stdin().lock().take(MAX_PROMPT_BYTES).read_to_end(&mut prompt)?;
    let prompt = String::from_utf8_lossy(&prompt).trim().to_owned();
    if prompt.is_empty() {
        writeln!(io::stderr(), "Input must be provided through stdin")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let session = legwork_core::id::TaskId::from_random(random).to_string();
    let stage = Stage { session };

    stage.say(json!({
        "type": "system", "subtype": "init", "cwd": std::env::current_dir()?,
        "tools": ["Bash", "Edit", "Write"], "mcp_servers": [], "model": MODEL,
        "permissionMode": "acceptEdits", "apiKeySource": "none",
    }))?;
    pause(500).await;
    let asked = prompt.replace('\n', "\n> ");
    stage.text(1, &format!("I am a simulated agent, and this is what I was asked:\n\n> {asked}"))?;
    pause(600).await;

    let command = format!("cat {GUEST_BOOK}");
    let look = json!({"command": command, "description": "Look who was here"});
    stage.tool_use(2, "Bash", "toolu_demo_1", &look)?;
    let output = shell(&command).await?;
    pause(400).await;
    stage.tool_result("toolu_demo_1", &output)?;
    pause(400).await;

    stage.tool_use(3, "Write", "toolu_demo_2", &json!({"file_path": FILE, "content": GREETING}))?;
    std::fs::write(FILE, GREETING)?;
    pause(400).await;
    stage.tool_result("toolu_demo_2", &format!("File created successfully at: {FILE}"))?;
    pause(400).await;

    let book = std::fs::read_to_string(GUEST_BOOK)?;
    let last = book.lines().next_back().unwrap_or_default();
    let edit =
        json!({"file_path": GUEST_BOOK, "old_string": last, "new_string": format!("{last}\n{SIGNATURE}")});
    stage.tool_use(4, "Edit", "toolu_demo_3", &edit)?;
    std::fs::write(GUEST_BOOK, signed(&book))?;
    pause(400).await;
    stage.tool_result("toolu_demo_3", &format!("The file {GUEST_BOOK} has been updated."))?;
    pause(400).await;

    let farewell =
        format!("I left {FILE} and signed the guest book. A real agent would have thought about it first.");
    stage.text(5, &farewell)?;
    pause(300).await;
    stage.result(&farewell)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the guest book with one line more.
fn signed(book: &str) -> String {
    format!("{}\n{SIGNATURE}\n", book.trim_end())
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs a command in the current folder, as the agent's Bash tool does, and returns what it prints.
async fn shell(command: &str) -> io::Result<String> {
    let child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child).await??;
    let printed = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&printed).trim_end().to_owned())
}

/// Writes lines, each flushed as it is written.
#[derive(Debug)]
struct Stage {
    session: String,
}

impl Stage {
    fn say(&self, mut line: Value) -> io::Result<()> {
        if let Some(members) = line.as_object_mut() {
            members.insert("session_id".to_owned(), json!(self.session));
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }

    fn assistant(&self, message: u32, block: &Value) -> io::Result<()> {
        self.say(json!({
            "type": "assistant",
            "message": {
                "id": format!("msg_demo_{message}"), "type": "message", "role": "assistant", "model": MODEL,
                "content": [block], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
            "parent_tool_use_id": null,
        }))
    }

    fn text(&self, message: u32, text: &str) -> io::Result<()> {
        self.assistant(message, &json!({"type": "text", "text": text}))
    }

    fn tool_use(&self, message: u32, tool: &str, id: &str, input: &Value) -> io::Result<()> {
        self.assistant(message, &json!({"type": "tool_use", "id": id, "name": tool, "input": input}))
    }

    fn tool_result(&self, id: &str, output: &str) -> io::Result<()> {
        let block = json!({"tool_use_id": id, "type": "tool_result", "content": output, "is_error": false});
        self.say(json!({
            "type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": null,
        }))
    }

    fn result(&self, text: &str) -> io::Result<()> {
        self.say(json!({
            "type": "result", "subtype": "success", "is_error": false, "api_error_status": null,
            "duration_ms": 4000, "duration_api_ms": 0, "num_turns": 5, "result": text,
            "stop_reason": "end_turn", "total_cost_usd": 0,
            "usage": {
                "input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": 0,
            },
            "modelUsage": {}, "permission_denials": [], "terminal_reason": "completed",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_stands_below_all_that_was_there() {
        let book = signed("# Guest book\n\n- somebody\n");

        assert_eq!(book, format!("# Guest book\n\n- somebody\n{SIGNATURE}\n"));
    }

    #[tokio::test]
    async fn the_command_really_runs() {
        assert_eq!(shell("echo hi; echo oh >&2").await.unwrap(), "hi\noh");
    }
}
