//! `legwork demo` needs nothing but the program itself.

#![expect(clippy::disallowed_types, reason = "the program is run as a person runs it")]

use std::process::Command;

#[test]
fn the_demo_runs_a_task_and_verifies_its_callback() {
    let output = Command::new(env!("CARGO_BIN_EXE_legwork-under-test"))
        .arg("demo")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();

    let shown =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    for wanted in ["simulated agent", "accepted 202", "signature verified", "Look at", "Try next"] {
        assert!(shown.contains(wanted), "{wanted} in:\n{shown}");
    }
    let folder = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("rm -r "))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
