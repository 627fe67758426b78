//! A task's log: all of it, or as it grows.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use legwork_core::id::TaskId;
use legwork_engine::Position;

use super::{
    Api,
    input::{Params, Task},
};
use crate::{
    answer::{ApiError, query_error, watch_error},
    sse,
};

#[derive(Debug, serde::Deserialize)]
pub(super) struct LogsQuery {
    follow: Option<String>,
}

pub(super) async fn logs(
    State(api): State<Api>,
    Task(id): Task,
    Params(query): Params<LogsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let follow = match query.follow.as_deref() {
        Some("true" | "1" | "") => true,
        Some("false" | "0") => false,
        Some(_) => return Err(bad("invalid_follow", "follow must be true or false")),
        None => wants_events(&headers),
    };
    if follow { follow_log(&api, &id, &headers).await } else { whole(&api, &id).await }
}

fn bad(code: &str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(is_event_stream)
}

fn is_event_stream(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

async fn whole(api: &Api, id: &TaskId) -> Result<Response, ApiError> {
    let chunks = api.engine.log_lines(id).await.map_err(|error| query_error(error, Some(id)))?;
    let task = id.clone();
    let body = chunks.map(move |chunk| {
        chunk.map_err(|error| {
            tracing::warn!(task.id = %task, error = %error, "a log broke off while it was sent");
            std::io::Error::other(error)
        })
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn follow_log(api: &Api, id: &TaskId, headers: &HeaderMap) -> Result<Response, ApiError> {
    let from = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?")) {
        None | Some("") => Position::START,
        Some(sse::END) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Some(text) => position(text).ok_or_else(|| {
            bad("invalid_last_event_id", "Last-Event-ID must be the id of an event of this stream")
        })?,
    };
    let items = api.engine.watch(id, from).await.map_err(|error| watch_error(error, id))?;
    Ok(sse::answer(api.engine.clone(), items, api.stop.clone(), None))
}

/// Reads the id of an event that was given: chunks and their lines count from 1.
fn position(text: &str) -> Option<Position> {
    text.parse().ok().filter(|position| *position > Position::START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_were_given_are_positions() {
        for text in ["1.1", "2.7", "12.345"] {
            assert_eq!(position(text).unwrap().to_string(), text);
        }
        for text in ["", "end", "1", "0.5", "1.0", "1.-1", "1.1.1", "99999999999.1"] {
            assert_eq!(position(text), None, "{text}");
        }
    }

    #[test]
    fn events_are_given_to_those_who_ask_for_them() {
        let check = |accept: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_events(&headers), expected, "{accept}");
        };

        check("text/event-stream", true);
        check("application/json, Text/Event-Stream;q=0.9", true);
        check("text/event-streams", false);
        check("*/*", false);
        assert!(!wants_events(&HeaderMap::new()));
    }
}
