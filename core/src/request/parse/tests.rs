//! What is accepted, what is refused, and what is the same.

use std::string::String as StdString;

use proptest::prelude::*;

use super::*;
use crate::request::PermissionMode;

fn limits() -> RequestLimits {
    RequestLimits {
        max_timeout_minutes: 60,
        allowed_tools: Vec::new(),
        permission_mode: PermissionMode::AcceptEdits,
        dangerously_skip_permissions: false,
        callback_allow_private: false,
    }
}

fn with(more: &str) -> StdString {
    let comma = if more.is_empty() { "" } else { "," };
    format!("{{\"prompt\":\"p\",\"anthropicApiKey\":\"k-1234\",\"callbackUrl\":null{comma}{more}}}")
}

fn parse_with(more: &str) -> Result<Parsed, RequestError> {
    TaskRequest::parse(with(more).as_bytes(), Route::RunAsync, &limits())
}

#[track_caller]
fn check_refused(more: &str, message: &str) {
    let error = parse_with(more).unwrap_err();
    assert!(error.to_string().contains(message), "{error} for {more}");
}

#[test]
fn mistakes_are_told_in_their_order_and_all() {
    let error = TaskRequest::parse(b"{\"taskId\":\"a b\",\"x\":1}", Route::RunAsync, &limits()).unwrap_err();

    let messages: Vec<&str> = error.problems().iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "prompt is required",
            "callbackUrl is required for async tasks",
            "Either anthropicApiKey or anthropicOAuthToken is required",
            "taskId must be URL-safe (alphanumeric, underscore, hyphen only)",
            "x is not a known member",
        ]
    );
}

#[test]
fn a_typo_is_told_with_the_nearest_member() {
    check_refused("\"maxturns\":3", "maxturns is not a known member; did you mean maxTurns?");
    check_refused(
        "\"postExecutionActions\":{\"git\":{\"comit\":true}}",
        "did you mean postExecutionActions.git.commit?",
    );
}

#[test]
fn limits_are_kept() {
    check_refused("\"maxTurns\":0", "maxTurns must be a whole number from 1");
    check_refused("\"maxTurns\":\"3\"", "maxTurns must be a whole number from 1 to 10000, not a string");
    check_refused("\"timeoutMinutes\":61", "timeoutMinutes must be a whole number from 1 to 60");
    check_refused("\"environmentSecrets\":{\"PATH\":\"x\"}", "environmentSecrets.PATH must be named");
    check_refused("\"environmentSecrets\":{\"HTTPS_PROXY\":\"x\"}", "must be named");
    check_refused("\"environmentSecrets\":{\"A\":\"\\u0000\"}", "NUL");
    check_refused("\"cwdRelative\":\"../x\"", "cwdRelative must be");
    check_refused("\"gitRepo\":\"file:///x\"", "gitRepo must be");
    check_refused("\"gitRepo\":\"https://h/r\",\"gitBranch\":\"--upload-pack=x\"", "gitBranch must be");
    check_refused("\"sshKey\":\"x\"", "sshKey must be");
    check_refused("\"slashCommands\":{\"../x\":{\"content\":\"\"}}", "must be named by");
    check_refused(
        "\"metadata\":{\"a\":9007199254740993}",
        "metadata.a is a number that JSON readers do not agree on; send it as a string",
    );
    check_refused("\"metadata\":{\"a\":[1e999]}", "metadata.a[0]");
    check_refused("\"metadata\":{\"a\":\"\\ud800\"}", "send it as a string");
    check_refused("\"systemPrompt\":\"\\ud800\"", "systemPrompt holds half");
    check_refused("\"model\":\"--x\"", "model must be");
    check_refused("\"postExecutionActions\":{\"git\":{\"commit\":true}}", "needs a gitRepo");
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| format!("\"metadata\":{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));

    assert!(parse_with(&deep(32)).is_ok());
    check_refused(&deep(33), "deeper than 32 levels");
    check_refused(&deep(100_000), "deeper than 64 levels");
}

#[test]
fn the_same_request_is_the_same_whatever_its_credentials() {
    let one = br#"{"prompt":"p","anthropicApiKey":"a1234","callbackUrl":null,"gitRepo":"https://u:pw1@h.example/r","metadata":{"b":1.0,"a":2}}"#;
    let two = br#"{ "metadata":{"a":2,"b":1}, "gitRepo":"https://u:pw2@h.example/r","callbackUrl":null,"anthropicOAuthToken":"b1234","prompt":"p"}"#;
    let three = br#"{"prompt":"q","anthropicApiKey":"a1234","callbackUrl":null,"gitRepo":"https://h.example/r","metadata":{"b":1.0,"a":2}}"#;
    let canonical = |body: &[u8]| TaskRequest::parse(body, Route::RunAsync, &limits()).unwrap().canonical;

    assert_eq!(canonical(one), canonical(two));
    assert_ne!(canonical(one), canonical(three));
    assert!(!canonical(one).contains("pw1"));
}

#[test]
fn both_spellings_of_globs_are_one() {
    let guide =
        parse_with("\"postExecutionActions\":{\"uploadFiles\":{\"glob Patterns\":[\"*.log\"]}}").unwrap();
    let ours =
        parse_with("\"postExecutionActions\":{\"uploadFiles\":{\"globPatterns\":[\"*.log\"]}}").unwrap();

    assert_eq!(guide.canonical, ours.canonical);
    assert_eq!(guide.request.actions, ours.request.actions);
}

#[test]
fn secrets_are_found_wherever_they_are() {
    let more = r#""gitRepo":"https://u:pw@h.example/r","environmentSecrets":{"A":"env-value"},"mcpConfig":{"mcpServers":{"s":{"env":{"T":"mcp-env"},"headers":{"Authorization":"mcp-header"}}}}"#;
    let parsed = parse_with(more).unwrap();

    let secrets: Vec<&str> = parsed.request.secrets().into_iter().map(|(_, text)| text).collect();

    assert_eq!(secrets, ["k-1234", "pw", "mcp-env", "mcp-header", "env-value"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body: Vec<u8>) {
        drop(TaskRequest::parse(&body, Route::RunAsync, &limits()));
    }

    #[test]
    fn a_request_reads_back_as_it_was(prompt in "[^\\p{C}\\s]{1,40}", turns in 1_u32..100, secret in "[ -~]{0,30}") {
        let mut quoted = StdString::new();
        json::write_string(&mut quoted, &prompt);
        let mut value = StdString::new();
        json::write_string(&mut value, &secret);
        let body = format!("{{\"prompt\":{quoted},\"anthropicApiKey\":\"k-1\",\"callbackUrl\":null,\"maxTurns\":{turns},\"environmentSecrets\":{{\"A\":{value}}},\"metadata\":{{\"n\":1e20}}}}");
        let parsed = TaskRequest::parse(body.as_bytes(), Route::RunAsync, &limits()).unwrap();

        let read = TaskRequest::from_json(parsed.request.to_json(Route::RunAsync, &limits()).expose().as_bytes()).unwrap();

        prop_assert_eq!(read, parsed.request);
    }
}
