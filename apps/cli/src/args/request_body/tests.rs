//! Which options make which members.

use clap::Parser;
use legwork_core::request::{PermissionMode, RequestLimits, Route, TaskRequest};
use serde_json::{Value, json};

use super::*;
use crate::args::credentials::Credentials;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: RequestOptions,
}

fn build(arguments: &[&str], file: Option<&str>) -> Result<RequestBody, UsageError> {
    let mut options = Line::parse_from([&["legwork"], arguments].concat()).options;
    options.credentials = Credentials::of(Some("sk-1"), Some("oat-1"));
    RequestBody::build(&options, file, TaskId::from_random([7; 16]))
}

#[track_caller]
fn check(arguments: &[&str], file: Option<&str>, mut expected: Value) {
    let request = build(arguments, file).unwrap();
    let sent: Value = serde_json::from_str(request.json.expose()).unwrap();
    expected["taskId"] = expected.get("taskId").cloned().unwrap_or_else(|| request.task_id.as_str().into());
    assert_eq!(sent, expected);
    assert_eq!(sent["taskId"], request.task_id.as_str());
    let limits = RequestLimits {
        max_timeout_minutes: 60,
        allowed_tools: Vec::new(),
        permission_mode: PermissionMode::AcceptEdits,
        dangerously_skip_permissions: false,
        callback_allow_private: true,
    };
    let read = TaskRequest::parse(request.json.expose().as_bytes(), Route::RunAsync, &limits);
    assert!(read.is_ok(), "the service refuses it: {:?}", read.unwrap_err());
}

/// A folder with files, and their paths.
struct Files(tempfile::TempDir);

