//! The server: which step a request gets, and how it goes out.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::reply::{Block, Frame, INPUT_TOKENS, Reply, Trouble};
use super::script::{Script, Step};
use super::seen::{Asked, Seen};
use crate::local_server::{LocalServer, close_without_answer};
use crate::recording::{Recording, TimedOut};

/// A running simulation of the API; it stops when dropped.
#[derive(Debug)]
pub struct MessagesApi {
    server: LocalServer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    seen: Recording<Seen>,
}

impl MessagesApi {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(script: impl Into<Script>) -> Self {
        let shared = Arc::new(Shared { script: Mutex::new(script.into()), seen: Recording::new() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        Self { server: LocalServer::start(router).await, shared }
    }

    /// Returns the base URL, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns all requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen.snapshot()
    }

    /// Returns the requests of the main conversation, in order of arrival.
    pub fn turns(&self) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.asked == Asked::Turn).collect()
    }

    /// Returns all requests as soon as at least `count` have arrived.
    ///
    /// # Errors
    /// [`TimedOut`] where fewer arrive within `timeout`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the wait is dropped.
    pub async fn wait_for(&self, count: usize, timeout: Duration) -> Result<Vec<Seen>, TimedOut> {
        self.shared.seen.wait_for(count, timeout).await
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return close_without_answer();
    };
    let seen = Seen::read(&head, &body);
    let step = match seen.asked {
        Asked::Turn => shared.script.lock().unwrap_or_else(PoisonError::into_inner).take_next(),
        Asked::Side => Step::say("A side answer"),
        Asked::CountTokens | Asked::Other => Step::say(""),
    };
    let caller = Caller {
        ordinal: shared.seen.push(seen.clone()),
        model: seen.model.unwrap_or_else(|| "claude-simulated".to_owned()),
        streaming: seen.streaming,
    };
    match seen.asked {
        Asked::Turn | Asked::Side => play(step, &caller).await,
        Asked::CountTokens => json_answer(StatusCode::OK, &json!({"input_tokens": INPUT_TOKENS})),
        Asked::Other if seen.path == "/" => StatusCode::OK.into_response(),
        Asked::Other => {
            let error = json!({"type": "not_found_error", "message": "Not found"});
            json_answer(StatusCode::NOT_FOUND, &json!({"type": "error", "error": error}))
        }
    }
}

/// What an answer has to know of its request.
struct Caller {
    /// Counts requests; makes the ids in answers differ.
    ordinal: usize,
    model: String,
    streaming: bool,
}

async fn play(mut step: Step, caller: &Caller) -> Response {
    while let Step::Delay(pause, held_back) = step {
        tokio::time::sleep(pause).await;
        step = *held_back;
    }
    match step {
        Step::Say(text) => message(vec![Block::Text(text)], Trouble::None, caller),
        Step::Tool { name, input } => message(vec![tool_use(name, input, caller)], Trouble::None, caller),
        Step::SayAndTool { text, name, input } => {
            message(vec![Block::Text(text), tool_use(name, input, caller)], Trouble::None, caller)
        }
        Step::Status { status, headers, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (header_map(headers), json_answer(status, &body)).into_response()
        }
        Step::CutAfterFirstDelta => {
            message(vec![Block::Text("This is cut short".to_owned())], Trouble::Cut, caller)
        }
        Step::Stall(pause) => {
            message(vec![Block::Text("This took its time".to_owned())], Trouble::Stall(pause), caller)
        }
        Step::Forever => {
            let input = json!({"command": "sleep 1", "description": "Waits a second"});
            message(vec![tool_use("Bash".to_owned(), input, caller)], Trouble::None, caller)
        }
        // The loop above leaves none.
        Step::Delay(..) => close_without_answer(),
    }
}

fn tool_use(name: String, input: Value, caller: &Caller) -> Block {
    Block::ToolUse { id: format!("toolu_{:024x}", caller.ordinal), name, input }
}

fn message(blocks: Vec<Block>, trouble: Trouble, caller: &Caller) -> Response {
    let reply = Reply { id: format!("msg_{:024x}", caller.ordinal), model: caller.model.clone(), blocks };
    let answer = match (caller.streaming, trouble) {
        (true, _) => streamed(reply.to_frames(trouble)),
        (false, Trouble::None) => json_answer(StatusCode::OK, &reply.to_json()),
        (false, Trouble::Cut) => close_without_answer(),
        (false, Trouble::Stall(pause)) => {
            let body = Bytes::from(reply.to_json().to_string());
            frames_answer("application/json", vec![Frame::Pause(pause), Frame::Send(body)])
        }
    };
    let request_id = HeaderValue::from_str(&format!("req_{:020x}", caller.ordinal));
    match request_id {
        Ok(request_id) => ([(HeaderName::from_static("request-id"), request_id)], answer).into_response(),
        Err(_not_a_header) => answer,
    }
}

fn streamed(frames: Vec<Frame>) -> Response {
    frames_answer("text/event-stream; charset=utf-8", frames)
}

fn frames_answer(content_type: &'static str, frames: Vec<Frame>) -> Response {
    let pieces = stream::iter(frames).filter_map(async |frame| match frame {
        Frame::Send(bytes) => Some(Ok(bytes)),
        Frame::Pause(pause) => {
            tokio::time::sleep(pause).await;
            None
        }
        Frame::Cut => Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted))),
    });
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Headers that HTTP does not allow are left out.
fn header_map(headers: Vec<(String, String)>) -> HeaderMap {
    let pairs = headers.into_iter();
    pairs.filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?))).collect()
}
