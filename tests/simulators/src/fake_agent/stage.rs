//! What the modes act on: the stream of lines, and what was passed in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

const SESSION: &str = "7f3c0f4e-0000-4000-8000-00000000cafe";
const MODEL: &str = "claude-simulated";

/// The program's surroundings, as tests can replace them.
#[derive(Debug)]
pub(super) struct Stage {
    out: BufWriter<File>,
    /// The file behind `out`, for modes that tamper with it.
    pub(super) transcript: File,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) arguments: Vec<String>,
    pub(super) leaks: Vec<String>,
    init_written: bool,
    turns: u64,
    /// Makes ids differ.
    ids: u64,
}

/// How a result line judges the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict<'a> {
    pub(super) subtype: &'a str,
    pub(super) is_error: bool,
    pub(super) api_error_status: Option<u16>,
    pub(super) text: &'a str,
}

impl Stage {
    /// Writes to `transcript`, which is stdout outside of tests.
    pub(super) fn new(transcript: File) -> io::Result<Self> {
        Ok(Self {
            out: BufWriter::with_capacity(65_536, transcript.try_clone()?),
            transcript,
            variables: BTreeMap::new(),
            arguments: Vec::new(),
            leaks: Vec::new(),
            init_written: false,
            turns: 0,
            ids: 0,
        })
    }

    /// Writes bytes as they are, after the `init` line; they may wait in a
    /// buffer until [`Stage::flush`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.begin()?;
        self.out.write_all(bytes)
    }

    /// Hands all that was written to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes the `init` line where it is not yet written.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.init_written {
            return Ok(());
        }
        self.init_written = true;
        let folder = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
        let uuid = self.uuid();
        self.line(&json!({
            "type": "system", "subtype": "init", "cwd": folder, "session_id": SESSION,
            "tools": ["Bash", "Edit", "Read", "Write"], "mcp_servers": [], "model": MODEL,
            "permissionMode": "acceptEdits", "slash_commands": [], "apiKeySource": "ANTHROPIC_API_KEY",
            "claude_code_version": super::program::VERSION, "output_style": "default", "agents": [], "skills": [],
            "plugins": [], "uuid": uuid,
        }))
    }

    /// Writes one line of JSON at once.
    pub(super) fn line(&mut self, value: &Value) -> io::Result<()> {
        self.write(format!("{value}\n").as_bytes())?;
        self.flush()
    }

    /// Writes one line of plain text at once.
    pub(super) fn plain(&mut self, text: &str) -> io::Result<()> {
        self.write(format!("{text}\n").as_bytes())?;
        self.flush()
    }

    /// Writes an assistant's text.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.turns += 1;
        self.assistant(&json!({"type": "text", "text": text}))
    }

    /// Writes a tool call and its result.
    pub(super) fn tool_turn(&mut self, name: &str, input: &Value, output: &str) -> io::Result<()> {
        self.turns += 1;
        self.ids += 1;
        let id = format!("toolu_{:024x}", self.ids);
        self.assistant(&json!({"type": "tool_use", "id": id, "name": name, "input": input}))?;
        let result = json!({"tool_use_id": id, "type": "tool_result", "content": output, "is_error": false});
        let uuid = self.uuid();
        self.line(&json!({
            "type": "user", "message": {"role": "user", "content": [result]}, "parent_tool_use_id": null,
            "session_id": SESSION, "uuid": uuid, "timestamp": "2026-01-01T00:00:00.000Z",
            "tool_use_result": {"stdout": output, "stderr": "", "interrupted": false, "isImage": false},
        }))
    }

    /// Writes the result line.
    pub(super) fn result(&mut self, verdict: Verdict<'_>) -> io::Result<()> {
        let uuid = self.uuid();
        let mut line = json!({
            "type": "result", "subtype": verdict.subtype, "is_error": verdict.is_error,
            "api_error_status": verdict.api_error_status, "duration_ms": 439, "duration_api_ms": 138,
            "num_turns": self.turns.max(1), "stop_reason": "end_turn", "session_id": SESSION,
            "total_cost_usd": 0.002, "permission_denials": [], "terminal_reason": "completed", "uuid": uuid,
            "usage": {
                "input_tokens": 200, "output_tokens": 40, "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0, "service_tier": "standard",
            },
            "modelUsage": {MODEL: {"inputTokens": 200, "outputTokens": 40, "costUSD": 0.002}},
        });
        // The CLI has `result` on its success subtype and `errors` on the others.
        let (name, value) = match verdict.subtype {
            "success" => ("result", json!(verdict.text)),
            _ => ("errors", json!([verdict.text])),
        };
        if let Some(members) = line.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        self.line(&line)
    }

    fn assistant(&mut self, block: &Value) -> io::Result<()> {
        let uuid = self.uuid();
        self.line(&json!({
            "type": "assistant",
            "message": {
                "id": format!("msg_{:024x}", self.turns), "type": "message", "role": "assistant", "model": MODEL,
                "content": [block], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 100, "output_tokens": 1},
            },
            "parent_tool_use_id": null, "session_id": SESSION, "uuid": uuid,
        }))
    }

    fn uuid(&mut self) -> String {
        self.ids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.ids)
    }
}
