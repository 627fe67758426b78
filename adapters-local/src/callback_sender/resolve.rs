//! Names become addresses, of which only those remain that callbacks may reach. What remains is what is
//! connected to, so a name that changes its address between check and connection gains nothing.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use legwork_core::request::address::callback_may_reach;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How many addresses of a name are told.
const TOLD: usize = 4;

/// None of a name's addresses is one that callbacks may reach. Shows the name and its addresses.
#[derive(Debug)]
pub(super) struct Forbidden {
    host: String,
    found: Vec<IpAddr>,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.found.iter().take(TOLD).map(ToString::to_string).collect();
        write!(f, "{} ({})", self.host, addresses.join(", "))
    }
}

impl std::error::Error for Forbidden {}

/// A name without addresses.
#[derive(Debug, thiserror::Error)]
#[error("the name {host} was not found")]
pub(super) struct Unresolved {
    host: String,
    source: Option<io::Error>,
}

/// A name being looked up. The ports of its addresses are set by the connection.
type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

pub(super) struct JudgingResolver {
    allow_private: bool,
    look_up: Box<dyn Fn(String) -> LookingUp + Send + Sync>,
}

impl JudgingResolver {
    /// Asks the system.
    pub(super) fn new(allow_private: bool) -> Self {
        Self::looking_up_by(allow_private, |name| {
            Box::pin(async move {
                let answer = tokio::net::lookup_host((name.as_str(), 0)).await;
                answer.map(Iterator::collect::<Vec<SocketAddr>>)
            })
        })
    }

    pub(super) fn looking_up_by(
        allow_private: bool,
        look_up: impl Fn(String) -> LookingUp + Send + Sync + 'static,
    ) -> Self {
        Self { allow_private, look_up: Box::new(look_up) }
    }
}

/// Keeps the addresses that callbacks may reach.
fn judge(host: String, found: &[SocketAddr], allow_private: bool) -> Result<Vec<SocketAddr>, Forbidden> {
    let may = |address: &SocketAddr| callback_may_reach(address.ip(), allow_private);
    let allowed: Vec<SocketAddr> = found.iter().copied().filter(may).collect();
    if allowed.is_empty() {
        return Err(Forbidden { host, found: found.iter().map(SocketAddr::ip).collect() });
    }
    Ok(allowed)
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        let host = name.as_str().to_owned();
        let looking_up = (self.look_up)(host.clone());
        Box::pin(async move {
            let found = match looking_up.await {
                Ok(found) => found,
                Err(error) => return Err(Unresolved { host, source: Some(error) }.into()),
            };
            if found.is_empty() {
                return Err(Unresolved { host, source: None }.into());
            }
            let addresses: Addrs = Box::new(judge(host, &found, allow_private)?.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn of_mixed_addresses_the_public_ones_are_connected_to() {
        let found = addresses(&["10.0.0.1", "8.8.8.8", "169.254.169.254"]);

        let allowed = judge("mixed.example".to_owned(), &found, false).unwrap();

        assert_eq!(allowed, addresses(&["8.8.8.8"]));
    }

    #[test]
    fn a_refusal_names_what_the_host_resolved_to() {
        let found = addresses(&["10.0.0.1", "::1"]);

        let refusal = judge("inside.example".to_owned(), &found, false).unwrap_err();

        assert_eq!(refusal.to_string(), "inside.example (10.0.0.1, ::1)");
    }
}
