//! A message in the API's two forms: one JSON object, or a row of events.
//!
//! The forms are those of <https://docs.anthropic.com/en/api/messages> and
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// The input tokens that every answer reports.
pub const INPUT_TOKENS: u64 = 100;

/// The output tokens that every answer reports.
pub const OUTPUT_TOKENS: u64 = 20;

/// How many characters of text one event carries: short texts take several
/// events, long ones not too many.
const DELTA_CHARS: usize = 400;

/// A part of a message.
#[derive(Debug, Clone)]
pub(super) enum Block {
    Text(String),
    ToolUse { id: String, name: String, input: Value },
}

impl Block {
    /// The block as it stands in a whole message.
    fn whole(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::ToolUse { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }
    }

    /// The block as a stream opens it: without content.
    fn opening(&self) -> Value {
        match self {
            Self::Text(_) => json!({"type": "text", "text": ""}),
            Self::ToolUse { id, name, .. } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": {}})
            }
        }
    }

    /// The content in pieces, at least two where it has two characters.
    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Text(text) => {
                pieces(text).map(|piece| json!({"type": "text_delta", "text": piece})).collect()
            }
            Self::ToolUse { input, .. } => pieces(&input.to_string())
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                .collect(),
        }
    }
}

fn pieces(text: &str) -> impl Iterator<Item = String> {
    let chars: Vec<char> = text.chars().collect();
    let size = chars.len().div_ceil(2).clamp(1, DELTA_CHARS);
    let pieces: Vec<String> = chars.chunks(size).map(String::from_iter).collect();
    pieces.into_iter()
}

/// One thing that a stream does.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    /// Sends these bytes.
    Send(Bytes),
    /// Stays silent.
    Pause(Duration),
    /// Closes the connection.
    Cut,
}

impl Frame {
    /// Makes a server-sent event out of an API event, named by its `type`.
    fn event(data: &Value) -> Self {
        let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
        Self::Send(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
    }
}

/// What happens to a stream in the middle of its first block.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    None,
    Cut,
    Stall(Duration),
}

/// An assistant's message.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) blocks: Vec<Block>,
}

impl Reply {
    /// Returns the message as one object.
    pub(super) fn to_json(&self) -> Value {
        let content: Vec<Value> = self.blocks.iter().map(Block::whole).collect();
        let mut message = self.head(OUTPUT_TOKENS);
        if let Some(members) = message.as_object_mut() {
            members.insert("content".to_owned(), content.into());
            members.insert("stop_reason".to_owned(), self.stop_reason().into());
        }
        message
    }

    /// Returns the message as a stream.
    pub(super) fn to_frames(&self, trouble: Trouble) -> Vec<Frame> {
        let mut frames = vec![
            Frame::event(&json!({"type": "message_start", "message": self.head(1)})),
            Frame::event(&json!({"type": "ping"})),
        ];
        for (index, block) in self.blocks.iter().enumerate() {
            frames.push(Frame::event(
                &json!({"type": "content_block_start", "index": index, "content_block": block.opening()}),
            ));
            for (nth, delta) in block.deltas().iter().enumerate() {
                frames.push(Frame::event(
                    &json!({"type": "content_block_delta", "index": index, "delta": delta}),
                ));
                match trouble {
                    // The pause lets the server flush what it was given before the connection ends.
                    Trouble::Cut if nth == 0 => {
                        frames.extend([Frame::Pause(Duration::from_millis(50)), Frame::Cut]);
                        return frames;
                    }
                    Trouble::Stall(pause) if nth == 0 => frames.push(Frame::Pause(pause)),
                    Trouble::None | Trouble::Cut | Trouble::Stall(_) => {}
                }
            }
            frames.push(Frame::event(&json!({"type": "content_block_stop", "index": index})));
        }
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        let usage = json!({"output_tokens": OUTPUT_TOKENS});
        frames.push(Frame::event(&json!({"type": "message_delta", "delta": delta, "usage": usage})));
        frames.push(Frame::event(&json!({"type": "message_stop"})));
        frames
    }

    /// The message before it has content.
    fn head(&self, output_tokens: u64) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": INPUT_TOKENS,
                "output_tokens": output_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "service_tier": "standard",
            },
        })
    }

    fn stop_reason(&self) -> &'static str {
        let calls_a_tool = self.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        if calls_a_tool { "tool_use" } else { "end_turn" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(blocks: Vec<Block>) -> Reply {
        Reply { id: "msg_1".into(), model: "claude-x".into(), blocks }
    }

    /// The JSON of all events of a stream.
    fn events(frames: &[Frame]) -> Vec<Value> {
        let sent = frames.iter().filter_map(|frame| match frame {
            Frame::Send(bytes) => Some(std::str::from_utf8(bytes).unwrap()),
            Frame::Pause(_) | Frame::Cut => None,
        });
        sent.map(|event| serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap()).collect()
    }

    #[test]
    fn a_stream_and_a_whole_message_say_the_same() {
        let text = "größer 🦀 ".repeat(300);
        let reply = reply(vec![Block::Text(text.clone())]);

        let streamed: String = events(&reply.to_frames(Trouble::None))
            .iter()
            .filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned))
            .collect();

        assert_eq!(streamed, text);
        assert_eq!(reply.to_json()["content"][0]["text"], text);
    }

    #[test]
    fn a_tool_call_s_pieces_join_to_its_input() {
        let input = json!({"command": "echo \"hi\""});
        let reply =
            reply(vec![Block::ToolUse { id: "toolu_1".into(), name: "Bash".into(), input: input.clone() }]);

        let events = events(&reply.to_frames(Trouble::None));

        let joined: String =
            events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
        assert_eq!(serde_json::from_str::<Value>(&joined).unwrap(), input);
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn a_cut_comes_after_exactly_one_piece_of_text() {
        let frames = reply(vec![Block::Text("never heard whole".into())]).to_frames(Trouble::Cut);

        let deltas = events(&frames).iter().filter(|event| event["type"] == "content_block_delta").count();

        assert_eq!(deltas, 1);
        assert!(matches!(frames.last(), Some(Frame::Cut)));
    }
}
