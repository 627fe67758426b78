//! Answers and errors in Google's JSON, and bodies read strictly.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::wire::Call;

/// An error of a service that speaks JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonError {
    status: u16,
    name: &'static str,
    message: String,
}

impl JsonError {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, name: name_of(status), message: message.into() }
    }

    /// 400 `INVALID_ARGUMENT`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 400 `FAILED_PRECONDITION`.
    pub(super) fn precondition(message: impl Into<String>) -> Self {
        Self { name: "FAILED_PRECONDITION", ..Self::new(400, message) }
    }

    /// 404 `NOT_FOUND`.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, format!("{what} was not found."))
    }

    /// The error that a fault brings.
    pub(super) fn of_status(status: u16) -> Self {
        Self::new(status, "A test wants this to fail.")
    }
}

impl IntoResponse for JsonError {
    fn into_response(self) -> Response {
        let error = json!({"code": self.status, "message": self.message, "status": self.name});
        answer(self.status, &json!({"error": error}))
    }
}

/// The usual name of a status (<https://cloud.google.com/apis/design/errors>).
fn name_of(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

/// Returns JSON with this status.
pub(super) fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body.to_string()).into_response()
}

/// Returns the body's members, of which there may be these; an empty body has none.
pub(super) fn members(call: &Call, known: &[&str]) -> Result<Map<String, Value>, JsonError> {
    if call.body.is_empty() {
        return Ok(Map::new());
    }
    if !call.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(JsonError::invalid("Invalid content type: JSON is expected."));
    }
    match serde_json::from_slice(&call.body) {
        Ok(body) => object(body, known),
        Err(error) => Err(JsonError::invalid(format!("Invalid JSON payload received. {error}"))),
    }
}

/// Returns the members of an object, of which there may be these.
pub(super) fn object(value: Value, known: &[&str]) -> Result<Map<String, Value>, JsonError> {
    let Value::Object(members) = value else {
        return Err(JsonError::invalid("Invalid JSON payload received. An object is expected."));
    };
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(members),
        Some(name) => Err(JsonError::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."
        ))),
    }
}

/// Refuses query parameters besides those that all of Google's interfaces have.
pub(super) fn only_system_parameters(call: &Call) -> Result<(), JsonError> {
    let system = ["$alt", "alt", "$prettyPrint", "prettyPrint", "fields", "$fields"];
    match call.query.iter().find(|(name, _)| !system.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(JsonError::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter."
        ))),
    }
}
