//! Whether the service lives, and whether it can work.

use axum::{
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::json;

use super::Api;
use crate::answer::json_text;

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

pub(super) async fn health(State(api): State<Api>, Query(verbosity): Query<Verbosity>) -> Response {
    if verbosity.is_wanted() {
        let body = json!({"status": "ok", "version": api.settings.version});
        return json_text(StatusCode::OK, body.to_string());
    }
    "ok".into_response()
}

pub(super) async fn ready(State(api): State<Api>, Query(verbosity): Query<Verbosity>) -> Response {
    let (status, word, reason) = match api.engine.ready().await {
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
        return json_text(status, body.to_string());
    }
    word.into_response()
}
