//! Answers as JSON, and what errors of the engine look like to clients.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use legwork_core::{id::TaskId, request::RequestError};
use legwork_engine::{CancelError, QueryError, SubmitError, WatchError};
use serde_json::{Value, json};

use crate::guard::Refusal;

/// How many seconds a client is asked to wait.
const RETRY_AFTER: &str = "5";

/// An error as clients see it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Value,
    header: Option<(HeaderName, &'static str)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: json!({"error": message.into(), "code": code}), header: None }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn later(self) -> Self {
        self.with(header::RETRY_AFTER, RETRY_AFTER)
    }

    pub(crate) fn not_found(id: &str, reason: &str) -> Self {
        let body =
            json!({"error": "Task not found", "code": "task_not_found", "message": reason, "taskId": id});
        Self { status: StatusCode::NOT_FOUND, body, header: None }
    }

    pub(crate) fn bad_task_id(error: legwork_core::id::InvalidTaskId) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_task_id", error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_text(self.status, self.body.to_string());
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Returns an answer whose body is JSON already.
pub(crate) fn json_text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Host => Self::new(
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                "The service is not known under this Host; use localhost, or name it in LEGWORK_ALLOWED_HOSTS",
            ),
            Refusal::Origin => Self::new(
                StatusCode::FORBIDDEN,
                "cross_origin",
                "Pages of other origins may not use this service",
            ),
            Refusal::Token => Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Show the API token as Authorization: Bearer or X-Legwork-Token; `legwork token` prints it",
            )
            .with(header::WWW_AUTHENTICATE, "Bearer"),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let mut answer = Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
        if error.problems().len() > 1 {
            let details: Vec<Value> = error
                .problems()
                .iter()
                .map(|p| json!({"member": p.member, "code": p.code, "error": p.message}))
                .collect();
            if let Some(body) = answer.body.as_object_mut() {
                body.insert("details".to_owned(), details.into());
            }
        }
        answer
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Invalid(error) => error.into(),
            SubmitError::NotConfigured { message } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "not_configured", message)
            }
            SubmitError::Exists => Self::new(
                StatusCode::CONFLICT,
                "task_exists",
                "taskId already exists with another request; use another one",
            ),
            SubmitError::TooManyOpen => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_tasks",
                "Too many tasks are open; try again when some have ended, or raise MAX_OPEN_TASKS",
            )
            .later(),
            SubmitError::Unavailable { advice } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", advice).later()
            }
            SubmitError::Refused { advice } => Self::new(StatusCode::BAD_GATEWAY, "refused", advice).later(),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", other.to_string()),
        }
    }
}

/// Returns the answer to a question about a task that failed.
pub(crate) fn query_error(error: QueryError, id: Option<&TaskId>) -> ApiError {
    match error {
        QueryError::NotFound => {
            ApiError::not_found(id.map(TaskId::as_str).unwrap_or_default(), "There is no task of this id")
        }
        QueryError::BadCursor => ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_cursor",
            "cursor must be the nextCursor of an earlier answer",
        ),
        QueryError::Refused { advice } => ApiError::new(StatusCode::BAD_GATEWAY, "refused", advice).later(),
        other @ (QueryError::Unavailable { .. } | _) => unavailable(&other),
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> ApiError {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let chain = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    tracing::warn!(error = %chain, "the store failed a request");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The store does not answer; try again")
        .later()
}

/// Returns the answer to a cancel that failed.
pub(crate) fn cancel_error(error: CancelError, id: &TaskId) -> ApiError {
    match error {
        CancelError::NotFound { reason } => ApiError::not_found(id.as_str(), &reason),
        other @ (CancelError::Unavailable { .. } | _) => unavailable(&other),
    }
}

/// Returns the answer to a client that cannot follow a task.
pub(crate) fn watch_error(error: WatchError, id: &TaskId) -> ApiError {
    match error {
        WatchError::NotFound => query_error(QueryError::NotFound, Some(id)),
        WatchError::TooManyWatchers => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_watchers",
            "Too many logs are being followed; try again later, or raise MAX_WATCHERS",
        )
        .later(),
        other @ (WatchError::Unavailable { .. } | _) => unavailable(&other),
    }
}
