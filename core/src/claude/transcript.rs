//! Turns the agent's lines into log lines, and remembers what they told.
//!
//! A JSON object passes unchanged but for masking; everything else is wrapped. The service's
//! own lines come after the line that gave rise to them. What is remembered is taken from the
//! line as it was written, so a secret that equals one of the format's words misleads nobody.
//! Cutting lines and chunks, and judging success, are done elsewhere.

use alloc::{
    borrow::Cow,
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    facts::{Facts, MAX_NAME_BYTES, ResultFacts, kept},
    log_line,
};
use crate::{
    chunk::SplitLine,
    json::{self, Document, Kind, Node},
    record::Summary,
    redact::{Edits, Redactor},
    time::Timestamp,
};

/// Longest output of a tool that a `tool_result` line repeats, in bytes.
pub const MAX_TOOL_OUTPUT_BYTES: usize = 4 * 1024;

/// Most tool calls whose names are remembered until their results come.
const MAX_OPEN_TOOL_CALLS: usize = 1024;

/// Most values that a line may hold to be read as JSON. Each costs 20 bytes while it is read, so
/// a line of brackets alone would cost 20 times its length.
const MAX_VALUES: usize = 1_000_000;

/// Reads the lines of one run.
///
/// # Examples
/// ```
/// use legwork_core::{chunk::SplitLine, claude::transcript::Transcript, redact::Redactor, time::Timestamp};
/// let mut log = Vec::new();
/// let mut transcript = Transcript::new();
/// for line in ["{\"type\":\"system\",\"subtype\":\"init\"}", "Segmentation fault"] {
///     let line = SplitLine::whole(line.as_bytes());
///     let none = Redactor::new([]);
///     transcript.line(line, Timestamp::from_unix_ms(0), &none, |line| log.push(line.to_owned()));
/// }
/// assert_eq!(log, [r#"{"type":"system","subtype":"init"}"#, r#"{"type":"text","content":"Segmentation fault"}"#]);
/// assert!(transcript.facts().init_seen);
/// assert_eq!(transcript.facts().last_result, None);
/// ```
#[derive(Debug, Default)]
pub struct Transcript {
    facts: Facts,
    /// Names of tools by the ids of calls without a result.
    open_calls: BTreeMap<String, String>,
    open_turn: Option<Turn>,
}

/// A message of the main conversation, which may be spread over several lines.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    message_id: Option<String>,
}

/// Where log lines go, each without newline.
type Sink<'s> = dyn FnMut(&str) + 's;

impl Transcript {
    /// Returns a transcript of no line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what the lines so far told.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns what of it belongs into the summary; durations and times are left at nothing.
    pub fn summary(&self) -> Summary {
        self.facts.summary()
    }

    /// Tells whether the agent has told a result; it may go on after that.
    pub fn has_result(&self) -> bool {
        self.facts.last_result.is_some()
    }

    /// Returns of how many lines only the beginning was kept.
    pub fn lines_truncated(&self) -> u64 {
        self.facts.lines_truncated
    }

    /// Takes the agent's next line and gives the log lines that it becomes to `sink`, in order,
    /// each one JSON object without newline.
    pub fn line(
        &mut self,
        line: SplitLine<'_>,
        now: Timestamp,
        redactor: &Redactor,
        mut sink: impl FnMut(&str),
    ) {
        self.facts.lines = self.facts.lines.saturating_add(1);
        let text = line.text();
        self.facts.has_output |= !text.trim().is_empty();
        if line.is_cut() {
            self.facts.lines_truncated = self.facts.lines_truncated.saturating_add(1);
            if let Some(result) = ResultFacts::read_cut(&text) {
                self.complete_turn(now, &mut sink);
                self.facts.add_result(result);
            }
            sink(&log_line::cut_text(&redactor.mask_cut_text(&text), line.cut_bytes()));
            return;
        }
        if let Some(doc) = object(&text) {
            self.object_line(&doc, &text, now, redactor, &mut sink);
        } else {
            let content = text.strip_suffix('\r').unwrap_or(&text);
            sink(&log_line::text(&redactor.mask_text(content)));
        }
    }

