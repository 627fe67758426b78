//! What the API answers, in order.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

/// One answer to one request of the main conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A text; the turn ends.
    Say(String),
    /// One tool call.
    Tool {
        /// The tool's name, as `Bash`.
        name: String,
        /// The tool's arguments.
        input: Value,
    },
    /// A text and one tool call in the same message.
    SayAndTool {
        /// What is said before the call.
        text: String,
        /// The tool's name, as `Bash`.
        name: String,
        /// The tool's arguments.
        input: Value,
    },
    /// Another step, its headers held back for this long.
    Delay(Duration, Box<Step>),
    /// An error, or any answer that is not a message.
    Status {
        /// The HTTP status.
        status: u16,
        /// Headers beside `content-type` and `request-id`.
        headers: Vec<(String, String)>,
        /// The body, sent as JSON.
        body: Value,
    },
    /// The connection is closed in the middle of the first text.
    CutAfterFirstDelta,
    /// The stream falls silent for this long in the middle of its text, then
    /// ends well.
    Stall(Duration),
    /// A Bash call that waits a second, again and again: the script stays at
    /// this step.
    Forever,
}

impl Step {
    /// Makes a text that ends the turn.
    pub fn say(text: impl Into<String>) -> Self {
        Self::Say(text.into())
    }

    /// Makes a tool call.
    pub fn tool(name: impl Into<String>, input: Value) -> Self {
        Self::Tool { name: name.into(), input }
    }

    /// Makes a call of the Bash tool.
    pub fn bash(command: impl Into<String>) -> Self {
        Self::tool("Bash", json!({"command": command.into(), "description": "Runs a command"}))
    }

    /// Makes a call of the Write tool, which wants an absolute path.
    pub fn write(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self::tool("Write", json!({"file_path": path.into(), "content": content.into()}))
    }

    /// Makes an error in the API's own form.
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}});
        Self::Status { status, headers: Vec::new(), body }
    }

    /// Makes the 401 of a wrong key.
    pub fn unauthorized() -> Self {
        Self::error(401, "authentication_error", "invalid x-api-key")
    }

    /// Makes a 429 that says when to come back.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::error(429, "rate_limit_error", "too many requests")
            .header("retry-after", retry_after_seconds.to_string())
    }

    /// Makes the 529 of an overloaded API.
    pub fn overloaded() -> Self {
        Self::error(529, "overloaded_error", "Overloaded")
    }

    /// Makes a 500.
    pub fn server_error() -> Self {
        Self::error(500, "api_error", "Internal server error")
    }

    /// Adds a header to a [`Step::Status`]; leaves every other step as it is.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }

    /// Holds a step back for this long.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self::Delay(pause, Box::new(self))
    }
}

/// A row of steps and what follows it.
///
/// When the row is exhausted the API says `done`, unless the last step is to
/// be repeated.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: VecDeque<Step>,
    repeats_last: bool,
}

impl Script {
    /// Takes the steps in the order in which they are played.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), repeats_last: false }
    }

    /// Makes the last step repeat for ever.
    #[must_use]
    pub fn repeating_last(mut self) -> Self {
        self.repeats_last = true;
        self
    }

    /// Takes the step of the next request.
    pub(super) fn take_next(&mut self) -> Step {
        let is_last = self.steps.len() == 1;
        let stays = match self.steps.front() {
            Some(Step::Forever) => true,
            Some(_) => is_last && self.repeats_last,
            None => false,
        };
        let next = if stays { self.steps.front().cloned() } else { self.steps.pop_front() };
        next.unwrap_or_else(|| Step::say("done"))
    }
}

impl<I: IntoIterator<Item = Step>> From<I> for Script {
    fn from(steps: I) -> Self {
        Self::new(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_script_says_done() {
        let mut script = Script::new([Step::say("one")]);

        let played = [script.take_next(), script.take_next(), script.take_next()];

        assert_eq!(played, [Step::say("one"), Step::say("done"), Step::say("done")]);
    }

    #[test]
    fn a_last_step_that_repeats_is_never_used_up() {
        let mut script = Script::new([Step::say("one"), Step::overloaded()]).repeating_last();

        let played = [script.take_next(), script.take_next(), script.take_next()];

        assert_eq!(played, [Step::say("one"), Step::overloaded(), Step::overloaded()]);
    }

    #[test]
    fn forever_lets_nothing_follow() {
        let mut script = Script::new([Step::Forever, Step::say("never")]);

        let played = [script.take_next(), script.take_next()];

        assert_eq!(played, [Step::Forever, Step::Forever]);
    }
}
