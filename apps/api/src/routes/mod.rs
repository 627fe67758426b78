//! All routes, and what every one of them shares.

mod files;
mod health;
mod input;
mod logs;
mod reconcile;
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
use http::{HeaderValue, StatusCode, header};
use legwork_core::id::TaskId;
use legwork_engine::Engine;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use tracing::Instrument as _;

use crate::{answer::ApiError, body, guard, settings::ApiSettings, trace};

/// Names a request in answers and logs.
const REQUEST_ID: &str = "x-request-id";
/// Routes that show no data and want no token.
const OPEN: &[&str] = &["/", "/health", "/healthz", "/ready", "/ui"];

/// Headers of a request, at most. The connection refuses more than 100 by itself, without a word.
const MAX_HEADERS: usize = 80;
/// Bytes of a request's target and headers, at most; the connection reads twice as many.
pub(crate) const MAX_HEAD_BYTES: usize = 32 * 1024;

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
        .route("/tasks/{task}/retry", post(tasks::retry))
        .route("/tasks/{task}/callback", post(tasks::redeliver))
        .route("/reconcile", post(reconcile::pass))
        .route("/tasks/{task}/logs", get(logs::logs))
        .route("/tasks/{task}/files", get(files::list))
        .route("/tasks/{task}/files/{*path}", get(files::download))
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
    let refusal = if head_fits(&request) {
        guard::judge(&api.settings, request.headers(), open).err().map(ApiError::from)
    } else {
        Some(head_too_large())
    };
    let span = tracing::info_span!("request", request.id = %id, trace = tracing::field::Empty);
    if let Some(trace) = trace::of(request.headers()) {
        span.record("trace", trace);
    }
    let mut response = match refusal {
        None => next.run(request).instrument(span.clone()).await,
        Some(refusal) => {
            let (head, body) = request.into_parts();
            body::discard(&head.headers, body).await;
            refusal.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    // Nothing here is for others to keep.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| {
        tracing::debug!(http.method = %method, http.route = %route, http.status = status, duration_ms, "answered");
    });
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

fn head_fits(request: &Request) -> bool {
    let headers = request.headers();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let size = headers.iter().fold(target, |size, (name, value)| {
        size.saturating_add(name.as_str().len()).saturating_add(value.len())
    });
    headers.len() <= MAX_HEADERS && size <= MAX_HEAD_BYTES
}

fn head_too_large() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head_too_large",
        format!("A request may have {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes of them"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_its_limits() {
        let check = |headers: usize, bytes: usize, expected: bool| {
            let value = HeaderValue::from_str(&"a".repeat(bytes)).unwrap();
            let request = (0..headers).fold(Request::builder().uri("/"), |request, n| {
                request.header(format!("x-{n}"), value.clone())
            });
            assert_eq!(head_fits(&request.body(axum::body::Body::empty()).unwrap()), expected);
        };

        check(80, 1, true);
        check(81, 1, false);
        check(1, 32_000, true);
        check(1, 33_000, false);
        check(8, 5_000, false);
    }

    #[test]
    fn a_clients_request_id_is_kept_if_it_is_harmless() {
        let check = |text: &'static str| request_id(Some(&HeaderValue::from_static(text)));

        assert_eq!(check("a.b-C_1").as_deref(), Some("a.b-C_1"));
        assert_eq!(check("a b"), None);
        assert_eq!(check(""), None);
        assert_eq!(request_id(None), None);
    }
}
