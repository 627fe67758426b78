//! Whether the service lives, and whether it can work.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::json;

use super::{Api, input::Params};
use crate::answer::{json_text, later};

/// Whoever asks whether the service is ready asks again soon.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, serde::Deserialize)]
pub(super) struct Verbosity {
    #[serde(default)]
    verbose: Option<String>,
}

impl Verbosity {
    fn is_wanted(&self) -> bool {
        matches!(self.verbose.as_deref(), Some("true" | "1" | ""))
    }
}

pub(super) async fn index(State(api): State<Api>) -> String {
    format!("Legwork {}: POST /run-async starts a task\n", api.settings.version)
}

pub(super) async fn health(State(api): State<Api>, Params(verbosity): Params<Verbosity>) -> Response {
    if verbosity.is_wanted() {
        let body = json!({"status": "ok", "version": api.settings.version});
        return json_text(StatusCode::OK, body.to_string());
    }
    "ok".into_response()
}

pub(super) async fn ready(State(api): State<Api>, Params(verbosity): Params<Verbosity>) -> Response {
    let ready = tokio::time::timeout(PATIENCE, api.engine.ready()).await;
    let (status, word, reason) = match ready.unwrap_or_else(|_| Err("no answer within 5 s".to_owned())) {
        Ok(()) => (StatusCode::OK, "ok", None),
        Err(reason) => {
            tracing::warn!(reason, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Some(reason))
        }
    };
    if verbosity.is_wanted() || reason.is_some() {
        let body = match reason {
            Some(_) => {
                json!({"status": word, "error": "The store or the key service does not answer", "code": "unavailable"})
            }
            None => json!({"status": word, "store": "ok", "keys": "ok"}),
        };
        let answer = json_text(status, body.to_string());
        return if status == StatusCode::OK { answer } else { later(answer) };
    }
    word.into_response()
}
