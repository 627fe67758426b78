//! What a run's lines told: the little that outlives them.
//!
//! Texts are masked when they are taken, and bounded, so that they may be kept and shown.

use alloc::{string::String, vec::Vec};

use super::log_line::bounded;
use crate::{
    json::{Kind, Node},
    record::{Summary, Usage},
    redact::Redactor,
};

/// Longest text of a result that is kept, in bytes: twice what a callback has room for.
pub const MAX_RESULT_BYTES: usize = 64 * 1024;

/// Longest reason of a failure that is kept, in bytes: what a callback has room for.
pub const MAX_REASON_BYTES: usize = 4 * 1024;

/// Longest identifier or name that is believed, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 128;

/// Most tools that a warning names.
const MAX_DENIED_TOOLS: usize = 10;

/// What the lines of one run told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Lines that were read, whatever was on them.
    pub lines: u64,
    /// Whether any of them was not blank.
    pub has_output: bool,
    /// Lines of which only the beginning was kept.
    pub lines_truncated: u64,
    /// Whether the agent began a stream of JSON lines.
    pub init_seen: bool,
    /// Messages of the main conversation.
    pub messages: u64,
    /// Turns by the agent's own count, over all its results.
    pub reported_turns: Option<u64>,
    /// Tool calls whose result was an error.
    pub tool_errors: u64,
    /// The agent's name for its session.
    pub session_id: Option<String>,
    /// The last of the results; a run may have several.
    pub last_result: Option<ResultFacts>,
}

impl Facts {
    /// Returns the turns of the conversation: the agent's count, else the messages seen.
    pub fn turns(&self) -> u64 {
        self.reported_turns.unwrap_or(self.messages)
    }

    /// Returns how many tool calls failed, and one more where the result is a failure.
    pub fn errors(&self) -> u64 {
        let failed = self.last_result.as_ref().is_some_and(|result| result.failure.is_some());
        self.tool_errors.saturating_add(u64::from(failed))
    }

    /// Returns what belongs into the summary; durations and times are left at nothing.
    pub fn summary(&self) -> Summary {
        let result = self.last_result.as_ref();
        Summary {
            turns: self.turns(),
            errors: self.errors(),
            cost_usd: result.and_then(|result| result.cost_usd),
            usage: result.and_then(|result| result.usage),
            permission_denials: result.map(|result| result.permission_denials).filter(|count| *count > 0),
            session_id: self.session_id.clone(),
            ..Summary::default()
        }
    }

    /// Takes a further result in: its cost and usage include those before it, its turns do not.
    pub(super) fn add_result(&mut self, mut result: ResultFacts) {
        if let Some(turns) = result.turns {
            self.reported_turns = Some(self.reported_turns.unwrap_or(0).saturating_add(turns));
        }
        if let Some(before) = self.last_result.take() {
            result.cost_usd = result.cost_usd.or(before.cost_usd);
            result.usage = result.usage.or(before.usage);
        }
        self.last_result = Some(result);
    }
}

/// What one `result` line told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResultFacts {
    /// Why the agent says it failed; nothing where it says it succeeded.
    pub failure: Option<Failure>,
    /// The agent's words for its failure, masked.
    pub reason: Option<String>,
    /// The agent's final text, masked; nothing where it failed.
    pub text: Option<String>,
    /// Turns since the result before it.
    pub turns: Option<u64>,
    /// What all of the run cost so far, in US dollars.
    pub cost_usd: Option<f64>,
    /// Tokens of all of the run so far.
    pub usage: Option<Usage>,
    /// Tool calls that were denied.
    pub permission_denials: u64,
    /// Names of the tools that were denied, each once, masked.
    pub denied_tools: Vec<String>,
}

/// Which kind of failure a result tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The model's API refused the credential, or there was none.
    AuthRefused,
    /// The limit of turns was reached.
    MaxTurns,
    /// The budget was spent.
    Budget,
    /// Anything else.
    Other,
}

