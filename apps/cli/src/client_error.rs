//! What goes wrong between a command and the service.

use std::time::Duration;

use legwork_core::json::{Document, Node};

use crate::exit;

/// The service was not reached, or refused, or answered what no Legwork service answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection, or one that broke or fell silent.
    #[error("the service at {server} does not answer")]
    Unreachable {
        /// Where it should be.
        server: String,
        /// Why, without the URL, which is named already.
        source: reqwest::Error,
    },
    /// The connection stood, and nothing came for too long.
    #[error("the service at {server} has fallen silent")]
    Silent {
        /// Where it is.
        server: String,
    },
    /// The service says no.
    #[error("{message}")]
    Refused {
        /// Its HTTP status.
        status: u16,
        /// Its own words.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of a Legwork service.
    #[error("{what}")]
    Unexpected {
        /// What came, and what was expected.
        what: String,
    },
    /// The service went away while a task was followed, and did not come back.
    #[error("lost the task; follow it again with: legwork logs -f {task_id}")]
    Lost {
        /// Which one.
        task_id: String,
        /// What the last try met.
        source: Box<ClientError>,
    },
}

impl ClientError {
    /// Returns whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Unexpected { .. } | Self::Lost { .. } => false,
        }
    }

    /// Returns when the service wants to be asked again, if it says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Unexpected { .. } | Self::Lost { .. } => {
                None
            }
        }
    }

    /// Returns what a command exits with after this.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Lost { .. } => exit::UNREACHABLE,
            Self::Refused { status: 400 | 401 | 403 | 413 | 415, .. } => exit::USAGE,
            Self::Refused { .. } | Self::Unexpected { .. } => exit::FAILURE,
        }
    }

    /// Returns what to do about it, where that is not obvious.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("Start one with `legwork serve`, or name another with --server or LEGWORK_URL.")
            }
            Self::Refused { status: 401, .. } => Some(
                "Give the service's token with --token or LEGWORK_API_TOKEN; `legwork token` prints the local one.",
            ),
            Self::Refused { .. } | Self::Silent { .. } | Self::Unexpected { .. } | Self::Lost { .. } => None,
        }
    }
}

/// Reads the service's own words from the body of a refusal.
///
/// A body that is none of the service's is quoted in part, for it may be a proxy's and name the
/// reason.
pub(crate) fn refusal_message(status: u16, body: &str) -> String {
    const QUOTED_CHARS: usize = 200;
    let document = Document::parse(body).ok();
    let told = document.as_ref().and_then(|document| told(document.root()));
    told.unwrap_or_else(|| {
        let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let quoted: String = words.chars().take(QUOTED_CHARS).collect();
        if quoted.is_empty() {
            format!("the service answered with status {status}")
        } else {
            format!("the service answered with status {status}: {quoted}")
        }
    })
}

fn told(answer: Node<'_>) -> Option<String> {
    let text = |name: &str| answer.get(name).and_then(|node| node.as_str()).map(std::borrow::Cow::into_owned);
    let mut said = text("error")?;
    if let Some(more) = text("message").filter(|more| *more != said) {
        said = format!("{said}: {more}");
    }
    let details = answer.get("details").into_iter().flat_map(|details| details.items());
    let mut lines: Vec<String> = details.map(detail_text).collect();
    lines.retain(|detail| *detail != said);
    lines.insert(0, said);
    Some(lines.join("\n  "))
}

/// A detail is a sentence, or an object that holds one.
fn detail_text(detail: Node<'_>) -> String {
    let sentence =
        detail.as_str().or_else(|| detail.get("message")?.as_str()).or_else(|| detail.get("error")?.as_str());
    sentence.map_or_else(|| detail.raw().to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        assert_eq!(refusal_message(status, body), expected);
    }

    #[test]
    fn a_refusal_is_told_in_the_services_words() {
        check(400, r#"{"error":"prompt is required","code":"invalid"}"#, "prompt is required");
        check(
            404,
            r#"{"error":"Task not found","message":"No open task a","taskId":"a"}"#,
            "Task not found: No open task a",
        );
        check(
            400,
            r#"{"error":"2 mistakes","details":["a is no number",{"message":"b is missing"},{"c":1}]}"#,
            "2 mistakes\n  a is no number\n  b is missing\n  {\"c\":1}",
        );
    }

    #[test]
    fn a_foreign_refusal_is_quoted() {
        check(502, "<h1>Bad\n gateway</h1>", "the service answered with status 502: <h1>Bad gateway</h1>");
        check(500, "", "the service answered with status 500");
        check(500, "{\"no\":1}", "the service answered with status 500: {\"no\":1}");
    }

    #[test]
    fn only_what_may_heal_is_transient() {
        let refused = |status| ClientError::Refused { status, message: String::new(), retry_after: None };

        assert!(refused(503).is_transient() && refused(429).is_transient());
        assert!(!refused(404).is_transient() && !refused(400).is_transient());
    }
}