impl Files {
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

#[track_caller]
fn check_refused(arguments: &[&str], file: Option<&str>, expected: &str) {
    let message = build(arguments, file).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_prompt_alone_makes_a_request_that_asks_for_no_callback() {
    check(&["Say hi"], None, json!({"prompt": "Say hi", "callbackUrl": null, "anthropicApiKey": "sk-1"}));
}

#[test]
fn every_option_becomes_a_member() {
    check(
        &[
            "p",
            "--allow",
            "Bash(git *)",
            "--allow",
            "Read",
            "--max-turns",
            "3",
            "--permission-mode",
            "plan",
            "--model",
            "m",
            "--timeout",
            "5",
            "--task-id",
            "t-1",
            "--callback",
            "https://a.example/",
            "--metadata",
            " {\"a\": 1} ",
        ],
        None,
        json!({
            "prompt": "p", "allowedTools": ["Bash(git *)", "Read"], "maxTurns": 3, "permissionMode": "plan",
            "model": "m", "timeoutMinutes": 5, "taskId": "t-1", "callbackUrl": "https://a.example/",
            "metadata": {"a": 1}, "anthropicApiKey": "sk-1",
        }),
    );
}

#[test]
fn options_override_the_file_and_its_other_members_stay() {
    check(
        &["new", "--max-turns", "3"],
        Some(
            r#"{"prompt":"old","maxTurns":9,"taskId":"t-2","gitRepo":"https://a.example/r","anthropicOAuthToken":"oat-2"}"#,
        ),
        json!({
            "prompt": "new", "maxTurns": 3, "taskId": "t-2", "gitRepo": "https://a.example/r",
            "anthropicOAuthToken": "oat-2", "callbackUrl": null,
        }),
    );
}

#[test]
fn what_the_file_holds_is_sent_as_it_is_written() {
    let request = build(&["p"], Some(r#"{"metadata":{"b":12345678901234567890123,"a":"\ud83d"}}"#)).unwrap();

    assert!(request.json.expose().contains(r#"{"b":12345678901234567890123,"a":"\ud83d"}"#));
}

#[test]
fn what_is_missing_or_malformed_is_said_before_anything_is_sent() {
    check_refused(&[], None, "what should the agent do?");
    check_refused(&[" \n"], None, "the prompt is empty");
    check_refused(&["p", "--metadata", "[1]"], None, "--metadata is no JSON object");
    check_refused(&["p"], Some("{"), "--file is no JSON object");
    check_refused(&["p"], Some(r#"{"taskId":"../x"}"#), "taskId");
}

#[test]
fn a_task_without_credential_is_not_sent() {
    let options = Line::parse_from(["legwork", "p"]).options;
    let bare = RequestOptions { credentials: Credentials::of(Some(" "), None), ..options };

    let refused = RequestBody::build(&bare, None, TaskId::from_random([7; 16])).unwrap_err();

    assert!(refused.to_string().contains("ANTHROPIC_API_KEY"));
}

#[test]
fn options_of_the_agent_become_members() {
    check(
        &[
            "p",
            "--deny=WebFetch",
            "--dangerously-skip-permissions",
            "--max-budget-usd=0.25",
            "--fallback-model=f",
            "--system-prompt=s",
            "--append-system-prompt=a",
        ],
        None,
        json!({
            "prompt": "p", "disallowedTools": ["WebFetch"], "dangerouslySkipPermissions": true,
            "maxBudgetUsd": 0.25, "fallbackModel": "f", "systemPrompt": "s", "appendSystemPrompt": "a",
            "callbackUrl": null, "anthropicApiKey": "sk-1",
        }),
    );
}

#[test]
fn a_repository_comes_with_its_key_and_token_from_files() {
    /// `ssh-keygen -t ed25519` has written it, and it opens nothing.
    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACCCFFcoXNdgYMuf3jJxAN/sMFUt5YDjyQCA8K1vNvoiHgAAAIgGHnxLBh58
SwAAAAtzc2gtZWQyNTUxOQAAACCCFFcoXNdgYMuf3jJxAN/sMFUt5YDjyQCA8K1vNvoiHg
AAAECLO5r6vNEUG7U9BbOH30yZj5qhjQnMjNFsMsGaGdts+4IUVyhc12Bgy5/eMnEA3+ww
VS3lgOPJAIDwrW82+iIeAAAAAAECAwQF
-----END OPENSSH PRIVATE KEY-----
";
    let files = Files::of(&[("id", KEY), ("token", " ghp_1\n"), ("empty", "\n")]);
    check(
        &[
            "p",
            "--repo=https://a.example/r",
            "--branch=dev",
            "--depth=0",
            "--ssh-key",
            &files.path("id"),
            "--agent-may-use-ssh-key",
            "--git-token-file",
            &files.path("token"),
            "--cwd=app",
            "--use-repository-mcp",
        ],
        None,
        json!({
            "prompt": "p", "gitRepo": "https://a.example/r", "gitBranch": "dev", "gitDepth": 0, "sshKey": KEY,
            "agentMayUseSshKey": true, "gitToken": "ghp_1", "cwdRelative": "app", "useRepositoryMcp": true,
            "callbackUrl": null, "anthropicApiKey": "sk-1",
        }),
    );
    check_refused(&["p", "--git-token-file", &files.path("empty")], None, "is empty; give the path");
    check_refused(&["p", "--ssh-key", &files.path("none")], None, &files.path("none"));
}

#[test]
fn variables_of_options_win_over_files_and_those_over_the_request() {
    let files = Files::of(&[("a.env", "B='env file'\nC='$HOME'\n"), ("b.env", "oops")]);
    check(
        &["p", "--env=A=a=b", "--env", "CARGO_PKG_NAME", "--env-file", &files.path("a.env"), "--env=D="],
        Some(r#"{"environmentSecrets":{"A":"file","B":"file","Z":"file"}}"#),
        json!({
            "prompt": "p", "callbackUrl": null, "anthropicApiKey": "sk-1",
            "environmentSecrets": {
                "A": "a=b", "B": "env file", "C": "$HOME", "CARGO_PKG_NAME": "legwork-cli", "D": "", "Z": "file",
            },
        }),
    );
    check_refused(
        &["p", "--env-file", &files.path("b.env")],
        None,
        "b.env has a line that is not NAME=VALUE",
    );
}

#[test]
fn tools_commands_and_prompts_come_from_files() {
    let files = Files::of(&[
        (".mcp.json", " {\"mcpServers\": {\"s\": {\"command\": \"c\"}}}\n"),
        ("fix.md", "---\nmodel: m\n---\nFix $1"),
        ("rev.md", "---\ndescription: Reviews\n---\n\nReview"),
        ("list.json", "[]"),
    ]);
    check(
        &[
            "p",
            "--pre=npm ci",
            "--pre=make",
            "--mcp",
            &files.path(".mcp.json"),
            "--slash-command",
            &files.path("fix.md"),
            "--subagent",
            &files.path("rev.md"),
        ],
        Some(r#"{"preExecutionCommands":["old"],"subagents":{"kept":{"content":"k"}}}"#),
        json!({
            "prompt": "p", "callbackUrl": null, "anthropicApiKey": "sk-1",
            "preExecutionCommands": ["npm ci", "make"], "mcpConfig": {"mcpServers": {"s": {"command": "c"}}},
            "slashCommands": {"fix": {"content": "---\nmodel: m\n---\nFix $1"}},
            "subagents": {
                "kept": {"content": "k"},
                "rev": {"frontmatter": {"description": "Reviews"}, "content": "Review"},
            },
        }),
    );
    check_refused(&["p", "--mcp", &files.path("list.json")], None, "list.json is no JSON object");
}

#[track_caller]
fn check_actions(arguments: &[&str], file: &Value, expected: &Value) {
    let arguments = [&["p", "--repo=https://a.example/r"], arguments].concat();
    let file = json!({"postExecutionActions": file}).to_string();
    check(
        &arguments,
        Some(&file),
        json!({
            "prompt": "p", "gitRepo": "https://a.example/r", "callbackUrl": null, "anthropicApiKey": "sk-1",
            "postExecutionActions": expected,
        }),
    );
}

#[test]
fn work_is_kept_as_the_options_say() {
    check_actions(&["--commit"], &json!({}), &json!({"git": {"commit": true}}));
    check_actions(&["--commit=Fix"], &json!({}), &json!({"git": {"commit": true, "commitMessage": "Fix"}}));
    check_actions(&["--push"], &json!({}), &json!({"git": {"commit": true, "push": true}}));
    check_actions(
        &["--push=b", "--commit-only=*.md", "--on-conflict=fail", "--always"],
        &json!({}),
        &json!({
            "git": {
                "commit": true, "push": true, "branch": "b", "files": ["*.md"], "conflictStrategy": "fail",
            },
            "when": "always",
        }),
    );
    check_actions(
        &["--upload=a/*", "--upload=b", "--upload-prefix=out"],
        &json!({}),
        &json!({"uploadFiles": {"globPatterns": ["a/*", "b"], "gcsPrefix": "out"}}),
    );
}

#[test]
fn options_change_only_what_they_name_of_the_files_actions() {
    check_actions(
        &["--push", "--upload=new"],
        &json!({
            "git": {"commit": false, "commitMessage": "m", "branch": "b"},
            "uploadFiles": {"glob Patterns": ["old"], "gcsPrefix": "out"}, "when": "always",
        }),
        &json!({
            "git": {"commit": true, "push": true, "commitMessage": "m", "branch": "b"},
            "uploadFiles": {"globPatterns": ["new"], "gcsPrefix": "out"}, "when": "always",
        }),
    );
}

#[test]
fn a_prompt_after_commit_or_push_stays_the_prompt() {
    let request = build(&["--commit", "--push", "Say hi"], None).unwrap();

    assert!(request.json.expose().contains(r#""prompt":"Say hi""#));
}

#[test]
fn a_printed_request_shows_no_secret() {
    let request = build(&["p", "--env=TOKEN=hidden"], None).unwrap();

    let shown = request.masked().unwrap();

    assert!(shown.contains(r#""prompt": "p""#) && shown.contains(r#"{"TOKEN":"***"}"#), "{shown}");
    assert!(!shown.contains("hidden") && !shown.contains("sk-1"), "{shown}");
}

#[test]
fn a_budget_that_is_none_is_refused() {
    for budget in ["0", "-1", "NaN", "inf", "x"] {
        assert!(Line::try_parse_from(["legwork", "p", &format!("--max-budget-usd={budget}")]).is_err());
    }
}
