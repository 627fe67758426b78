//! What a proxy has to know.

use std::time::Duration;

use legwork_core::{request::Credential, secret::Secret};
use url::Url;

/// The real credential, which only the model's API gets to see.
#[derive(Debug, Clone)]
pub enum UpstreamCredential {
    /// Goes into `x-api-key`.
    ApiKey(Secret<String>),
    /// Goes into `authorization`, as a bearer token.
    OAuthToken(Secret<String>),
}

impl From<&Credential> for UpstreamCredential {
    fn from(credential: &Credential) -> Self {
        match credential {
            Credential::ApiKey(key) => Self::ApiKey(key.clone()),
            Credential::OAuthToken(token) => Self::OAuthToken(token.clone()),
        }
    }
}

/// How much a task may ask at once, and how long its answers may take.
#[derive(Debug, Clone, Copy)]
pub struct ProxyLimits {
    /// So many requests are forwarded at once; others wait.
    pub requests_at_once: usize,
    /// How long the model's API may send nothing before it is cut. The agent's CLI does not notice
    /// by itself, but tries again at once when it is cut.
    pub upstream_silence: Duration,
    /// How long connecting to the model's API may take.
    pub connect: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            requests_at_once: 8,
            upstream_silence: Duration::from_mins(5),
            connect: Duration::from_secs(10),
        }
    }
}

/// What a proxy stands between.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The model's API; what it has as a path comes before every forwarded one.
    pub upstream: Url,
    /// What the model's API gets to see.
    pub credential: UpstreamCredential,
    /// What the agent has to show, as an API key or as a bearer token.
    pub token: Secret<String>,
    /// The limits.
    pub limits: ProxyLimits,
}
