//! What a configuration of tool servers holds that must not be shown.
//!
//! Servers are started with secrets in their `env` and asked with secrets in their `headers`. Plain
//! settings stand among them, as among environment secrets.

use alloc::{borrow::Cow, string::String, vec::Vec};

use crate::{json::Node, secret::Secret};

/// Returns the string values under `env` and `headers` of all servers.
///
/// A value that names a variable is none: what the agent's CLI puts there is given elsewhere. What
/// authorises is taken without its scheme, because a token is shown without `Bearer`, too.
pub(super) fn secrets(config: Node<'_>) -> Vec<Secret<String>> {
    let mut secrets = Vec::new();
    let servers = config.get("mcpServers");
    for server in servers.iter().flat_map(Node::members) {
        let env = server.value.get("env");
        secrets.extend(env.iter().flat_map(Node::members).filter_map(|member| member.value.as_str()));
        let headers = server.value.get("headers");
        for header in headers.iter().flat_map(Node::members) {
            let Some(value) = header.value.as_str() else { continue };
            let authorises = ["authorization", "proxy-authorization"]
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&header.name()));
            let secret = if authorises { Cow::Owned(String::from(credentials(&value))) } else { value };
            secrets.push(secret);
        }
    }
    let are_given_here = secrets.into_iter().filter(|secret| !names_variable(secret));
    are_given_here.map(|secret| Secret::new(secret.into_owned())).collect()
}

/// Whether the agent's CLI finds `${NAME}` or `${NAME:-default}` in a value.
fn names_variable(value: &str) -> bool {
    value.split_once("${").is_some_and(|(_, behind)| behind.contains('}'))
}

/// Returns what follows the scheme in a value of `Authorization` (RFC 9110, section 11.4).
fn credentials(value: &str) -> &str {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match value.trim().split_once(char::is_whitespace) {
        Some((scheme, credentials)) if is_scheme(scheme) => credentials.trim(),
        Some(_) | None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;

    #[track_caller]
    fn check(server: &str, expected: &[&str]) {
        let config = alloc::format!("{{\"mcpServers\":{{\"s\":{server}}}}}");
        let document = Document::parse(&config).unwrap();

        let found = secrets(document.root());

        assert_eq!(found.iter().map(|secret| secret.expose().as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn values_of_env_and_headers_are_found_and_others_are_not() {
        check(
            r#"{"command":"npx","args":["-y"],"env":{"A":"one","B":2},"headers":{"X-Key":"t\u0077o"}}"#,
            &["one", "two"],
        );
        check(r#"{"url":"https://h.example"}"#, &[]);
        check(r#"{"env":[],"headers":null}"#, &[]);
        check("7", &[]);
    }

    #[test]
    fn what_authorises_is_a_secret_without_its_scheme() {
        check(r#"{"headers":{"Authorization":"Bearer abc"}}"#, &["abc"]);
        check(r#"{"headers":{"authorization":" token  a b "}}"#, &["a b"]);
        check(r#"{"headers":{"PROXY-AUTHORIZATION":"Basic eDp5"}}"#, &["eDp5"]);
        check(r#"{"headers":{"Authorization":"abc"}}"#, &["abc"]);
        check(r#"{"headers":{"Authorization":"a/b c"}}"#, &["a/b c"]);
        check(
            r#"{"headers":{"X-Key":"Bearer abc"},"env":{"Authorization":"Bearer d"}}"#,
            &["Bearer d", "Bearer abc"],
        );
    }

    #[test]
    fn a_value_that_names_a_variable_is_none() {
        check(r#"{"headers":{"Authorization":"Bearer ${TOKEN}"},"env":{"A":"${B:-c}","C":"x${D}y"}}"#, &[]);
        check(r#"{"env":{"A":"pa${ss","B":"$NAME"}}"#, &["pa${ss", "$NAME"]);
    }
}
