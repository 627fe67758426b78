//! The agent's way to the model's API, with a credential that the agent never holds.

use std::fmt;

use async_trait::async_trait;
use legwork_core::{record::Usage, request::Credential, secret::Secret};

/// The gateway could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the credential proxy could not be opened")]
pub struct GatewayError {
    /// What happened.
    #[from]
    pub source: std::io::Error,
}

/// Opens gateways.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Gateway: fmt::Debug + Send + Sync + 'static {
    /// Opens a gateway for one task on this machine: it admits whoever shows `token`, forwards
    /// to the model's API alone, and puts `credential` in the place of `token`.
    ///
    /// # Errors
    /// Where no address can be listened on.
    async fn open(
        &self,
        credential: &Credential,
        token: Secret<String>,
    ) -> Result<Box<dyn OpenGateway>, GatewayError>;
}

/// A gateway that is open. Dropping it closes it.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait OpenGateway: fmt::Debug + Send + Sync {
    /// Returns the address that takes the place of the model's API.
    fn url(&self) -> String;

    /// Returns the tokens that the model read and wrote so far, whoever asked.
    fn usage(&self) -> Usage;

    /// Closes the gateway and cuts what is under way. Closing twice does nothing.
    async fn close(&self);
}
