//! What is sealed for the worker: the client's own text, and the defaults it was read with.

use alloc::{
    borrow::ToOwned as _,
    string::{String, ToString as _},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{RequestLimits, Route, StoredRequestError, TaskRequest};
use crate::secret::Secret;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    route: String,
    max_timeout_minutes: u32,
    allowed_tools: Vec<String>,
    permission_mode: String,
    dangerously_skip_permissions: bool,
    callback_allow_private: bool,
    request: String,
}

impl TaskRequest {
    /// Writes what [`TaskRequest::from_json`] reads.
    pub fn to_json(&self, route: Route, limits: &RequestLimits) -> Secret<String> {
        let stored = Stored {
            route: match route {
                Route::RunAsync => "run-async",
                Route::Run => "run",
            }
            .to_owned(),
            max_timeout_minutes: limits.max_timeout_minutes,
            allowed_tools: limits.allowed_tools.clone(),
            permission_mode: limits.permission_mode.as_str().to_owned(),
            dangerously_skip_permissions: limits.dangerously_skip_permissions,
            callback_allow_private: limits.callback_allow_private,
            request: self.source.expose().clone(),
        };
        // Strings, numbers and booleans always serialise.
        Secret::new(serde_json::to_string(&stored).unwrap_or_default())
    }

    /// Reads a request that was sealed, with the defaults of that time.
    ///
    /// # Errors
    /// [`StoredRequestError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, StoredRequestError> {
        let malformed = |reason: String| StoredRequestError::Malformed { reason };
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        let route = match stored.route.as_str() {
            "run-async" => Route::RunAsync,
            "run" => Route::Run,
            other => return Err(malformed(alloc::format!("unknown route {other}"))),
        };
        let limits = RequestLimits {
            max_timeout_minutes: stored.max_timeout_minutes,
            allowed_tools: stored.allowed_tools,
            permission_mode: stored
                .permission_mode
                .parse()
                .map_err(|error: super::InvalidPermissionMode| malformed(error.to_string()))?,
            dangerously_skip_permissions: stored.dangerously_skip_permissions,
            callback_allow_private: stored.callback_allow_private,
        };
        Ok(Self::parse(stored.request.as_bytes(), route, &limits)?.request)
    }
}
