//! Who may ask: by the names a request came under, and by the token it shows.

use http::{HeaderMap, header};
use legwork_core::secret::Secret;
use subtle::ConstantTimeEq as _;

use crate::settings::{ApiSettings, ApiToken};

/// The header that carries the token where another one is taken by whatever stands in front.
pub(crate) const TOKEN_HEADER: &str = "x-legwork-token";

/// Why a request may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It came under a name that is not this service's.
    Host,
    /// A page of another origin sent it.
    Origin,
    /// It does not show the token.
    Token,
}

/// Judges a request. `open` routes show no data and want no token.
pub(crate) fn judge(settings: &ApiSettings, headers: &HeaderMap, open: bool) -> Result<(), Refusal> {
    let host = text(headers, header::HOST.as_str());
    if settings.check_host && !host.is_some_and(|host| is_our_host(host, &settings.allowed_hosts)) {
        return Err(Refusal::Host);
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = text(headers, header::ORIGIN.as_str());
        if !origin.zip(host).is_some_and(|(origin, host)| is_own_origin(origin, host)) {
            return Err(Refusal::Origin);
        }
    }
    match &settings.token {
        ApiToken::Required(token) if !open && !shows(headers, token) => Err(Refusal::Token),
        ApiToken::Required(_) | ApiToken::Off => Ok(()),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    // Two of them: whoever stands in front may have judged the other one.
    if values.next().is_some() { None } else { first.to_str().ok() }
}

fn is_our_host(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host);
    let own = ["localhost", "127.0.0.1", "[::1]"].into_iter();
    let mut names = own.chain(allowed.iter().map(|allowed| without_port(allowed)));
    !name.is_empty() && names.any(|own| name.eq_ignore_ascii_case(own))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

fn is_own_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

fn shows(headers: &HeaderMap, token: &Secret<String>) -> bool {
    let bearer = text(headers, header::AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let own = text(headers, TOKEN_HEADER).map(str::trim);
    // A token that is empty by mistake opens nothing.
    let same =
        |shown: &str| !shown.is_empty() && bool::from(shown.as_bytes().ct_eq(token.expose().as_bytes()));
    bearer.is_some_and(same) || own.is_some_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ApiSettings {
        ApiSettings {
            token: ApiToken::Required(Secret::new("secret".to_owned())),
            check_host: true,
            allowed_hosts: vec!["legwork.lan".to_owned()],
            max_body_bytes: 1,
            reconciling: crate::settings::Reconciling::Off,
            version: "0",
        }
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Result<(), Refusal>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        assert_eq!(judge(&settings(), &map, false), expected, "{headers:?}");
    }

    const BEARER: (&str, &str) = ("authorization", "Bearer secret");

    #[test]
    fn only_our_names_may_be_asked_under() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "LEGWORK.lan:80"] {
            check(&[("host", host), BEARER], Ok(()));
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil:8080", "", "10.0.0.1"] {
            check(&[("host", host), BEARER], Err(Refusal::Host));
        }
        check(&[BEARER], Err(Refusal::Host));
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        check(&[("host", "localhost:8080"), ("origin", "http://localhost:8080"), BEARER], Ok(()));
        for origin in ["null", "http://evil.example", "http://localhost:9090", "http://localhost:8080.evil"] {
            check(&[("host", "localhost:8080"), ("origin", origin), BEARER], Err(Refusal::Origin));
        }
    }

    #[test]
    fn a_header_given_twice_names_nobody() {
        let own = ("host", "localhost");
        let origin = ("origin", "http://localhost");

        check(&[own, ("host", "evil.example"), BEARER], Err(Refusal::Host));
        check(&[own, origin, ("origin", "http://evil.example"), BEARER], Err(Refusal::Origin));
        check(&[own, BEARER, ("authorization", "Bearer other")], Err(Refusal::Token));
    }

    #[test]
    fn an_empty_setting_opens_nothing() {
        let settings = ApiSettings {
            token: ApiToken::Required(Secret::new(String::new())),
            allowed_hosts: vec![String::new()],
            ..settings()
        };
        let headers = |rows: [(&'static str, &'static str); 2]| -> HeaderMap {
            rows.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect()
        };

        let nameless = judge(&settings, &headers([("host", ""), ("x-legwork-token", "")]), false);
        let tokenless = judge(&settings, &headers([("host", "localhost"), ("x-legwork-token", "")]), false);

        assert_eq!(nameless, Err(Refusal::Host));
        assert_eq!(tokenless, Err(Refusal::Token));
    }

    #[test]
    fn the_token_is_taken_from_either_header() {
        check(&[("host", "localhost"), ("x-legwork-token", "secret")], Ok(()));
        check(&[("host", "localhost"), ("authorization", "bearer secret")], Ok(()));
        check(
            &[("host", "localhost"), ("authorization", "Bearer other"), ("x-legwork-token", "secret")],
            Ok(()),
        );
        for wrong in ["Bearer secre", "Bearer secrett", "Basic secret", "secret", "Bearer"] {
            check(&[("host", "localhost"), ("authorization", wrong)], Err(Refusal::Token));
        }
    }
}