    /// Ends the log of a run: says how many tool calls were denied, where some were.
    pub fn finish(&mut self, now: Timestamp, mut sink: impl FnMut(&str)) {
        let Some(result) = self.facts.last_result.as_ref().filter(|result| result.permission_denials > 0)
        else {
            return;
        };
        let count = result.permission_denials;
        let calls = if count == 1 { "tool call was" } else { "tool calls were" };
        let tools = result.denied_tools.join(", ");
        let tools = if tools.is_empty() { String::new() } else { format!(" ({tools})") };
        let message = format!(
            "{count} {calls} denied{tools}: name what the agent may use in allowedTools \
             (`legwork run --allow TOOL`), or choose another permissionMode"
        );
        sink(&log_line::warning(&message, now));
    }

    fn object_line(
        &mut self,
        doc: &Document<'_>,
        text: &str,
        now: Timestamp,
        redactor: &Redactor,
        sink: &mut Sink<'_>,
    ) {
        let root = doc.root();
        let kind = string(root, "type").unwrap_or_default();
        let edits = redactor.edits(doc);
        let masked = edits.apply(text, 0..text.len());
        match &*kind {
            "assistant" => {
                self.begin_turn(root, now, sink);
                sink(&with_text(root, masked, redactor));
                self.tool_calls(&Line { root, text, edits: &edits, redactor, now }, sink);
            }
            "user" => {
                sink(&masked);
                self.tool_results(&Line { root, text, edits: &edits, redactor, now }, sink);
            }
            "result" => {
                self.complete_turn(now, sink);
                sink(&masked);
                self.note_session(root);
                self.facts.add_result(ResultFacts::read(root, redactor));
            }
            "system" if string(root, "subtype").as_deref() == Some("init") => {
                sink(&masked);
                self.facts.init_seen = true;
                self.note_session(root);
            }
            _ => sink(&masked),
        }
    }

    fn note_session(&mut self, root: Node<'_>) {
        if let Some(id) = string(root, "session_id").filter(|id| id.len() <= MAX_NAME_BYTES) {
            self.facts.session_id = Some(id.into_owned());
        }
    }

    /// Begins a turn where a line opens a new message of the main conversation.
    fn begin_turn(&mut self, root: Node<'_>, now: Timestamp, sink: &mut Sink<'_>) {
        let of_subagent = root.get("parent_tool_use_id").is_some_and(|parent| !parent.is_null());
        let message = root.get("message");
        let model = message.and_then(|message| string(message, "model"));
        // What the CLI says in the model's place, when its API failed.
        let synthetic = model.as_deref() == Some("<synthetic>");
        if of_subagent || synthetic {
            return;
        }
        let message_id = message
            .and_then(|message| string(message, "id"))
            .filter(|id| id.len() <= MAX_NAME_BYTES)
            .map(Cow::into_owned);
        let turn = Turn { message_id };
        if turn.message_id.is_some() && self.open_turn.as_ref() == Some(&turn) {
            return;
        }
        self.complete_turn(now, sink);
        self.facts.messages = self.facts.messages.saturating_add(1);
        self.open_turn = Some(turn);
    }

    fn complete_turn(&mut self, now: Timestamp, sink: &mut Sink<'_>) {
        if self.open_turn.take().is_some() {
            sink(&log_line::turn_complete(self.facts.messages, now));
        }
    }

    fn tool_calls(&mut self, line: &Line<'_>, sink: &mut Sink<'_>) {
        for block in blocks(line.root, "tool_use") {
            let name = string(block, "name").unwrap_or(Cow::Borrowed("unknown"));
            let name = kept(&name, MAX_NAME_BYTES, line.redactor);
            let args = block
                .get("input")
                .map_or(Cow::Borrowed("{}"), |input| line.edits.apply(line.text, input.start()..input.end()));
            sink(&log_line::tool_use(&name, &args, line.now));
            let id = string(block, "id").filter(|id| id.len() <= MAX_NAME_BYTES);
            if let Some(id) = id.filter(|_| self.open_calls.len() < MAX_OPEN_TOOL_CALLS) {
                self.open_calls.insert(id.into_owned(), name);
            }
        }
    }

    fn tool_results(&mut self, line: &Line<'_>, sink: &mut Sink<'_>) {
        for block in blocks(line.root, "tool_result") {
            let id = string(block, "tool_use_id").unwrap_or_default();
            let name = self.open_calls.remove(&*id).unwrap_or_else(|| "unknown".to_string());
            if block.get("is_error").and_then(|node| node.as_bool()) == Some(true) {
                self.facts.tool_errors = self.facts.tool_errors.saturating_add(1);
            }
            let output = kept(&output_of(block), MAX_TOOL_OUTPUT_BYTES, line.redactor);
            sink(&log_line::tool_result(&name, &output, line.now));
        }
    }
}

