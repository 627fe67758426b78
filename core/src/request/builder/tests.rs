//! What is built is what is read, and what is wrong is refused by the one validator.

use alloc::{format, vec};

use proptest::prelude::*;

use super::*;
use crate::request::key::ED25519;

fn limits() -> RequestLimits {
    RequestLimits {
        max_timeout_minutes: 60,
        allowed_tools: vec!["Read".to_owned()],
        permission_mode: PermissionMode::AcceptEdits,
        dangerously_skip_permissions: false,
        callback_allow_private: false,
    }
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn builder() -> RequestBuilder {
    RequestBuilder::new("Fix \"it\"\n", Credential::ApiKey(secret("sk-ant-hidden")))
}

fn built(builder: &RequestBuilder) -> TaskRequest {
    builder.build(Route::RunAsync, &limits()).unwrap().request
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut RequestBuilder) -> &mut RequestBuilder, message: &str) {
    let error = change(&mut builder()).build(Route::RunAsync, &limits()).unwrap_err();

    assert_eq!(error.to_string(), message);
}

#[test]
fn a_prompt_and_a_credential_make_a_request_that_asks_for_no_callback() {
    let request = built(&builder());

    assert_eq!(request.prompt, "Fix \"it\"\n");
    assert_eq!(request.callback_url, None);
    assert_eq!(request.credential, Credential::ApiKey(secret("sk-ant-hidden")));
    assert_eq!(request.actions, PostExecutionActions::default());
    assert!(builder().build(Route::Run, &limits()).is_ok());
}

#[test]
fn every_member_that_is_set_is_read_as_it_was_given() {
    let actions = PostExecutionActions {
        git: Some(GitAction {
            branch: Some("fix/1".to_owned()),
            files: vec!["src/**".to_owned()],
            conflict_strategy: ConflictStrategy::Fail,
            ..GitAction::pushing("Fix it\n\nAll.")
        }),
        upload: Some(UploadAction {
            prefix: Some("out/a".parse().unwrap()),
            ..UploadAction::of(["*.md", "dist/**"])
        }),
        when: When::Always,
    };
    let commands = [PromptFile::new("a-1", "Do\n"), PromptFile::new("b", "")];
    let agents =
        [PromptFile { frontmatter: Some("{\"model\":\"m\"}".to_owned()), ..PromptFile::new("c", "Be") }];
    let (ssh_key, token, value) = (secret(ED25519), secret("git-token"), secret("v\u{1f}\"ü"));
    let mut builder = RequestBuilder::new("p", Credential::OAuthToken(secret("oat")));
    builder
        .callback_url("https://a.example/hook?x=1")
        .task_id(&"t-1".parse().unwrap())
        .git_repo("git@github.com:o/r.git")
        .git_branch("dev")
        .git_depth(0)
        .ssh_key(&ssh_key)
        .git_token(&token)
        .agent_may_use_ssh_key(true)
        .cwd_relative(&"app/web".parse().unwrap())
        .environment_secrets([("A", &token), ("B", &value)])
        .pre_execution_commands(["npm ci", "make"])
        .system_prompt("Be brief")
        .append_system_prompt("And kind")
        .allowed_tools(["Bash(git *)"])
        .disallowed_tools(["WebFetch"])
        .permission_mode(PermissionMode::Plan)
        .dangerously_skip_permissions(true)
        .max_turns(7)
        .model("m-1")
        .fallback_model("m-2")
        .max_budget_usd(0.25)
        .timeout_minutes(9)
        .mcp_config(" {\"mcpServers\":{}} ")
        .use_repository_mcp(true)
        .slash_commands(&commands)
        .subagents(&agents)
        .metadata("{\"n\":1.50}")
        .post_execution_actions(&actions);

    let request = built(&builder);

    let git = request.git.as_ref().unwrap();
    assert_eq!((git.url.as_str(), git.branch.as_str(), git.depth), ("git@github.com:o/r.git", "dev", 0));
    assert_eq!((&git.ssh_key, &git.token), (&Some(ssh_key), &Some(token.clone())));
    assert!(git.agent_may_use_ssh_key);
    assert_eq!(request.prompt, "p");
    assert_eq!(request.credential, Credential::OAuthToken(secret("oat")));
    assert_eq!(request.callback_url.as_ref().unwrap().target(), "https://a.example/hook?x=1");
    assert_eq!(request.task_id.as_ref().unwrap().as_str(), "t-1");
    assert_eq!(request.cwd_relative.as_ref().unwrap().as_str(), "app/web");
    assert_eq!(request.environment_secrets, [("A".to_owned(), token), ("B".to_owned(), value)]);
    assert_eq!(request.pre_execution_commands, ["npm ci", "make"]);
    assert_eq!(request.system_prompt.as_deref(), Some("Be brief"));
    assert_eq!(request.append_system_prompt.as_deref(), Some("And kind"));
    assert_eq!(request.allowed_tools, ["Bash(git *)"]);
    assert_eq!(request.disallowed_tools, ["WebFetch"]);
    assert_eq!(request.permission_mode, PermissionMode::Plan);
    assert!(request.dangerously_skip_permissions);
    assert_eq!((request.max_turns, request.timeout_minutes), (7, 9));
    assert_eq!(request.model.as_deref(), Some("m-1"));
    assert_eq!(request.fallback_model.as_deref(), Some("m-2"));
    assert_eq!(request.max_budget_usd, Some(0.25));
    assert_eq!(request.mcp_config.as_deref(), Some("{\"mcpServers\":{}}"));
    assert!(request.use_repository_mcp);
    assert_eq!(request.slash_commands, commands);
    assert_eq!(request.subagents, agents);
    assert_eq!(request.metadata, "{\"n\":1.5}");
    assert_eq!(request.actions, actions);
}

