//! Names become addresses, of which only those remain that callbacks may reach. What remains is what is
//! connected to, so a name that changes its address between check and connection gains nothing.

use std::net::SocketAddr;

use legwork_core::request::address::callback_may_reach;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// All of a name's addresses are ones that callbacks may not reach.
#[derive(Debug, thiserror::Error)]
#[error("{host} has no address that callbacks may reach")]
pub(super) struct Forbidden {
    pub(super) host: String,
}

#[derive(Debug)]
pub(super) struct JudgingResolver {
    allow_private: bool,
}

impl JudgingResolver {
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // The port is set by the connection.
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| callback_may_reach(address.ip(), allow_private)).collect();
            if allowed.is_empty() {
                return Err(Forbidden { host }.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}