/// One line of the agent while it is read.
struct Line<'l> {
    root: Node<'l>,
    text: &'l str,
    edits: &'l Edits,
    redactor: &'l Redactor,
    now: Timestamp,
}

/// Reads a line as a JSON object; nothing for all else.
fn object(text: &str) -> Option<Document<'_>> {
    // Most lines that are no object show it at once.
    if !text.trim_start_matches([' ', '\t', '\r']).starts_with('{') {
        return None;
    }
    Document::parse_bounded(text, MAX_VALUES).ok().filter(|doc| doc.root().kind() == Kind::Object)
}

fn string<'d>(node: Node<'d>, name: &str) -> Option<Cow<'d, str>> {
    node.get(name)?.as_str()
}

/// Returns the blocks of a kind in a line's message.
fn blocks<'d>(root: Node<'d>, kind: &'static str) -> impl Iterator<Item = Node<'d>> {
    let content = root.get("message").and_then(|message| message.get("content"));
    content
        .into_iter()
        .flat_map(|content| content.items())
        .filter(move |block| string(*block, "type").as_deref() == Some(kind))
}

/// Adds the text of an assistant's line as the last member `text`, unless there is one.
fn with_text<'t>(root: Node<'_>, masked: Cow<'t, str>, redactor: &Redactor) -> Cow<'t, str> {
    let texts: Vec<Cow<'_, str>> = blocks(root, "text").filter_map(|block| string(block, "text")).collect();
    if texts.is_empty() || root.get("text").is_some() {
        return masked;
    }
    let Some((members, rest)) = masked.rsplit_once('}') else { return masked };
    let mut line = String::with_capacity(masked.len().saturating_mul(2));
    line.push_str(members);
    line.push_str(",\"text\":");
    json::write_string(&mut line, &redactor.mask_text(&texts.join("\n")));
    line.push('}');
    line.push_str(rest);
    Cow::Owned(line)
}

