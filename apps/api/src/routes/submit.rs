//! Submitting tasks: to be told later, or to stay and watch.

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use legwork_core::{id::TaskId, record::Status, request::Route, time::Timestamp};
use legwork_engine::{Accepted, Position, SubmitError};
use tokio::sync::oneshot;

use super::Api;
use crate::{
    answer::{ApiError, json_text, watch_error},
    body,
    leaving::CancelOnLeave,
    sse,
};

/// Reads a body that has to be JSON.
pub(super) async fn read(api: &Api, request: Request) -> Result<Bytes, ApiError> {
    let (head, body) = request.into_parts();
    if !body::is_json(&head.headers) {
        body::discard(&head.headers, body).await;
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send the request as Content-Type: application/json",
        ));
    }
    body::read(body, api.settings.max_body_bytes).await
}

pub(super) async fn run_async(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    let body = read(&api, request).await?;
    let accepted = api.engine.submit(&body, Route::RunAsync).await?;
    Ok(json_text(StatusCode::ACCEPTED, accepted_json(&accepted)))
}

/// The answer to a submission, members in the order in which they are documented.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct AcceptedBody<'a> {
    task_id: &'a TaskId,
    status: Status,
    logs_path: &'a str,
    created_at: Timestamp,
    execution_name: Option<&'a str>,
}

pub(super) fn accepted_json(accepted: &Accepted) -> String {
    let body = AcceptedBody {
        task_id: &accepted.task_id,
        status: accepted.status,
        logs_path: &accepted.logs_path,
        created_at: accepted.created_at,
        execution_name: accepted.execution_name.as_deref(),
    };
    // Strings and times always serialise.
    serde_json::to_string(&body).unwrap_or_default()
}

pub(super) async fn run(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    let body = read(&api, request).await?;
    let leaving = accept(&api, body).await?;
    let id = leaving.task().clone();
    let items = api.engine.watch(&id, Position::START).await.map_err(|error| watch_error(error, &id))?;
    let mut response = sse::answer(api.engine.clone(), items, api.stop.clone(), Some(leaving));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-task-id", value);
    }
    Ok(response)
}

/// Accepts the task of a client that stays. A client that leaves while this goes on drops the request,
/// so it goes on apart from it: half a submission would leave a task that nobody cancels.
async fn accept(api: &Api, body: Bytes) -> Result<CancelOnLeave, ApiError> {
    let (sender, receiver) = oneshot::channel();
    let owner = api.clone();
    api.background.spawn(async move {
        let accepted = match owner.engine.submit(&body, Route::Run).await {
            Ok(accepted) if accepted.existed => Err(SubmitError::Exists),
            Ok(accepted) => Ok(CancelOnLeave::new(&owner, accepted.task_id)),
            Err(error) => Err(error),
        };
        // Where the client has left, what would be sent is dropped, and the task cancelled by that.
        drop(sender.send(accepted));
    });
    match receiver.await {
        Ok(accepted) => Ok(accepted?),
        Err(_) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The submission broke off; see the service's log",
        )),
    }
}
