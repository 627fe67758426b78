//! What is written into `.env` is read back exactly by the readers that people use.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test; real readers are started with what the test script installed"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use legwork_core::dotenv;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

/// Files that are generated, and values in each.
const FILES: usize = 60;
const VALUES: usize = 20;

fn installed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run ./scripts/test.sh, which installs the readers of .env files")
    })
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

fn read_with(command: &mut Command, file: &Path) -> BTreeMap<String, Option<String>> {
    let output = command.arg(file).env_remove("X").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn npm(file: &Path) -> BTreeMap<String, Option<String>> {
    let mut node = Command::new("node");
    node.arg(script("read_dotenv.cjs")).env("NODE_PATH", installed("LEGWORK_TEST_NODE_MODULES"));
    read_with(&mut node, file)
}

fn python(file: &Path) -> BTreeMap<String, Option<String>> {
    read_with(Command::new(installed("LEGWORK_TEST_PYTHON")).arg(script("read_dotenv.py")), file)
}

fn check(values: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let names: Vec<String> = (0..values.len()).map(|n| format!("NAME_{n}")).collect();
    let pairs = names.iter().map(String::as_str).zip(values.iter().map(String::as_str));
    let written = dotenv::write(pairs.clone());
    std::fs::write(&file, &written.text).unwrap();

    let (npm, python) = (npm(&file), python(&file));

    for (name, value) in pairs {
        if !written.inexact.iter().any(|inexact| inexact == name) {
            assert_eq!(npm.get(name), Some(&Some(value.to_owned())), "npm, {name} in {}", written.text);
        }
        assert_eq!(python.get(name), Some(&Some(value.to_owned())), "python, {name} in {}", written.text);
    }
}

#[test]
fn values_that_people_have_are_read_back() {
    let values = [
        "",
        "plain",
        "with spaces",
        " at the ends ",
        "it's",
        "say \"hi\"",
        "it's \"both\"",
        "`ticks` and 'quotes'",
        "#hash",
        "a # b",
        "a=b;c",
        "$HOME ${HOME} $(id)",
        "C:\\new\\table",
        "ends in \\",
        "\\",
        "'",
        "\"",
        "line 1\nline 2\n",
        "line 1\r\nline 2",
        "it's\ntwo lines",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n",
        "{\"type\":\"service_account\",\"private_key\":\"-----BEGIN\\nx\\n\"}",
        "{\n  \"it's\": \"json\" # x\n}",
        "ünïcödé 😀 \u{2028} end",
        "\t tab \t",
        "export X=1",
    ];

    check(&values.map(str::to_owned));

    assert_eq!(dotenv::write(values.map(|value| ("A", value))).inexact, [""; 0]);
}

#[test]
fn values_that_mislead_readers_about_their_end_are_read_back() {
    let (separator, other) = ('\u{2028}', '\u{2029}');
    let values = [
        // The next double quote that ends a line would end the value.
        "\r\\".to_owned(),
        "\nit's".to_owned(),
        "\r\\\"\\".to_owned(),
        "\r\\\"# x".to_owned(),
        // A line that opens a quote to Python's.
        "'\"\nX='".to_owned(),
        "'\"\nX=\"".to_owned(),
        "'\"\n'".to_owned(),
        // To npm's, what follows a separator is a line.
        format!("${{X}}{separator}NAME_1=x"),
        format!("'\\{other}export NAME_1=x"),
        format!("\"{separator}NAME_1='`"),
        format!("\r\"{other}"),
        "plain".to_owned(),
    ];

    check(&values);
    for value in &values {
        check(&[value.clone(), "\nit's".to_owned(), value.clone()]);
    }

    assert_eq!(dotenv::write(values.iter().map(|value| ("A", value.as_str()))).inexact, ["A"; 2]);
}

/// What a reader may take for something else, and some letters.
const PIECES: &[&str] = &[
    "a",
    "ü",
    "=",
    "'",
    "\"",
    "`",
    "#",
    "$",
    "\\",
    "\\\\",
    "\\\"",
    "\\'",
    "{",
    "}",
    "${X",
    "\\n",
    "\\r",
    "\n",
    "\r",
    " ",
    "\t",
    "\u{2028}",
    "\u{2029}",
    "\nNAME_1=",
    "NAME_2=",
    "export ",
];

/// Few kinds of pieces at a time, so that those which mislead a reader together meet.
fn value() -> impl Strategy<Value = String> {
    let pieces = prop::sample::subsequence(PIECES, 1..=6)
        .prop_flat_map(|kinds| prop::collection::vec(prop::sample::select(kinds), 0..8));
    let end = prop::sample::select(vec!["", "", "", "\\", "\r\\"]);
    (pieces, end).prop_map(|(pieces, end)| pieces.concat() + end)
}

#[test]
fn generated_values_are_read_back() {
    let file = prop::collection::vec(value(), VALUES);
    let mut runner = TestRunner::deterministic();

    for _ in 0..FILES {
        check(&file.new_tree(&mut runner).unwrap().current());
    }
}
