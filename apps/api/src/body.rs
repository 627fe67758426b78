//! Reading a request's body within its limits.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::answer::ApiError;

/// How long a body may take to arrive.
const TIME_LIMIT: Duration = Duration::from_mins(1);
/// How much of a body that is too large is read and dropped, so that a client that still sends sees the
/// answer instead of a broken connection.
const DROPPED_BYTES: usize = 16 * 1024 * 1024;

/// Returns whether the body says that it is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads a whole body.
///
/// # Errors
/// 413 for one that is too large, 408 for one that takes too long, 400 for one that breaks off.
pub(crate) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    tokio::time::timeout(TIME_LIMIT, collect(body, max_bytes)).await.unwrap_or_else(|_| {
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body did not arrive within 60 s"))
    })
}

async fn collect(mut body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    let mut collected = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, "body_broken", format!("The body broke off: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= max_bytes {
            collected.extend_from_slice(&data);
        } else {
            collected = Vec::new();
        }
        if seen > DROPPED_BYTES {
            break;
        }
    }
    if seen > max_bytes {
        let message = format!("The body must not be larger than {max_bytes} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
    }
    Ok(Bytes::from(collected))
}
