//! All routes, and what every one of them shares.

mod health;
mod logs;
mod submit;
mod tasks;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode};
use legwork_core::id::TaskId;
use legwork_engine::Engine;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{answer::ApiError, guard, settings::ApiSettings};

/// Names a request in answers and logs.
const REQUEST_ID: &str = "x-request-id";
/// Routes that show no data and want no token.
const OPEN: &[&str] = &["/", "/health", "/healthz", "/ready", "/ui"];

/// What routes work with.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) settings: Arc<ApiSettings>,
    pub(crate) stop: CancellationToken,
    /// Cancels of clients that left.
    pub(crate) background: TaskTracker,
}

pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(health::index))
        .route("/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/ready", get(health::ready))
        .route("/run-async", post(submit::run_async))
        .route("/run", post(submit::run))
        .route("/cancel/{task}", post(tasks::cancel))
        .route("/tasks", get(tasks::list))
        .route("/tasks/status", get(tasks::open))
        .route("/tasks/{task}", get(tasks::record))
        .route("/tasks/{task}/logs", get(logs::logs))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(api.clone(), pass))
        .with_state(api)
}

/// Judges every request, and gives every answer its headers and its line in the log.
#[expect(clippy::disallowed_methods, reason = "measures how long an answer took, for the log alone")]
async fn pass(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers().get(REQUEST_ID)).unwrap_or_else(|| fresh_id(&api));
    let method = request.method().clone();
    let path = request.uri().path();
    let open = OPEN.contains(&path) || path.starts_with("/ui/");
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", |path| path.as_str()).to_owned();
    let mut response = match guard::judge(&api.settings, request.headers(), open) {
        Ok(()) => next.run(request).await,
        Err(refusal) => ApiError::from(refusal).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(http.method = %method, http.route = %route, http.status = status, duration_ms, request.id = %id, "answered");
    response
}

fn request_id(value: Option<&HeaderValue>) -> Option<String> {
    let text = value?.to_str().ok()?;
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then(|| text.to_owned())
}

fn fresh_id(api: &Api) -> String {
    let mut bytes = [0; 16];
    api.engine.ports().ids.fill(&mut bytes);
    TaskId::from_random(bytes).to_string()
}

async fn unknown_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "There is no such route")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not take this method")
}

/// Reads the task of a path.
fn task_of(text: &str) -> Result<TaskId, ApiError> {
    text.parse().map_err(ApiError::bad_task_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_request_id_is_kept_if_it_is_harmless() {
        let check = |text: &'static str| request_id(Some(&HeaderValue::from_static(text)));

        assert_eq!(check("a.b-C_1").as_deref(), Some("a.b-C_1"));
        assert_eq!(check("a b"), None);
        assert_eq!(check(""), None);
        assert_eq!(request_id(None), None);
    }
}
