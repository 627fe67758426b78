//! Shows a line of a task's log to people.
//!
//! Pure: a JSON line in, styled text out, everything from outside escaped. What the service says of
//! tool calls is shown, and what the agent itself says of them is not, for it is the same.

use legwork_core::json::{Document, Node};

use crate::{
    style::{BAD, BOLD, DIM, GOOD, ODD, paint},
    terminal::escape,
};

/// How much of a tool's arguments or answer is shown, in characters.
const SHOWN_CHARS: usize = 120;

/// The argument that says most about a call, by descending worth.
const TELLING_ARGUMENTS: [&str; 9] =
    ["command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description", "prompt"];

/// Shows one log, line by line.
#[derive(Debug, Default)]
pub(crate) struct TranscriptView {
    /// The command whose output came last: its name is shown once.
    command: Option<String>,
}

impl TranscriptView {
    /// Returns what to show for the next line, without a last newline; nothing for lines that only
    /// programs want. A line that is no JSON is shown as it is.
    pub(crate) fn render(&mut self, line: &str) -> Option<String> {
        let Ok(document) = Document::parse(line) else {
            return Some(escape(line).into_owned()).filter(|shown| !shown.trim().is_empty());
        };
        let line = document.root();
        let kind = text(line, "type").unwrap_or_default();
        if kind != "command_output" {
            self.command = None;
        }
        match kind.as_str() {
            "session_init" => Some(paint(DIM, &started(line))),
            "system" => system(line),
            "assistant" => assistant(line),
            "tool_use" => Some(tool_use(line)),
            "tool_result" => tool_result(line),
            "command_output" => Some(self.command_output(line)),
            "warning" => text(line, "warning").map(|said| paint(ODD, &format!("warning: {}", escape(&said)))),
            "error" => text(line, "error").map(|said| paint(BAD, &format!("error: {}", escape(&said)))),
            "text" => plain_text(line),
            // The agent's own words on tool calls and its end, and what newer services may add.
            _ => None,
        }
    }

    fn command_output(&mut self, line: Node<'_>) -> String {
        let command = text(line, "command").unwrap_or_default();
        let said = text(line, "text").unwrap_or_default();
        let shown = paint(DIM, &format!("  {}", escape(said.trim_end()).replace('\n', "\n  ")));
        if self.command.as_ref() == Some(&command) {
            return shown;
        }
        let head = format!("{} {}", paint(GOOD, "$"), paint(BOLD, &one_line(&command)));
        self.command = Some(command);
        format!("{head}\n{shown}")
    }
}

fn text(node: Node<'_>, name: &str) -> Option<String> {
    Some(node.get(name)?.as_str()?.into_owned())
}

fn started(line: Node<'_>) -> String {
    match line.get("attempt").and_then(|attempt| attempt.as_u64()) {
        None | Some(0 | 1) => "session started".to_owned(),
        Some(attempt) => format!("session started, attempt {attempt}"),
    }
}

fn system(line: Node<'_>) -> Option<String> {
    let number = |name: &str| line.get(name).and_then(|node| node.as_u64());
    match text(line, "subtype")?.as_str() {
        "init" => {
            let model = text(line, "model")?;
            let mode = text(line, "permissionMode").map(|mode| format!(", {}", escape(&mode)));
            Some(paint(DIM, &format!("{}{}", escape(&model), mode.unwrap_or_default())))
        }
        "api_retry" => {
            let why = text(line, "error").unwrap_or_else(|| "no reason given".to_owned());
            let (n, of) = (number("attempt")?, number("max_retries")?);
            Some(paint(ODD, &format!("the model's API did not answer ({}); retry {n} of {of}", escape(&why))))
        }
        "model_fallback" => {
            let (from, to) = (text(line, "original_model")?, text(line, "fallback_model")?);
            Some(paint(ODD, &format!("model changed from {} to {}", escape(&from), escape(&to))))
        }
        _ => None,
    }
}

fn assistant(line: Node<'_>) -> Option<String> {
    let said = text(line, "text").unwrap_or_else(|| {
        let blocks = line.get("message").and_then(|message| message.get("content"));
        let blocks = blocks.into_iter().flat_map(|content| content.items());
        let said = blocks.filter(|block| text(*block, "type").as_deref() == Some("text"));
        said.filter_map(|block| text(block, "text")).collect::<Vec<_>>().join("\n")
    });
    Some(escape(said.trim_end()).into_owned()).filter(|shown| !shown.trim().is_empty())
}

fn tool_use(line: Node<'_>) -> String {
    let tool = text(line, "tool").unwrap_or_default();
    let argument = line.get("args").map(argument).unwrap_or_default();
    format!("{} {}({})", paint(GOOD, "●"), paint(BOLD, &one_line(&tool)), one_line(&argument))
}

fn argument(args: Node<'_>) -> String {
    let telling = TELLING_ARGUMENTS.iter().find_map(|name| text(args, name));
    telling.unwrap_or_else(|| match args.members().next() {
        Some(_) => args.raw().to_owned(),
        None => String::new(),
    })
}

fn tool_result(line: Node<'_>) -> Option<String> {
    let output = text(line, "output")?;
    let mut lines = output.lines().filter(|line| !line.trim().is_empty());
    let first = one_line(lines.next()?);
    let more = match lines.count() {
        0 => String::new(),
        1 => " (and 1 line)".to_owned(),
        n => format!(" (and {n} lines)"),
    };
    Some(paint(DIM, &format!("  ⎿ {first}{more}")))
}

