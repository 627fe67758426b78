//! Followed logs as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use http::{HeaderValue, header};
use legwork_core::record::{Record, Status};
use legwork_engine::{Engine, WatchItem};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::leaving::CancelOnLeave;

/// How often a comment keeps the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The id of the closing event.
pub(crate) const END: &str = "end";

/// Returns the answer that streams these items. `leaving` is dropped with the stream, and told before
/// where it is the service that ends it.
pub(crate) fn answer(
    engine: Engine,
    items: BoxStream<'static, WatchItem>,
    stop: CancellationToken,
    leaving: Option<CancelOnLeave>,
) -> Response {
    let state = (items, engine, leaving, false);
    let events = futures_util::stream::unfold(state, move |(mut items, engine, mut leaving, over)| {
        let stop = stop.clone();
        async move {
            if over {
                return None;
            }
            let (text, over) = tokio::select! {
                // Items are kept by their stream; a dropped sleep loses nothing.
                item = items.next() => match item? {
                    WatchItem::Line { position, json } => (line(&position.to_string(), &json), false),
                    WatchItem::End(record) => (closing(&engine, &record), true),
                    WatchItem::Broken(reason) => (broken(&reason), true),
                },
                () = tokio::time::sleep(KEEP_ALIVE) => (Bytes::from_static(b": keep-alive\n\n"), false),
                () = stop.cancelled() => return None,
            };
            if let Some(leaving) = leaving.as_mut().filter(|_| over) {
                leaving.stayed();
            }
            Some((text, (items, engine, leaving, over)))
        }
    });
    response(events)
}

fn response(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(events.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold lines back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stored line has no line ends in it: each is one JSON text. One from elsewhere might have a carriage
/// return, which would end the field.
fn line(id: &str, json: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(json.len().saturating_add(id.len()).saturating_add(16));
    text.extend_from_slice(b"id: ");
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(b"\ndata: ");
    text.extend(json.iter().filter(|&&byte| byte != b'\r' && byte != b'\n'));
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}

fn closing(engine: &Engine, record: &Record) -> Bytes {
    let event = if record.status == Status::Cancelled { "cancelled" } else { "done" };
    Bytes::from(format!("event: {event}\nid: {END}\ndata: {}\n\n", engine.callback_body(record)))
}

fn broken(reason: &str) -> Bytes {
    Bytes::from(format!("event: error\nid: {END}\ndata: {}\n\n", json!({"error": reason})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_event() {
        assert_eq!(line("1.2", b"{\"a\":\r1}"), Bytes::from_static(b"id: 1.2\ndata: {\"a\":1}\n\n"));
    }

    #[test]
    fn a_broken_stream_says_why_and_ends() {
        assert_eq!(
            broken("a \"b\""),
            Bytes::from("event: error\nid: end\ndata: {\"error\":\"a \\\"b\\\"\"}\n\n")
        );
    }
}
