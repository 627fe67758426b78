//! The proxy behind the port.

use async_trait::async_trait;
use legwork_core::{record::Usage, request::Credential, secret::Secret};
use legwork_ports::gateway::{Gateway, GatewayError, OpenGateway};
use url::Url;

use super::{
    config::{ProxyConfig, ProxyLimits},
    server::CredentialProxy,
};

/// Opens a proxy for each task.
#[derive(Debug, Clone)]
pub struct ProxyGateway {
    upstream: Url,
    limits: ProxyLimits,
}

impl ProxyGateway {
    /// Takes the address of the model's API and the limits of each task.
    pub fn new(upstream: Url, limits: ProxyLimits) -> Self {
        Self { upstream, limits }
    }
}

#[async_trait]
impl Gateway for ProxyGateway {
    async fn open(
        &self,
        credential: &Credential,
        token: Secret<String>,
    ) -> Result<Box<dyn OpenGateway>, GatewayError> {
        let (upstream, limits) = (self.upstream.clone(), self.limits);
        let config = ProxyConfig { upstream, credential: credential.into(), token, limits };
        Ok(Box::new(CredentialProxy::start(config).await?))
    }
}

#[async_trait]
impl OpenGateway for CredentialProxy {
    fn url(&self) -> String {
        Self::url(self)
    }

    fn usage(&self) -> Usage {
        Self::usage(self)
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}
