//! What a request and a repository give the real Claude CLI to work with: servers of tools, commands,
//! subagents, prompts, memory.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use legwork_e2e::{Service, ServiceBuilder, reachable};
use legwork_simulators::{
    claude_binary,
    git_server::{BareRepositories, BareRepository, GitHttpServer},
    messages_api::{MessagesApi, Script, Step},
};
use serde_json::{Value, json};

/// A server with one tool, which greets whom its environment names.
const SERVER: &[u8] = br#"while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  answer() { echo '{"jsonrpc":"2.0","id":'"$id"',"result":'"$1"'}'; }
  case "$line" in
    *'"initialize"'*) answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},
      "serverInfo":{"name":"greeter","version":"1"}}' | tr -d '\n'; echo ;;
    *'"tools/list"'*) answer '{"tools":[{"name":"greet","description":"d","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) answer '{"content":[{"type":"text","text":"hello '"$GREETED"'"}]}' ;;
  esac
done
"#;

/// A service whose agent talks to our API, and one repository.
struct Bench {
    api: MessagesApi,
    repository: BareRepository,
    server: GitHttpServer,
    service: Service,
}

impl Bench {
    /// Starts with what the model says and what the repository holds.
    async fn start(script: impl Into<Script>, files: &[(&str, &[u8])]) -> Self {
        let api = MessagesApi::start(script).await;
        let claude = reachable(&claude_binary());
        let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), claude.as_str())
            .env("ANTHROPIC_UPSTREAM_URL", &api.url())
            .start();
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", files);
        let server = GitHttpServer::start(&repositories).await;
        Self { api, repository, server, service }
    }

    /// Runs a task in the repository to its success, and returns its record and log.
    async fn run(&self, prompt: &str, more: &Value) -> (Value, Vec<Value>) {
        let mut body = json!({
            "prompt": prompt,
            "anthropicApiKey": "sk-ant-api03-the-real-key-0123456789",
            "callbackUrl": null,
            "gitRepo": self.server.url("project"),
        });
        let members = body.as_object_mut().unwrap();
        members.extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.service.post("/run-async", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let id = answer.body["taskId"].as_str().unwrap();
        let record = self.service.wait_for_end(id).await;
        assert_eq!(record["status"], "completed", "{record:#}\n{}", self.service.worker_logs());
        assert_eq!(record["actionErrors"], json!([]), "{record:#}");
        let lines = self.service.log_lines(id).await;
        (record, lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

/// The CLI's first line, which lists what it has found.
fn init(log: &[Value]) -> &Value {
    log.iter().find(|line| line["subtype"] == "init").unwrap()
}

/// The names in a list that are not the CLI's own.
fn names<'v>(list: &'v Value, known: &[&str]) -> Vec<&'v str> {
    let names = list.as_array().into_iter().flatten().filter_map(|entry| {
        // Servers are listed with their state, all else by name.
        entry.as_str().or(entry["name"].as_str())
    });
    names.filter(|name| known.contains(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositorys_server_of_tools_starts_only_where_the_request_lets_it() {
    let servers = json!({"mcpServers": {"theirs": {"command": "touch", "args": ["marker"]}}}).to_string();
    let bench = Bench::start(Script::default(), &[(".mcp.json", servers.as_bytes())]).await;

    for (choice, is_let_in) in [
        (json!({}), false),
        (json!({"useRepositoryMcp": false}), false),
        (json!({"useRepositoryMcp": true}), true),
    ] {
        let mut more = choice.clone();
        more["postExecutionActions"] = json!({"uploadFiles": {"globPatterns": ["marker"]}});
        let (record, log) = bench.run("Say something", &more).await;

        let markers = record["uploadedFiles"].as_array().unwrap();
        let expected = usize::from(is_let_in);
        assert_eq!(names(&init(&log)["mcp_servers"], &["theirs"]).len(), expected, "{choice}");
        assert_eq!(markers.len(), expected, "{choice}: {markers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_requests_serves_and_its_undefined_variables_are_named() {
    let steps = [Step::tool("mcp__ours__greet", json!({})), Step::say("All done.")];
    let theirs: &[u8] = br#"{"mcpServers": {"theirs": {"command": "touch", "args": ["marker"]}}}"#;
    let bench = Bench::start(steps, &[("server.sh", SERVER), (".mcp.json", theirs)]).await;

    let (_, log) = bench
        .run(
            "Greet somebody",
            &json!({
                "mcpConfig": {"mcpServers": {"ours": {
                    "command": "sh", "args": ["server.sh"],
                    "env": {"GREETED": "${WHO} and ${NOBODY} and ${OTHERS:-the others}"},
                }}},
                "environmentSecrets": {"WHO": "you"},
                "allowedTools": ["mcp__ours__greet"],
            }),
        )
        .await;

    assert_eq!(names(&init(&log)["mcp_servers"], &["ours", "theirs"]), ["ours"]);
    let result = log.iter().find(|line| line["type"] == "tool_result").unwrap();
    assert_eq!(result["output"], "hello you and ${NOBODY} and the others", "{result}");
    let warnings: Vec<_> = log.iter().filter_map(|line| line["warning"].as_str()).collect();
    assert!(
        matches!(warnings[..], [warning] if warning.contains("not defined: NOBODY;")),
        "one warning, of one variable: {warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_subagents_of_a_request_stand_before_the_repositorys_and_leave_with_the_run() {
    let files: [(&str, &[u8]); 5] = [
        (".claude/agents/both.md", b"---\nname: both\ndescription: d\n---\nTHEIR-AGENT\n"),
        (".claude/agents/theirs.md", b"---\nname: theirs\ndescription: d\n---\nx\n"),
        (".claude/commands/both.md", b"---\ndescription: d\n---\nTHEIR-COMMAND\n"),
        (".claude/commands/theirs.md", b"---\ndescription: d\n---\nx\n"),
        ("README.md", b"hello\n"),
    ];
    let ask = Step::tool("Agent", json!({"description": "d", "subagent_type": "both", "prompt": "Do it"}));
    let bench = Bench::start([ask, Step::say("I did."), Step::say("All done.")], &files).await;

    let (record, log) = bench
        .run(
            "/both of them",
            &json!({
                "slashCommands": {
                    "both": {"frontmatter": {"description": "d"}, "content": "OUR-COMMAND: $ARGUMENTS"},
                    "ours": {"content": "x"},
                },
                "subagents": {"both": {"content": "OUR-AGENT"}, "ours": {"content": "x"}},
                "preExecutionCommands": ["echo work > work.txt"],
                "postExecutionActions": {
                    "git": {"commit": true, "push": true},
                    "uploadFiles": {"globPatterns": ["**/*", ".claude/**"]},
                },
            }),
        )
        .await;

    let init = init(&log);
    let wanted = ["both", "ours", "theirs"];
    assert_eq!(names(&init["slash_commands"], &wanted).len(), 3, "{init}");
    assert_eq!(names(&init["agents"], &wanted).len(), 3, "{init}");
    let turns = bench.api.turns();
    let asked = turns[0].messages.to_string();
    assert!(asked.contains("OUR-COMMAND: of them") && !asked.contains("THEIR-COMMAND"), "{asked}");
    let asked = turns[1].system.to_string();
    assert!(asked.contains("OUR-AGENT") && !asked.contains("THEIR-AGENT"), "{asked}");

    let mut left: Vec<_> = files.iter().map(|(path, _)| *path).collect();
    left.push("work.txt");
    assert_eq!(bench.repository.files("main"), left);
    for (path, content) in files {
        assert_eq!(bench.repository.file("main", path).unwrap(), content, "{path}");
    }
    let uploaded = record["uploadedFiles"].as_array().unwrap();
    assert_eq!(uploaded.iter().map(|file| &file["originalPath"]).collect::<Vec<_>>(), left);
    let size = files[0].1.len();
    assert_eq!(uploaded[0]["sizeBytes"].as_u64(), u64::try_from(size).ok(), "{}", uploaded[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositorys_memory_commands_subagents_and_skills_are_usable() {
    let files: [(&str, &[u8]); 4] = [
        ("CLAUDE.md", b"THEIR-MEMORY\n"),
        (".claude/agents/theirs.md", b"---\nname: theirs\ndescription: d\n---\nTHEIR-AGENT\n"),
        (".claude/commands/theirs.md", b"---\ndescription: d\n---\nTHEIR-COMMAND: $ARGUMENTS\n"),
        (".claude/skills/skill/SKILL.md", b"---\nname: skill\ndescription: THEIR-SKILL\n---\nx\n"),
    ];
    let ask = Step::tool("Agent", json!({"description": "d", "subagent_type": "theirs", "prompt": "Do it"}));
    let bench = Bench::start([ask, Step::say("I did."), Step::say("All done.")], &files).await;

    let (record, _) = bench.run("/theirs of course", &json!({})).await;

    assert_eq!(record["result"], "All done.");
    let turns = bench.api.turns();
    let asked = turns[0].messages.to_string();
    for wanted in ["THEIR-MEMORY", "THEIR-SKILL", "THEIR-COMMAND: of course"] {
        assert!(asked.contains(wanted), "{wanted} in {asked}");
    }
    assert!(turns[1].system.to_string().contains("THEIR-AGENT"), "{}", turns[1].system);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_system_prompts_reach_the_model() {
    let bench = Bench::start(Script::default(), &[("README.md", b"hello\n")]).await;

    let prompts =
        json!({"systemPrompt": "You are a \"tester\".\nBe brief.", "appendSystemPrompt": "Be kind, too."});
    bench.run("Say something", &prompts).await;
    bench.run("Say something", &json!({"appendSystemPrompt": "Be kind, too."})).await;

    let systems: Vec<_> = bench.api.turns().iter().map(|turn| turn.system.to_string()).collect();
    assert!(systems[0].contains(r#"You are a \"tester\".\nBe brief."#), "{}", systems[0]);
    assert!(systems[0].contains("Be kind, too.") && systems[1].contains("Be kind, too."), "{}", systems[1]);
    // The CLI's own prompt stands where the request has none, and is long.
    assert!(systems[1].len() > systems[0].len() + 1000, "{systems:?}");
}

legwork_e2e::also_on_google!(
    the_repositorys_server_of_tools_starts_only_where_the_request_lets_it,
    a_server_of_the_requests_serves_and_its_undefined_variables_are_named,
    commands_and_subagents_of_a_request_stand_before_the_repositorys_and_leave_with_the_run,
    the_repositorys_memory_commands_subagents_and_skills_are_usable,
    the_requests_system_prompts_reach_the_model,
);
