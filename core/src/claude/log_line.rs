//! The lines that the service adds to a task's log, in the one place that knows their format.
//!
//! Each is one JSON object without newline. Masking is the caller's: texts come in masked.

use alloc::{
    borrow::Cow,
    string::{String, ToString as _},
};

use crate::{
    id::Attempt,
    json::{self, Document},
    time::Timestamp,
};

/// Which of a command's outputs a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

impl OutputStream {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Begins an attempt's log: which attempt, and what isolation was reached.
///
/// `isolation` is JSON; a text that is none is written as a string.
///
/// # Examples
/// ```
/// use legwork_core::{claude::log_line, id::Attempt, time::Timestamp};
/// let line = log_line::session_init(Attempt::FIRST, r#"{"uid":1000}"#, Timestamp::from_unix_ms(0));
/// assert_eq!(
///     line,
///     r#"{"type":"session_init","timestamp":"1970-01-01T00:00:00.000Z","attempt":1,"isolation":{"uid":1000}}"#
/// );
/// let broken = log_line::session_init(Attempt::FIRST, "{", Timestamp::from_unix_ms(0));
/// assert!(broken.ends_with(r#""isolation":"{"}"#));
/// ```
pub fn session_init(attempt: Attempt, isolation: &str, now: Timestamp) -> String {
    let isolation = isolation.trim();
    let whole = !isolation.contains('\n') && Document::parse(isolation).is_ok();
    let line =
        Line::of("session_init").text("timestamp", &now.to_string()).json("attempt", &attempt.to_string());
    if whole { line.json("isolation", isolation) } else { line.text("isolation", isolation) }.end()
}

/// Holds a line of the agent that was no JSON object.
///
/// # Examples
/// ```
/// assert_eq!(legwork_core::claude::log_line::text("a \"b\""), r#"{"type":"text","content":"a \"b\""}"#);
/// ```
pub fn text(content: &str) -> String {
    Line::of("text").text("content", content).end()
}

/// Holds the beginning of a line that was too long, and how many bytes of it are not here.
pub fn cut_text(content: &str, truncated_bytes: u64) -> String {
    Line::of("text").text("content", content).json("truncatedBytes", &truncated_bytes.to_string()).end()
}

/// Holds one line that a command before the agent, or git, wrote.
pub fn command_output(command: &str, stream: OutputStream, text: &str, now: Timestamp) -> String {
    Line::of("command_output")
        .text("command", command)
        .text("stream", stream.as_str())
        .text("text", text)
        .at(now)
}

/// Says what the reader should know although the task goes on.
pub fn warning(message: &str, now: Timestamp) -> String {
    Line::of("warning").text("warning", message).at(now)
}

/// Says what went wrong.
///
/// # Examples
/// ```
/// use legwork_core::{claude::log_line, time::Timestamp};
/// assert_eq!(
///     log_line::error("File not found", Timestamp::from_unix_ms(0)),
///     r#"{"type":"error","error":"File not found","timestamp":"1970-01-01T00:00:00.000Z"}"#
/// );
/// ```
pub fn error(message: &str, now: Timestamp) -> String {
    Line::of("error").text("error", message).at(now)
}

/// Tells of a tool call; `args` is JSON.
pub(super) fn tool_use(tool: &str, args: &str, now: Timestamp) -> String {
    Line::of("tool_use").text("tool", tool).json("args", args).at(now)
}

/// Tells what a tool answered.
pub(super) fn tool_result(tool: &str, output: &str, now: Timestamp) -> String {
    Line::of("tool_result").text("tool", tool).text("output", output).at(now)
}

/// Tells that a turn of the conversation is over.
pub(super) fn turn_complete(turn_number: u64, now: Timestamp) -> String {
    Line::of("turn_complete").json("turnNumber", &turn_number.to_string()).at(now)
}

/// Cuts a text to at most that many bytes of UTF-8; what is cut ends in `…`.
pub(super) fn bounded(text: &str, max_bytes: usize) -> Cow<'_, str> {
    const ELLIPSIS: char = '…';
    if text.len() <= max_bytes {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(ELLIPSIS.len_utf8()));
    let mut cut = text.get(..end).unwrap_or_default().to_string();
    cut.push(ELLIPSIS);
    Cow::Owned(cut)
}

/// One line in the making.
struct Line(String);

impl Line {
    fn of(kind: &str) -> Self {
        let mut line = String::from("{\"type\":");
        json::write_string(&mut line, kind);
        Self(line)
    }

    fn json(mut self, name: &str, value: &str) -> Self {
        self.0.push(',');
        json::write_string(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        let mut line = self.json(name, "");
        json::write_string(&mut line.0, value);
        line
    }

    fn at(self, now: Timestamp) -> String {
        self.text("timestamp", &now.to_string()).end()
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "1970-01-01T00:00:00.000Z";

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(line, expected.replace("NOW", NOW));
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok());
    }

    #[test]
    fn lines_have_their_members_in_this_order() {
        let now = Timestamp::from_unix_ms(0);

        check(
            &command_output("npm ci", OutputStream::Stderr, "warn", now),
            r#"{"type":"command_output","command":"npm ci","stream":"stderr","text":"warn","timestamp":"NOW"}"#,
        );
        check(&warning("a\nb", now), r#"{"type":"warning","warning":"a\nb","timestamp":"NOW"}"#);
        check(
            &tool_use("Read", r#"{"file":1}"#, now),
            r#"{"type":"tool_use","tool":"Read","args":{"file":1},"timestamp":"NOW"}"#,
        );
        check(
            &tool_result("Read", "x", now),
            r#"{"type":"tool_result","tool":"Read","output":"x","timestamp":"NOW"}"#,
        );
        check(&turn_complete(3, now), r#"{"type":"turn_complete","turnNumber":3,"timestamp":"NOW"}"#);
        check(&cut_text("x", 7), r#"{"type":"text","content":"x","truncatedBytes":7}"#);
    }

    #[test]
    fn a_bounded_text_ends_in_an_ellipsis_and_cuts_no_character() {
        assert_eq!(bounded("abcdef", 6), "abcdef");
        assert_eq!(bounded("abcdefg", 6), "abc…");
        assert_eq!(bounded("aüüüü", 6), "aü…");
    }
}
