//! What the API saw of a request.

use http::HeaderMap;
use http::request::Parts;
use serde_json::Value;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A turn of the main conversation: tools were offered. It took a step.
    Turn,
    /// A message without tools. It took no step.
    Side,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// Anything else, the CLI's opening `HEAD /` among it.
    Other,
}

/// A request as the API saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it was for.
    pub asked: Asked,
    /// The method.
    pub method: String,
    /// The path as sent, without the query; nothing is decoded.
    pub path: String,
    /// The query without its question mark.
    pub query: Option<String>,
    /// The value of `x-api-key`.
    pub x_api_key: Option<String>,
    /// The value of `authorization`.
    pub authorization: Option<String>,
    /// The value of `user-agent`.
    pub user_agent: Option<String>,
    /// All headers, names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body's length.
    pub body_bytes: usize,
    /// The body's `model`.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub streaming: bool,
    /// The names of the tools that were offered.
    pub tools: Vec<String>,
    /// The body's `system`; null where there is none.
    pub system: Value,
    /// The body's `messages`; null where there are none.
    pub messages: Value,
}

impl Seen {
    /// Reads a request; a body that is not JSON counts as empty.
    pub(super) fn read(head: &Parts, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let tools: Vec<String> = tool_names(&json).collect();
        let asked = match (head.method.as_str(), head.uri.path()) {
            ("POST", "/v1/messages") if tools.is_empty() => Asked::Side,
            ("POST", "/v1/messages") => Asked::Turn,
            ("POST", "/v1/messages/count_tokens") => Asked::CountTokens,
            _ => Asked::Other,
        };
        Self {
            asked,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            x_api_key: text(&head.headers, "x-api-key"),
            authorization: text(&head.headers, "authorization"),
            user_agent: text(&head.headers, "user-agent"),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), lossy(value.as_bytes())))
                .collect(),
            body_bytes: body.len(),
            model: json.get("model").and_then(Value::as_str).map(str::to_owned),
            streaming: json.get("stream").and_then(Value::as_bool).unwrap_or(false),
            tools,
            system: json.get("system").cloned().unwrap_or_default(),
            messages: json.get("messages").cloned().unwrap_or_default(),
        }
    }

    /// Returns the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn tool_names(body: &Value) -> impl Iterator<Item = String> {
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    tools.map(|tool| tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| lossy(value.as_bytes()))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