fn plain_text(line: Node<'_>) -> Option<String> {
    let said = text(line, "content")?;
    let missing = line.get("truncatedBytes").and_then(|bytes| bytes.as_u64());
    let missing = missing.map(|bytes| paint(DIM, &format!(" … ({bytes} bytes more)")));
    Some(format!("{}{}", escape(said.trim_end()), missing.unwrap_or_default()))
}

/// Brings a text into one line of bounded length, escaped.
fn one_line(text: &str) -> String {
    // Bounded before it is looked at whole: an argument may be a file's content.
    let bounded: String = text.chars().take(SHOWN_CHARS.saturating_mul(4)).collect();
    let words = bounded.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = words.chars().take(SHOWN_CHARS).collect();
    if shown.len() < words.len() || bounded.len() < text.len() {
        shown.push('…');
    }
    escape(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders lines with one view and drops the colours.
    fn render(lines: &[&str]) -> Vec<Option<String>> {
        let mut view = TranscriptView::default();
        let shown = lines.iter().map(|line| view.render(line));
        shown.map(|shown| shown.map(|text| anstream::adapter::strip_str(&text).to_string())).collect()
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(render(&[line]), [Some(expected.to_owned())]);
    }

    #[track_caller]
    fn check_hidden(line: &str) {
        assert_eq!(render(&[line]), [None]);
    }

    #[test]
    fn the_agents_text_is_shown() {
        check(
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"One\nTwo\n"}]}}"#,
            "One\nTwo",
        );
        check(r#"{"type":"assistant","text":"Short","message":{"content":[]}}"#, "Short");
        check_hidden(r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash"}]}}"#);
    }

    #[test]
    fn a_tool_call_is_one_line() {
        check(
            r#"{"type":"tool_use","tool":"Bash","args":{"command":"echo hi","description":"x"}}"#,
            "● Bash(echo hi)",
        );
        check(r#"{"type":"tool_use","tool":"Bash","args":{"command":"a\n\tb"}}"#, "● Bash(a b)");
        check(r#"{"type":"tool_use","tool":"Odd","args":{"n":1}}"#, r#"● Odd({"n":1})"#);
        check(r#"{"type":"tool_use","tool":"None","args":{}}"#, "● None()");
    }

    #[test]
    fn a_long_argument_is_cut() {
        let command = "x ".repeat(10_000);
        let line = format!(r#"{{"type":"tool_use","tool":"Bash","args":{{"command":"{command}"}}}}"#);

        let shown = render(&[&line]).remove(0).unwrap();

        assert!(shown.ends_with("…)") && shown.chars().count() < 140, "{shown}");
    }

    #[test]
    fn a_tools_answer_is_its_first_line() {
        check(
            r#"{"type":"tool_result","tool":"Bash","output":"\none\ntwo\nthree\n"}"#,
            "  ⎿ one (and 2 lines)",
        );
        check(r#"{"type":"tool_result","tool":"Bash","output":"one"}"#, "  ⎿ one");
        check_hidden(r#"{"type":"tool_result","tool":"Bash","output":""}"#);
    }

    #[test]
    fn a_commands_name_stands_once_over_its_output() {
        let line = r#"{"type":"command_output","command":"npm ci","stream":"stdout","text":"ok"}"#;

        let shown = render(&[line, line, r#"{"type":"turn_complete"}"#, line]);

        let head = Some("$ npm ci\n  ok".to_owned());
        assert_eq!(shown, [head.clone(), Some("  ok".to_owned()), None, head]);
    }

    #[test]
    fn what_went_wrong_is_named() {
        check(r#"{"type":"warning","warning":"2 denied"}"#, "warning: 2 denied");
        check(r#"{"type":"error","error":"gone"}"#, "error: gone");
        check(
            r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"error":"overloaded"}"#,
            "the model's API did not answer (overloaded); retry 1 of 10",
        );
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        check("plain \u{1b}[2Jwords", "plain \\x1b[2Jwords");
        check(r#"{"type":"text","content":"a","truncatedBytes":7}"#, "a … (7 bytes more)");
        check_hidden("");
    }

    #[test]
    fn a_halved_emoji_hides_no_line() {
        check(r#"{"type":"assistant","text":"a\ud83d"}"#, "a\u{fffd}");
    }

    #[test]
    fn lines_for_programs_are_not_shown() {
        for kind in ["user", "result", "turn_complete", "rate_limit_event", "stream_event", "something_new"] {
            check_hidden(&format!(r#"{{"type":"{kind}"}}"#));
        }
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_unescaped() {
        let nasty = "\\u001b[2J\\u009b\\u202e";
        let members =
            ["text", "tool", "output", "command", "warning", "error", "content", "model", "permissionMode"];
        let members = members.map(|name| format!(r#","{name}":"{nasty}""#)).concat();
        for kind in
            ["assistant", "tool_use", "tool_result", "command_output", "warning", "error", "text", "system"]
        {
            let line = format!(
                r#"{{"type":"{kind}","subtype":"init","args":{{"command":"{nasty}","x":"{nasty}"}}{members}}}"#
            );

            let shown = TranscriptView::default().render(&line).unwrap();

            assert!(!shown.contains(['\u{202e}', '\u{9b}']) && !shown.contains("\u{1b}[2J"), "{shown:?}");
        }
    }
}