impl ResultFacts {
    /// Reads a `result` line; every member may be absent.
    pub(super) fn read(root: Node<'_>, redactor: &Redactor) -> Self {
        let subtype = root.get("subtype").and_then(|node| node.as_str()).unwrap_or_default();
        let text = root.get("result").and_then(|node| node.as_str());
        // Older versions of the CLI say `is_error: false` when they stop at the limit of turns.
        let failed = root.get("is_error").and_then(|node| node.as_bool()).unwrap_or(false)
            || subtype.starts_with("error");
        let failure = failed.then(|| {
            let status = root.get("api_error_status").and_then(|node| node.as_u64());
            failure_of(&subtype, status, text.as_deref().unwrap_or_default())
        });
        let reason = failed.then(|| reason_of(root, text.as_deref(), redactor)).flatten();
        let denials = root.get("permission_denials");
        Self {
            failure,
            reason,
            text: text.filter(|_| !failed).map(|text| kept(&text, MAX_RESULT_BYTES, redactor)),
            turns: root.get("num_turns").and_then(|node| node.as_u64()),
            cost_usd: root
                .get("total_cost_usd")
                .and_then(|node| node.as_f64())
                .filter(|cost| cost.is_finite() && *cost >= 0.0),
            usage: usage_by_model(root).or_else(|| usage_of(root)),
            permission_denials: denials.map_or(0, |list| count(list.items())),
            denied_tools: denials.map(|list| denied_tools(list, redactor)).unwrap_or_default(),
        }
    }

