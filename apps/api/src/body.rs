//! Reading a request's body within its limits.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::answer::ApiError;

/// How long a body may take to arrive.
const TIME_LIMIT: Duration = Duration::from_mins(1);
/// How long a body that nobody wants may take.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);
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

/// Reads and drops the body of a request that is refused without it, so that a client that still sends
/// sees the answer. One that waits to be asked for its body is answered at once.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async {
        let mut seen = 0_usize;
        while let Some(Ok(frame)) = body.frame().await {
            seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if seen > DROPPED_BYTES {
                break;
            }
        }
    };
    // Whoever takes longer has to see the answer with the connection broken.
    drop(tokio::time::timeout(DISCARD_LIMIT, reading).await);
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
        if seen > max_bytes.max(DROPPED_BYTES) {
            break;
        }
    }
    if seen > max_bytes {
        let message = format!("The body must not be larger than {max_bytes} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
    }
    Ok(Bytes::from(collected))
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http::HeaderValue;

    use super::*;

    fn pieces(pieces: usize, bytes: usize) -> Body {
        let piece = Bytes::from(vec![b' '; bytes]);
        Body::from_stream(stream::iter(vec![piece; pieces]).map(Ok::<_, std::io::Error>))
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_whole() {
        assert_eq!(read(pieces(4, 25), 100).await.unwrap().len(), 100);
        assert_eq!(read(pieces(4, 25), 99).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_limit_above_what_is_dropped_holds() {
        let mebibyte = 1024 * 1024;

        assert_eq!(read(pieces(18, mebibyte), 20 * mebibyte).await.unwrap().len(), 18 * mebibyte);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);

        assert_eq!(read(Body::from_stream(broken), 10).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn json_is_known_by_its_type() {
        let check = |kind: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_json(&headers), expected, "{kind}");
        };

        check("application/json", true);
        check("Application/JSON ; charset=utf-8", true);
        check("application/jsonp", false);
        check("text/plain; application/json", false);
        assert!(!is_json(&HeaderMap::new()));
    }
}
