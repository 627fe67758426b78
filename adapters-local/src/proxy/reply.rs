//! Answers of the proxy's own, in the shape that clients of the model's API expect.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};

/// Why an answer broke off.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;
/// A body that may be streamed.
pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;

/// Returns an answer without a body.
pub(super) fn alive() -> Response<Body> {
    Response::new(Empty::new().map_err(never).boxed_unsync())
}

/// Returns an error: `{"type":"error","error":{"type":…,"message":…}}`.
pub(super) fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(never).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn never(never: Infallible) -> Broken {
    match never {}
}
