//! What an operator decides about the API.

use legwork_core::secret::Secret;

/// What clients have to show.
#[derive(Debug, Clone)]
pub enum ApiToken {
    /// This.
    Required(Secret<String>),
    /// Nothing.
    Off,
}

/// Everything an operator decides about the API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// What clients have to show.
    pub token: ApiToken,
    /// Whether `Host` has to name this machine: a guard against DNS rebinding.
    pub check_host: bool,
    /// Further names that `Host` may have.
    pub allowed_hosts: Vec<String>,
    /// Request body limit in bytes.
    pub max_body_bytes: usize,
    /// The program's version.
    pub version: &'static str,
}
