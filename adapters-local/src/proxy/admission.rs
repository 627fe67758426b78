//! Who is let through, to where, and with which headers: pure functions.

use http::{HeaderMap, HeaderName, Method, Uri, header};
use subtle::ConstantTimeEq as _;

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Sent on, to exactly this path and query.
    Forward(&'static str),
    /// Answered here: the agent's CLI tries the connection once before it does anything else.
    Alive,
    /// Answered 403.
    Refuse(&'static str),
}

/// All that is ever forwarded. Compared byte by byte with what was sent: no decoding, no dots, no
/// double slashes that two programs could read differently.
const FORWARDED: [&str; 4] = [
    "/v1/messages",
    "/v1/messages?beta=true",
    "/v1/messages/count_tokens",
    "/v1/messages/count_tokens?beta=true",
];

/// Headers of a request that reach the model's API, besides those that begin with
/// [`FORWARDED_PREFIX`].
const REQUEST_HEADERS: [&str; 8] = [
    "content-type",
    "accept",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "x-app",
    "x-claude-code-session-id",
    "user-agent",
];
const FORWARDED_PREFIX: &str = "x-stainless-";

/// Headers of an answer that reach the agent, besides those that begin with [`LIMITS_PREFIX`]. The
/// encoding is asked not to be any; without the header, one that came all the same would be noise.
const RESPONSE_HEADERS: [&str; 5] =
    ["content-type", "content-encoding", "retry-after", "request-id", "x-should-retry"];
const LIMITS_PREFIX: &str = "anthropic-ratelimit-";

/// Decides on a request. The path comes first: a wrong one says nothing about the token.
pub(super) fn admit(method: &Method, uri: &Uri, headers: &HeaderMap, token: &str) -> Admission {
    // `POST http://elsewhere/v1/messages HTTP/1.1` is a request to a proxy for the web.
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Admission::Refuse("only paths are forwarded");
    }
    let path = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if method == Method::HEAD && path == "/" {
        return Admission::Alive;
    }
    let Some(forwarded) = FORWARDED.into_iter().find(|known| method == Method::POST && path == *known) else {
        return Admission::Refuse("this path is not forwarded");
    };
    if shows(headers, token) {
        Admission::Forward(forwarded)
    } else {
        Admission::Refuse("the token is wrong")
    }
}

/// Compares what the client shows with the token, in a time that tells nothing but its length.
fn shows(headers: &HeaderMap, token: &str) -> bool {
    let key = headers.get("x-api-key").map(http::HeaderValue::as_bytes);
    let bearer =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    !token.is_empty() && [key, bearer].into_iter().flatten().any(|shown| shown.ct_eq(token.as_bytes()).into())
}

/// Returns the headers that the model's API gets: known ones, never a credential.
pub(super) fn request_headers(from: &HeaderMap) -> HeaderMap {
    keep(from, |name| REQUEST_HEADERS.contains(&name) || name.starts_with(FORWARDED_PREFIX))
}

/// Returns the headers that the agent gets.
pub(super) fn response_headers(from: &HeaderMap) -> HeaderMap {
    keep(from, |name| RESPONSE_HEADERS.contains(&name) || name.starts_with(LIMITS_PREFIX))
}

fn keep(from: &HeaderMap, is_known: impl Fn(&str) -> bool) -> HeaderMap {
    let known = from.iter().filter(|(name, _)| is_known(HeaderName::as_str(name)));
    let mut kept = HeaderMap::new();
    known.for_each(|(name, value)| {
        kept.append(name, value.clone());
    });
    kept
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), HeaderValue::from_str(value).unwrap())])
    }

    #[track_caller]
    fn check(method: &Method, target: &str, expected: Admission) {
        let decided = admit(method, &target.parse().unwrap(), &key("token-1"), "token-1");

        assert_eq!(decided, expected, "{method} {target}");
    }

    #[test]
    fn two_paths_are_forwarded() {
        for path in FORWARDED {
            check(&Method::POST, path, Admission::Forward(path));
        }
    }

    #[test]
    fn nothing_else_is_forwarded_however_it_is_spelled() {
        for path in [
            "/",
            "/v1/models",
            "/v1/messages/",
            "//v1/messages",
            "/v1//messages",
            "/v1/./messages",
            "/v1/messages/../files",
            "/v1/files/../messages",
            "/v1/%6dessages",
            "/V1/messages",
            "/v1/messages%3Fbeta=true",
            "/v1/messages?",
            "/v1/messages?beta=false",
            "/v1/messages?beta=true&x=1",
            "/v1/messages?x=1",
            "/v1/messages/batches",
            "/v1/messages;x",
        ] {
            check(&Method::POST, path, Admission::Refuse("this path is not forwarded"));
        }
    }

    #[test]
    fn other_methods_are_refused() {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD] {
            check(&method, "/v1/messages", Admission::Refuse("this path is not forwarded"));
        }
    }

    #[test]
    fn a_request_for_another_host_is_refused() {
        check(&Method::POST, "http://elsewhere/v1/messages", Admission::Refuse("only paths are forwarded"));
        check(&Method::CONNECT, "elsewhere:443", Admission::Refuse("only paths are forwarded"));
    }

    #[test]
    fn the_first_look_needs_no_token() {
        let decided = admit(&Method::HEAD, &Uri::from_static("/"), &HeaderMap::new(), "token-1");

        assert_eq!(decided, Admission::Alive);
    }

    #[test]
    fn the_token_is_taken_from_either_header() {
        let bearer =
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer token-1"))]);
        let uri = Uri::from_static("/v1/messages");

        assert_eq!(admit(&Method::POST, &uri, &bearer, "token-1"), Admission::Forward("/v1/messages"));
        for wrong in ["token-2", "token-", "token-11", ""] {
            let decided = admit(&Method::POST, &uri, &key(wrong), "token-1");
            assert_eq!(decided, Admission::Refuse("the token is wrong"), "{wrong}");
        }
        assert_eq!(admit(&Method::POST, &uri, &key(""), ""), Admission::Refuse("the token is wrong"));
    }

    #[test]
    fn credentials_and_unknown_headers_stay_here() {
        let mut headers = key("token-1");
        for name in ["authorization", "cookie", "host", "accept-encoding", "x-forwarded-for", "connection"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        headers.insert("anthropic-beta", HeaderValue::from_static("oauth-2025-04-20"));
        headers.insert("x-stainless-retry-count", HeaderValue::from_static("1"));

        let kept = request_headers(&headers);

        let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["anthropic-beta", "x-stainless-retry-count"]);
    }
}
