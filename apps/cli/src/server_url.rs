//! Where a service is, and whether the way there may carry a secret.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use url::{Host, Url};

use crate::exit::UsageError;

/// The address of a service: http or https, perhaps below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl(Url);

/// How a service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is on this machine.
    Loopback,
    /// The network sees only ciphertext.
    Encrypted,
    /// The network can read along.
    Plain,
}

/// The text is no address of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidServer {
    /// It is no absolute http or https URL.
    #[error("give a URL with http:// or https://, such as http://127.0.0.1:8080")]
    NoHttpUrl,
    /// It names a user or a password.
    #[error("a server's URL has no user or password; give the token with --token")]
    HasUser,
    /// It has a query or a fragment.
    #[error("a server's URL ends with its path")]
    HasQuery,
}

impl ServerUrl {
    /// Returns how the service is reached.
    pub(crate) fn way(&self) -> Way {
        let loopback = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => is_loopback_v6(address),
            None => false,
        };
        match (loopback, self.0.scheme()) {
            (true, _) => Way::Loopback,
            (false, "https") => Way::Encrypted,
            (false, _) => Way::Plain,
        }
    }

    /// Refuses to let secrets onto a network in the clear.
    ///
    /// # Errors
    /// Where the service is elsewhere and the scheme is http; `what` names the secret.
    pub(crate) fn require_safe_for(&self, what: &str) -> Result<(), UsageError> {
        match self.way() {
            Way::Loopback | Way::Encrypted => Ok(()),
            Way::Plain => Err(UsageError::new(format!(
                "{what} would cross the network unencrypted: {self} is http and not this machine; use https"
            ))),
        }
    }

    /// Returns the address of something below the service's own.
    pub(crate) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        // An http URL always has a path, so there is no error to hide.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

fn is_loopback_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
}

impl FromStr for ServerUrl {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Url = text.parse().map_err(|_not_absolute: url::ParseError| InvalidServer::NoHttpUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidServer::NoHttpUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidServer::HasUser);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidServer::HasQuery);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_way(url: &str, expected: Way) {
        let server: ServerUrl = url.parse().unwrap();
        assert_eq!(server.way(), expected);
        assert_eq!(server.require_safe_for("The key").is_ok(), expected != Way::Plain);
    }

    #[track_caller]
    fn check_refused(url: &str, expected: InvalidServer) {
        assert_eq!(url.parse::<ServerUrl>(), Err(expected));
    }

    #[test]
    fn secrets_go_to_this_machine_or_over_tls() {
        check_way("http://127.0.0.1:8080", Way::Loopback);
        check_way("http://127.9.9.9", Way::Loopback);
        check_way("http://localhost:1", Way::Loopback);
        check_way("http://[::1]:8080", Way::Loopback);
        check_way("http://[::ffff:127.0.0.1]", Way::Loopback);
        check_way("https://legwork.example", Way::Encrypted);
        check_way("http://legwork.example", Way::Plain);
        check_way("http://localhost.example", Way::Plain);
        check_way("http://127.0.0.1.example", Way::Plain);
        check_way("http://10.0.0.1", Way::Plain);
        check_way("http://0.0.0.0", Way::Plain);
    }

    #[test]
    fn only_plain_http_urls_name_a_server() {
        check_refused("127.0.0.1:8080", InvalidServer::NoHttpUrl);
        check_refused("localhost:8080", InvalidServer::NoHttpUrl);
        check_refused("ftp://localhost", InvalidServer::NoHttpUrl);
        check_refused("http://127.0.0.1@evil.example", InvalidServer::HasUser);
        check_refused("http://localhost/?a", InvalidServer::HasQuery);
        check_refused("http://localhost/#a", InvalidServer::HasQuery);
    }

    #[test]
    fn paths_are_appended_to_the_servers_own() {
        let server: ServerUrl = "https://host.example/legwork/".parse().unwrap();

        assert_eq!(server.join(&["tasks", "a-1"]).as_str(), "https://host.example/legwork/tasks/a-1");
        assert_eq!(server.to_string(), "https://host.example/legwork");
    }
}