    /// Reads what little can be trusted of a `result` line that was too long to be kept: that
    /// it is a success, by the members which the CLI writes first.
    pub(super) fn read_cut(beginning: &str) -> Option<Self> {
        beginning.starts_with(r#"{"type":"result","subtype":"success","is_error":false,"#).then(Self::default)
    }
}

fn failure_of(subtype: &str, status: Option<u64>, text: &str) -> Failure {
    let refused = matches!(status, Some(401 | 403))
        || text.starts_with("Not logged in")
        || text.starts_with("Failed to authenticate");
    match subtype {
        "error_max_turns" => Failure::MaxTurns,
        "error_max_budget_usd" => Failure::Budget,
        _ if refused => Failure::AuthRefused,
        _ => Failure::Other,
    }
}

fn reason_of(root: Node<'_>, text: Option<&str>, redactor: &Redactor) -> Option<String> {
    let mut reason = String::new();
    for error in root.get("errors").iter().flat_map(Node::items) {
        if reason.len() > MAX_REASON_BYTES {
            break;
        }
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(&error.as_str().unwrap_or(error.raw().into()));
    }
    if reason.is_empty() {
        reason.push_str(text.unwrap_or_default());
    }
    let reason = kept(reason.trim(), MAX_REASON_BYTES, redactor);
    (!reason.is_empty()).then_some(reason)
}

fn denied_tools(denials: Node<'_>, redactor: &Redactor) -> Vec<String> {
    let mut tools: Vec<String> = Vec::new();
    for denial in denials.items() {
        let Some(tool) = denial.get("tool_name").and_then(|node| node.as_str()) else { continue };
        let tool = kept(&tool, MAX_NAME_BYTES, redactor);
        if tools.len() < MAX_DENIED_TOOLS && !tools.contains(&tool) {
            tools.push(tool);
        }
    }
    tools
}

/// Sums the tokens of all models. This is what the cost is made of, subagents included.
fn usage_by_model(root: Node<'_>) -> Option<Usage> {
    let models = root.get("modelUsage").filter(|node| node.kind() == Kind::Object)?;
    let mut sum: Option<Usage> = None;
    for model in models.members() {
        let tokens = |name: &str| model.value.get(name).and_then(|node| node.as_u64()).unwrap_or(0);
        let total = sum.get_or_insert_default();
        total.input_tokens = total.input_tokens.saturating_add(tokens("inputTokens"));
        total.output_tokens = total.output_tokens.saturating_add(tokens("outputTokens"));
        total.cache_read_tokens = total.cache_read_tokens.saturating_add(tokens("cacheReadInputTokens"));
        total.cache_creation_tokens =
            total.cache_creation_tokens.saturating_add(tokens("cacheCreationInputTokens"));
    }
    sum
}

fn usage_of(root: Node<'_>) -> Option<Usage> {
    let usage = root.get("usage").filter(|node| node.kind() == Kind::Object)?;
    let tokens = |name: &str| usage.get(name).and_then(|node| node.as_u64()).unwrap_or(0);
    Some(Usage {
        input_tokens: tokens("input_tokens"),
        output_tokens: tokens("output_tokens"),
        cache_read_tokens: tokens("cache_read_input_tokens"),
        cache_creation_tokens: tokens("cache_creation_input_tokens"),
    })
}

/// Masks a text and then bounds it, so that no secret is cut and missed.
pub(super) fn kept(text: &str, max_bytes: usize, redactor: &Redactor) -> String {
    bounded(&redactor.mask_text(text), max_bytes).into_owned()
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::{json::Document, redact::SecretKind};

    fn read(line: &str) -> ResultFacts {
        let doc = Document::parse(line).unwrap();
        ResultFacts::read(doc.root(), &Redactor::new([(SecretKind::Credential, "hunter2")]))
    }

    #[test]
    fn an_empty_result_is_a_success_without_words() {
        assert_eq!(read(r#"{"type":"result"}"#), ResultFacts::default());
    }

    #[test]
    fn failures_are_told_apart() {
        let failure = |line: &str| read(line).failure;

        assert_eq!(failure(r#"{"subtype":"success","is_error":false}"#), None);
        assert_eq!(failure(r#"{"subtype":"error_max_turns","is_error":false}"#), Some(Failure::MaxTurns));
        assert_eq!(failure(r#"{"subtype":"error_max_budget_usd","is_error":true}"#), Some(Failure::Budget));
        assert_eq!(
            failure(r#"{"subtype":"success","is_error":true,"api_error_status":401}"#),
            Some(Failure::AuthRefused)
        );
        assert_eq!(
            failure(r#"{"subtype":"success","is_error":true,"result":"Not logged in · Please run /login"}"#),
            Some(Failure::AuthRefused)
        );
        assert_eq!(
            failure(r#"{"subtype":"success","is_error":true,"api_error_status":529}"#),
            Some(Failure::Other)
        );
    }

    #[test]
    fn the_reason_is_the_errors_or_the_text_and_is_masked() {
        assert_eq!(
            read(r#"{"subtype":"error_during_execution","errors":["a hunter2","b"]}"#).reason.as_deref(),
            Some("a ***; b")
        );
        let failed = read(r#"{"is_error":true,"result":"no hunter2"}"#);
        assert_eq!((failed.reason.as_deref(), failed.text), (Some("no ***"), None));
    }

    #[test]
    fn tokens_are_those_of_all_models() {
        let line = r#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}"#;

        let alone = read(&format!("{line}}}")).usage.unwrap();
        let both = read(&format!(
            r#"{line},"modelUsage":{{"a":{{"inputTokens":10,"outputTokens":20}},"b":{{"inputTokens":5,"cacheReadInputTokens":7}}}}}}"#
        ));

        assert_eq!(
            alone,
            Usage { input_tokens: 1, output_tokens: 2, cache_read_tokens: 3, cache_creation_tokens: 4 }
        );
        assert_eq!(
            both.usage.unwrap(),
            Usage { input_tokens: 15, output_tokens: 20, cache_read_tokens: 7, cache_creation_tokens: 0 }
        );
    }

    #[test]
    fn a_further_result_adds_its_turns_and_replaces_the_rest() {
        let mut facts = Facts::default();

        facts.add_result(read(r#"{"num_turns":2,"total_cost_usd":0.5,"result":"one"}"#));
        facts.add_result(read(r#"{"num_turns":1,"result":"two"}"#));

        assert_eq!(facts.turns(), 3);
        let last = facts.last_result.unwrap();
        assert_eq!((last.cost_usd, last.text.as_deref()), (Some(0.5), Some("two")));
    }
}
