//! Receives callbacks over HTTP, verifies them, and hands them on.

use std::{io, time::Duration};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use legwork_core::signature::{SigningSecrets, TOLERANCE_SECONDS, Verified, VerifyError};
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{signature_check, wall_clock};

/// Longest body that is read, in bytes: ten times what a callback has at most.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a receiver was sent, and what it answered.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// What stays the same when the same event is delivered again.
    pub(crate) webhook_id: Option<String>,
    /// Whether the sender knows the secret.
    pub(crate) verified: Result<Verified, VerifyError>,
    /// The HTTP status of the answer.
    pub(crate) answered: u16,
    /// The body, byte for byte; to be looked at only if it is verified.
    pub(crate) body: Bytes,
}

#[derive(Debug, Clone)]
struct Desk {
    secrets: SigningSecrets,
    status: StatusCode,
    deliveries: mpsc::Sender<Delivery>,
}

/// Receives callbacks on any path until the listener fails; ends by being dropped.
///
/// A verified callback is answered with `status`, another with 401. Each is handed on before it is
/// answered, and waits while `deliveries` is full.
///
/// # Errors
/// Where the listener fails.
pub(crate) async fn receive(
    listener: TcpListener,
    secrets: SigningSecrets,
    status: StatusCode,
    deliveries: mpsc::Sender<Delivery>,
) -> io::Result<()> {
    let router = Router::new().fallback(take).with_state(Desk { secrets, status, deliveries });
    axum::serve(listener, router).await
}

async fn take(State(desk): State<Desk>, request: Request) -> Response {
    if request.method() != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "callbacks are POSTs\n").into_response();
    }
    let (head, body) = request.into_parts();
    let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let Ok(body) = body else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let tolerance = Duration::from_secs(TOLERANCE_SECONDS);
    let verified = signature_check::check(&desk.secrets, &headers, &body, wall_clock::now(), tolerance);
    let (answered, answer) = match &verified {
        Ok(_) => (desk.status, json!({"received": true})),
        Err(_) => (StatusCode::UNAUTHORIZED, json!({"error": "Unauthorized"})),
    };
    let webhook_id = headers.into_iter().find(|(name, _)| name == "webhook-id").map(|(_, value)| value);
    let delivery = Delivery { webhook_id, verified, answered: answered.as_u16(), body };
    if desk.deliveries.send(delivery).await.is_err() {
        // Nobody will ever look at it; the sender should try again elsewhere.
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    (answered, Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers a body signed by one secret to a receiver that knows `s3cret`.
    async fn deliver(signed_by: &str, status: StatusCode) -> (u16, Delivery) {
        legwork_wiring::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/any/path", listener.local_addr().unwrap());
        let (sender, mut deliveries) = mpsc::channel(1);
        let receiving = receive(listener, SigningSecrets::parse("s3cret").unwrap(), status, sender);
        let now = wall_clock::now().unix_seconds();
        let signed = SigningSecrets::parse(signed_by).unwrap().headers("a.1", now, "{\"taskId\":\"a\"}");
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let mut request = client.post(url).body("{\"taskId\":\"a\"}");
        for (name, value) in signed {
            request = request.header(name, value);
        }
        tokio::select! {
            answer = request.send() => (answer.unwrap().status().as_u16(), deliveries.recv().await.unwrap()),
            ended = receiving => panic!("{ended:?}"),
        }
    }

    #[tokio::test]
    async fn a_signed_callback_is_answered_as_asked_and_handed_on() {
        let (answered, delivery) = deliver("s3cret", StatusCode::IM_A_TEAPOT).await;

        assert_eq!((answered, delivery.answered), (418, 418));
        assert!(delivery.verified.is_ok());
        assert_eq!(delivery.webhook_id.as_deref(), Some("a.1"));
        assert_eq!(&delivery.body[..], b"{\"taskId\":\"a\"}");
    }

    #[tokio::test]
    async fn a_callback_signed_by_another_is_answered_with_401() {
        let (answered, delivery) = deliver("other", StatusCode::OK).await;

        assert_eq!(answered, 401);
        assert!(matches!(delivery.verified, Err(VerifyError::Mismatch { .. })));
    }
}
