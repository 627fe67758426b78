//! Answers as JSON, and what errors of the engine look like to clients.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use legwork_core::{id::TaskId, request::RequestError};
use legwork_engine::{CancelError, QueryError, RedeliverError, RetryError, SubmitError, WatchError};
use serde_json::Value;

use crate::guard::Refusal;

/// How many seconds a client is asked to wait.
const RETRY_AFTER: &str = "5";

/// An error as clients see it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
    header: Option<(HeaderName, &'static str)>,
}

/// Members in the order in which people read them.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    error: String,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Value>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let (error, code) = (message.into(), code.to_owned());
        let body = ErrorBody { error, code, message: None, task_id: None, details: Vec::new() };
        Self { status, body: Box::new(body), header: None }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn later(self) -> Self {
        self.with(header::RETRY_AFTER, RETRY_AFTER)
    }

    pub(crate) fn not_found(id: &str, reason: &str) -> Self {
        let mut answer = Self::new(StatusCode::NOT_FOUND, "task_not_found", "Task not found");
        answer.body.message = Some(reason.to_owned());
        answer.body.task_id = Some(id.to_owned());
        answer
    }

    pub(crate) fn bad_task_id(error: legwork_core::id::InvalidTaskId) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_task_id", error.to_string())
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.body);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Returns an answer that asks the client to come again.
pub(crate) fn later(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    response
}

/// Returns an answer with this as its body.
pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => json_text(status, text),
        Err(error) => {
            tracing::error!(error = %error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Returns an answer whose body is JSON already.
pub(crate) fn json_text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
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
            let problems = error.problems().iter();
            answer.body.details = problems
                .map(|p| serde_json::json!({"member": p.member, "code": p.code, "error": p.message}))
                .collect();
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

/// Returns the answer to a retry that was refused.
pub(crate) fn retry_error(error: RetryError, id: &TaskId) -> ApiError {
    let refusal = |code: &str, error: &RetryError| {
        let mut answer = ApiError::new(StatusCode::CONFLICT, code, sentence(error));
        answer.body.task_id = Some(id.as_str().to_owned());
        answer
    };
    match error {
        RetryError::NotFound => query_error(QueryError::NotFound, Some(id)),
        RetryError::CallbackPending => refusal("callback_pending", &error),
        RetryError::PayloadGone => refusal("payload_gone", &error),
        RetryError::NotRetryable { .. } => refusal("not_retryable", &error),
        other @ (RetryError::Unavailable { .. } | _) => unavailable(&other),
    }
}

/// Returns the answer to a redelivery that was refused.
pub(crate) fn redeliver_error(error: RedeliverError, id: &TaskId) -> ApiError {
    let refusal = |code: &str, error: &RedeliverError| {
        let mut answer = ApiError::new(StatusCode::CONFLICT, code, sentence(error));
        answer.body.task_id = Some(id.as_str().to_owned());
        answer
    };
    match error {
        RedeliverError::NotFound => query_error(QueryError::NotFound, Some(id)),
        RedeliverError::NotTerminal { .. } => refusal("not_terminal", &error),
        RedeliverError::NoReceiver => refusal("no_callback", &error),
        RedeliverError::Pending => refusal("callback_pending", &error),
        other @ (RedeliverError::Unavailable { .. } | _) => unavailable(&other),
    }
}

/// Writes an error's fragment as a sentence for clients.
fn sentence(error: &impl std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[track_caller]
    fn check(error: ApiError, status: u16, body: &str, header: Option<(&str, &str)>) {
        let answer = error.into_response();

        assert_eq!(answer.status(), status);
        if let Some((name, value)) = header {
            assert_eq!(answer.headers()[name], value);
        }
        let text = futures_util::FutureExt::now_or_never(answer.into_body().collect()).unwrap().unwrap();
        assert_eq!(text.to_bytes(), body.as_bytes());
    }

    #[test]
    fn an_error_says_what_and_its_code() {
        check(ApiError::new(StatusCode::NOT_FOUND, "c", "e"), 404, r#"{"error":"e","code":"c"}"#, None);
    }

    #[test]
    fn an_unknown_task_is_named() {
        let body = r#"{"error":"Task not found","code":"task_not_found","message":"why","taskId":"t"}"#;

        check(ApiError::not_found("t", "why"), 404, body, None);
    }

    #[test]
    fn what_may_heal_says_when_to_come_again() {
        let advice = || "a".to_owned();
        let again = Some(("retry-after", "5"));

        check(
            SubmitError::Unavailable { advice: advice() }.into(),
            503,
            r#"{"error":"a","code":"unavailable"}"#,
            again,
        );
        check(
            SubmitError::Refused { advice: advice() }.into(),
            502,
            r#"{"error":"a","code":"refused"}"#,
            again,
        );
        assert_eq!(ApiError::from(SubmitError::TooManyOpen).status, 429);
        assert_eq!(ApiError::from(SubmitError::Exists).status, 409);
    }

    #[test]
    fn who_shows_no_token_is_told_how() {
        let answer = ApiError::from(Refusal::Token).into_response();

        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
            (401, &HeaderValue::from_static("Bearer"))
        );
    }
}
