//! Which addresses callbacks may reach, as a pure rule over an address that was resolved already.

use alloc::{string::String, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Returns whether a callback may be sent to this address.
///
/// IPv4 inside IPv6 is unwrapped first: mapped, NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056) and Teredo
/// (RFC 4380); every address found has to pass. Link-local, multicast and unspecified addresses and the
/// clouds' metadata services are refused in any case; without `allow_private` all that the IANA
/// registries of special-purpose addresses do not call globally reachable unicast is.
///
/// # Examples
/// ```
/// use legwork_core::request::address::callback_may_reach;
/// assert!(callback_may_reach("8.8.8.8".parse().unwrap(), false));
/// assert!(!callback_may_reach("10.0.0.1".parse().unwrap(), false));
/// assert!(!callback_may_reach("169.254.169.254".parse().unwrap(), true));
/// ```
pub fn callback_may_reach(address: IpAddr, allow_private: bool) -> bool {
    match address {
        IpAddr::V4(v4) => v4_may_be_reached(v4, allow_private),
        IpAddr::V6(v6) => {
            let inner = unwrap(v6);
            if inner.is_empty() {
                v6_may_be_reached(v6, allow_private)
            } else {
                inner.into_iter().all(|v4| v4_may_be_reached(v4, allow_private))
            }
        }
    }
}

/// Returns the IPv4 addresses that an IPv6 address leads to.
#[expect(clippy::many_single_char_names, reason = "eight segments in a row are read best by their place")]
fn unwrap(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(p, q, r, s)
    };
    match (a, b) {
        // Mapped, and the obsolete compatible form, but for :: and ::1 themselves.
        (0, 0) if c == 0 && d == 0 && e == 0 && (f == 0xffff || (f == 0 && g != 0)) => alloc::vec![v4(g, h)],
        (0, 0) if c == 0 && d == 0 && e == 0xffff && f == 0 => alloc::vec![v4(g, h)],
        (0x64, 0xff9b) => alloc::vec![v4(g, h)],
        (0x2002, _) => alloc::vec![v4(b, c)],
        // The server, and the client with its bits inverted.
        (0x2001, 0) => alloc::vec![v4(c, d), v4(!g, !h)],
        _ => Vec::new(),
    }
}

fn v4_may_be_reached(address: Ipv4Addr, allow_private: bool) -> bool {
    let [a, b, c, d] = address.octets();
    let never = a == 0
        || (a, b) == (169, 254)
        || a >= 224
        || [a, b, c, d] == [100, 100, 100, 200]
        || [a, b, c, d] == [192, 0, 0, 192];
    let private = a == 10
        || a == 127
        || (a == 172 && (16..=31).contains(&b))
        || (a, b) == (192, 168)
        || (a == 100 && (64..=127).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 0, 2)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..=19).contains(&b))
        || (a, b, c) == (198, 51, 100)
        || (a, b, c) == (203, 0, 113);
    !never && (allow_private || !private)
}

fn v6_may_be_reached(address: Ipv6Addr, allow_private: bool) -> bool {
    let [a, b, ..] = address.segments();
    let metadata = ["fd00:ec2::254", "fd20:ce::254"];
    let never = address.is_unspecified()
        || address.is_multicast()
        || a & 0xffc0 == 0xfe80
        || metadata.iter().any(|text| text.parse() == Ok(address));
    let global = a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x200)
        && (a, b) != (0x2001, 0xdb8)
        && !(a == 0x3fff && b < 0x1000);
    !never && (allow_private || global)
}

/// Hosts that callbacks may go to: one exactly, or all below a domain.
///
/// # Examples
/// ```
/// use legwork_core::request::HostPattern;
/// let pattern: HostPattern = "*.example.com".parse().unwrap();
/// assert!(pattern.matches("hooks.Example.com"));
/// assert!(!pattern.matches("example.com") && !pattern.matches("evil-example.com"));
/// assert!("*".parse::<HostPattern>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    below: bool,
}

/// The text is no host pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give a host, or *.domain")]
pub struct InvalidHostPattern;

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (below, host) = text.strip_prefix("*.").map_or((false, text), |domain| (true, domain));
        let host = canonical(host);
        let bad = |c: char| c == '*' || c == '/' || c == '@' || c.is_whitespace() || c.is_control();
        if host.is_empty() || host.starts_with('.') || host.contains(bad) {
            return Err(InvalidHostPattern);
        }
        Ok(Self { host, below })
    }
}

impl HostPattern {
    /// Returns whether the whole host fits.
    pub fn matches(&self, host: &str) -> bool {
        let host = canonical(host);
        if self.below {
            host.strip_suffix(self.host.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.host
        }
    }
}

fn canonical(host: &str) -> String {
    let bare = host.trim().trim_start_matches('[').trim_end_matches(']');
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, with_private: bool, without: bool) {
        let parsed: IpAddr = address.parse().unwrap();
        assert_eq!(callback_may_reach(parsed, true), with_private, "{address} with private");
        assert_eq!(callback_may_reach(parsed, false), without, "{address} without");
    }

    #[test]
    fn addresses_are_judged_by_what_they_reach() {
        check("1.1.1.1", true, true);
        check("127.0.0.1", true, false);
        check("10.1.2.3", true, false);
        check("172.16.0.1", true, false);
        check("172.32.0.1", true, true);
        check("192.168.1.1", true, false);
        check("100.64.0.1", true, false);
        check("198.18.0.1", true, false);
        check("203.0.113.9", true, false);
        check("0.0.0.0", false, false);
        check("169.254.169.254", false, false);
        check("100.100.100.200", false, false);
        check("224.0.0.1", false, false);
        check("255.255.255.255", false, false);
        check("2606:4700::1111", true, true);
        check("::1", true, false);
        check("::", false, false);
        check("fe80::1", false, false);
        check("fc00::1", true, false);
        check("fd00:ec2::254", false, false);
        check("ff02::1", false, false);
        check("2001:db8::1", true, false);
        check("::ffff:10.0.0.1", true, false);
        check("::ffff:169.254.169.254", false, false);
        check("::ffff:8.8.8.8", true, true);
        check("64:ff9b::a9fe:a9fe", false, false);
        check("64:ff9b::7f00:1", true, false);
        check("2002:7f00:1::", true, false);
        check("2002:a9fe:a9fe::1", false, false);
        check("2001:0:808:808:0:0:5601:5601", false, false);
        check("::127.0.0.1", true, false);
    }
}
