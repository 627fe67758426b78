//! What is accepted, what is refused, and what is the same.

use std::string::String as StdString;

use proptest::prelude::*;

use super::*;
use crate::{redact::SecretKind, request::PermissionMode};

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
fn entries_of_lists_are_told_by_their_place() {
    check_refused("\"allowedTools\":[\"\",\"-x\"]", "allowedTools[0] must be a string of 1 to");
    let error = parse_with("\"allowedTools\":[\"\",\"Read\",\"-x\"]").unwrap_err();

    assert_eq!(error.problems()[1].message, "allowedTools[2] must be a tool or a rule such as Bash(git *)");
}

#[test]
fn globs_that_can_match_nothing_are_refused() {
    let uploading = |glob: &str| {
        format!("\"postExecutionActions\":{{\"uploadFiles\":{{\"globPatterns\":[\"*\",\"{glob}\"]}}}}")
    };
    let path = "postExecutionActions.uploadFiles.globPatterns[1]";

    for glob in ["../../etc/*", "/etc/*"] {
        check_refused(&uploading(glob), &format!("{path} must be a glob relative to the workspace"));
    }
    check_refused(&uploading("["), &format!("{path} must be a glob with a ] for each ["));
    check_refused(
        "\"gitRepo\":\"https://h/r\",\"postExecutionActions\":{\"git\":{\"commit\":true,\"files\":[\"../x\"]}}",
        "postExecutionActions.git.files[0] must be a glob relative to the workspace",
    );
    assert!(parse_with(&uploading("./out/**/*.{md,txt}")).is_ok());
}

#[test]
fn keys_that_nobody_can_use_are_refused() {
    let key = |label: &str, body: &str| {
        format!("\"sshKey\":\"-----BEGIN {label}-----\\n{body}\\n-----END {label}-----\"")
    };

    check_refused(&key("OPENSSH PRIVATE KEY", "aGVsbG8="), "sshKey must be an OpenSSH or PEM private key");
    check_refused(
        &key("ENCRYPTED PRIVATE KEY", "aGVsbG8="),
        "sshKey must be an OpenSSH or PEM private key without a passphrase",
    );
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
fn a_repositorys_token_is_taken_from_where_it_stands() {
    let git = |more: &str| parse_with(more).unwrap().request.git.unwrap();
    let token = |git: &GitSource| git.token.as_ref().map(|token| token.expose().clone());

    let given = git(r#""gitRepo":"https://me@h.example/r","gitToken":" t-1234\n""#);
    let in_address = git(r#""gitRepo":"https://t-1234@h.example/r""#);

    assert_eq!((token(&given).as_deref(), given.user.is_some()), (Some("t-1234"), true));
    assert_eq!((token(&in_address).as_deref(), in_address.user.is_some()), (Some("t-1234"), false));
    assert_eq!(in_address.url.as_str(), "https://h.example/r");
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
fn globs_are_given_in_one_spelling_only() {
    check_refused(
        "\"postExecutionActions\":{\"uploadFiles\":{\"globPatterns\":[\"a\"],\"glob Patterns\":[\"b\"]}}",
        "postExecutionActions.uploadFiles.globPatterns may be given once",
    );
    let with_null =
        "\"postExecutionActions\":{\"uploadFiles\":{\"globPatterns\":null,\"glob Patterns\":[\"b\"]}}";
    assert!(parse_with(with_null).is_ok());
}

#[test]
fn names_that_only_look_like_the_globs_make_another_request() {
    let one = parse_with("\"metadata\":{\"glob Patterns\":1}").unwrap();
    let other = parse_with("\"metadata\":{\"globPatterns\":1}").unwrap();

    assert_ne!(one.canonical, other.canonical);
}

#[test]
fn secrets_are_found_wherever_they_are() {
    let more = r#""gitRepo":"https://u:pw@h.example/r","environmentSecrets":{"A":"env-value"},"mcpConfig":{"mcpServers":{"s":{"env":{"T":"mcp-env"},"headers":{"Authorization":"mcp-header"}}}}"#;
    let parsed = parse_with(more).unwrap();

    let secrets: Vec<&str> = parsed.request.secrets().into_iter().map(|(_, text)| text).collect();

    assert_eq!(secrets, ["k-1234", "pw", "mcp-env", "mcp-header", "env-value"]);

    let more = r#""gitRepo":"https://u:pw@h.example/r","gitToken":"t-1234""#;
    let parsed = parse_with(more).unwrap();
    let secrets: Vec<&str> = parsed.request.secrets().into_iter().map(|(_, text)| text).collect();
    assert_eq!(secrets, ["k-1234", "t-1234", "pw"]);
}

#[test]
fn settings_of_tool_servers_are_no_credentials() {
    let more = r#""mcpConfig":{"mcpServers":{"s":{"env":{"MODE":"fast"},"headers":{"Authorization":"Bearer tok-12345678","X-Key":"${KEY}"}}}}"#;
    let parsed = parse_with(more).unwrap();

    let found = parsed.request.secrets();

    let of_servers = [(SecretKind::Environment, "fast"), (SecretKind::Environment, "tok-12345678")];
    assert_eq!(found.split_first(), Some((&(SecretKind::Credential, "k-1234"), &of_servers[..])));
}

#[test]
fn half_characters_in_names_are_told() {
    check_refused(
        "\"mcpConfig\":{\"mcpServers\":{\"a\\ud800\":{}}}",
        "mcpConfig.mcpServers.a\u{fffd} holds half",
    );
    check_refused(
        "\"metadata\":{\"a\\ud800\":1}",
        "metadata.a\u{fffd} holds half of a surrogate pair; send it",
    );
}

#[test]
fn of_many_mistakes_so_many_are_told_as_anybody_reads() {
    let members: Vec<String> = (0..20_000).map(|n| format!("\"unknown{n}\":1")).collect();

    let error = parse_with(&members.join(",")).unwrap_err();

    assert_eq!(error.problems().len(), 100);
    assert_eq!(error.to_string(), "unknown0 is not a known member");
}

#[test]
fn a_long_name_is_shown_shortened_however_much_is_below_it() {
    let (name, zeros) = ("n".repeat(200_000), "0,".repeat(50_000));
    let below = |value: &str| format!("{{\"{name}\":[{zeros}{value}]}}");
    let shown = "n".repeat(100) + "…";

    check_refused(&format!("\"{name}\":1"), &format!("{shown} is not a known member"));
    check_refused(
        &format!("\"metadata\":{}", below("1e999")),
        &format!("metadata.{shown}[50000] is a number"),
    );
    check_refused(&format!("\"metadata\":{}", below("1")), "metadata must not be larger than");
    check_refused(
        &format!("\"mcpConfig\":{}", below("\"\\ud800\"")),
        &format!("mcpConfig.{shown}[50000] holds half"),
    );
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