#[test]
fn the_last_value_of_a_member_is_taken() {
    let mut builder = builder();

    builder.max_turns(1).max_turns(2).allowed_tools(["Read"]).allowed_tools::<&str>([]);

    assert_eq!(built(&builder).max_turns, 2);
    assert_eq!(built(&builder).allowed_tools, [""; 0]);
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    check_refused(|b| b.max_turns(0), "maxTurns must be a whole number from 1 to 10000");
    check_refused(|b| b.max_budget_usd(f64::NAN), "maxBudgetUsd must be a number above 0, at most 1000000");
    check_refused(|b| b.metadata("{"), "metadata must be an object, not a string");
    check_refused(|b| b.metadata("{},\"maxTurns\":1"), "metadata must be an object, not a string");
    check_refused(|b| b.mcp_config("[]"), "mcpConfig must be an object, not an array");
    check_refused(|b| b.callback_url("ftp://a"), "callbackUrl must use http or https protocol");
    check_refused(
        |b| {
            b.post_execution_actions(&PostExecutionActions {
                git: Some(GitAction::committing("x")),
                ..PostExecutionActions::default()
            })
        },
        "postExecutionActions.git needs a gitRepo",
    );
}

#[test]
fn values_are_not_shown() {
    let mut builder = builder();
    builder.ssh_key(&secret(ED25519));

    let shown = format!("{builder:?}");

    assert_eq!(
        shown,
        "RequestBuilder { members: [\"anthropicApiKey\", \"callbackUrl\", \"prompt\", \"sshKey\"], .. }"
    );
}

proptest! {
    #[test]
    fn any_text_comes_through(prompt in "[^\0]{1,40}", name in "[A-Z_]{1,9}", value in "[^\0]{0,20}") {
        prop_assume!(!prompt.trim().is_empty());
        let name = format!("X{name}X");
        let hidden = Secret::new(value);
        let mut builder = RequestBuilder::new(&prompt, Credential::ApiKey(secret("k")));
        builder.environment_secrets([(name.as_str(), &hidden)]);

        let request = built(&builder);

        prop_assert_eq!(request.prompt, prompt);
        prop_assert_eq!(request.environment_secrets, [(name, hidden)]);
    }

    #[test]
    fn whatever_is_given_as_json_the_request_is_json_with_the_same_members(text in any::<String>()) {
        let mut builder = builder();
        builder.metadata(&text).mcp_config(&text);
        builder.slash_commands(&[PromptFile { frontmatter: Some(text), ..PromptFile::new("a", "b") }]);

        let json = builder.to_json();

        let document = Document::parse(&json).unwrap();
        let names: Vec<_> = document.root().members().map(|member| member.name().into_owned()).collect();
        prop_assert_eq!(
            names,
            ["anthropicApiKey", "callbackUrl", "mcpConfig", "metadata", "prompt", "slashCommands"]
        );
    }
}
