//! Counting the tokens of answers while they pass, without holding them up.

use std::sync::{Arc, Mutex, PoisonError};

use legwork_core::record::Usage;
use serde::Deserialize;

/// The longest line of a stream that is read. The events that carry usage take some 1 kB.
const LINE_BYTES: usize = 256 * 1024;
/// The longest answer in one piece that is read: more than a model writes.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// The sum over all answers of a proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct Total(Arc<Mutex<Usage>>);

impl Total {
    /// Returns the sum so far.
    pub(super) fn get(&self) -> Usage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, before: Usage, after: Usage) {
        let mut total = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let grow = |total: &mut u64, before: u64, after: u64| {
            *total = total.saturating_add(after.saturating_sub(before));
        };
        grow(&mut total.input_tokens, before.input_tokens, after.input_tokens);
        grow(&mut total.output_tokens, before.output_tokens, after.output_tokens);
        grow(&mut total.cache_read_tokens, before.cache_read_tokens, after.cache_read_tokens);
        grow(&mut total.cache_creation_tokens, before.cache_creation_tokens, after.cache_creation_tokens);
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events.
    Stream,
    /// One JSON document.
    Document,
    /// Something without usage.
    Other,
}

impl Form {
    /// Tells the form from the answer's content type.
    pub(super) fn of(content_type: Option<&str>) -> Self {
        match content_type.and_then(|text| text.split(';').next()).map(str::trim) {
            Some("text/event-stream") => Self::Stream,
            Some("application/json") => Self::Document,
            Some(_) | None => Self::Other,
        }
    }
}

/// Reads one answer along.
#[derive(Debug)]
pub(super) struct Counter {
    form: Form,
    total: Total,
    /// What this answer has come to so far. The API repeats and raises its numbers.
    counted: Usage,
    buffer: Vec<u8>,
    is_overlong: bool,
}

/// What is read of an event or of an answer.
#[derive(Deserialize)]
struct Carrier {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<Message>,
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Message {
    usage: Option<Reported>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "these are the API's names")]
struct Reported {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Counter {
    /// Starts on an answer.
    pub(super) fn new(form: Form, total: Total) -> Self {
        Self { form, total, counted: Usage::default(), buffer: Vec::new(), is_overlong: false }
    }

    /// Reads the next bytes of the answer.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        match self.form {
            Form::Other => {}
            Form::Document => self.keep(bytes, ANSWER_BYTES),
            Form::Stream => {
                let mut lines = bytes.split(|byte| *byte == b'\n');
                let last = lines.next_back();
                for end_of_line in lines {
                    self.keep(end_of_line, LINE_BYTES);
                    self.end_line();
                }
                self.keep(last.unwrap_or_default(), LINE_BYTES);
            }
        }
    }

    /// Notes that the answer is complete.
    pub(super) fn end(&mut self) {
        match self.form {
            Form::Other => {}
            Form::Stream => self.end_line(),
            Form::Document => {
                let document = std::mem::take(&mut self.buffer);
                self.note(&document);
            }
        }
    }

    fn keep(&mut self, bytes: &[u8], limit: usize) {
        self.is_overlong = self.is_overlong || self.buffer.len().saturating_add(bytes.len()) > limit;
        if self.is_overlong {
            self.buffer = Vec::new();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.buffer);
        if let Some(data) = line.strip_prefix(b"data:") {
            // Nearly all events are text without usage, which need not be parsed.
            if data.windows(7).any(|window| window == b"\"usage\"") {
                self.note(data);
            }
        }
        line.clear();
        self.buffer = line;
        self.is_overlong = false;
    }

    fn note(&mut self, json: &[u8]) {
        let Ok(carrier) = serde_json::from_slice::<Carrier>(json) else {
            return;
        };
        let reported = match carrier.kind.as_deref() {
            Some("message_start") => carrier.message.and_then(|message| message.usage),
            Some("message_delta" | "message") => carrier.usage,
            Some(_) | None => None,
        };
        let Some(reported) = reported else {
            return;
        };
        let before = self.counted;
        let raise = |number: &mut u64, to: Option<u64>| *number = (*number).max(to.unwrap_or(0));
        raise(&mut self.counted.input_tokens, reported.input_tokens);
        raise(&mut self.counted.output_tokens, reported.output_tokens);
        raise(&mut self.counted.cache_read_tokens, reported.cache_read_input_tokens);
        raise(&mut self.counted.cache_creation_tokens, reported.cache_creation_input_tokens);
        self.total.add(before, self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "event: message_start\n",
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1,",
        "\"cache_read_input_tokens\":300,\"cache_creation_input_tokens\":20}}}\n\n",
        "event: content_block_delta\n",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"\\\"usage\\\"\"}}\n\n",
        "event: message_delta\r\n",
        "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\r\n\r\n",
    );

    fn count(form: Form, pieces: &[&[u8]]) -> Usage {
        let total = Total::default();
        let mut counter = Counter::new(form, total.clone());
        for piece in pieces {
            counter.read(piece);
        }
        counter.end();
        total.get()
    }

    fn expected() -> Usage {
        Usage { input_tokens: 10, output_tokens: 7, cache_read_tokens: 300, cache_creation_tokens: 20 }
    }

    #[test]
    fn a_stream_is_counted_once_wherever_it_is_cut() {
        for cut in 0..=STREAM.len() {
            let (left, right) = STREAM.as_bytes().split_at(cut);

            assert_eq!(count(Form::Stream, &[left, right]), expected(), "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_that_breaks_off_counts_for_what_came() {
        let total = Total::default();
        let mut counter = Counter::new(Form::Stream, total.clone());

        counter.read(&STREAM.as_bytes()[..300]);
        drop(counter);

        assert_eq!(total.get().input_tokens, 10);
    }

    #[test]
    fn an_answer_in_one_piece_is_counted() {
        let answer = br#"{"type":"message","content":[],"usage":{"input_tokens":5,"output_tokens":6}}"#;

        let counted = count(Form::Document, &[&answer[..20], &answer[20..]]);

        assert_eq!((counted.input_tokens, counted.output_tokens), (5, 6));
    }

    #[test]
    fn what_is_no_message_counts_for_nothing() {
        assert_eq!(count(Form::Document, &[br#"{"input_tokens":99}"#]), Usage::default());
        assert_eq!(count(Form::Document, &[b"not json"]), Usage::default());
        assert_eq!(count(Form::Other, &[STREAM.as_bytes()]), Usage::default());
    }

    #[test]
    fn an_endless_line_takes_no_memory_and_hides_no_later_one() {
        let total = Total::default();
        let mut counter = Counter::new(Form::Stream, total.clone());

        for _ in 0..100 {
            counter.read(&vec![b'x'; 10_000]);
        }
        let held_bytes = counter.buffer.capacity();
        counter.read(b"\n");
        counter.read(STREAM.as_bytes());

        assert!(held_bytes <= LINE_BYTES * 2, "{held_bytes} bytes are held");
        assert_eq!(total.get(), expected());
    }

    #[test]
    fn the_form_is_told_from_the_content_type() {
        assert_eq!(Form::of(Some("text/event-stream; charset=utf-8")), Form::Stream);
        assert_eq!(Form::of(Some("application/json")), Form::Document);
        assert_eq!(Form::of(None), Form::Other);
    }
}
