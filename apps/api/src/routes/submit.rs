//! Submitting tasks: to be told later, or to stay and watch.

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use legwork_core::{id::TaskId, record::Status, request::Route, time::Timestamp};
use legwork_engine::{Accepted, Engine, Position, SubmitError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Api;
use crate::{
    answer::{ApiError, json_text, watch_error},
    body, sse,
};

async fn read(api: &Api, request: Request) -> Result<Bytes, ApiError> {
    if !body::is_json(request.headers()) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send the request as Content-Type: application/json",
        ));
    }
    body::read(request.into_body(), api.settings.max_body_bytes).await
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

fn accepted_json(accepted: &Accepted) -> String {
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
    let accepted = match api.engine.submit(&body, Route::Run).await {
        Ok(accepted) if accepted.existed => return Err(SubmitError::Exists.into()),
        other => other?,
    };
    let id = accepted.task_id;
    let leaving = CancelOnLeave {
        engine: api.engine.clone(),
        background: api.background.clone(),
        stop: api.stop.clone(),
        id: Some(id.clone()),
    };
    let items = api.engine.watch(&id, Position::START).await.map_err(|error| watch_error(error, &id))?;
    let mut response = sse::answer(api.engine.clone(), items, api.stop.clone(), leaving);
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-task-id", value);
    }
    Ok(response)
}

/// Cancels the task of a client that leaves. A task that has ended takes no notice.
struct CancelOnLeave {
    engine: Engine,
    background: TaskTracker,
    /// A service that stops is no client that leaves: the task runs on.
    stop: CancellationToken,
    id: Option<TaskId>,
}

impl Drop for CancelOnLeave {
    fn drop(&mut self) {
        let Some(id) = self.id.take().filter(|_| !self.stop.is_cancelled()) else { return };
        let engine = self.engine.clone();
        self.background.spawn(async move {
            match engine.cancel(&id).await {
                Ok(_) | Err(legwork_engine::CancelError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(task.id = %id, error = %error, "the task of a client that left runs on");
                }
            }
        });
    }
}
