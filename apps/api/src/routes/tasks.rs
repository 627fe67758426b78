//! Asking about tasks, and cancelling them.

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use legwork_core::{
    id::TaskId,
    record::{RecordView, Status, TaskListing},
};
use legwork_engine::CancelAnswer;

use super::{
    Api,
    input::{Params, Task},
    submit,
};
use crate::answer::{ApiError, cancel_error, json, json_text, query_error, redeliver_error, retry_error};

/// Tasks of a page where the client names no number, and at most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

#[derive(Debug, serde::Deserialize)]
pub(super) struct ListQuery {
    status: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

fn bad(code: &str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

pub(super) async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Response, ApiError> {
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let status = match text(query.status) {
        None => None,
        Some(word) => Some(Status::parse(&word).ok_or_else(|| {
            bad("invalid_status", "status must be pending, running, completed, failed or cancelled")
        })?),
    };
    let limit = match text(query.limit) {
        None => DEFAULT_LIMIT,
        Some(word) => word
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| bad("invalid_limit", "limit must be a whole number from 1 to 200"))?,
    };
    let cursor = text(query.cursor);
    let page =
        api.engine.list(status, limit, cursor.as_deref()).await.map_err(|error| query_error(error, None))?;
    let tasks: Vec<RecordView<'_>> = page.tasks.iter().map(legwork_core::record::Record::view).collect();
    let body = Page { tasks, next_cursor: page.next_cursor.as_deref() };
    Ok(json(StatusCode::OK, &body))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    tasks: Vec<RecordView<'a>>,
    next_cursor: Option<&'a str>,
}

pub(super) async fn open(State(api): State<Api>) -> Result<Response, ApiError> {
    let open = api.engine.open_tasks().await.map_err(|error| query_error(error, None))?;
    Ok(json(StatusCode::OK, &Open { active: open.active, max: open.max, tasks: &open.tasks }))
}

#[derive(serde::Serialize)]
struct Open<'a> {
    active: usize,
    max: usize,
    tasks: &'a [TaskListing],
}

pub(super) async fn record(State(api): State<Api>, Task(id): Task) -> Result<Response, ApiError> {
    let record = api.engine.record(&id).await.map_err(|error| query_error(error, Some(&id)))?;
    Ok(json_text(StatusCode::OK, record.view_json()))
}

/// Drops the body of a route that needs none. Nothing in it matters, but a page of another origin can send
/// without asking what is not JSON.
pub(super) async fn drop_body(api: &Api, request: Request) -> Result<(), ApiError> {
    if !request.body().is_end_stream() {
        submit::read(api, request).await?;
    }
    Ok(())
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Task(id): Task,
    request: Request,
) -> Result<Response, ApiError> {
    drop_body(&api, request).await?;
    let answer = api.engine.cancel(&id).await.map_err(|error| cancel_error(error, &id))?;
    let status = match answer {
        CancelAnswer::Cancelled => "cancelled",
        CancelAnswer::Cancelling => "cancelling",
    };
    Ok(json(StatusCode::OK, &Cancelled { message: "Task cancelled successfully", task_id: &id, status }))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled<'a> {
    message: &'static str,
    task_id: &'a TaskId,
    status: &'static str,
}

pub(super) async fn retry(
    State(api): State<Api>,
    Task(id): Task,
    request: Request,
) -> Result<Response, ApiError> {
    drop_body(&api, request).await?;
    let accepted = api.engine.retry(&id).await.map_err(|error| retry_error(error, &id))?;
    Ok(json_text(StatusCode::ACCEPTED, submit::accepted_json(&accepted)))
}

pub(super) async fn redeliver(
    State(api): State<Api>,
    Task(id): Task,
    request: Request,
) -> Result<Response, ApiError> {
    drop_body(&api, request).await?;
    let record = api.engine.redeliver(&id).await.map_err(|error| redeliver_error(error, &id))?;
    let webhook_id = record.webhook_id();
    Ok(json(StatusCode::ACCEPTED, &Redelivered { task_id: &id, webhook_id: &webhook_id }))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Redelivered<'a> {
    task_id: &'a TaskId,
    webhook_id: &'a str,
}
