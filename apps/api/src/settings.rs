//! What an operator decides about the API.

use std::sync::Arc;

use legwork_core::secret::Secret;
use legwork_ports::workspace::Workspace;

/// What clients have to show.
#[derive(Debug, Clone)]
pub enum ApiToken {
    /// This.
    Required(Secret<String>),
    /// Nothing.
    Off,
}

/// Whether `POST /reconcile` makes a pass.
#[derive(Debug, Clone)]
pub enum Reconciling {
    /// It does.
    Allowed {
        /// Removes what a lost worker has left on this machine, where workers run on it.
        leftovers: Option<Arc<dyn Workspace>>,
    },
    /// It is refused.
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
    /// Whether `POST /reconcile` makes a pass.
    pub reconciling: Reconciling,
    /// The program's version.
    pub version: &'static str,
}
