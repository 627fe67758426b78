//! Modes that write lines, many or odd, and files.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::processes::pause;
use super::stage::Stage;

/// Writes numbered lines of exactly `bytes` bytes each (longer where the
/// number needs it), unflushed.
pub(super) fn flood(stage: &mut Stage, lines: u64, bytes: usize) -> io::Result<()> {
    let pad = "x".repeat(bytes);
    for n in 0..lines {
        let head = format!(r#"{{"type":"assistant","n":{n},"pad":""#);
        let room = bytes.saturating_sub(head.len() + r#""}"#.len() + 1);
        stage.write(head.as_bytes())?;
        stage.write(pad.get(..room).unwrap_or_default().as_bytes())?;
        stage.write(b"\"}\n")?;
    }
    stage.flush()
}

pub(super) fn stderr_flood(lines: u64, bytes: usize) -> io::Result<()> {
    let mut stderr = BufWriter::new(io::stderr().lock());
    for n in 0..lines {
        let number = n.to_string();
        writeln!(stderr, "{number:x<width$}", width = bytes.saturating_sub(1))?;
    }
    stderr.flush()
}

pub(super) fn slow(stage: &mut Stage, lines: u64, every_ms: u64) -> io::Result<()> {
    stage.begin()?;
    for n in 0..lines {
        pause(Duration::from_millis(every_ms));
        stage.line(&json!({"type": "assistant", "n": n}))?;
    }
    Ok(())
}

/// What a huge line is made of.
const PIECE: &[u8] = &[b'x'; 65_536];

/// Writes one assistant line of exactly `bytes` bytes (or as few as it can).
pub(super) fn huge(stage: &mut Stage, bytes: usize) -> io::Result<()> {
    let head = r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":""#;
    let tail = r#""}]}}"#;
    let mut left = bytes.saturating_sub(head.len() + tail.len());
    stage.write(head.as_bytes())?;
    while left > 0 {
        let part = PIECE.get(..left).unwrap_or(PIECE);
        stage.write(part)?;
        left -= part.len();
    }
    stage.write(tail.as_bytes())?;
    stage.write(b"\n")?;
    stage.flush()
}

pub(super) fn not_utf8(stage: &mut Stage) -> io::Result<()> {
    let lines: [&[u8]; 7] = [
        b"{\"type\":\"assistant\",\"note\":\"broken \xff\xfe\xc3( text\"}",
        b"\x00\x01\x02\xff\xf0\x9f\xa6 binary",
        b"plain text that is no JSON",
        b"",
        b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x08",
        b"a carriage return at the end\r",
        b"{\"type\":\"assistant\",\"note\":\"cut",
    ];
    for line in lines {
        stage.write(line)?;
        stage.write(b"\n")?;
    }
    stage.flush()
}

/// Writes lines that JavaScript's `JSON.parse` accepts and strict readers
/// refuse, a result among them.
pub(super) fn lone_surrogate(stage: &mut Stage) -> io::Result<()> {
    let lines = concat!(
        r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"half \ud83d an emoji"}]}}"#,
        "\n",
        r#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"duration_ms":1e999,"#,
        r#""big":123456789012345678901234567890,"tiny":1e-999,"total_cost_usd":0.002,"#,
        r#""usage":{"input_tokens":200,"output_tokens":40},"result":"half \ud83d an emoji, \udc80 and the other half"}"#,
        "\n",
    );
    stage.write(lines.as_bytes())?;
    stage.flush()
}

pub(super) fn read_file(stage: &mut Stage, path: &str) -> io::Result<()> {
    match fs::read(path) {
        Ok(bytes) => stage.say(&format!("read {path}: {}", String::from_utf8_lossy(&bytes))),
        Err(error) => stage.say(&format!("cannot read {path}: {error}")),
    }
}

pub(super) fn write_file(stage: &mut Stage, path: &str, text: &str) -> io::Result<()> {
    let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    match made {
        Ok(()) => stage.say(&format!("wrote {path}")),
        Err(error) => stage.say(&format!("cannot write {path}: {error}")),
    }
}
