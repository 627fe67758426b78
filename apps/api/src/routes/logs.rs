//! A task's log: all of it, or as it grows.

use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use legwork_core::id::TaskId;
use legwork_engine::Position;

use super::{Api, task_of};
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
    Path(task): Path<String>,
    Query(query): Query<LogsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = task_of(&task)?;
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
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
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
        Some(text) => text.parse().map_err(|_: legwork_engine::ParsePositionError| {
            bad("invalid_last_event_id", "Last-Event-ID must be the id of an event of this stream")
        })?,
    };
    let items = api.engine.watch(id, from).await.map_err(|error| watch_error(error, id))?;
    Ok(sse::answer(api.engine.clone(), items, api.stop.clone(), ()))
}