/// Returns what a tool answered as text; of what is no text, its kind.
fn output_of(block: Node<'_>) -> Cow<'_, str> {
    let Some(content) = block.get("content") else { return Cow::Borrowed("") };
    if let Some(text) = content.as_str() {
        return text;
    }
    let parts: Vec<String> = content
        .items()
        .map(|part| match string(part, "text") {
            Some(text) => text.into_owned(),
            None => format!("[{}]", string(part, "type").unwrap_or(Cow::Borrowed("unknown"))),
        })
        .collect();
    Cow::Owned(parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{chunk::LineSplitter, redact::SecretKind};

    /// The lines of a run of the CLI, version 2.1.197, against a scripted model.
    const RUN: &[&str] = &[
        r#"{"type":"system","subtype":"init","cwd":"/workspace","session_id":"71f9c52e","tools":["Bash"],"model":"claude-opus-4-8[1m]"}"#,
        r#"{"type":"assistant","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-8","content":[{"type":"text","text":"Running it."}],"stop_reason":null},"parent_tool_use_id":null,"session_id":"71f9c52e"}"#,
        r#"{"type":"assistant","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-8","content":[{"type":"tool_use","id":"toolu_6","name":"Bash","input":{"command":"echo hello > out.txt","description":"run"}}],"stop_reason":null},"parent_tool_use_id":null,"session_id":"71f9c52e"}"#,
        r#"{"type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_6","type":"tool_result","content":"(Bash completed with no output)","is_error":false}]},"parent_tool_use_id":null,"session_id":"71f9c52e"}"#,
        r#"{"type":"assistant","message":{"id":"msg_2","type":"message","role":"assistant","model":"claude-opus-4-8","content":[{"type":"text","text":"All done."}],"stop_reason":null},"parent_tool_use_id":null,"session_id":"71f9c52e"}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"api_error_status":null,"num_turns":2,"result":"All done.","session_id":"71f9c52e","total_cost_usd":0.002,"usage":{"input_tokens":200,"output_tokens":40},"permission_denials":[]}"#,
    ];

    fn read(lines: &[&str], secrets: &[&str]) -> (Vec<String>, Facts) {
        let redactor = Redactor::new(secrets.iter().map(|secret| (SecretKind::Credential, *secret)));
        let mut log = Vec::new();
        let mut transcript = Transcript::new();
        let now = Timestamp::from_unix_ms(0);
        for line in lines {
            let line = SplitLine::whole(line.as_bytes());
            transcript.line(line, now, &redactor, |line| log.push(line.to_string()));
        }
        transcript.finish(now, |line| log.push(line.to_string()));
        (log, transcript.facts)
    }

    #[track_caller]
    fn check(line: &str, secrets: &[&str], expected: &[&str]) {
        let (log, _) = read(&[line], secrets);

        assert_eq!(log, expected);
    }

    #[test]
    fn a_run_becomes_its_lines_and_those_of_the_service() {
        let (log, facts) = read(RUN, &[]);

        let with_text =
            |line: &str, text: &str| format!("{},\"text\":\"{text}\"}}", line.strip_suffix('}').unwrap());
        let at = r#","timestamp":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(
            log,
            [
                RUN[0].to_string(),
                with_text(RUN[1], "Running it."),
                RUN[2].to_string(),
                format!(
                    r#"{{"type":"tool_use","tool":"Bash","args":{{"command":"echo hello > out.txt","description":"run"}}{at}"#
                ),
                RUN[3].to_string(),
                format!(
                    r#"{{"type":"tool_result","tool":"Bash","output":"(Bash completed with no output)"{at}"#
                ),
                format!(r#"{{"type":"turn_complete","turnNumber":1{at}"#),
                with_text(RUN[4], "All done."),
                format!(r#"{{"type":"turn_complete","turnNumber":2{at}"#),
                RUN[5].to_string(),
            ]
        );
        assert_eq!((facts.lines, facts.messages, facts.turns(), facts.errors()), (6, 2, 2, 0));
        assert_eq!(facts.session_id.as_deref(), Some("71f9c52e"));
        assert_eq!(facts.last_result.unwrap().text.as_deref(), Some("All done."));
    }

    #[test]
    fn what_is_no_json_object_becomes_text() {
        check("plain \"hunter2\"\r", &["hunter2"], &[r#"{"type":"text","content":"plain \"***\""}"#]);
        check("[1]", &[], &[r#"{"type":"text","content":"[1]"}"#]);
        check("{\"a\":1", &[], &[r#"{"type":"text","content":"{\"a\":1"}"#]);
        check("", &[], &[r#"{"type":"text","content":""}"#]);
    }

    #[test]
    fn an_object_passes_as_it_was_written() {
        for line in [r#"{"a":"\ud83d","n":1e999, "type" : 7}"#, "{}", " {\"type\":\"x\"}\r"] {
            check(line, &[], &[line]);
        }
    }

    #[test]
    fn text_is_added_where_there_is_none_and_is_masked() {
        check(
            r#"{"type":"assistant","text":"own","message":{"model":"<synthetic>","content":[{"type":"text","text":"b"}]}}"#,
            &[],
            &[
                r#"{"type":"assistant","text":"own","message":{"model":"<synthetic>","content":[{"type":"text","text":"b"}]}}"#,
            ],
        );
        check(
            r#"{"type":"assistant","message":{"model":"<synthetic>","content":[{"type":"text","text":"a hunter2"},{"type":"thinking"},{"type":"text","text":"b"}]}} "#,
            &["hunter2"],
            &[
                r#"{"type":"assistant","message":{"model":"<synthetic>","content":[{"type":"text","text":"a ***"},{"type":"thinking"},{"type":"text","text":"b"}]},"text":"a ***\nb"} "#,
            ],
        );
    }

    #[test]
    fn arguments_and_outputs_of_tools_are_masked() {
        let (log, _) = read(
            &[
                r#"{"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":"t","name":"Bash","input":{"id":"hunter2","hunter2":1}}]}}"#,
                r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t","is_error":true,"content":[{"type":"text","text":"a hunter2"},{"type":"image"}]}]}}"#,
            ],
            &["hunter2"],
        );

        assert!(
            log[1].starts_with(r#"{"type":"tool_use","tool":"Bash","args":{"id":"***","hunter2":1},"#),
            "{}",
            log[1]
        );
        assert!(
            log[3].starts_with(r#"{"type":"tool_result","tool":"Bash","output":"a ***\n[image]","#),
            "{}",
            log[3]
        );
    }

    #[test]
    fn an_output_is_bounded_after_it_was_masked() {
        let output = format!("{}hunter2-hunter2", "x".repeat(MAX_TOOL_OUTPUT_BYTES - 10));
        let line = format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t","content":"{output}"}}]}}}}"#
        );

        let (log, _) = read(&[line.as_str()], &["hunter2-hunter2"]);

        assert!(log[1].contains("xxx***\",\"timestamp\""), "{}", log[1]);
        assert!(!log.concat().contains("hunter"));
    }

    #[test]
    fn secrets_that_are_words_of_the_format_mislead_nobody() {
        let words = ["result", "success", "system", "init", "All done.", "2", "assistant"];

        let (_, facts) = read(RUN, &words);

        assert!(facts.init_seen);
        let result = facts.last_result.unwrap();
        assert_eq!((result.failure, result.turns, result.text.as_deref()), (None, Some(2), Some("***")));
    }

    #[test]
    fn subagents_and_failures_of_the_api_are_no_turns() {
        let (log, facts) = read(
            &[
                r#"{"type":"assistant","parent_tool_use_id":"t","message":{"id":"a","content":[]}}"#,
                r#"{"type":"assistant","message":{"id":"b","model":"<synthetic>","content":[]}}"#,
            ],
            &[],
        );

        assert_eq!((log.len(), facts.messages), (2, 0));
    }

    #[test]
    fn denied_calls_are_told_once_at_the_end() {
        let (log, facts) = read(
            &[
                r#"{"type":"result","permission_denials":[{"tool_name":"Bash"},{"tool_name":"Bash"},{"tool_name":"WebFetch"}]}"#,
            ],
            &[],
        );

        assert!(
            log[1].starts_with(r#"{"type":"warning","warning":"3 tool calls were denied (Bash, WebFetch): "#),
            "{}",
            log[1]
        );
        assert!(log[1].contains("allowedTools"));
        assert_eq!(facts.summary().permission_denials, Some(3));
    }

    #[test]
    fn a_long_line_is_cut_counted_and_masked_at_its_cut() {
        let mut splitter = LineSplitter::new(100_000);
        let redactor = Redactor::new([(SecretKind::Credential, "hunter2-hunter2-hunter2")]);
        let line = format!("{}hunter2-hunter2-hunter2{}\n", "x".repeat(65_536 - 18), "y".repeat(50_000));
        let (mut log, mut transcript) = (Vec::new(), Transcript::new());

        splitter.push(line.as_bytes(), |line| {
            transcript.line(line, Timestamp::from_unix_ms(0), &redactor, |line| log.push(line.to_string()));
        });

        assert!(
            log[0].ends_with(&format!("xxx***\",\"truncatedBytes\":{}}}", 50_000 + 5)),
            "{}",
            log[0].len()
        );
        assert_eq!(transcript.facts().lines_truncated, 1);
    }

    #[test]
    fn a_result_too_long_to_be_kept_is_still_a_success() {
        let mut splitter = LineSplitter::new(200);
        let line = format!(
            r#"{{"type":"result","subtype":"success","is_error":false,"result":"{}"}}"#,
            "x".repeat(300)
        );
        let mut transcript = Transcript::new();

        for part in [line.as_bytes(), b"\n"] {
            splitter.push(part, |line| {
                transcript.line(line, Timestamp::from_unix_ms(0), &Redactor::new([]), |_| ());
            });
        }

        assert_eq!(transcript.facts().last_result, Some(ResultFacts::default()));
    }

    #[test]
    fn a_line_of_too_many_values_is_text() {
        let line = format!("{{\"a\":[{}1]}}", "1,".repeat(MAX_VALUES));

        let (log, _) = read(&[line.as_str()], &[]);

        assert!(log[0].starts_with(r#"{"type":"text","content":"{\"a\":[1,"#));
    }

    proptest! {
        #[test]
        fn every_log_line_is_one_json_object(lines in prop::collection::vec(any_line(), 0..20)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();

            let (log, facts) = read(&lines, &["abc", "1234"]);

            prop_assert!(log.len() >= lines.len());
            prop_assert_eq!(facts.lines, u64::try_from(lines.len()).unwrap());
            for line in log {
                prop_assert!(!line.contains('\n'));
                prop_assert_eq!(Document::parse(&line).map(|doc| doc.root().kind()).ok(), Some(Kind::Object));
            }
        }
    }

    fn any_line() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"type\"",
            "\"assistant\"",
            "\"user\"",
            "\"message\"",
            "\"content\"",
            "\"abc\"",
            "1234",
            "null",
            "x",
        ]);
        prop_oneof![
            "[^\n]{0,40}",
            prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat()),
            prop::sample::select(RUN).prop_map(str::to_string),
        ]
    }
}
