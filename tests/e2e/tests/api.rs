//! What the API refuses, and how it says so.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test; real programs and clocks are the point"
)]

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use legwork_e2e::{ServiceBuilder, modes, reachable};
use legwork_simulators::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PROGRAM: &str = env!("CARGO_BIN_EXE_legwork-under-test");

fn builder() -> ServiceBuilder {
    ServiceBuilder::new(PROGRAM, reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent"))).as_str())
}

fn valid() -> Value {
    json!({"prompt": "mode: ok", "anthropicApiKey": "sk-ant-e2e-0123456789", "callbackUrl": null})
}

/// A valid request with these members put in, or taken out where they are the word `absent`.
fn with(changes: &Value) -> Value {
    let mut body = valid();
    for (name, value) in changes.as_object().unwrap() {
        if value == "absent" {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_answer() {
    let service = builder().env("CALLBACK_ALLOW_PRIVATE", "false").start();
    let many = |n: usize, text: &str| -> Value { vec![text; n].into() };
    let secrets: Value =
        (0..201).map(|n| (format!("A{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let deep = (0..40).fold(json!(1), |inner, _| json!({"a": inner}));
    let rows: Vec<(Value, u16, &str)> = vec![
        (json!({"prompt": "absent"}), 400, "prompt is required"),
        (json!({"prompt": " \n"}), 400, "prompt is required"),
        (json!({"callbackUrl": "absent"}), 400, "callbackUrl is required for async tasks"),
        (json!({"callbackUrl": "nonsense"}), 400, "callbackUrl is not a valid URL"),
        (json!({"callbackUrl": "ftp://h/x"}), 400, "callbackUrl must use http or https protocol"),
        (json!({"callbackUrl": "http://169.254.169.254/"}), 400, "callbackUrl is not allowed"),
        (json!({"callbackUrl": "http://10.0.0.1/"}), 400, "callbackUrl is not allowed"),
        (json!({"callbackUrl": "https://u:p@example.com/"}), 400, "callbackUrl is not allowed"),
        (json!({"callbackUrl": format!("https://example.com/{}", "a".repeat(2048))}), 400, "2048 bytes"),
        (
            json!({"anthropicApiKey": "absent"}),
            400,
            "Either anthropicApiKey or anthropicOAuthToken is required",
        ),
        (json!({"taskId": "a b"}), 400, "taskId must be URL-safe (alphanumeric, underscore, hyphen only)"),
        (json!({"taskId": "status"}), 400, "taskId must be URL-safe"),
        (json!({"taskId": "a".repeat(129)}), 400, "taskId must be URL-safe"),
        (json!({"promt": "x"}), 400, "promt is not a known member; did you mean prompt?"),
        (json!({"prompt": 1}), 400, "prompt must be a string, not a number"),
        (json!({"maxTurns": "3"}), 400, "maxTurns must be a whole number"),
        (json!({"maxTurns": 1.5}), 400, "maxTurns must be a whole number"),
        (json!({"timeoutMinutes": 61}), 400, "timeoutMinutes must be a whole number from 1 to 60"),
        (json!({"prompt": "a\u{0}b"}), 400, "prompt must not hold NUL characters"),
        (json!({"metadata": deep}), 400, "nested deeper than 32 levels"),
        (json!({"metadata": {"a": "x".repeat(16 * 1024)}}), 400, "metadata must not be larger"),
        (json!({"metadata": {"a": [9_007_199_254_740_993_u64]}}), 400, "metadata.a[0] is a number"),
        (json!({"metadata": []}), 400, "metadata must be an object, not an array"),
        (json!({"environmentSecrets": {"PATH": "x"}}), 400, "environmentSecrets.PATH"),
        (
            json!({"environmentSecrets": {"ANTHROPIC_API_KEY": "x"}}),
            400,
            "environmentSecrets.ANTHROPIC_API_KEY",
        ),
        (json!({"environmentSecrets": {"A": "x".repeat(65_537)}}), 400, "at most 65536 bytes"),
        (json!({"environmentSecrets": secrets}), 400, "at most 200"),
        (json!({"preExecutionCommands": many(51, "true")}), 400, "at most 50"),
        (
            json!({"postExecutionActions": {"uploadFiles": {"globPatterns": many(101, "*")}}}),
            400,
            "at most 100",
        ),
        (
            json!({"postExecutionActions": {"uploadFiles": {"globPatterns": ["x".repeat(257)]}}}),
            400,
            "256 bytes",
        ),
        (
            json!({"postExecutionActions": {"uploadFiles": {"globPatterns": ["*"], "gcsPrefix": "../x"}}}),
            400,
            "gcsPrefix must be",
        ),
        (json!({"cwdRelative": "/etc"}), 400, "cwdRelative must be"),
        (json!({"gitRepo": "file:///etc"}), 400, "gitRepo must be"),
        (json!({"gitRepo": "https://h.example/r", "gitBranch": "--upload-pack=x"}), 400, "gitBranch must be"),
        (json!({"sshKey": "not a key"}), 400, "sshKey must be an OpenSSH or PEM private key"),
        (
            json!({"sshKey": "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----"}),
            400,
            "sshKey must be an OpenSSH or PEM private key without a passphrase",
        ),
        (
            json!({"postExecutionActions": {"uploadFiles": {"globPatterns": ["../../etc/*"]}}}),
            400,
            "globPatterns[0] must be a glob relative to the workspace",
        ),
        (
            json!({"postExecutionActions": {"uploadFiles": {"globPatterns": ["["]}}}),
            400,
            "globPatterns[0] must be a glob with a ] for each [",
        ),
        (
            json!({"postExecutionActions": {"uploadFiles": {"globPatterns": ["a"], "glob Patterns": ["b"]}}}),
            400,
            "globPatterns may be given once",
        ),
        (json!({"slashCommands": {"../x": {"content": "c"}}}), 400, "slashCommands.../x must be named by"),
        (json!({"permissionMode": "yolo"}), 400, "permissionMode must be one of"),
    ];
    for (changes, status, text) in rows {
        let answer = service.post("/run-async", &with(&changes)).await;

        assert_eq!(answer.status, status, "{changes}: {answer:?}");
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(text), "{changes}: {error}");
        assert!(answer.body["code"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_requests_are_refused() {
    let service = builder().start();
    let post = |body: Vec<u8>| {
        service
            .request(reqwest::Method::POST, "/run-async")
            .header("content-type", "application/json")
            .body(body)
    };
    let nested = ["[".repeat(100_000), "]".repeat(100_000)].concat();

    for body in
        [&b""[..], b"nonsense", b"[]", b"\"x\"", b"\xff\xfe", nested.as_bytes(), b"{\"prompt\":\"\\ud800\"}"]
    {
        assert_eq!(post(body.to_vec()).send().await.unwrap().status(), 400);
    }
    let large = post(vec![b' '; 3 * 1024 * 1024]).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let text = service.request(reqwest::Method::POST, "/run-async").header("content-type", "text/plain");
    assert_eq!(text.body(valid().to_string()).send().await.unwrap().status(), 415);
}

async fn code(response: reqwest::Response) -> String {
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_ask_are_answered() {
    let service = builder().start();
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| plain.get(format!("{}{path}", service.url));

    assert_eq!(get("/tasks").send().await.unwrap().status(), 401);
    assert_eq!(get("/tasks").bearer_auth("wrong").send().await.unwrap().status(), 401);
    assert_eq!(get("/tasks").header("x-legwork-token", &service.token).send().await.unwrap().status(), 200);
    let foreign = get("/tasks")
        .bearer_auth(&service.token)
        .header("origin", "http://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), 403);
    assert!(foreign.headers().get("access-control-allow-origin").is_none());
    assert_eq!(code(foreign).await, "cross_origin");
    let own = get("/tasks").bearer_auth(&service.token).header("origin", &service.url).send().await.unwrap();
    assert_eq!(own.status(), 200);
    let rebound =
        get("/tasks").bearer_auth(&service.token).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 403);
    assert_eq!(code(rebound).await, "host_not_allowed");
    for open in ["/", "/health", "/healthz", "/ready", "/ready?verbose=true"] {
        assert_eq!(get(open).send().await.unwrap().status(), 200, "{open}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_request() {
    let service = builder().start();

    for path in ["/tasks", "/nowhere", "/tasks/unknown", "/cancel/x"] {
        let answer = service.get(path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["x-request-id"].len(), 36, "{path}");
    }
    assert_eq!(service.get("/nowhere").await.status, 404);
    assert_eq!(service.get("/cancel/x").await.status, 405);
    let kept = service
        .request(reqwest::Method::GET, "/tasks")
        .header("x-request-id", "mine-1")
        .send()
        .await
        .unwrap();
    assert_eq!(kept.headers()["x-request-id"], "mine-1");
    let unknown = service.post("/cancel/unknown", &json!({})).await;
    assert_eq!((unknown.status, &unknown.body["error"]), (404, &json!("Task not found")));
    assert_eq!(service.post("/cancel/a%20b", &json!({})).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let service = builder().start();
    let address = service.url.strip_prefix("http://").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();

    let began = Instant::now();
    let mut answer = [0; 64];
    let cut = loop {
        if stream.write_all(b"G").await.is_err() {
            break true;
        }
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut answer)).await;
        if let Ok(Ok(_) | Err(_)) = read {
            break true;
        }
        if began.elapsed() > Duration::from_secs(30) {
            break false;
        }
    };

    assert!(cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_submissions_of_one_task_run_it_once() {
    let service = builder().start();
    let receiver = Receiver::start(Behaviour::Ok).await;
    let mut body = valid();
    body["taskId"] = json!("once");
    body["callbackUrl"] = json!(receiver.url());

    let answers = futures_util::future::join_all((0..64).map(|_| service.post("/run-async", &body))).await;
    service.wait_for_end("once").await;
    receiver.wait_for(1, Duration::from_secs(10)).await.unwrap();
    let lines = service.log_lines("once").await;

    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    let created: std::collections::BTreeSet<_> =
        answers.iter().map(|a| a.body["createdAt"].to_string()).collect();
    assert_eq!(created.len(), 1);
    assert_eq!(lines.iter().filter(|line| line.contains("\"session_init\"")).count(), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_id_is_taken_by_the_first_request() {
    let service = builder().start();
    let same = with(&json!({"taskId": "t1"}));
    let renewed = with(
        &json!({"taskId": "t1", "anthropicApiKey": "absent", "anthropicOAuthToken": "another-credential"}),
    );
    let other = with(&json!({"taskId": "t1", "prompt": "another prompt"}));

    let first = service.post("/run-async", &same).await;
    service.wait_for_end("t1").await;

    assert_eq!(first.status, 202);
    assert_eq!(service.post("/run-async", &same).await.body["createdAt"], first.body["createdAt"]);
    assert_eq!(service.post("/run-async", &renewed).await.status, 202);
    assert_eq!(service.post("/run-async", &other).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_open_tasks_than_allowed_are_refused_for_a_while() {
    let service = builder().env("MAX_OPEN_TASKS", "2").start();
    let body = |id: &str| json!({"prompt": modes(&["hang"]), "anthropicApiKey": "sk-ant-e2e-0123456789", "callbackUrl": null, "taskId": id});

    assert_eq!(service.post("/run-async", &body("a")).await.status, 202);
    assert_eq!(service.post("/run-async", &body("b")).await.status, 202);
    let third = service.post("/run-async", &body("c")).await;

    assert_eq!(third.status, 429);
    assert!(third.headers.contains_key("retry-after"));
    assert_eq!(service.post("/run-async", &body("a")).await.status, 202);
    for id in ["a", "b"] {
        service.post(&format!("/cancel/{id}"), &json!({})).await;
        service.wait_for_end(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_agent_fails_the_task_with_how_to_install_it() {
    let service = ServiceBuilder::new(PROGRAM, "/nonexistent/claude").start();

    let id = service.submit("hello", None, json!({})).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["errorCode"], "agent_missing", "{record:#}");
    assert!(record["error"].as_str().unwrap().contains("npm install -g @anthropic-ai/claude-code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_newest_first_a_page_at_a_time() {
    let service = builder().start();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(service.submit("mode: ok", None, json!({})).await);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    for id in &ids {
        service.wait_for_end(id).await;
    }

    let mut seen = Vec::new();
    let mut path = "/tasks?limit=2".to_owned();
    loop {
        let page = service.get(&path).await.body;
        seen.extend(
            page["tasks"].as_array().unwrap().iter().map(|task| task["taskId"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/tasks?limit=2&cursor={cursor}");
    }

    ids.reverse();
    assert_eq!(seen, ids);
    assert_eq!(service.get("/tasks?status=completed").await.body["tasks"].as_array().unwrap().len(), 5);
    assert_eq!(service.get("/tasks?status=failed").await.body["tasks"], json!([]));
    for bad in ["limit=0", "limit=x", "status=x", "cursor=x"] {
        assert_eq!(service.get(&format!("/tasks?{bad}")).await.status, 400, "{bad}");
    }
}

fn serve(env: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM)
        .arg("serve")
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .current_dir("/")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_unusable_configuration_is_told_at_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let several = serve(
        &[("LEGWORK_DATA_DIR", data), ("PORT", "x"), ("MAX_OPEN_TASKS", "0"), ("KEEP_WORKSPACE", "maybe")],
        &[],
    );
    let open = serve(&[("LEGWORK_DATA_DIR", data), ("LEGWORK_API_TOKEN", "off"), ("HOST", "0.0.0.0")], &[]);
    let unwritable = serve(&[("PORT", "0")], &["--data-dir", file.join("data").to_str().unwrap()]);
    let in_use = serve(&[("LEGWORK_DATA_DIR", data)], &["--port", &port]);

    assert_eq!((several.0, several.1.lines().count()), (Some(2), 3), "{}", several.1);
    assert_eq!(open.0, Some(2));
    assert!(open.1.contains("LEGWORK_API_TOKEN=off"), "{}", open.1);
    assert_eq!(unwritable.0, Some(2));
    assert!(unwritable.1.contains("LEGWORK_DATA_DIR"), "{}", unwritable.1);
    assert_eq!(in_use.0, Some(2));
    assert!(in_use.1.contains("--port"), "{}", in_use.1);
}

legwork_e2e::also_on_google!(
    each_mistake_has_its_answer,
    bodies_that_are_no_requests_are_refused,
    every_answer_names_its_request,
    sixty_four_submissions_of_one_task_run_it_once,
    a_task_id_is_taken_by_the_first_request,
    more_open_tasks_than_allowed_are_refused_for_a_while,
    a_missing_agent_fails_the_task_with_how_to_install_it,
    tasks_are_listed_newest_first_a_page_at_a_time,
);
