//! Callbacks are verified by the libraries and handlers that receivers really use.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test; real receivers are started with what the test script installed"
)]

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use legwork_core::{
    callback::CallbackBody,
    id::{Attempt, TaskId},
    json::{Document, normalise},
    record::{ErrorCode, Status, Summary},
    signature::SigningSecrets,
};
use legwork_e2e::{ServiceBuilder, modes, reachable};
use legwork_simulators::receiver::{Behaviour, Receiver};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::json;

const SECRET: &str = "a secret of ours: ü";
/// Bodies that are generated for each kind of receiver.
const CASES: usize = 500;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

fn installed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run ./scripts/test.sh, which installs the receivers' libraries")
    })
}

/// Feeds cases to a receiver's own verification; returns how many it found good.
fn verify(program: &mut Command, cases: &[String]) -> usize {
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = cases.join("\n") + "\n";
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(scripts().join("verify.cjs")).env("NODE_PATH", installed("LEGWORK_TEST_NODE_MODULES"));
    command
}

fn python() -> Command {
    let mut command = Command::new(installed("LEGWORK_TEST_PYTHON"));
    command.arg(scripts().join("verify.py"));
    command
}

fn case(body: &str, source: Option<&str>) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let headers: BTreeMap<String, String> = SigningSecrets::parse(SECRET)
        .unwrap()
        .headers("t1.1", now, body)
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    json!({"secret": SECRET, "headers": headers, "body": body, "source": source}).to_string()
}

/// JSON text as clients write it: numbers in all spellings, integer-like names, duplicates, unicode.
fn any_metadata(ascii: bool) -> impl Strategy<Value = String> {
    let text = if ascii { "[ -~]{0,12}" } else { "[ -~äß€😀\u{2028}\u{2029}\u{7f}]{0,12}" };
    let quoted = move || text.prop_map(|text| serde_json::to_string(&text).unwrap());
    // Re-serialising in Python is promised for numbers that both languages write alike.
    let number = prop_oneof![
        any::<i32>().prop_map(|n| n.to_string()),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(|n| n.to_string()),
        (0.001_f64..1_000_000.0).prop_map(|n| n.to_string()),
        prop_oneof![Just("0.1"), Just("1e21"), Just("1E-3"), Just("-0"), Just("12.50"), Just("5e-1")]
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, quoted()];
    let value = leaf.prop_recursive(4, 40, 6, move |inner| {
        let name = prop_oneof![
            quoted(),
            (0_u64..5_000_000_000).prop_map(|n| format!("\"{n}\"")),
            Just("\"01\"".to_owned())
        ];
        let members = proptest::collection::vec((name, inner.clone()), 0..6).prop_map(|members| {
            members.into_iter().map(|(name, value)| format!("{name} : {value}")).collect::<Vec<_>>()
        });
        prop_oneof![
            members.prop_map(|members| format!("{{{}}}", members.join(" , "))),
            proptest::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    });
    value.prop_map(|value| format!("{{\"b\":{value},\"10\":1,\"9\":{{}},\"a\":2}}"))
}

fn body_with(metadata: &str) -> String {
    let id: TaskId = "t1".parse().unwrap();
    let summary = Summary { duration_ms: 1500, turns: 3, cost_usd: Some(0.123_456), ..Summary::default() };
    CallbackBody {
        task_id: &id,
        status: Status::Failed,
        exit_code: Some(1),
        logs_path: "file:///data/objects/sessions/t1/",
        summary: Some(&summary),
        error: Some("Claude process exited with code 1"),
        error_code: Some(ErrorCode::AgentFailed),
        error_detail: None,
        result: None,
        metadata,
        uploaded_files: &[],
        git_commit: None,
        action_errors: &[],
        attempt: Attempt::FIRST,
    }
    .to_json()
}

fn generated(ascii: bool) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let strategy = any_metadata(ascii);
    (0..CASES)
        .map(|_| {
            let source = strategy.new_tree(&mut runner).unwrap().current();
            let metadata = normalise(Document::parse(&source).unwrap().root());
            case(&body_with(&metadata), Some(&source))
        })
        .collect()
}

#[test]
fn node_receivers_verify_generated_callbacks() {
    let cases = generated(false);

    assert_eq!(verify(&mut node(), &cases), CASES);
}

#[test]
fn python_receivers_verify_generated_callbacks() {
    let cases: Vec<String> = generated(true);

    assert_eq!(verify(&mut python(), &cases), CASES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_callback_is_verified_by_both() {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    let service = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .env("CLOUDRUN_CALLBACK_SECRET", SECRET)
        .start();
    let receiver = Receiver::start(Behaviour::Ok).await;

    service
        .submit(&modes(&["ok"]), Some(&receiver), json!({"metadata": {"z": 1, "10": [1.50], "a": {}}}))
        .await;
    let told = receiver.wait_for(1, Duration::from_secs(30)).await.unwrap();
    let delivery = told.first().unwrap();
    let headers: BTreeMap<String, String> = delivery.headers.iter().cloned().collect();
    let body = std::str::from_utf8(&delivery.body).unwrap();
    let case = [json!({"secret": SECRET, "headers": headers, "body": body}).to_string()];

    assert_eq!(delivery.header("user-agent"), Some("cloudrun-claude-code/async-task"));
    assert_eq!(verify(&mut node(), &case), 1);
    assert_eq!(verify(&mut python(), &case), 1);
}
